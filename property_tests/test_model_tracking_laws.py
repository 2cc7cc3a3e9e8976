"""Laws of the score tracker: the argmin or argmax of the finite criteria, the earliest on ties, a copy."""

from __future__ import annotations

import math
from typing import Literal

import torch
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import trees
from functorch_artifact.model_tracking import ModelSnapshot, ScoreCriterion, ScoreTracker, ScoreTrackerState

criteria = st.lists(
    st.one_of(st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]), st.floats()), max_size=15
)
modes = st.sampled_from(["min", "max"])
Mode = Literal["min", "max"]


def fold(tracker: ScoreTracker, state: ScoreTrackerState, values: list[float], first: int = 1) -> ScoreTrackerState:
    """Offer one live model, overwritten in place before each epoch."""
    weight, epoch = torch.zeros(2), torch.tensor(0)
    for n, value in enumerate(values, start=first):
        weight.fill_(n)
        epoch.fill_(n)
        state = tracker.update(state, ScoreCriterion(value), ModelSnapshot({"w": weight}, epoch))
    return state


@given(modes, criteria)
def test_the_best_is_the_earliest_extreme_of_the_finite(mode: Mode, values: list[float]) -> None:
    tracker = ScoreTracker("S", mode)
    state = fold(tracker, tracker.init(), values)
    finite = [value for value in values if math.isfinite(value)]
    best = tracker.best(state)
    if not finite:
        assert best is None
        return
    extreme = {"min": min, "max": max}[mode](finite)
    assert best is not None
    assert int(best.epoch) == values.index(extreme) + 1
    assert best.model["w"].tolist() == [float(best.epoch)] * 2
    assert float(state.value) == extreme


@given(modes, criteria, criteria)
def test_a_prefix_that_is_saved_and_continued_is_the_whole(mode: Mode, prefix: list[float], rest: list[float]) -> None:
    tracker = ScoreTracker("S", mode)
    leaves, structure = trees.flatten(fold(tracker, tracker.init(), prefix))
    continued = fold(tracker, trees.unflatten(structure, leaves), rest, first=len(prefix) + 1)
    assert trees.digest(continued) == trees.digest(fold(tracker, tracker.init(), prefix + rest))


@given(modes, criteria, st.floats())
def test_update_changes_no_earlier_state(mode: Mode, values: list[float], value: float) -> None:
    tracker = ScoreTracker("S", mode)
    state = fold(tracker, tracker.init(), values)
    digest = trees.digest(state)
    fold(tracker, state, [value], first=99)
    assert trees.digest(state) == digest


@given(criteria)
def test_the_lowest_is_the_highest_negative(values: list[float]) -> None:
    lowest, highest = ScoreTracker("S", "min"), ScoreTracker("S", "max")
    one = lowest.best(fold(lowest, lowest.init(), values))
    other = highest.best(fold(highest, highest.init(), [-value for value in values]))
    assert trees.digest(one) == trees.digest(other)
