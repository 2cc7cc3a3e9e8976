"""The laws of model trackers.

Belongs here: what every tracker keeps, and what one that prefers low or high numbers keeps besides.
Does not: our own tracker.
Floor 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import attrs
import torch
from hypothesis import strategies as st

from functorch_artifact import purity, trees
from functorch_artifact.model_tracking import ModelSnapshot, ModelTracker, ScoreCriterion
from functorch_artifact.testing.agreement import digest, disturb_generators, through_a_checkpoint
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect, expect_instance

Mode = Literal["min", "max"]


@attrs.frozen(eq=False)
class TrackerCase(Case):
    """A model tracker, how its criterion is made of a number, and which numbers it prefers."""

    criterion: Callable[[float], Any]
    mode: Mode | None

    def after(self, values: Sequence[float], state: Any = None, first: int = 1) -> Any:
        """Give the state after one candidate for each value, a copy of its own."""
        state = purity.call("init", self.subject.init) if state is None else state
        for epoch, value in enumerate(values, start=first):
            state = self.offer(state, value, candidate(epoch))
        return state

    def offer(self, state: Any, value: float, offered: ModelSnapshot) -> Any:
        return purity.call("update", self.subject.update, state, self.criterion(value), offered)

    def best(self, state: Any) -> ModelSnapshot | None:
        found: ModelSnapshot | None = purity.call("best", self.subject.best, state)
        return found

    def expect_best(self, epoch: int | None, state: Any, why: str) -> None:
        found = self.best(state)
        got = None if found is None else int(found.epoch)
        expect(got == epoch, f"the model of epoch {epoch}{why}" if epoch else f"None{why}", f"that of epoch {got}")


def candidate(epoch: int) -> ModelSnapshot:
    """Make the model that an epoch offers: its numbers are the epoch's."""
    return ModelSnapshot({"w": torch.full((2,), float(epoch))}, torch.tensor(epoch))


TRACKER: Family[TrackerCase] = Family("tracker", "check_model_tracker")
_values = st.lists(
    st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, -math.inf]) | st.floats(-10, 10, width=16), max_size=8
)
_tame = st.lists(st.sampled_from([0.0, 1.0, 2.0]) | st.floats(-10, 10, width=16), max_size=8)


