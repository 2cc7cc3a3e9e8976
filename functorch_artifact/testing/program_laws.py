"""The laws of a program: the end of an epoch, as a pure function.

Belongs here: who is told what, and of which epoch. Does not: steps (`step_laws`), whole runs
(`machine`).
Floor 10.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
from hypothesis import strategies as st

from functorch_artifact import purity
from functorch_artifact.model_tracking import ModelSnapshot, ScoreTracker
from functorch_artifact.program import Program
from functorch_artifact.step import TrainState
from functorch_artifact.stoppers import StopperUpdateData
from functorch_artifact.testing.agreement import digest, disturb_generators, show
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect
from functorch_artifact.testing.values import score_histories

History = list[dict[str, float]]


@attrs.frozen(eq=False)
class ProgramCase(Case):
    """A program and its first state, with parameters that tell the epochs apart."""

    program: Program
    state: TrainState

    def epochs(self, history: History) -> list[tuple[TrainState, dict[str, float], TrainState]]:
        """Advance epoch by epoch: the state before, the scores, the state after."""
        state, found = self.state, []
        for scores in history:
            params = {name: tensor + 1 for name, tensor in state.params.items()}
            before = attrs.evolve(state, params=params, step=state.step + 3, batch=state.batch + 3)
            state = purity.call("advance", self.program.advance, before, scores)
            found.append((before, scores, state))
        return found


PROGRAM: Family[ProgramCase] = Family("program", "check_program")


def check_program(program: Program, *, strict: bool = True, without: Collection[str] = ()) -> Report:
    """Hold what a program does at the end of an epoch to its laws; for whole runs see `ProgramMachine`.

    - `advance_is_pure`, `advance_depends_on_its_arguments_alone`, `an_epoch_is_counted_once`
    - `scores_go_to_the_row_of_their_epoch`, `the_optimizer_is_told_of_each_epoch_once`
    - `the_stopper_is_told_of_this_epoch`, `the_tracker_is_offered_the_model_of_this_epoch`

    Args:
        program: the program.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.
    """
    return program_laws(program).check(strict=strict, without=without)


def program_laws(program: Program) -> Laws:
    """List the laws of a program."""
    return PROGRAM.bind(ProgramCase(program, program, program.init()))


def _histories(case: ProgramCase) -> st.SearchStrategy[History]:
    names = [name for name in (*case.program.score_names, *case.program.scores_read) if not name.endswith("/*")]
    return score_histories(list(dict.fromkeys(names)) or ["VAL_LOSS"], max_size=5)


@PROGRAM.law(usual_cause="stopper_data or criterion keeps what it saw, or writes into the state", history=_histories)
def advance_is_pure(case: ProgramCase, history: History) -> None:
    """Advancing changes neither state nor scores, draws nothing, and touches neither clock nor files."""
    with purity.checking():
        case.epochs(history)


@PROGRAM.law(usual_cause="a hook reads what is not in the state", history=_histories)
def advance_depends_on_its_arguments_alone(case: ProgramCase, history: History) -> None:
    """The same state and scores give the same bits."""
    runs = []
    for seed in (0, 1):
        disturb_generators(seed)
        runs.append([digest(after) for _, _, after in case.epochs(history)])
    expect(runs[0] == runs[1], "the same states twice", "other ones the second time")


@PROGRAM.law(usual_cause="the epoch is counted by the caller as well, or the batch is not set back", history=_histories)
def an_epoch_is_counted_once(case: ProgramCase, history: History) -> None:
    """The end of an epoch moves its count by one, sets the batches back to 0, and leaves steps and seed."""
    for before, _, after in case.epochs(history):
        for name, expected in (("epoch", int(before.epoch) + 1), ("batch", 0), ("step", int(before.step))):
            expect(int(getattr(after, name)) == expected, f"{name} {expected}", int(getattr(after, name)))
        for name in ("params", "frozen", "buffers", "seed"):
            expect(digest(getattr(after, name)) == digest(getattr(before, name)), f"{name} as it was", "another one")


@PROGRAM.law(usual_cause="scores are cached before the epoch is counted", history=_histories)
def scores_go_to_the_row_of_their_epoch(case: ProgramCase, history: History) -> None:
    """After epoch e, row e of the cache holds what it reported, and earlier rows are as they were."""
    for epoch, (before, scores, after) in enumerate(case.epochs(history), start=1):
        expect(after.scores.epochs == tuple(range(1, epoch + 1)), f"rows 1 to {epoch}", after.scores.epochs)
        expect(digest(after.scores.row(epoch)) == digest(scores), f"{scores} in row {epoch}", after.scores.row(epoch))
        for earlier in range(1, epoch):
            same = digest(after.scores.row(earlier)) == digest(before.scores.row(earlier))
            expect(same, f"row {earlier} as it was", after.scores.row(earlier))


@PROGRAM.law(
    usual_cause="the schedule is moved at steps and at epochs, or with the scores of the epoch before",
    history=_histories,
)
def the_optimizer_is_told_of_each_epoch_once(case: ProgramCase, history: History) -> None:
    """The optimizer's state moves by one on_epoch with the epoch's scores."""
    for before, scores, after in case.epochs(history):
        expected = case.program.optimizer.on_epoch(before.opt_state, scores)
        expect(digest(after.opt_state) == digest(expected), show(expected), show(after.opt_state))


@PROGRAM.law(
    usual_cause="the stopper is updated before the epoch is counted or its scores are cached",
    needs=lambda case: case.program.stopper_data is None,
    history=_histories,
)
def the_stopper_is_told_of_this_epoch(case: ProgramCase, history: History) -> None:
    """The stopper is updated once, with this epoch's number and scores."""
    for epoch, (before, scores, after) in enumerate(case.epochs(history), start=1):
        expected = case.program.stopper.update(before.stopper, StopperUpdateData(epoch, scores))
        expect(digest(after.stopper) == digest(expected), show(expected), show(after.stopper))


@PROGRAM.law(
    usual_cause="the tracker is offered the model or the number of the epoch before",
    needs=lambda case: isinstance(case.program.tracker, ScoreTracker) and case.program.criterion is None,
    history=_histories,
)
def the_tracker_is_offered_the_model_of_this_epoch(case: ProgramCase, history: History) -> None:
    """The tracker is offered this epoch's model under this epoch's number, if the epoch reported its score."""
    tracker: Any = case.program.tracker
    for before, scores, after in case.epochs(history):
        criterion = tracker.criterion(scores)
        offered = ModelSnapshot(case.program.evaluated(before), before.epoch + 1)
        expected = before.tracker if criterion is None else tracker.update(before.tracker, criterion, offered)
        expect(digest(after.tracker) == digest(expected), show(expected), show(after.tracker))
