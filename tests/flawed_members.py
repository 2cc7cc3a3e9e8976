"""Members that break one law each on purpose; `FLAWED` says which.

The tests see to it that each is rejected for that law, and `docs/laws.md` shows how it is printed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import torch

from functorch_artifact import callbacks, folds, optimizers, trees
from functorch_artifact.folds import Fold
from functorch_artifact.model_tracking import ModelSnapshot, ModelTracker, ScoreCriterion
from functorch_artifact.optimizers import rules
from functorch_artifact.optimizers.rule import from_rule
from functorch_artifact.stoppers import (
    CombinedStopper,
    Continue,
    EarlyStopper,
    EpochBoundStopper,
    Stop,
    StopperUpdateData,
)
from functorch_artifact.testing import laws
from functorch_artifact.testing.cache_laws import cache_laws
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


@breaks("check_stopper", "update_gives_the_next_state")
class NoReturn(Patience):
    def judge(self, state, loss):
        super().judge(state, loss)


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


@breaks("check_stopper", "what_is_not_finite_is_no_improvement")
class NanImproves(Patience):
    def judge(self, state, loss):
        best, stale = state
        return (best, stale + 1) if loss >= best else (loss if loss < best else best, 0)


@breaks("check_stopper", "what_is_not_finite_hides_no_improvement")
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


@attrs.frozen
class Least(ModelTracker[ScoreCriterion]):
    """A right tracker to go wrong from: (best criterion, best model)."""

    mode: str = "min"

    def init(self):
        return (math.inf, None)

    def update(self, state, criterion, candidate):
        return (criterion.value, trees.snapshot(candidate)) if self.better(criterion.value, state[0]) else state

    def better(self, value, best):
        return math.isfinite(value) and value < best

    def best(self, state):
        return state[1]


@breaks("check_model_tracker", "methods_are_pure")
class KeepsOnSelf(ModelTracker[ScoreCriterion]):
    def init(self):
        return ()

    def update(self, state, criterion, candidate):
        self.kept = trees.snapshot(candidate)
        return state

    def best(self, state):
        return getattr(self, "kept", None)


@breaks("check_model_tracker", "before_a_candidate_there_is_no_best")
class Premature(Least):
    def init(self):
        return (math.inf, ModelSnapshot({}, torch.tensor(0)))


@breaks("check_model_tracker", "the_best_is_a_candidate_to_the_bit")
class WrongEpoch(Least):
    def update(self, state, criterion, candidate):
        return super().update(state, criterion, attrs.evolve(candidate, epoch=candidate.epoch - 1))


@breaks("check_model_tracker", "the_best_is_a_copy")
class LiveWeights(Least):
    def update(self, state, criterion, candidate):
        return (criterion.value, candidate) if self.better(criterion.value, state[0]) else state


@breaks("check_model_tracker", "the_best_depends_on_the_candidates_alone")
class Moody(Least):
    def better(self, value, best):
        return random.random() < 0.5


@breaks("check_model_tracker", "a_state_that_is_saved_goes_on_the_same")
class UnsaveableBest(Least):
    def init(self):
        return (math.inf, frozenset())

    def best(self, state):
        return state[1] or None


@breaks("check_model_tracker", "the_best_is_the_best_of_all")
class ComparesWithTheFirst(Least):
    """It never remembers the best criterion, so each that beats the initial one becomes the best."""

    def update(self, state, criterion, candidate):
        return (math.inf, trees.snapshot(candidate)) if self.better(criterion.value, state[0]) else state


@breaks("check_model_tracker", "ties_go_to_the_earliest")
class LatestOfTies(Least):
    def better(self, value, best):
        return math.isfinite(value) and value <= best


@breaks("check_model_tracker", "what_is_not_finite_is_never_the_best")
class NanIsBestModel(Least):
    def better(self, value, best):
        return not value >= best


@trees.node
@attrs.frozen(eq=False)
class Rows:
    """A right cache to go wrong from: its rows by epoch, each number a tensor."""

    rows: dict[int, dict[str, torch.Tensor]] = attrs.field(factory=dict)
    names: tuple[str, ...] = ()

    def append(self, epoch, scores):
        row = {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
        rows = {**trees.snapshot(self.rows), epoch: row}
        return type(self)({n: rows[n] for n in sorted(rows)}, tuple(dict.fromkeys((*self.names, *scores))))

    @property
    def epochs(self):
        return tuple(self.rows)

    def __len__(self):
        return len(self.rows)

    def row(self, epoch):
        return {name: value.item() for name, value in self.rows[epoch].items()}

    def latest(self):
        return self.row(max(self.rows)) if self.rows else {}

    def column(self, name):
        return {epoch: row[name].item() for epoch, row in self.rows.items() if name in row}

    def to_frame(self):
        import pandas as pd

        made = {epoch: self.row(epoch) for epoch in self.rows}
        return pd.DataFrame.from_dict(made, orient="index", columns=list(self.names), dtype=float).reindex(list(made))


def breaks_cache(law: str) -> Callable[[type[T]], type[T]]:
    def register(cls: type[T]) -> type[T]:
        made: Any = trees.node(attrs.frozen(eq=False)(cls))
        FLAWED["check_score_cache", law] = lambda: cache_laws(made())
        return made

    return register


@breaks_cache("append_is_pure")
class AppendsInPlace(Rows):
    def append(self, epoch, scores):
        self.rows[epoch] = {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
        return self


@breaks_cache("a_row_is_what_its_epoch_reported")
class FillsForward(Rows):
    def append(self, epoch, scores):
        return super().append(epoch, {**self.latest(), **scores})


@breaks_cache("epochs_are_those_that_reported")
class DropsEpochs(Rows):
    """It keeps numbers only, so an epoch that reported none leaves no trace."""

    def append(self, epoch, scores):
        return super().append(epoch, scores) if scores else self


@breaks_cache("a_column_holds_the_epochs_that_reported_it")
class NanIsMissing(Rows):
    def column(self, name):
        return {epoch: value for epoch, value in super().column(name).items() if value == value}


@breaks_cache("the_latest_row_is_that_of_the_highest_epoch")
class EarliestFirst(Rows):
    def latest(self):
        return self.row(min(self.rows)) if self.rows else {}


@breaks_cache("the_frame_shows_every_cell")
class ByPosition(Rows):
    def to_frame(self):
        return super().to_frame().reset_index(drop=True)


@breaks_cache("append_changes_no_earlier_cache")
class SharesMemory(Rows):
    def append(self, epoch, scores):
        made = super().append(epoch, scores)
        return attrs.evolve(made, rows={**made.rows, **{n: row for n, row in self.rows.items() if n != epoch}})


@breaks_cache("a_cache_that_is_saved_is_the_same")
class UnsaveableNames(Rows):
    def append(self, epoch, scores):
        made = super().append(epoch, scores)
        return attrs.evolve(made, names=frozenset(made.names))


@attrs.frozen
class Halving(optimizers.LearningRate):
    """A right learning rate to go wrong from: halved at each epoch's end."""

    per: str = "epoch"

    def init(self):
        return torch.zeros((), dtype=torch.int64)

    def rate(self, state):
        return 0.5 ** state.to(torch.float64)

    def on_epoch(self, state, scores):
        return state + 1


