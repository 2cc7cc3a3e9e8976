"""The laws of folds.

Belongs here: the monoid, its agreement with update, independence of the batches, purity. Does not:
names, periods and records (`callback_laws`).
Floor 10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import attrs
from hypothesis import strategies as st

from functorch_artifact import purity, trees
from functorch_artifact.folds import Fold
from functorch_artifact.testing.agreement import close, digest, disturb_generators, show
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect, expect_instance
from functorch_artifact.testing.values import numbers, tensors

Split = Callable[[Any, int, float], list[Any]]
"""`split(element, cut, shift)`: the parts of an element before and after row `cut`."""


@attrs.frozen(eq=False)
class FoldCase(Case):
    """A fold, and what it folds."""

    fold: Fold[Any, Any, Any]
    elements: st.SearchStrategy[Any]
    split: Split | None  # None where cutting an element may matter
    rtol: float
    atol: float

    def folded(self, stream: Iterable[Any]) -> Any:
        """Fold elements, without finishing."""
        accumulator = self.fold.init()
        for element in stream:
            accumulator = self.fold.update(accumulator, element)
        return accumulator

    def expect_same(self, expected: Any, got: Any, of: str = "") -> None:
        """Compare what two accumulators finish in."""
        one, other = self.fold.finish(expected), self.fold.finish(got)
        expect(close(one, other, rtol=self.rtol, atol=self.atol), f"{show(one)}{of}", show(other))


FOLD: Family[FoldCase] = Family("fold", "check_fold")


def check_fold(
    fold: Fold[Any, Any, Any],
    elements: st.SearchStrategy[Any] | None = None,
    *,
    rows: bool = False,
    rtol: float = 1e-9,
    atol: float = 1e-6,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a fold to the laws of folds.

    - `the_empty_fold_is_none`, `the_empty_accumulator_is_the_identity`, `merge_is_associative`
    - `update_is_merge_with_the_lifted_element`, `merge_commutes` (if it is declared commutative)
    - `functions_are_pure`, `results_depend_on_the_elements_alone`, `folds_do_not_disturb_each_other`
    - with `rows`: `batches_do_not_matter`

    Args:
        fold: the fold.
        elements: what it folds; by default float32 tensors [n] of one to four numbers.
        rows: whether it aggregates the rows of its elements, so that it must not matter how the
            rows were cut into elements.
        rtol: how far results may lie apart, relatively, where the order of additions differs.
        atol: the same, absolutely.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> from functorch_artifact import folds
        >>> from functorch_artifact.testing import check_fold
        >>> report = check_fold(folds.mean(lambda x: x, each=True), rows=True)
        >>> "batches_do_not_matter" in report.holding
        True
    """
    return fold_laws(fold, elements, rows=rows, rtol=rtol, atol=atol).check(strict=strict, without=without)


def fold_laws(
    fold: Fold[Any, Any, Any],
    elements: st.SearchStrategy[Any] | None = None,
    *,
    rows: bool = False,
    rtol: float = 1e-9,
    atol: float = 1e-6,
) -> Laws:
    """List the laws of a fold; the arguments are those of `check_fold`."""
    expect_instance(fold, Fold, "check_fold")
    if elements is not None:
        expect_instance(elements, st.SearchStrategy, "check_fold(elements=...)")
    drawn = tensors(shapes=st.tuples(st.integers(1, 4)), elements=numbers()) if elements is None else elements
    options = {name: value for name, value in (("elements", elements), ("rows", rows)) if value}
    return FOLD.bind(FoldCase(fold, fold, drawn, cut_rows if rows else None, rtol, atol, options=options))


def cut_rows(element: Any, cut: int, shift: float) -> list[Any]:
    """Cut every tensor of an element before row `cut`."""
    if cut >= trees.n_examples(element):
        return [element]
    return [trees.map_tensors(lambda t: t[:cut], element), trees.map_tensors(lambda t: t[cut:], element)]


