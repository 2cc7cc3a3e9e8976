"""The laws of callbacks: those of their folds, and of names, periods and records.

Belongs here: what every callback keeps. Does not: routines.
Floor 10.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args, is_typeddict

import attrs
from hypothesis import strategies as st
from torch import Tensor

from functorch_artifact import records, trees
from functorch_artifact.callbacks import Callback
from functorch_artifact.contracts import BatchResult, ModelInput, ModelOutput
from functorch_artifact.folds import Fold
from functorch_artifact.testing.agreement import show
from functorch_artifact.testing.fold_laws import FOLD, FoldCase
from functorch_artifact.testing.law import Family, Laws, Report, expect, expect_instance
from functorch_artifact.testing.values import batches as draw_batches

_OF_ONE_BATCH = tuple(cls for cls in Callback.__subclasses__() if cls.__name__.startswith("Batch"))
_PICTURES = (records.Plot, records.PlotCollection)


@attrs.frozen(eq=False)
class CallbackCase(FoldCase):
    """A callback; its fold finishes in the value that is recorded."""


CALLBACK: Family[CallbackCase] = Family("callback", "check_callback")
for _law in FOLD.laws.values():
    CALLBACK.adopt(_law)


def check_callback(
    callback: Callback[Any, Any],
    *,
    batches: st.SearchStrategy[Any] | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-6,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a callback to the laws of callbacks.

    - `it_has_a_name`, `it_is_due_every_period`, `the_value_is_of_its_modality`
    - the laws of its fold, as `check_fold` lists them, on the recorded value
    - for a data-loader callback: `batches_do_not_matter`. A 0-d output, such as the loss, is taken
      for a mean over its batch, and is cut into parts of that mean.

    Args:
        callback: the callback.
        batches: the `BatchResult`s it sees, e.g. `strategies.batches(MyInput, MyOutput)`; by
            default drawn of the contracts that its class names.
        rtol: how far values may lie apart, relatively, where the order of additions differs.
        atol: the same, absolutely.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law, or the contracts cannot be drawn.

    Example:
        >>> from functorch_artifact.callbacks import ValLossCallback
        >>> from functorch_artifact.testing import check_callback
        >>> report = check_callback(ValLossCallback(period=2))
        >>> "it_is_due_every_period" in report.holding
        True
    """
    return callback_laws(callback, batches=batches, rtol=rtol, atol=atol).check(strict=strict, without=without)


def callback_laws(
    callback: Callback[Any, Any],
    *,
    batches: st.SearchStrategy[Any] | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-6,
) -> Laws:
    """List the laws of a callback; the arguments are those of `check_callback`."""
    expect_instance(callback, Callback, "check_callback")
    fold = callback._get_fold()
    recorded: Fold[Any, Any, Any] = attrs.evolve(fold, finish=callback.finish)
    laws = CALLBACK.bind(
        CallbackCase(
            callback,
            fold=recorded,
            elements=draw_batches(*contracts(callback)) if batches is None else batches,
            split=None if isinstance(callback, _OF_ONE_BATCH) else cut_batch,
            rtol=rtol,
            atol=atol,
        )
    )
    if callback.modality not in _PICTURES:
        return laws
    # A picture takes tens of milliseconds to draw.
    cheap = {name: attrs.evolve(law, cost=20) for name, law in CALLBACK.laws.items()}
    return attrs.evolve(laws, listed=cheap)


def contracts(consumer: object) -> tuple[type, type]:
    """Find the input and output contract that a class's bases name; the bare ones where none does."""
    for cls in type(consumer).__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            found = [each for each in get_args(base) if is_typeddict(each)]
            if len(found) == 2:
                return found[0], found[1]
    return ModelInput, ModelOutput


def cut_batch(batch: BatchResult[Any, Any], cut: int, shift: float) -> list[BatchResult[Any, Any]]:
    """Cut a batch before row `cut`; a 0-d float becomes two that average to it by size."""
    if cut >= batch.size:
        return [batch]
    sizes = (cut, batch.size - cut)

    def part(index: int) -> BatchResult[Any, Any]:
        def take(tensor: Tensor) -> Tensor:
            if tensor.ndim and len(tensor) == batch.size:
                return tensor[:cut] if index == 0 else tensor[cut:]
            if tensor.ndim == 0 and tensor.is_floating_point():
                return (tensor.double() + (shift / sizes[0], -shift / sizes[1])[index]).to(tensor.dtype)
            return tensor

        return BatchResult(trees.map_tensors(take, batch.input), trees.map_tensors(take, batch.output), sizes[index])

    return [part(0), part(1)]


@CALLBACK.law(usual_cause="_get_name returns nothing, or another text each time, e.g. with a counter")
def it_has_a_name(case: CallbackCase) -> None:
    """Its name is one text that is not empty."""
    first, second = case.subject.name, case.subject.name
    expect(isinstance(first, str) and bool(first), "a text that is not empty", repr(first))
    expect(first == second, repr(first), repr(second))


@CALLBACK.law(usual_cause="epochs or steps are counted from 0, or due is overridden", count=st.integers(1, 200))
def it_is_due_every_period(case: CallbackCase, count: int) -> None:
    """Of the first n steps or epochs, counted from 1, it is due at each multiple of its period."""
    due = [n for n in range(1, count + 1) if case.subject.due(n)]
    period = case.subject.period
    expect(due == list(range(period, count + 1, period)), f"due at {list(range(period, count + 1, period))}", due)


def _some(case: CallbackCase) -> st.SearchStrategy[list[Any]]:
    return st.lists(case.elements, min_size=1, max_size=3)


@CALLBACK.law(usual_cause="the fold ends in something else than its family records; see Fold.then", stream=_some)
def the_value_is_of_its_modality(case: CallbackCase, stream: list[Any]) -> None:
    """A fold of one batch or more is recorded as a value of the callback's modality."""
    found = case.fold.finish(case.folded(stream))
    expect(isinstance(found, case.subject.modality), f"a {case.subject.modality.__name__}", show(found))
