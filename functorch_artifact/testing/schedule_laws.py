"""The laws of learning rates.

Belongs here: what every learning rate keeps, and agreement with a torch scheduler. Does not: our
own schedules.
Floor 10.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection
from typing import Any, Literal

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from functorch_artifact import purity, trees
from functorch_artifact.optimizers import LearningRate
from functorch_artifact.testing.agreement import digest, disturb_generators, through_a_checkpoint
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect

Per = Literal["step", "epoch"]
MakeScheduler = Callable[[Optimizer], LRScheduler]
Events = list[float | None]
"""What happened: None is a step, a number the end of an epoch with that score."""


@attrs.frozen(eq=False)
class ScheduleCase(Case):
    """A learning rate, what it counts, the score it reads, and the torch scheduler it should follow."""

    per: Per | None
    score: str | None
    like: MakeScheduler | None
    rtol: float

    def after(self, events: Events, state: Any = None) -> Any:
        state = purity.call("init", self.subject.init) if state is None else state
        for event in events:
            state = self.move(state, event)
        return state

    def move(self, state: Any, event: float | None) -> Any:
        if event is None:
            return purity.call("on_step", self.subject.on_step, state)
        scores = {} if self.score is None else {self.score: event}
        return purity.call("on_epoch", self.subject.on_epoch, state, scores)

    def rate(self, state: Any) -> Tensor:
        found: Tensor = purity.call("rate", self.subject.rate, state)
        return found


SCHEDULE: Family[ScheduleCase] = Family("schedule", "check_schedule")
_scores = st.sampled_from([0.0, 1.0, 0.5]) | st.floats(-2, 2, width=16)
_events = st.lists(st.none() | _scores | st.just(math.nan), max_size=12)


def check_schedule(
    schedule: LearningRate,
    *,
    per: Per | None = None,
    like: MakeScheduler | None = None,
    rtol: float = 1e-9,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a learning rate to the laws of learning rates.

    - `methods_are_pure`, `the_rate_is_a_number`, `the_state_keeps_its_structure`
    - `the_rate_depends_on_the_events_alone`, `a_state_that_is_saved_goes_on_the_same`
    - with `per`: `it_moves_only_with_what_it_counts`
    - with `like`: `it_follows_torch`

    Args:
        schedule: the learning rate.
        per: whether it counts steps or epochs; by default its own attribute `per`, and an epoch if
            it reads a score.
        like: makes the torch scheduler it should agree with, of an optimizer of rate 1 or any it sets.
        rtol: how far from torch's rate it may be, relatively.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> from functorch_artifact.testing import check_schedule
        >>> schedule = optimizers.exponential(1.0, gamma=0.9, per="epoch")
        >>> scheduler = lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        >>> "it_follows_torch" in check_schedule(schedule, like=scheduler).holding
        True
    """
    return schedule_laws(schedule, per=per, like=like, rtol=rtol).check(strict=strict, without=without)


def schedule_laws(
    schedule: LearningRate, *, per: Per | None = None, like: MakeScheduler | None = None, rtol: float = 1e-9
) -> Laws:
    """List the laws of a learning rate; the arguments are those of `check_schedule`."""
    score = getattr(schedule, "score", None)
    counts = per or getattr(schedule, "per", None) or ("epoch" if score is not None else None)
    given = {name: value for name, value in (("per", per), ("like", like)) if value is not None}
    return SCHEDULE.bind(ScheduleCase(schedule, counts, score, like, rtol, options=given))


@SCHEDULE.law(usual_cause="the count is kept on self, or added to in place", events=_events)
def methods_are_pure(case: ScheduleCase, events: Events) -> None:
    """init, rate, on_step and on_epoch change nothing, draw nothing, and touch neither clock nor files."""
    with purity.checking():
        case.rate(case.after(events[:6]))


@SCHEDULE.law(usual_cause="the rate is a Python number, or computed in the precision of the parameters", events=_events)
def the_rate_is_a_number(case: ScheduleCase, events: Events) -> None:
    """The rate is a tensor, float64 [], finite and not negative."""
    found = case.rate(case.after(events))
    expect(isinstance(found, Tensor) and found.dtype is torch.float64 and found.ndim == 0, "float64 []", repr(found))
    expect(math.isfinite(found) and bool(found >= 0), "a finite number, at least 0", float(found))


@SCHEDULE.law(usual_cause="the state begins as a Python number, which would compile anew at each value", events=_events)
def the_state_keeps_its_structure(case: ScheduleCase, events: Events) -> None:
    """The state has the same structure, shapes and dtypes at all times."""
    lines = trees.differences(case.subject.init(), case.after(events), "state")
    expect(not lines, "the structure of init()", "; ".join(lines))


@SCHEDULE.law(usual_cause="a random number, the time, or an attribute of self takes part", events=_events)
def the_rate_depends_on_the_events_alone(case: ScheduleCase, events: Events) -> None:
    """The same steps and epochs lead to the same bits, whatever other runs do meanwhile."""
    disturb_generators(0)
    alone = case.after(events)
    disturb_generators(1)
    state, other = case.subject.init(), case.subject.init()
    for event in events:
        other = case.move(case.move(other, None), 0.5)
        state = case.move(state, event)
    expect(digest(state) == digest(alone), f"{alone} of the run alone", state)
    expect(float(case.rate(state)) == float(case.rate(alone)), float(case.rate(alone)), float(case.rate(state)))


@SCHEDULE.law(usual_cause="part of the state is on self", events=_events, cut=st.integers(0, 12))
def a_state_that_is_saved_goes_on_the_same(case: ScheduleCase, events: Events, cut: int) -> None:
    """A state that goes through a checkpoint gives the rates of one that was never saved."""
    loaded = through_a_checkpoint(case.after(events[:cut]))
    whole, parts = (float(case.rate(s)) for s in (case.after(events), case.after(events[cut:], loaded)))
    expect(whole == parts, whole, parts)


@SCHEDULE.law(
    usual_cause="the scheduler is stepped once a batch whatever was meant; move in on_step or in on_epoch, not in both",
    needs=lambda case: case.per is not None,
    events=_events,
)
def it_moves_only_with_what_it_counts(case: ScheduleCase, events: Events) -> None:
    """A rate per epoch is the same at all steps of an epoch; one per step does not move at an epoch's end."""
    state = case.subject.init()
    for event in events:
        following = case.move(state, event)
        if (event is None) != (case.per == "step"):
            before, after = float(case.rate(state)), float(case.rate(following))
            what = "a step" if event is None else "an epoch's end"
            expect(before == after, f"{before} before and after {what}, for it counts per {case.per}", after)
            expect(digest(state) == digest(following), f"the state as it was before {what}", following)
        state = following


@SCHEDULE.law(
    usual_cause="the count is off by one: the first rate is that of count 0",
    needs=lambda case: case.like is not None,
    scores=st.lists(_scores, max_size=25),
)
def it_follows_torch(case: ScheduleCase, scores: list[float]) -> None:
    """After n steps or epochs its rate is that of the torch scheduler after n calls of step()."""
    if case.like is None:
        return
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, state = case.like(optimizer), case.subject.init()
    for count in range(len(scores) + 1):
        theirs, ours = float(optimizer.param_groups[0]["lr"]), float(case.rate(state))
        expect(abs(ours - theirs) <= case.rtol * abs(theirs), f"{theirs} at count {count}", ours)
        if count < len(scores):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # no optimizer step came first
                watched: Any = scheduler
                watched.step(scores[count]) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
            state = case.move(state, None if case.per == "step" else scores[count])