def _stream(case: FoldCase, most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(case.elements, max_size=most)


def _short(case: FoldCase) -> st.SearchStrategy[list[Any]]:
    return _stream(case, 2)


def _element(case: FoldCase) -> st.SearchStrategy[Any]:
    return case.elements


@FOLD.law(
    usual_cause="the accumulator or the element is written to in place, or a random number takes part; "
    "make a new accumulator of what is given",
    stream=_short, other=_short, element=_element,
)  # fmt: skip
def functions_are_pure(case: FoldCase, stream: list[Any], other: list[Any], element: Any) -> None:
    """init, update, merge and finish change nothing, draw nothing, and touch neither clock nor files."""
    fold = case.fold
    with purity.checking():
        a = purity.call("init", fold.init)
        for each in [*stream, element]:
            a = purity.call("update", fold.update, a, each)
        b = case.folded(other)
        merged = purity.call("merge", fold.merge, a, b)
        for each in (a, b, merged):
            purity.call("finish", fold.finish, each)


@FOLD.law(usual_cause="the identity is finished as if it were a value, e.g. 0 / 0 or an empty tensor")
def the_empty_fold_is_none(case: FoldCase) -> None:
    """A fold of nothing finishes in None."""
    found = case.fold.finish(case.fold.init())
    expect(found is None, None, show(found))


@FOLD.law(usual_cause="init() is not neutral: it starts at a value that merge counts in", stream=_stream)
def the_empty_accumulator_is_the_identity(case: FoldCase, stream: list[Any]) -> None:
    """Merging with the empty accumulator, on either side, changes nothing."""
    folded = case.folded(stream)
    case.expect_same(folded, case.fold.merge(case.fold.init(), folded), " (the empty one merged from the left)")
    case.expect_same(folded, case.fold.merge(folded, case.fold.init()), " (the empty one merged from the right)")


@FOLD.law(
    usual_cause="merge weights its two sides alike, however much each has seen",
    first=_short, second=_short, third=_short,
)  # fmt: skip
def merge_is_associative(case: FoldCase, first: list[Any], second: list[Any], third: list[Any]) -> None:
    """Merging three accumulators gives the same, whichever two are merged first."""
    merge = case.fold.merge
    a, b, c = (case.folded(stream) for stream in (first, second, third))
    case.expect_same(merge(merge(a, b), c), merge(a, merge(b, c)))


@FOLD.law(
    usual_cause="update and merge were written separately and weight an element differently, or merge takes its "
    "two sides in the wrong order",
    stream=_stream, element=_element,
)  # fmt: skip
def update_is_merge_with_the_lifted_element(case: FoldCase, stream: list[Any], element: Any) -> None:
    """Updating with an element is merging with the accumulator of that element alone."""
    folded = case.folded(stream)
    case.expect_same(case.fold.update(folded, element), case.fold.merge(folded, case.fold.lift(element)))


@FOLD.law(
    usual_cause="the fold depends on order; declare commutative=False",
    needs=lambda case: case.fold.commutative,
    first=_short, second=_short,
)  # fmt: skip
def merge_commutes(case: FoldCase, first: list[Any], second: list[Any]) -> None:
    """Where a fold is declared commutative, the two sides of a merge can be swapped."""
    a, b = case.folded(first), case.folded(second)
    case.expect_same(case.fold.merge(a, b), case.fold.merge(b, a))


@FOLD.law(usual_cause="a random number, the time, or an outer variable takes part", stream=_stream)
def results_depend_on_the_elements_alone(case: FoldCase, stream: list[Any]) -> None:
    """The same elements finish in the same bits."""
    results = []
    for seed in (0, 1):
        disturb_generators(seed)
        results.append(case.fold.finish(case.folded(stream)))
    expect(digest(results[0]) == digest(results[1]), f"{show(results[0])}, as at first", show(results[1]))


@FOLD.law(
    usual_cause="init() hands out one mutable accumulator again and again",
    stream=_stream, other=_short,
)  # fmt: skip
def folds_do_not_disturb_each_other(case: FoldCase, stream: list[Any], other: list[Any]) -> None:
    """An accumulator that grows in turns with another finishes as it does alone."""
    expected = case.fold.finish(case.folded(stream))
    a, b = case.fold.init(), case.fold.init()
    for index in range(max(len(stream), len(other))):
        a = case.fold.update(a, stream[index]) if index < len(stream) else a
        b = case.fold.update(b, other[index]) if index < len(other) else b
    found = case.fold.finish(a)
    expect(digest(found) == digest(expected), show(expected), show(found))


@FOLD.law(
    usual_cause="an average of averages that ignores how many examples each batch has; weight by the batch's size",
    needs=lambda case: case.split is not None,
    stream=_short, element=_element, cut=st.integers(1, 3), shift=st.sampled_from([0.0, 1.0, -0.5]),
)  # fmt: skip
def batches_do_not_matter(case: FoldCase, stream: list[Any], element: Any, cut: int, shift: float) -> None:
    """The result is the same, however the examples were cut into batches; sizes that differ included."""
    if case.split is None:
        return
    whole = case.folded([*stream, element])
    parts = case.folded([*stream, *case.split(element, cut, shift)])
    case.expect_same(whole, parts, " of the whole batch")
