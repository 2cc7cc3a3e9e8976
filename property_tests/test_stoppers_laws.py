"""Laws of the stoppers, against a reference that looks back over the whole history at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact.stoppers import (
    EarlyStopper,
    EpochBoundStopper,
    ScoreMaximizationStopper,
    ScoreMinimizationStopper,
    ScoreStopper,
    Stop,
    StopperUpdateData,
    Verdict,
    all_of,
    any_of,
)
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import BoundLaw

# Few values make ties and plateaus; None is an epoch that reported nothing.
scores = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([math.nan, math.inf, -math.inf, None]),
    st.floats(-2, 2, width=16),
)
histories = st.lists(st.tuples(scores, scores), max_size=25)
History = list[tuple[float | None, float | None]]


@st.composite
def score_stoppers(draw: st.DrawFn, name: str = "A") -> ScoreStopper:
    return draw(st.sampled_from([ScoreMinimizationStopper, ScoreMaximizationStopper]))(
        name,
        max_n_epochs=draw(st.integers(1, 30)),
        patience=draw(st.integers(1, 5)),
        min_delta=draw(st.sampled_from([0.0, 0.0, 0.25, 1.0])),
    )


MEMBERS = {
    "bound": EpochBoundStopper(5),
    "bound 1": EpochBoundStopper(1),
    "minimum": ScoreMinimizationStopper("LOSS", max_n_epochs=9, patience=2),
    "maximum": ScoreMaximizationStopper("ACCURACY", max_n_epochs=12, patience=3, min_delta=0.25),
    "impatient": ScoreMinimizationStopper("LOSS", max_n_epochs=30, patience=1, min_delta=1.0),
    "any": any_of(
        ScoreMinimizationStopper("A", max_n_epochs=9, patience=2),
        ScoreMaximizationStopper("B", max_n_epochs=7, patience=1),
        EpochBoundStopper(8),
    ),
    "all": all_of(ScoreMinimizationStopper("A", max_n_epochs=9, patience=1), EpochBoundStopper(3)),
    "nested": any_of(all_of(EpochBoundStopper(2), EpochBoundStopper(4)), EpochBoundStopper(6)),
}
LAWS = [pytest.param(law, id=f"{name}-{law.__name__}") for name, each in MEMBERS.items() for law in laws(each)]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()


single = st.one_of(score_stoppers("A"), score_stoppers("B"), st.builds(EpochBoundStopper, st.integers(1, 30)))


def epochs(history: History) -> list[StopperUpdateData]:
    return [
        StopperUpdateData(epoch, {name: v for name, v in (("A", a), ("B", b)) if v is not None})
        for epoch, (a, b) in enumerate(history, start=1)
    ]


def verdicts(stopper: EarlyStopper[Any, Any], history: History) -> list[Verdict]:
    state, given = stopper.init(), []
    for data in epochs(history):
        state = stopper.update(state, data)
        given.append(stopper.verdict(state))
    return given


def stops(stopper: EarlyStopper[Any, Any], history: History) -> list[bool]:
    return [isinstance(verdict, Stop) for verdict in verdicts(stopper, history)]


def reference_stops(stopper: ScoreStopper, history: History) -> list[bool]:
    """Judge every prefix anew: the bound, or `patience` reported scores after the last improvement."""
    sign = 1 if isinstance(stopper, ScoreMinimizationStopper) else -1
    reported: list[float] = []
    last_improvement, mark, stopped, judged = 0, None, False, []
    for n_epochs, row in enumerate(history, start=1):
        value = row["AB".index(stopper.score)]
        if value is not None:
            reported.append(value)
            if math.isfinite(value) and (mark is None or sign * (mark - value) > stopper.min_delta):
                last_improvement, mark = len(reported), value
        stopped = stopped or n_epochs >= stopper.max_n_epochs or len(reported) - last_improvement >= stopper.patience
        judged.append(stopped)
    return judged


@given(st.one_of(score_stoppers("A"), score_stoppers("B")), histories)
def test_score_stoppers_agree_with_the_reference(stopper: ScoreStopper, history: History) -> None:
    assert stops(stopper, history) == reference_stops(stopper, history)


@given(st.integers(1, 30), histories)
def test_the_bound_is_exact(n_epochs: int, history: History) -> None:
    assert stops(EpochBoundStopper(n_epochs), history) == [n >= n_epochs for n in range(1, len(history) + 1)]


@given(st.lists(single, min_size=1, max_size=3), histories)
def test_any_of_is_or_and_all_of_is_and(members: list[EarlyStopper[Any, Any]], history: History) -> None:
    alone = list(zip(*(stops(member, history) for member in members), strict=True))
    assert stops(any_of(*members), history) == [any(judged) for judged in alone]
    assert stops(all_of(*members), history) == [all(judged) for judged in alone]


@given(score_stoppers("A"), histories)
def test_what_is_not_finite_hides_no_improvement(stopper: ScoreStopper, history: History) -> None:
    """Whatever came before, as long as patience lasts, the best is one of the finite scores."""
    state = stopper.init()
    for data in epochs(history):
        before, state = state, stopper.update(state, data)
        if float(state.best) != float(before.best):
            assert float(state.best) == data.scores["A"]
            assert int(state.best_epoch) == data.n_epochs_elapsed
            assert int(state.n_stale) == 0
    assert math.isfinite(float(state.best)) == (int(state.best_epoch) > 0)


@given(score_stoppers("A"), histories)
def test_maximising_is_minimising_the_negative(stopper: ScoreStopper, history: History) -> None:
    kinds = (ScoreMinimizationStopper, ScoreMaximizationStopper)
    other = kinds[isinstance(stopper, ScoreMinimizationStopper)]
    mirror = other("A", max_n_epochs=stopper.max_n_epochs, patience=stopper.patience, min_delta=stopper.min_delta)
    negated = [(None if a is None else -a, b) for a, b in history]
    assert stops(mirror, negated) == stops(stopper, history)
