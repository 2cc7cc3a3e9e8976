"""Folds: aggregation as a value, from the mean of a loss to a histogram of outputs.

Belongs here: `Fold` and its combinators. Does not: names, periods or records (`callbacks`).
Floor 2.

A fold never reads a tensor back to the host before `finish`, so folding a loader on an
accelerator does not synchronise. Accumulators are float64 (float32 on devices without it), so a
result does not depend on how the data was cut into batches beyond 1e-12 relative.

What the numeric folds aggregate is given by `of`, a function from an element to a tensor. That
tensor is one observation of any shape, or, with `each=True`, one observation per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, overload

import attrs
import torch
from torch import Tensor

from functorch_artifact.contracts import BatchResult
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.trees import node

X = TypeVar("X")
Y = TypeVar("Y")
X_contra = TypeVar("X_contra", contravariant=True)
A = TypeVar("A")
R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(eq=False)
class Fold(Generic[X_contra, A, R_co]):
    """Aggregate elements in one pass; every function is pure.

    Laws: `merge` is associative with `init()` as identity, `update(a, x)` equals
    `merge(a, lift(x))`, and `finish` of the empty fold is `None`.

    Args:
        init: make the empty accumulator.
        update: take one element into an accumulator.
        merge: join two accumulators, the earlier one first.
        finish: turn the accumulator into the result, or `None` if nothing was folded.
        commutative: whether `merge(a, b)` and `merge(b, a)` finish alike.

    Example:
        >>> from functorch_artifact import folds
        >>> folds.mean(lambda x: x).run([1.0, 2.0, 6.0])
        tensor(3., dtype=torch.float64)
    """

    init: Callable[[], A]
    update: Callable[[A, X_contra], A]
    merge: Callable[[A, A], A]
    finish: Callable[[A], R_co | None]
    commutative: bool = True

    def lift(self, x: X_contra) -> A:
        """Make the accumulator of a single element."""
        return self.update(self.init(), x)

    def run(self, elements: Iterable[X_contra]) -> R_co | None:
        """Fold elements from the left and finish."""
        accumulator = self.init()
        for element in elements:
            accumulator = self.update(accumulator, element)
        return self.finish(accumulator)

    def premap(self, function: Callable[[Y], X_contra]) -> Fold[Y, A, R_co]:
        """Fold elements of another type, each through `function` first."""
        update = self.update
        return Fold(self.init, lambda a, y: update(a, function(y)), self.merge, self.finish, self.commutative)

    def then(self, function: Callable[[R_co], S]) -> Fold[X_contra, A, S]:
        """Post-process the result; `None` stays `None`."""
        finish = self.finish

        def finished(accumulator: A) -> S | None:
            result = finish(accumulator)
            return None if result is None else function(result)

        return Fold(self.init, self.update, self.merge, finished, self.commutative)


def fold_map(
    empty: A,
    lift: Callable[[X], A],
    merge: Callable[[A, A], A],
    finish: Callable[[A], R | None],
    *,
    commutative: bool = True,
) -> Fold[X, A, R]:
    """Make a fold from a monoid: its identity, how an element enters it, how two are joined."""
    return Fold(lambda: empty, lambda a, x: merge(a, lift(x)), merge, finish, commutative)


@overload
def product(*folds: Fold[X, Any, Any]) -> Fold[X, tuple[Any, ...], tuple[Any, ...]]: ...
@overload
def product(folds: Mapping[str, Fold[X, Any, Any]], /) -> Fold[X, tuple[Any, ...], dict[str, Any]]: ...
def product(*folds: Any) -> Any:
    """Run several folds over the same elements in one pass.

    The result is a tuple of their results, or, given one mapping, a dict of the results that are
    not `None`.
    """
    names: tuple[str, ...] | None = None
    parts: tuple[Fold[Any, Any, Any], ...] = folds
    if len(folds) == 1 and isinstance(folds[0], Mapping):
        names, parts = tuple(folds[0]), tuple(folds[0].values())

    def finish(accumulators: tuple[Any, ...]) -> Any:
        results = tuple(part.finish(a) for part, a in zip(parts, accumulators, strict=True))
        if all(result is None for result in results):
            return None
        if names is None:
            return results
        return {name: result for name, result in zip(names, results, strict=True) if result is not None}

    return Fold(
        lambda: tuple(part.init() for part in parts),
        lambda a, x: tuple(part.update(each, x) for part, each in zip(parts, a, strict=True)),
        lambda a, b: tuple(part.merge(x, y) for part, x, y in zip(parts, a, b, strict=True)),
        finish,
        all(part.commutative for part in parts),
    )


def count() -> Fold[Any, int, int]:
    """Count examples: the size of each `BatchResult`, one for any other element."""
    return fold_map(0, _examples, lambda a, b: a + b, lambda a: a or None)


def sum(of: Callable[[X], Any], *, each: bool = False) -> Fold[X, Tensor | None, Tensor]:
    """Add up observations: float64, or int64 if they are integers; shape of one observation."""
    return _semigroup(lambda x: _accurate(_rows(of(x), each)).sum(0), torch.add)


def min(of: Callable[[X], Any], *, each: bool = False) -> Fold[X, Tensor | None, Tensor]:
    """Keep the elementwise minimum; NaN wins, as in `torch.minimum`."""
    return _semigroup(lambda x: _rows(of(x), each).amin(0), torch.minimum)


def max(of: Callable[[X], Any], *, each: bool = False) -> Fold[X, Tensor | None, Tensor]:
    """Keep the elementwise maximum; NaN wins, as in `torch.maximum`."""
    return _semigroup(lambda x: _rows(of(x), each).amax(0), torch.maximum)


def last(of: Callable[[X], R]) -> Fold[X, tuple[R, ...], R]:
    """Keep what the last element gave."""
    return fold_map((), lambda x: (of(x),), lambda a, b: b or a, lambda a: a[0] if a else None, commutative=False)


@node
@attrs.frozen(eq=False)
class Moments:
    """The accumulator of `mean` and `variance`."""

    weight: Tensor  # float64 []
    mean: Tensor  # float64, shape of one observation
    spread: Tensor  # float64, same shape: weighted squared distance from the mean


def mean(
    of: Callable[[X], Any], weight: Callable[[X], Any] | None = None, *, each: bool = False
) -> Fold[X, Moments | None, Tensor]:
    """Average observations: float64, shape of one observation.

    Args:
        of: what to average of an element.
        weight: the weight of an element (with `each`, of each row). By default a `BatchResult`
            counts as often as it has examples, so that a loss that is a mean over its batch
            averages to the mean over all examples; anything else counts once.
        each: whether `of` returns one observation per row.
    """
    return _moments(of, weight, each, lambda moments: moments.mean)


def variance(
    of: Callable[[X], Any],
    weight: Callable[[X], Any] | None = None,
    *,
    each: bool = False,
    ddof: int = 0,
) -> Fold[X, Moments | None, Tensor]:
    """Compute the variance of observations: float64, shape of one observation.

    Accumulators are merged by the pairwise update of Chan, Golub and LeVeque (1979), stable for
    data far from zero. `ddof` is as in `numpy.var`, weights being frequencies.
    """
    return _moments(of, weight, each, lambda moments: moments.spread / (moments.weight - ddof))


def _moments(
    of: Callable[[X], Any],
    weight: Callable[[X], Any] | None,
    each: bool,
    finish: Callable[[Moments], Tensor],
) -> Fold[X, Moments | None, Tensor]:
    def lift(x: X) -> Moments:
        rows = _accurate(_rows(of(x), each), integers=True)
        raw = weight(x) if weight is not None else 1 if each else _examples(x)
        weights = _accurate(torch.as_tensor(raw, device=rows.device), integers=True)
        weights = weights.expand(rows.shape[0]).reshape(-1, *[1] * (rows.ndim - 1))
        total = weights.sum()
        centre = (rows * weights).sum(0) / total
        return Moments(total, centre, (weights * (rows - centre).square()).sum(0))

    def merge(a: Moments, b: Moments) -> Moments:
        total = a.weight + b.weight
        delta, share = b.mean - a.mean, b.weight / total
        return Moments(total, a.mean + delta * share, a.spread + b.spread + delta.square() * a.weight * share)

    return _semigroup(lift, merge, finish)


@attrs.frozen(eq=False)
class Histogram:
    """Counts between edges, and what fell outside: nothing is lost."""

    edges: Tensor  # float64 [n_bins + 1]
    counts: Tensor  # int64 [n_bins]; bins are closed on the left, the last one on both sides
    below: int
    above: int
    nan: int


def histogram(of: Callable[[X], Any], edges: Iterable[float]) -> Fold[X, Tensor | None, Histogram]:
    """Count values between increasing `edges`, as `numpy.histogram` does.

    Every number of the tensor that `of` returns is one value.

    Raises:
        ConfigurationError: fewer than two edges, or edges that do not increase.
    """
    bounds = torch.tensor(list(edges), dtype=torch.float64)
    if len(bounds) < 2 or not bool((bounds.diff() > 0).all()):
        raise ConfigurationError(
            "cannot make bins", where="folds.histogram", expected="two or more increasing edges", got=bounds.tolist()
        )
    n_bins = len(bounds) - 1

    def lift(x: X) -> Tensor:
        values = _accurate(torch.as_tensor(of(x)), integers=True).reshape(-1)
        place = torch.bucketize(values, bounds.to(values), right=True)  # 0 below, n_bins + 1 above
        place = torch.where(values == bounds[-1].to(values), n_bins, place)
        place = torch.where(values.isnan(), n_bins + 2, place)
        return torch.bincount(place, minlength=n_bins + 3)

    def finish(counts: Tensor) -> Histogram:
        below, above, nan = (int(counts[i]) for i in (0, n_bins + 1, n_bins + 2))
        return Histogram(bounds.clone(), counts[1 : n_bins + 1].cpu(), below, above, nan)

    return _semigroup(lift, torch.add, finish)


def concatenate(of: Callable[[X], Any], *, bound: int) -> Fold[X, tuple[Tensor, ...], Tensor]:
    """Join rows in order: shape [n, ...], the first `bound` rows and no more.

    The bound keeps memory finite on a loader of any length; ask for as many rows as you will use.

    Raises:
        ConfigurationError: `bound` is below 1.
    """
    if bound < 1:
        raise ConfigurationError(
            "keeps no rows", where="folds.concatenate(bound=...)", expected="at least 1", got=bound
        )

    def merge(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept = list(a)
        room = bound
        for chunk in a:
            room -= chunk.shape[0]
        for chunk in b:
            if room <= 0:
                break
            kept.append(chunk[:room])
            room -= chunk.shape[0]
        return tuple(kept)

    def lift(x: X) -> tuple[Tensor, ...]:
        return merge((), (torch.as_tensor(of(x)),))

    return fold_map((), lift, merge, lambda a: torch.cat(a) if a else None, commutative=False)


def _semigroup(
    lift: Callable[[X], A], merge: Callable[[A, A], A], finish: Callable[[A], R] | None = None
) -> Fold[X, A | None, R]:
    """Give a semigroup the identity `None`."""

    def merge_or_take(a: A | None, b: A | None) -> A | None:
        if a is None or b is None:
            return b if a is None else a
        return merge(a, b)

    def finish_unless_empty(a: A | None) -> Any:
        return a if a is None or finish is None else finish(a)

    return fold_map(None, lift, merge_or_take, finish_unless_empty)


def _examples(x: Any) -> int:
    return x.size if isinstance(x, BatchResult) else 1


def _rows(value: Any, each: bool) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    return tensor if each else tensor.unsqueeze(0)


def _accurate(values: Tensor, *, integers: bool = False) -> Tensor:
    if not values.is_floating_point():
        if not integers:
            return values.to(torch.int64)
    elif values.device.type == "mps":
        return values.to(torch.float32)
    return values.to(torch.float64)
