"""Members that break one law each on purpose; `FLAWED` says which.

The tests see to it that each is rejected for that law, and `docs/laws.md` shows how it is printed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
import torch

from functorch_artifact import callbacks, folds
from functorch_artifact.folds import Fold
from functorch_artifact.stoppers import (
    CombinedStopper,
    Continue,
    EarlyStopper,
    EpochBoundStopper,
    Stop,
    StopperUpdateData,
)
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import Laws

T = TypeVar("T")
FLAWED: Final[dict[tuple[str, str], Callable[[], Laws]]] = {}
"""By checker and law: the laws of a member that breaks it."""


def breaks(checker: str, law: str, **options: Any) -> Callable[[type[T]], type[T]]:
    """Register a class whose instances break a law."""

    def register(cls: type[T]) -> type[T]:
        FLAWED[checker, law] = lambda: laws(cls(), **options)
        return cls

    return register


@attrs.frozen
class Patience(EarlyStopper[tuple[float, int], StopperUpdateData]):
    """A right stopper to go wrong from: (best, stale scores)."""

    patience: int = 2

    @property
    def score_names(self) -> tuple[str, ...]:
        return ("LOSS",)

    def init(self) -> tuple[float, int]:
        return (math.inf, 0)

    def update(self, state: tuple[float, int], data: StopperUpdateData) -> tuple[float, int]:
        if self.stale(state) >= self.patience or "LOSS" not in data.scores:
            return state
        return self.judge(state, data.scores["LOSS"])

    def judge(self, state: tuple[float, int], loss: float) -> tuple[float, int]:
        best, stale = state
        return (loss, 0) if math.isfinite(loss) and loss < best else (best, stale + 1)

    def stale(self, state: tuple[float, int]) -> int:
        return state[1]

    def verdict(self, state: tuple[float, int]) -> Continue | Stop:
        return Stop("LOSS no longer falls") if self.stale(state) >= self.patience else Continue()


@breaks("check_stopper", "a_fresh_stopper_continues")
class StopsAtOnce(Patience):
    def init(self):
        return (math.inf, 2)


@breaks("check_stopper", "stop_is_absorbing")
class TakesBack(Patience):
    def update(self, state, data):
        return self.judge(state, data.scores["LOSS"]) if "LOSS" in data.scores else state


@breaks("check_stopper", "a_stop_says_why")
class Silent(Patience):
    def verdict(self, state):
        return Stop("") if self.stale(state) >= self.patience else Continue()


@breaks("check_stopper", "hooks_are_pure")
class InPlace(EpochBoundStopper):
    def __init__(self):
        super().__init__(3)

    def update(self, state, data):
        return state.add_(1)


@breaks("check_stopper", "verdicts_depend_on_the_updates_alone")
class Lottery(Patience):
    def update(self, state, data):
        return (0.0, state[1] + (random.random() < 0.5)) if state[1] < 2 else state


@breaks("check_stopper", "runs_do_not_disturb_each_other")
class OnSelf(EarlyStopper[tuple[()], StopperUpdateData]):
    seen = 0

    def init(self):
        return ()

    def update(self, state, data):
        self.seen += 1
        return state

    def verdict(self, state):
        return Stop("seen enough") if self.seen >= 3 else Continue()


@breaks("check_stopper", "a_run_that_is_saved_and_continued_decides_the_same")
class Unsaveable(Patience):
    def judge(self, state, loss):
        return (loss, 0) if state[0] > loss else (state[0], frozenset())

    def stale(self, state):
        return 0


@breaks("check_stopper", "declares_the_scores_it_reads")
class Undeclared(Patience):
    score_names = ()


@breaks("check_stopper", "the_bound_is_kept")
class OneTooMany(EpochBoundStopper):
    def __init__(self):
        super().__init__(3)

    def verdict(self, state):
        return Stop("enough") if state > self.n_epochs else Continue()


@breaks("check_stopper", "an_improving_run_reaches_its_bound")
class OneTooFew(EpochBoundStopper):
    def __init__(self):
        super().__init__(3)

    def verdict(self, state):
        return Stop("enough") if state >= self.n_epochs - 1 else Continue()


@breaks("check_stopper", "patience_is_exact")
class TieIsProgress(Patience):
    def judge(self, state, loss):
        return (loss, 0) if math.isfinite(loss) and loss <= state[0] else (state[0], state[1] + 1)


@breaks("check_stopper", "an_epoch_without_the_score_changes_nothing")
class MissingIsStale(Patience):
    def update(self, state, data):
        return state if self.stale(state) >= 2 else self.judge(state, data.scores.get("LOSS", math.inf))


@breaks("check_stopper", "nan_is_never_an_improvement")
class NanImproves(Patience):
    def judge(self, state, loss):
        best, stale = state
        return (best, stale + 1) if loss >= best else (loss if loss < best else best, 0)


@breaks("check_stopper", "nan_hides_no_later_improvement")
class NanIsBest(Patience):
    def judge(self, state, loss):
        best, stale = state
        return (loss, 0) if best == math.inf or loss < best else (best, stale + 1)


class OneMore(CombinedStopper[StopperUpdateData]):
    """It waits for one member more than it needs."""

    def verdict(self, state):
        stopped = [isinstance(each.verdict(own), Stop) for each, own in zip(self.stoppers, state, strict=True)]
        return Stop("enough have stopped") if sum(stopped) > self.n_required else Continue()


FLAWED["check_stopper", "a_combination_counts_its_members"] = lambda: laws(
    OneMore((EpochBoundStopper(1), EpochBoundStopper(2)), n_required=1)
)

Pair = tuple[float, int]
ADDING: Final[Fold[torch.Tensor, Pair, float]] = folds.fold_map(
    (0.0, 0), lambda x: (float(x.sum()), 1), lambda a, b: (a[0] + b[0], a[1] + b[1]), lambda a: a[0] if a[1] else None
)
"""A right fold to go wrong from: (sum, count)."""


def breaks_fold(law: str, fold: Fold[Any, Any, Any], **options: Any) -> None:
    FLAWED["check_fold", law] = lambda: laws(fold, **options)


def in_place(a: list[float], x: torch.Tensor) -> list[float]:
    a.append(float(x.sum()))
    return a


_shared: list[float] = []
appending = Fold(list, in_place, lambda a, b: a + b, lambda a: sum(a) if a else None)
breaks_fold("the_empty_fold_is_none", attrs.evolve(ADDING, finish=lambda a: a[0]))
breaks_fold("the_empty_accumulator_is_the_identity", attrs.evolve(ADDING, init=lambda: (1.0, 0)))
breaks_fold(
    "merge_is_associative",
    folds.fold_map(
        None,
        lambda x: float(x.sum()),
        lambda a, b: b if a is None else a if b is None else (a + b) / 2,
        lambda a: a,
    ),
)
breaks_fold(
    "update_is_merge_with_the_lifted_element",
    attrs.evolve(ADDING, update=lambda a, x: (a[0] + float(x.sum()) * (2 if a[1] else 1), a[1] + 1)),
)
breaks_fold("merge_commutes", attrs.evolve(folds.last(lambda x: x[-1]), commutative=True))
breaks_fold("functions_are_pure", appending)
breaks_fold("results_depend_on_the_elements_alone", ADDING.then(lambda total: total + random.random()))
breaks_fold("folds_do_not_disturb_each_other", attrs.evolve(appending, init=lambda: _shared))
breaks_fold("batches_do_not_matter", folds.mean(lambda x: x.mean()), rows=True)


@breaks("check_callback", "it_has_a_name")
class Nameless(callbacks.DataLoaderScoreCallback[Any, Any]):
    def _get_name(self):
        return ""

    def _get_fold(self):
        return folds.mean(lambda batch: batch.output["loss"])


@breaks("check_callback", "it_is_due_every_period")
class FromZero(Nameless):
    def __init__(self):
        super().__init__(period=2)

    def _get_name(self):
        return "LOSS"

    def due(self, n):
        return (n - 1) % self.period == 0


@breaks("check_callback", "the_value_is_of_its_modality")
class ArrayAsScore(Nameless):
    def _get_name(self):
        return "LOSS"

    def _get_fold(self):
        return folds.last(lambda batch: torch.zeros(2))


@breaks("check_callback", "batches_do_not_matter")
class BatchMeans(Nameless):
    def _get_name(self):
        return "LOSS"

    def _get_fold(self):
        return folds.mean(lambda batch: batch.output["loss"], weight=lambda batch: 1)
