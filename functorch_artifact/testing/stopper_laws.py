"""The laws of early stoppers.

Belongs here: what every stopper keeps, and what one with a patience or a bound keeps besides.
Does not: our own stoppers.
Floor 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs
from hypothesis import strategies as st

from functorch_artifact import purity
from functorch_artifact.stoppers import Continue, EarlyStopper, Stop, StopperUpdateData, Verdict
from functorch_artifact.testing.agreement import digest, disturb_generators, through_a_checkpoint
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect, expect_instance, suppose
from functorch_artifact.testing.values import score_histories

History = list[dict[str, float]]
Mode = Literal["min", "max"]
MakeData = Callable[[int, Mapping[str, float]], StopperUpdateData]
_FAR = 1e6  # worse, or better, than any drawn score


@attrs.frozen(eq=False)
class StopperCase(Case):
    """A stopper, and what is known of its rule."""

    scores: tuple[str, ...]  # what it reads
    data: MakeData
    patience: int | None
    min_delta: float
    bound: int | None  # on the number of epochs
    mode: Mode | None  # what an improvement is

    def states(self, history: History, first: int = 1, state: Any = None) -> Iterator[Any]:
        """Give the state after each epoch."""
        name = type(self.subject).__name__
        if state is None:
            state = purity.call(f"{name}.init", self.subject.init)
        for epoch, scores in enumerate(history, start=first):
            state = purity.call(f"{name}.update", self.subject.update, state, self.data(epoch, scores))
            yield state

    def verdict(self, state: Any) -> Verdict:
        found: Verdict = purity.call(f"{type(self.subject).__name__}.verdict", self.subject.verdict, state)
        return found

    def verdicts(self, history: History) -> list[Verdict]:
        """Give the verdict after each epoch."""
        return [self.verdict(state) for state in self.states(history)]

    def stops_at(self, history: History) -> float:
        """Give the epoch of the first `Stop`; infinity where there is none."""
        for epoch, state in enumerate(self.states(history), start=1):
            if isinstance(self.verdict(state), Stop):
                return epoch
        return math.inf

    def column(self, values: Sequence[float | None]) -> History:
        """Make a history of the one score it reads; None is an epoch that does not report it."""
        return [{} if value is None else {self.scores[0]: value} for value in values]

    @property
    def worst(self) -> float:
        return _FAR if self.mode == "min" else -_FAR


STOPPER: Family[StopperCase] = Family("stopper", "check_stopper")


def check_stopper(
    stopper: EarlyStopper[Any, Any],
    *,
    scores: Sequence[str] | None = None,
    data: MakeData | None = None,
    mode: Mode | None = None,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a stopper to the laws of stoppers.

    - `a_fresh_stopper_continues`, `update_gives_the_next_state`, `stop_is_absorbing`, `a_stop_says_why`
    - `hooks_are_pure`, `verdicts_depend_on_the_updates_alone`, `runs_do_not_disturb_each_other`
    - `a_run_that_is_saved_and_continued_decides_the_same`
    - `declares_the_scores_it_reads`
    - with a `bound`: `the_bound_is_kept`, `an_improving_run_reaches_its_bound`
    - with `patience`: `patience_is_exact`, `an_epoch_without_the_score_changes_nothing`
    - if it watches one score: `what_is_not_finite_is_no_improvement`, `what_is_not_finite_hides_no_improvement`
    - if it combines stoppers: `a_combination_counts_its_members`

    A patience is exact in the sense of Keras and Lightning; see `ScoreStopper`.

    Args:
        stopper: the stopper.
        scores: the scores it reads; by default found by asking it.
        data: makes what it is updated with, of the epochs elapsed and their scores; by default
            `StopperUpdateData`.
        mode: whether lower ("min") or higher is better; by default found by trying both.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> from functorch_artifact.stoppers import ScoreMinimizationStopper
        >>> from functorch_artifact.testing import check_stopper
        >>> report = check_stopper(ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=20, patience=3))
        >>> "stop_is_absorbing" in report.holding
        True
    """
    return stopper_laws(stopper, scores=scores, data=data, mode=mode).check(strict=strict, without=without)


