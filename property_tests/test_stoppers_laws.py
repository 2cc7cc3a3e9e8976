"""Laws of the stoppers, against a reference that looks back over the whole history at once."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import trees
from functorch_artifact.stoppers import (
    Continue,
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


single = st.one_of(score_stoppers("A"), score_stoppers("B"), st.builds(EpochBoundStopper, st.integers(1, 30)))
stoppers = st.recursive(
    single,
    lambda inner: st.builds(
        lambda combine, members: combine(*members),
        st.sampled_from([any_of, all_of]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
)


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


@given(stoppers, histories)
def test_stop_is_absorbing_with_its_reason(stopper: EarlyStopper[Any, Any], history: History) -> None:
    given = verdicts(stopper, history)
    stopped = [verdict for verdict in given if isinstance(verdict, Stop)]
    assert given == [Continue()] * (len(given) - len(stopped)) + stopped[:1] * len(stopped)
    assert all(verdict.reason for verdict in stopped)


@given(st.lists(single, min_size=1, max_size=3), histories)
def test_any_of_is_or_and_all_of_is_and(members: list[EarlyStopper[Any, Any]], history: History) -> None:
    alone = list(zip(*(stops(member, history) for member in members), strict=True))
    assert stops(any_of(*members), history) == [any(judged) for judged in alone]
    assert stops(all_of(*members), history) == [all(judged) for judged in alone]


@given(stoppers, histories, st.integers(0, 25))
def test_a_prefix_that_is_saved_and_continued_is_the_whole(
    stopper: EarlyStopper[Any, Any], history: History, cut: int
) -> None:
    state = stopper.init()
    for epoch, data in enumerate(epochs(history), start=1):
        if epoch == cut:
            leaves, structure = trees.flatten(trees.snapshot(state))
            state = trees.unflatten(structure, leaves)
        digest = trees.digest(state)
        after = stopper.update(state, data)
        assert trees.digest(state) == digest
        assert trees.digest(stopper.update(state, data)) == trees.digest(after)
        state = after
    assert stopper.verdict(state) == [stopper.verdict(stopper.init()), *verdicts(stopper, history)][-1]


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
