"""The ledger: what callbacks and artifacts give is committed, handed over, and where one raised, judged.

Belongs here: from outcomes to parts of the journal and to clients, artifacts that come late, failures.
Does not: when any of it is due (`driver.loop`), how it is stored (`runs.store`).
Floor 9.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping

import attrs

from functorch_artifact.errors import CallbackError
from functorch_artifact.model import Variables
from functorch_artifact.program import Program
from functorch_artifact.records import TrackingClient
from functorch_artifact.routines import Background, Failure, Outcome, Pending
from functorch_artifact.runs.store import RunStore
from functorch_artifact.step import TrainState
from functorch_artifact.tracking import Delivery
from functorch_artifact.tracking.journal import Part
from functorch_artifact.tracking.journal_reader import FailureRow
from functorch_artifact.validation import validate, validate_artifacts


class CallbackWarning(UserWarning):
    """A callback raised, and the program's policy is to go on."""


@attrs.frozen(eq=False)
class Later:
    """An artifact that is computed beside the training; `part` is its name in the journal."""

    part: str
    client: TrackingClient | None
    pending: Pending


class Ledger:
    """The records of a run, on their way to its journal and its clients.

    Args:
        program: what runs.
        state: where it starts.
        store: the run's directory, if it has one.
        delivery: who hands records to clients.
        background: who computes what can wait.
    """

    def __init__(
        self, program: Program, state: TrainState, store: RunStore | None, delivery: Delivery, background: Background
    ) -> None:
        self.failures: list[Failure] = []
        self.late: dict[tuple[int, str], Mapping[str, float]] = {}
        self._program = program
        self._store = store
        self._delivery = delivery
        self._background = background
        self._deciding = program.scores_deciding(state)  # which cannot wait
        self._later: list[Later] = []
        if store is not None:
            for (epoch, part), found in store.late_scores(int(state.epoch)).items():
                self._came_late(epoch, part, found)

    def part(self, name: str, step: int, outcomes: Iterable[tuple[TrackingClient | None, Outcome]]) -> Part:
        """Make the part of an epoch that outcomes come to, each with the client that it is for."""
        held = [(self._delivery.addressee(client), outcome) for client, outcome in outcomes]
        return Part(
            name,
            [(record, addressee) for addressee, outcome in held for record in outcome.records],
            [
                FailureRow(each.epoch, step, each.callback, each.split, each.what)
                for _, outcome in held
                for each in outcome.failures
            ],
        )

    def commit(self, epoch: int, step: int, *parts: Part) -> list[Failure]:
        """Commit parts of an epoch and hand them over; a record that cannot be stored is a failure."""
        refused = [] if self._store is None else self._store.commit(epoch, step, *parts)
        self._delivery.offer([each for part in parts for each in part.records])
        return [Failure(record.name, epoch, record.split, error) for record, error in refused]

    def validate(
        self, variables: Variables, epoch: int, step: int
    ) -> Iterator[tuple[TrackingClient | None, Outcome, list[Later]]]:
        """Validate a model, routine by routine: whose records, what there is of them, and what comes later."""
        for name, client, outcome in validate(
            self._program, variables, epoch, step, executor=self._background, needed=self._deciding
        ):
            yield client, outcome, _later(name, client, outcome)

    def expect(self, later: Iterable[Later]) -> None:
        """Commit these when they have been computed; their parts have been begun."""
        self._later += later

    def collect(self, *, before: int = 0, wait: bool = False) -> None:
        """Commit what was computed beside the training: what is done, and what is waited for.

        Args:
            before: wait for what belongs to an earlier epoch than this.
            wait: wait for everything.
        """
        left: list[Later] = []
        failures: list[Failure] = []
        for each in self._later:
            epoch, step = each.pending.epoch, each.pending.step
            if wait or epoch < before or each.pending.done():
                outcome = each.pending.result()
                failures += outcome.failures
                failures += self.commit(epoch, step, self.part(each.part, step, [(each.client, outcome)]))
                self._came_late(epoch, each.part, outcome.scores)
            else:
                left.append(each)
        self._later = left
        self.judge(failures)

    def repeat(self, state: TrainState) -> None:
        """Compute again the artifacts of the epoch just resumed from that were still being computed."""
        epoch, step = int(state.epoch), int(state.step)
        parts = [] if self._store is None or int(state.batch) else self._store.unfinished(epoch)
        names = sorted({part.rpartition(":")[0] for part in parts if part.startswith("artifacts:")})
        for name, client, outcome in validate_artifacts(
            self._program,
            self._program.evaluated(state),
            epoch,
            step,
            [int(name.partition(":")[2]) for name in names],
            executor=self._background,
            needed=self._deciding,
        ):
            self.expect(_later(name, client, outcome))
            if not outcome.pending:
                self.commit(epoch, step, self.part(f"{name}:0", step, [(client, outcome)]))

    def judge(self, failures: list[Failure]) -> None:
        """Do as the policy says where callbacks raised; each is named once.

        Raises:
            CallbackError: one did, and the policy is `raise`.
        """
        first = {failure.callback: failure for failure in reversed(failures)}
        for failure in reversed(first.values()):
            if self._program.on_callback_error == "raise":
                raise CallbackError(
                    "raised",
                    where=failure.where,
                    got=failure.what,
                    fix="mend it, or pass on_callback_error='warn' to go on",
                ) from failure.error
            warnings.warn(f"{failure.where}: raised {failure.what}", CallbackWarning, stacklevel=3)
        self.failures += failures

    def _came_late(self, epoch: int, part: str, found: Mapping[str, float]) -> None:
        skips = self._program.nonfinite_scores == "skip"
        self.late[epoch, part] = {name: value for name, value in found.items() if not skips or math.isfinite(value)}


def _later(name: str, client: TrackingClient | None, outcome: Outcome) -> list[Later]:
    return [Later(f"{name}:{number}", client, each) for number, each in enumerate(outcome.pending)]