@breaks("check_schedule", "methods_are_pure")
class CountsInPlace(Halving):
    def on_epoch(self, state, scores):
        return state.add_(1)


@breaks("check_schedule", "the_rate_is_a_number")
class SinglePrecision(Halving):
    def rate(self, state):
        return super().rate(state).float()


@breaks("check_schedule", "the_state_keeps_its_structure")
class BeginsAsAnInt(Halving):
    def init(self):
        return 0

    def rate(self, state):
        return super().rate(torch.as_tensor(state))

    def on_epoch(self, state, scores):
        return torch.as_tensor(state) + 1


@breaks("check_schedule", "the_rate_depends_on_the_events_alone")
class Jittery(Halving):
    def rate(self, state):
        return super().rate(state) * random.random()


@breaks("check_schedule", "a_state_that_is_saved_goes_on_the_same")
class UnsaveableCount(Halving):
    def init(self):
        return frozenset()

    def rate(self, state):
        return torch.tensor(0.5 ** len(state), dtype=torch.float64)

    def on_epoch(self, state, scores):
        return state | {len(state)}


@breaks("check_schedule", "it_moves_only_with_what_it_counts")
class StepsPerBatch(Halving):
    def on_step(self, state):
        return state + 1


def halving(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)


@breaks("check_schedule", "it_follows_torch", like=halving)
class OneAhead(Halving):
    def rate(self, state):
        return super().rate(state + 1)


def momentum(params):
    return trees.map(torch.zeros_like, params)


def descend(grads, state, params):
    moved = trees.map(lambda m, g: 0.9 * m + g, state, grads)
    return trees.map(lambda m: -0.1 * m, moved), moved


def descend_in_place(grads, state, params):
    moved = trees.map(lambda m, g: m.mul_(0.9).add_(g), state, grads)
    return trees.map(lambda m: -0.1 * m, moved), moved


def descend_randomly(grads, state, params):
    return trees.map(lambda g: g * random.random(), grads), state


def off_by_one() -> optimizers.GradientTransformation:
    """Adam whose bias correction begins at step 2."""
    rule = rules.adam(betas=(0.9, 0.999), eps=1e-8)
    late = attrs.evolve(rule, scalars=lambda count, rates: rule.scalars(count + 1, rates))
    return from_rule(late, {"lr": optimizers.constant(0.1)})


def adam(params: list[torch.Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.1, foreach=False)


Transformation = optimizers.GradientTransformation
for _law, _made, _options in (
    ("functions_are_pure", Transformation(momentum, descend_in_place), {}),
    ("a_step_depends_on_its_arguments_alone", Transformation(momentum, descend_randomly), {}),
    (
        "updates_fit_the_parameters",
        Transformation(momentum, lambda g, s, p: (trees.map(lambda x: x.double() * 0.1, g), s)),
        {},
    ),
    ("the_state_keeps_its_structure", Transformation(lambda p: (), lambda g, s, p: (g, g)), {}),
    ("a_state_that_is_saved_goes_on_the_same", Transformation(lambda p: frozenset(), lambda g, s, p: (g, s)), {}),
    ("it_follows_torch", off_by_one(), {"like": adam}),
):
    FLAWED["check_transformation", _law] = partial(laws, _made, **_options)

FLAWED["check_checkpointable", "loading_inverts_saving"] = lambda: laws({"seen": frozenset({1})})
