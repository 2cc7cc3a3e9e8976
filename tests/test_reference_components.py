"""The reference implementation's components, as their documentation describes them: each is rejected by name.

They are written here from their public behaviour alone, in the terms of this library.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import torch
from hypothesis import settings

import functorch_artifact as fa
from functorch_artifact import folds, optimizers, trees
from functorch_artifact.errors import LawViolation
from functorch_artifact.model_tracking import ModelSnapshot
from functorch_artifact.testing import check_callback, check_model_tracker, check_schedule, check_stopper
from functorch_artifact.testing.cache_laws import cache_laws


@pytest.fixture(autouse=True)
def deterministic():
    settings.register_profile("reference", derandomize=True)
    before = settings.get_current_profile_name()
    settings.load_profile("reference")
    yield
    settings.load_profile(before)


class Tracker(fa.ModelTracker[fa.ScoreCriterion]):
    """Its criterion stays the initial one, and the state it keeps is the live one."""

    mode = "min"

    def init(self):
        return (math.inf, None)

    def update(self, state, criterion, candidate):
        initial, _ = state
        return (initial, candidate) if criterion.value < initial else state

    def best(self, state):
        return state[1]


def test_a_tracker_that_compares_with_the_initial_criterion_for_ever_is_rejected():
    report = check_model_tracker(Tracker(), strict=False)
    assert {"the_best_is_the_best_of_all", "the_best_is_a_copy"} <= set(report.broken)
    assert "compared with the first criterion" in str(report.broken["the_best_is_the_best_of_all"])
    assert "the candidate itself is kept" in str(report.broken["the_best_is_a_copy"])


class Loss(fa.DataLoaderScoreCallback[fa.ModelInput, fa.ModelOutput]):
    """It adds up the batches' mean losses and divides by the number of batches."""

    def _get_name(self):
        return "VAL_LOSS"

    def _get_fold(self):
        return folds.fold_map(
            (0.0, 0),
            lambda batch: (float(batch.output["loss"]), 1),
            lambda a, b: (a[0] + b[0], a[1] + b[1]),
            lambda a: a[0] / a[1] if a[1] else None,
        )


def test_a_loss_averaged_over_batches_is_rejected():
    with pytest.raises(LawViolation, match="an average of averages that ignores how many examples each batch has"):
        check_callback(Loss())


@trees.node
@attrs.frozen(eq=False)
class Cache:
    """Scores in lists, one a name; an epoch is the place in the list."""

    lists: dict[str, list[float]] = attrs.field(factory=dict)

    def append(self, epoch: int, scores: dict[str, float]) -> Cache:
        return Cache({**self.lists, **{name: [*self.lists.get(name, []), value] for name, value in scores.items()}})

    def __len__(self) -> int:
        return max(map(len, self.lists.values()), default=0)

    @property
    def epochs(self) -> tuple[int, ...]:
        return tuple(range(1, len(self) + 1))

    def row(self, epoch: int) -> dict[str, float]:
        return {name: values[epoch - 1] for name, values in self.lists.items() if epoch <= len(values)}


def test_a_score_cache_that_drops_epochs_is_rejected():
    laws: Any = cache_laws(Cache())  # type: ignore[arg-type]
    with pytest.raises(LawViolation, match="scores are kept in lists by name, so that a missing one shifts all later"):
        laws["a_row_is_what_its_epoch_reported"]()
    with pytest.raises(LawViolation, match="an epoch without scores, or with none that is finite, is dropped"):
        laws["epochs_are_those_that_reported"]()


class Scheduler(optimizers.LearningRate):
    """A scheduler that is stepped after each batch, though its `step_size` counts epochs."""

    per = "epoch"

    def init(self):
        return torch.zeros((), dtype=torch.int64)

    def rate(self, state):
        return 0.1 ** torch.floor(state.to(torch.float64) / 3)

    def on_step(self, state):
        return state + 1


def test_a_scheduler_stepped_per_batch_is_rejected():
    with pytest.raises(LawViolation, match="the scheduler is stepped once a batch whatever was meant"):
        check_schedule(Scheduler())


@attrs.frozen
class Patience(fa.EarlyStopper[tuple[float | None, int], fa.StopperUpdateData]):
    """The first score is the best, whatever it is, and from then on a lower one."""

    patience: int = 2
    score_names = ("VAL_LOSS",)

    def init(self):
        return (None, 0)

    def update(self, state, data):
        best, stale = state
        if stale >= self.patience or "VAL_LOSS" not in data.scores:
            return state
        loss = data.scores["VAL_LOSS"]
        return (loss, 0) if best is None or loss < best else (best, stale + 1)

    def verdict(self, state):
        return fa.stoppers.Stop("no longer falls") if state[1] >= self.patience else fa.stoppers.Continue()


def test_a_patience_stopper_that_is_fed_nan_is_rejected():
    with pytest.raises(LawViolation, match="NaN became the best, and nothing is better than NaN") as caught:
        check_stopper(Patience())
    assert "float('nan')" in str(caught.value)


def test_the_trackers_fault_is_the_live_weights():
    tracker, live = Tracker(), ModelSnapshot({"w": torch.zeros(1)}, torch.tensor(1))
    kept = tracker.best(tracker.update(tracker.init(), fa.ScoreCriterion(0.5), live))
    live.model["w"].fill_(1.0)
    assert kept is not None and kept.model["w"].item() == 1.0