def check_model_tracker(
    tracker: ModelTracker[Any],
    *,
    criterion: Callable[[float], Any] | None = None,
    mode: Mode | None = None,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a model tracker to the laws of model trackers.

    - `methods_are_pure`, `before_a_candidate_there_is_no_best`
    - `the_best_is_a_candidate_to_the_bit`, `the_best_is_a_copy`
    - `the_best_depends_on_the_candidates_alone`, `a_state_that_is_saved_goes_on_the_same`
    - with a mode: `the_best_is_the_best_of_all`, `ties_go_to_the_earliest`,
      `what_is_not_finite_is_never_the_best`

    Args:
        tracker: the tracker.
        criterion: makes its criterion of a number; by default `ScoreCriterion`.
        mode: whether lower ("min") or higher numbers are better; by default the tracker's own
            attribute `mode`. A tracker without one is held to the other laws only.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> from functorch_artifact.model_tracking import ScoreTracker
        >>> from functorch_artifact.testing import check_model_tracker
        >>> report = check_model_tracker(ScoreTracker("VAL_LOSS", mode="min"))
        >>> "the_best_is_a_copy" in report.holding
        True
    """
    return tracker_laws(tracker, criterion=criterion, mode=mode).check(strict=strict, without=without)


def tracker_laws(
    tracker: ModelTracker[Any], *, criterion: Callable[[float], Any] | None = None, mode: Mode | None = None
) -> Laws:
    """List the laws of a model tracker; the arguments are those of `check_model_tracker`."""
    expect_instance(tracker, ModelTracker, "check_model_tracker")
    known = mode or getattr(tracker, "mode", None)
    given = {name: value for name, value in (("criterion", criterion), ("mode", mode)) if value is not None}
    return TRACKER.bind(
        TrackerCase(tracker, criterion or ScoreCriterion, known if known in ("min", "max") else None, options=given)
    )


def _has_mode(case: TrackerCase) -> bool:
    return case.mode is not None


@TRACKER.law(usual_cause="what is best is kept on self, or the best model's tensors are overwritten", values=_values)
def methods_are_pure(case: TrackerCase, values: list[float]) -> None:
    """init, update and best change nothing, draw nothing, and touch neither clock nor files."""
    with purity.checking():
        case.best(case.after(values[:5]))


@TRACKER.law(usual_cause="init() makes a model up, or takes the first one without comparing")
def before_a_candidate_there_is_no_best(case: TrackerCase) -> None:
    """Before the first candidate the best is None."""
    found = case.best(case.subject.init())
    expect(found is None, None, found)


@TRACKER.law(usual_cause="weights and epoch of different candidates are put together", values=_values)
def the_best_is_a_candidate_to_the_bit(case: TrackerCase, values: list[float]) -> None:
    """The best is one of the candidates: its weights, its bits, its epoch."""
    found = case.best(case.after(values))
    if found is not None:
        offered = [digest(candidate(epoch)) for epoch in range(1, len(values) + 1)]
        expect(digest(found) in offered, "a candidate that was offered", found)


@TRACKER.law(
    usual_cause="the candidate itself is kept, whose memory the next step overwrites; keep trees.snapshot(candidate)",
    values=_values,
)
def the_best_is_a_copy(case: TrackerCase, values: list[float]) -> None:
    """Overwriting a candidate's memory, as later steps may, changes no best model."""
    state, live = case.subject.init(), candidate(0)
    for epoch, value in enumerate(values, start=1):
        for tensor in trees.tensors(live):
            tensor.fill_(epoch)
        state = case.offer(state, value, live)
        before = digest(case.best(state))
        for tensor in trees.tensors(live):
            tensor.fill_(-1)
        found = case.best(state)
        expect(digest(found) == before, "the best model as it was", f"{found} after the live weights became -1")


@TRACKER.law(usual_cause="a random number, the time, or an attribute of self takes part", values=_values, other=_values)
def the_best_depends_on_the_candidates_alone(case: TrackerCase, values: list[float], other: list[float]) -> None:
    """The same candidates give the same state, to the bit, whatever other runs are tracked meanwhile."""
    disturb_generators(0)
    alone = digest(case.after(values))
    disturb_generators(1)
    state, second = case.subject.init(), case.subject.init()
    for epoch, value in enumerate(values, start=1):
        second = case.after(other[epoch - 1 : epoch], second, epoch)
        state = case.after([value], state, epoch)
    expect(digest(state) == alone, "the state of the run alone", state)


@TRACKER.law(
    usual_cause="part of what is known is on self, or the state holds something that is no tensor or plain data",
    values=_values,
    cut=st.integers(0, 8),
)
def a_state_that_is_saved_goes_on_the_same(case: TrackerCase, values: list[float], cut: int) -> None:
    """A state that goes through a checkpoint ends with the same best as one that was never saved."""
    cut = min(cut, len(values))
    half = through_a_checkpoint(case.after(values[:cut]))
    whole, parts = case.best(case.after(values)), case.best(case.after(values[cut:], half, cut + 1))
    expect(digest(whole) == digest(parts), whole, parts)


def _sign(case: TrackerCase) -> int:
    return 1 if case.mode == "min" else -1


@TRACKER.law(
    usual_cause="a candidate is compared with the first criterion, or the last, rather than with the best so far",
    needs=_has_mode,
    values=_tame,
)
def the_best_is_the_best_of_all(case: TrackerCase, values: list[float]) -> None:
    """After every candidate, no earlier one is better than the best."""
    state = case.subject.init()
    for epoch, value in enumerate(values, start=1):
        state = case.after([value], state, epoch)
        found = case.best(state)
        seen = values[:epoch]
        top = min(seen, key=lambda v: _sign(case) * v)
        got = None if found is None else values[int(found.epoch) - 1]
        expect(got == top, f"a model of criterion {top} after {seen}", f"one of criterion {got}")


@TRACKER.law(usual_cause="<= stands where < is meant", needs=_has_mode, value=st.sampled_from([0.0, 0.1, -2.5]))
def ties_go_to_the_earliest(case: TrackerCase, value: float) -> None:
    """Of candidates with the same criterion the earliest is kept."""
    case.expect_best(1, case.after([value] * 3), f", the first of three of criterion {value}")


@TRACKER.law(
    usual_cause="`not value > best` is true of NaN, or NaN came first and nothing is better than NaN; ask "
    "math.isfinite first",
    needs=_has_mode,
    values=_values,
)
def what_is_not_finite_is_never_the_best(case: TrackerCase, values: list[float]) -> None:
    """NaN and infinities are never the best, and keep no later candidate from being it."""
    finite = [(_sign(case) * value, epoch) for epoch, value in enumerate(values, start=1) if math.isfinite(value)]
    case.expect_best(min(finite)[1] if finite else None, case.after(values), f" of criteria {values}")