def stopper_laws(
    stopper: EarlyStopper[Any, Any],
    *,
    scores: Sequence[str] | None = None,
    data: MakeData | None = None,
    mode: Mode | None = None,
) -> Laws:
    """List the laws of a stopper; the arguments are those of `check_stopper`."""
    expect_instance(stopper, EarlyStopper, "check_stopper")
    options = {"scores": scores, "data": data, "mode": mode}
    make = data or StopperUpdateData
    names = tuple(scores) if scores is not None else tuple(dict.fromkeys((*stopper.score_names, *_read(stopper, make))))
    case = StopperCase(
        stopper,
        scores=names or ("VAL_LOSS",),
        data=make,
        patience=_count(stopper, "patience") if len(names) == 1 else None,
        min_delta=float(getattr(stopper, "min_delta", 0.0)),
        bound=stopper.bound or _count(stopper, "max_n_epochs"),
        mode=None,
        options={name: value for name, value in options.items() if value is not None},
    )
    known = mode or getattr(stopper, "mode", None)
    if len(names) == 1 and not _combines(case):
        case = attrs.evolve(case, mode=known if known in ("min", "max") else _infer_mode(case))
    return STOPPER.bind(case)


def _count(stopper: object, name: str) -> int | None:
    value = getattr(stopper, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


class _Asked(dict[str, float]):
    """Scores of no epoch, which remember what they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def _ask(self, name: Any) -> float:
        if isinstance(name, str):
            self.names[name] = None
        return 0.5

    def __missing__(self, name: str) -> float:
        return self._ask(name)

    def __contains__(self, name: object) -> bool:
        return self._ask(name) > 0

    def get(self, name: str, default: Any = None) -> Any:
        return self._ask(name)


def _read(stopper: EarlyStopper[Any, Any], make: MakeData) -> tuple[str, ...]:
    asked = _Asked()
    try:
        stopper.update(stopper.init(), make(1, asked))
    except Exception:
        # What it raises on ordinary scores, the laws will report with an example.
        return tuple(asked.names)
    return tuple(asked.names)


def _infer_mode(case: StopperCase) -> Mode | None:
    """Find out in which direction scores may run without stopping it."""
    length = min(case.bound or 60, 60)
    try:
        falling, rising = (
            case.stops_at(case.column([sign * _FAR * n for n in range(1, length + 1)])) for sign in (-1, 1)
        )
    except Exception:
        return None  # the laws will report it with an example
    return None if falling == rising else "min" if rising < falling else "max"


def _histories(case: StopperCase) -> st.SearchStrategy[History]:
    return score_histories(case.scores, max_size=8)


def _short_histories(case: StopperCase) -> st.SearchStrategy[History]:
    return score_histories(case.scores, max_size=4)  # watching a hook costs ten times its call


def _combines(case: StopperCase) -> bool:
    return hasattr(case.subject, "stoppers") and hasattr(case.subject, "n_required")


def _watches_one(case: StopperCase) -> bool:
    return case.mode is not None


def _finite(case: StopperCase) -> st.SearchStrategy[list[float]]:
    steps = [0.0, 1.0, 0.5, 0.1, case.min_delta, case.min_delta / 2, 2 * case.min_delta]
    values = st.sampled_from(sorted(set(steps))) | st.floats(-2, 2, width=16)
    return st.lists(values, max_size=(case.patience or 3) + 6)


@STOPPER.law(
    usual_cause="state is written to in place or kept on self; build a new state, e.g. with attrs.evolve",
    history=_short_histories,
)
def hooks_are_pure(case: StopperCase, history: History) -> None:
    """init, update and verdict change nothing, draw nothing, and touch neither clock nor files."""
    with purity.checking():
        case.verdict(purity.call(f"{type(case.subject).__name__}.init", case.subject.init))
        case.verdicts(history)


def _standing(case: StopperCase) -> st.SearchStrategy[list[float]]:
    """Draw scores that mostly stand still, long enough for patience to run out."""
    least = (case.patience or 3) + 1
    return st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, -1.0]), min_size=least, max_size=least + 6)


@STOPPER.law(
    usual_cause="verdict returns a bool or nothing, or init() starts from state that an earlier run left behind, "
    "or with a count of 1"
)
def a_fresh_stopper_continues(case: StopperCase) -> None:
    """Before the first epoch the verdict is Continue."""
    found = case.verdict(case.subject.init())
    expect(found == Continue(), Continue(), found)


@STOPPER.law(usual_cause="update, or a branch of it, does not end in a return", history=_histories)
def update_gives_the_next_state(case: StopperCase, history: History) -> None:
    """update gives a state: `None` only if that is what init gives."""
    suppose(case.subject.init() is not None)
    for epoch, state in enumerate(case.states(history), start=1):
        expect(state is not None, f"the state after epoch {epoch}", None)


@STOPPER.law(
    usual_cause="update goes on counting after the stop, so that a later improvement takes it back; "
    "return the state as it is once the verdict is Stop",
    history=_histories,
)
def stop_is_absorbing(case: StopperCase, history: History) -> None:
    """Once the verdict is Stop, later epochs change neither it nor its reason."""
    found = case.verdicts(history)
    first = next((n for n, verdict in enumerate(found) if isinstance(verdict, Stop)), len(found))
    for epoch, verdict in enumerate(found[first:], start=first + 1):
        expect(verdict == found[first], f"{found[first]} from epoch {first + 1} on", f"{verdict} after epoch {epoch}")


@STOPPER.law(usual_cause="Stop() is built with an empty text", history=_histories)
def a_stop_says_why(case: StopperCase, history: History) -> None:
    """A verdict is Continue(), or Stop(reason) with a text that is not empty."""
    for verdict in case.verdicts(history):
        good = isinstance(verdict, Continue) or (isinstance(verdict, Stop) and bool(str(verdict.reason).strip()))
        expect(good, "Continue() or Stop('why')", verdict)


@STOPPER.law(
    usual_cause="a random number, the time, or an attribute of self takes part in the decision", history=_histories
)
def verdicts_depend_on_the_updates_alone(case: StopperCase, history: History) -> None:
    """The same updates give the same states, to the bit, and the same verdicts."""
    runs = []
    for seed in (0, 1):
        disturb_generators(seed)
        states = [case.subject.init(), *case.states(history)]
        runs.append(([case.verdict(state) for state in states], digest(states[-1])))
    (first, bits), (second, other_bits) = runs
    expect(first == second, f"{first}, as at first", second)
    expect(bits == other_bits, "the same bits in the state after the last epoch", "other bits")


@STOPPER.law(
    usual_cause="what it has seen is kept on self, or in a default argument, rather than in the state",
    history=_histories,
    other=_histories,
)
def runs_do_not_disturb_each_other(case: StopperCase, history: History, other: History) -> None:
    """A run that is updated in turns with another one gets the verdicts it gets alone."""
    alone = case.verdicts(history)
    second = case.states(other)
    for epoch, (state, expected) in enumerate(zip(case.states(history), alone, strict=True), start=1):
        next(second, None)
        found = case.verdict(state)
        expect(found == expected, f"{expected} after epoch {epoch}", found)


@STOPPER.law(
    usual_cause="the state holds something that is no tensor or plain data, or part of it is on self",
    history=_histories,
    cut=st.integers(0, 8),
)
def a_run_that_is_saved_and_continued_decides_the_same(case: StopperCase, history: History, cut: int) -> None:
    """A state that goes through a checkpoint decides as the one that was never saved."""
    cut = min(cut, len(history))
    loaded = through_a_checkpoint([case.subject.init(), *case.states(history[:cut])][-1])
    whole = case.verdicts(history)[cut:]
    parts = [case.verdict(each) for each in case.states(history[cut:], first=cut + 1, state=loaded)]
    expect(parts == whole, f"{whole} after epoch {cut}", parts)


@STOPPER.law(
    usual_cause="score_names is not overridden, so a misspelt name is noticed only after training",
    needs=lambda case: "scores" not in case.options,
)
def declares_the_scores_it_reads(case: StopperCase) -> None:
    """Every score that update reads is among score_names."""
    read = _read(case.subject, case.data)
    declared = tuple(case.subject.score_names)
    expect(set(read) <= set(declared), f"score_names to hold {list(read)}", list(declared))


@STOPPER.law(
    usual_cause="the epochs are compared with > where >= is meant, or counted from 0",
    needs=lambda case: case.bound is not None and case.bound <= 1000,
    history=_histories,
)
def the_bound_is_kept(case: StopperCase, history: History) -> None:
    """It stops at its bound on the number of epochs at the latest, whatever the scores."""
    bound = case.bound or 0
    rows = (history or [{}]) * (bound // max(len(history), 1) + 1)
    found = case.verdicts(rows[:bound])[-1]
    expect(isinstance(found, Stop), f"Stop after epoch {bound}", found)


@STOPPER.law(
    usual_cause="an off-by-one in the bound, or an improvement that is not taken for one",
    needs=lambda case: case.bound is not None and case.bound <= 1000 and not _combines(case),
    start=st.integers(-3, 3),
)
def an_improving_run_reaches_its_bound(case: StopperCase, start: int) -> None:
    """While each epoch is better than all before, it does not stop before its bound."""
    bound, step = case.bound or 0, (1.0 + case.min_delta) * (-2 if case.mode == "min" else 2)
    improving = [dict.fromkeys(case.scores, start + step * n) for n in range(bound)]
    found = case.stops_at(improving if case.mode else [{}] * bound)
    expect(found >= bound, f"Stop after epoch {bound} and not before", f"Stop after epoch {found}")


def _definition(case: StopperCase, values: Sequence[float]) -> float:
    """Give the epoch at which patience runs out; by the definition, over finite scores."""
    best, stale = math.inf, 0
    for epoch, value in enumerate(values, start=1):
        loss = value if case.mode == "min" else -value
        gain = best - loss
        suppose(gain in (0.0, case.min_delta, math.inf) or abs(gain - case.min_delta) > 1e-9)
        best, stale = (loss, 0) if best - loss > case.min_delta else (best, stale + 1)
        if stale >= (case.patience or 0) or epoch >= (case.bound or math.inf):
            return epoch
    return math.inf


@STOPPER.law(
    usual_cause="patience is compared with > where >= is meant, a tie or a step of min_delta is taken for an "
    "improvement, or the count of stale epochs is not reset by one",
    needs=lambda case: case.patience is not None and case.mode is not None,
    values=_finite,
)
def patience_is_exact(case: StopperCase, values: list[float]) -> None:
    """It stops as soon as `patience` scores in a row were not better than the best by more than min_delta."""
    expected, found = _definition(case, values), case.stops_at(case.column(values))
    expect(found == expected, f"a stop after epoch {expected}", f"a stop after epoch {found}")


@STOPPER.law(
    usual_cause="an epoch whose callback was not due is counted as stale, or resets the count",
    needs=lambda case: case.patience is not None and case.mode is not None,
    values=_finite,
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=6),
)
def an_epoch_without_the_score_changes_nothing(case: StopperCase, values: list[float], gaps: list[int]) -> None:
    """Epochs that do not report the score neither use up patience nor restore it."""
    sparse: list[float | None] = []
    places = []
    for index, value in enumerate(values):
        sparse += [None] * gaps[index % len(gaps)]
        sparse.append(value)
        places.append(len(sparse))
    dense = case.stops_at(case.column(values))
    expected = places[int(dense) - 1] if math.isfinite(dense) else math.inf
    expected = min(expected, case.bound if case.bound is not None and case.bound <= len(sparse) else math.inf)
    if math.isfinite(dense) and dense == case.bound:
        return  # it stopped for its bound, which says nothing of patience
    found = case.stops_at(case.column(sparse))
    expect(found == expected, f"a stop after epoch {expected} of {sparse}", f"a stop after epoch {found}")


def _spoilt(case: StopperCase, values: list[float], spoilt: dict[int, float]) -> tuple[float, tuple[float, float]]:
    """Give the stop with the spoilt scores at their places, the stops with nothing and with the worst there."""

    def stop(instead: Mapping[int, float | None]) -> float:
        return case.stops_at(case.column([instead.get(place, value) for place, value in enumerate(values)]))

    return stop(spoilt), (stop(dict.fromkeys(spoilt)), stop(dict.fromkeys(spoilt, case.worst)))


_places = st.dictionaries(
    st.integers(0, 5), st.sampled_from([math.nan, math.nan, math.nan, math.inf, -math.inf]), min_size=1, max_size=3
)


@STOPPER.law(
    usual_cause="`not score > best` is true of NaN, so NaN counts as an improvement; ask math.isfinite first",
    needs=_watches_one,
    values=_standing,
    spoilt=_places,
)
def what_is_not_finite_is_no_improvement(case: StopperCase, values: list[float], spoilt: dict[int, float]) -> None:
    """A NaN or an infinity puts the stop off no longer than the worst score, or none, would in its place."""
    found, others = _spoilt(case, values, spoilt)
    expect(found <= max(others), f"a stop after epoch {max(others)} at the latest", f"a stop after epoch {found}")


@STOPPER.law(
    usual_cause="NaN became the best, and nothing is better than NaN; ask math.isfinite before keeping a score",
    needs=_watches_one,
    values=_standing,
    spoilt=_places,
)
def what_is_not_finite_hides_no_improvement(case: StopperCase, values: list[float], spoilt: dict[int, float]) -> None:
    """After a NaN or an infinity it stops no earlier than after the worst score, or none, unless at that very epoch."""
    found, others = _spoilt(case, values, spoilt)
    right = found >= min(others) or found - 1 in spoilt
    expect(right, f"no stop before epoch {min(others)}", f"a stop after epoch {found}")


@STOPPER.law(
    usual_cause="the members are counted wrongly, or a member's own stop is forgotten",
    needs=_combines,
    history=_histories,
)
def a_combination_counts_its_members(case: StopperCase, history: History) -> None:
    """It stops exactly when as many of its members as it needs would have stopped by themselves."""
    members = [attrs.evolve(case, subject=member) for member in case.subject.stoppers]
    stops = sorted(member.stops_at(history) for member in members)
    expected, found = stops[case.subject.n_required - 1], case.stops_at(history)
    expect(found == expected, f"a stop after epoch {expected}", f"a stop after epoch {found}")
