"""The tracker keeps the best model: the right one, and a copy."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import torch

from functorch_artifact import trees
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.model_tracking import (
    ModelSnapshot,
    ModelTracker,
    ModelTrackingCriterion,
    ScoreCriterion,
    ScoreTracker,
    ScoreTrackerState,
)


def candidate(epoch: int) -> ModelSnapshot:
    return ModelSnapshot({"w": torch.full((2,), float(epoch))}, torch.tensor(epoch))


def best_epoch(tracker: ScoreTracker, values: list[float]) -> int | None:
    state = tracker.init()
    for epoch, value in enumerate(values, start=1):
        state = tracker.update(state, ScoreCriterion(value), candidate(epoch))
    best = tracker.best(state)
    if best is None:
        return None
    assert best.model["w"].tolist() == [float(best.epoch)] * 2
    return int(best.epoch)


@pytest.mark.parametrize(
    ("values", "lowest", "highest"),
    [
        ([3, 1, 2], 2, 1),
        ([1, 1, 1], 1, 1),
        ([2, 1, 2, 1], 2, 1),
        ([math.nan, 2, math.nan, 1], 4, 2),
        ([math.inf, -math.inf, 5], 3, 3),
        ([math.nan, math.inf], None, None),
        ([], None, None),
        ([0.0, -0.0], 1, 1),
    ],
)
def test_the_best_is_the_earliest_extreme(values: list[float], lowest: int | None, highest: int | None) -> None:
    assert best_epoch(ScoreTracker("S", "min"), values) == lowest
    assert best_epoch(ScoreTracker("S", "max"), values) == highest


def test_the_best_is_a_copy() -> None:
    """What the memory of the model holds later, the kept copy does not see."""
    parameter = torch.nn.Parameter(torch.ones(2))
    tracker, epoch = ScoreTracker("S", "min"), torch.tensor(1)
    state = tracker.update(tracker.init(), ScoreCriterion(1.0), ModelSnapshot({"w": parameter}, epoch))
    with torch.no_grad():
        parameter.zero_()
    epoch.add_(1)
    best = tracker.best(state)
    assert best is not None
    assert best.model["w"].tolist() == [1.0, 1.0]
    assert not best.model["w"].requires_grad
    assert int(best.epoch) == 1


def test_a_model_is_copied_only_when_it_improves() -> None:
    tracker = ScoreTracker("S", "max")
    state = tracker.update(tracker.init(), ScoreCriterion(1.0), candidate(1))
    for value in (1.0, 0.5, math.nan, math.inf):
        assert tracker.update(state, ScoreCriterion(value), candidate(2)) is state


def test_the_criterion_is_read_from_the_scores() -> None:
    tracker = ScoreTracker("VAL_LOSS", "min")
    assert tracker.score_names == ("VAL_LOSS",)
    assert tracker.criterion({"VAL_LOSS": 0.5, "OTHER": 1.0}) == ScoreCriterion(0.5)
    assert tracker.criterion({"OTHER": 1.0}) is None


def test_the_state_is_a_tree_before_and_after() -> None:
    tracker = ScoreTracker("S", "min")
    assert trees.paths(tracker.init(), "tracker") == ["tracker.value"]
    state = tracker.update(tracker.init(), ScoreCriterion(1.0), candidate(1))
    assert {path: trees.describe(leaf) for path, leaf in trees.named_leaves(state, "tracker").items()} == {
        "tracker.value": "float64[]",
        "tracker.best.model['w']": "float32[2]",
        "tracker.best.epoch": "int64[]",
    }
    assert isinstance(state, ScoreTrackerState)


@pytest.mark.parametrize(
    ("score", "mode", "message"),
    [
        ("", "min", "ScoreTracker.score: cannot be used\n  expected: the name of a score"),
        (3, "min", "ScoreTracker.score: cannot be used"),
        (
            "S",
            "lowest",
            "ScoreTracker.mode: cannot be used\n  expected: 'min' or 'max'\n  got: 'lowest'\n  do this: e.g.",
        ),
    ],
)
def test_arguments_are_checked(score: Any, mode: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ScoreTracker(score, mode)


@attrs.frozen
class TwoScores(ModelTrackingCriterion):
    fidelity: float
    privacy: float


class ParetoTracker(ModelTracker[TwoScores]):
    """A user's own: keep the first model that is good enough in both."""

    def init(self) -> dict[str, Any]:
        return {"best": None}

    def update(self, state: dict[str, Any], criterion: TwoScores, candidate: ModelSnapshot) -> dict[str, Any]:
        good = state["best"] is None and min(criterion.fidelity, criterion.privacy) > 0.5
        return {"best": trees.snapshot(candidate)} if good else state

    def best(self, state: dict[str, Any]) -> ModelSnapshot | None:
        found: ModelSnapshot | None = state["best"]
        return found


def test_users_extend_the_family() -> None:
    tracker = ParetoTracker()
    state = tracker.init()
    for epoch, criterion in enumerate([TwoScores(0.9, 0.1), TwoScores(0.6, 0.7), TwoScores(0.9, 0.9)], start=1):
        state = tracker.update(state, criterion, candidate(epoch))
    best = tracker.best(state)
    assert best is not None
    assert int(best.epoch) == 2
    assert tracker.score_names == ()


def test_an_unfinished_tracker_cannot_be_made() -> None:
    class Unfinished(ModelTracker[ScoreCriterion]):
        pass

    with pytest.raises(TypeError, match="Can't instantiate abstract class"):
        Unfinished()  # type: ignore[abstract]
