"""What routines give: records, failures, and what is still being computed.

Belongs here: `Outcome`, `Failure`, `Task` and the contract of whoever computes tasks in the
background. Does not: processes (`background`), when an outcome is written down (`driver`).
Floor 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from functorch_artifact.records import Record, Value, scores


@attrs.frozen(eq=False)
class Failure:
    """One callback that raised."""

    callback: str
    epoch: int
    split: str | None
    error: Exception

    @property
    def where(self) -> str:
        """The place, e.g. `callback 'VAL_LOSS', epoch 3, split VALIDATION`."""
        return f"callback {self.callback!r}, epoch {self.epoch}" + (f", split {self.split}" if self.split else "")

    @property
    def what(self) -> str:
        """The error, e.g. `KeyError: 'price'`."""
        return f"{type(self.error).__name__}: {self.error}"


class Pending(Protocol):
    """An outcome that is still being computed, of an epoch that may be long over."""

    @property
    def epoch(self) -> int:
        """The epoch that its records belong to."""
        ...

    @property
    def step(self) -> int:
        """The step that its records belong to."""
        ...

    def done(self) -> bool:
        """Say whether `result` would return at once."""
        ...

    def result(self) -> Outcome:
        """Wait for the outcome; whatever went wrong is a failure in it, this never raises."""
        ...


@attrs.frozen(eq=False)
class Outcome:
    """What a routine gives: records, the failures of callbacks that raised, and what is to come."""

    records: tuple[Record, ...] = ()
    failures: tuple[Failure, ...] = ()
    pending: tuple[Pending, ...] = ()

    @property
    def scores(self) -> dict[str, float]:
        """The numbers among the records: a score by its name, a collection's as `NAME/key`."""
        return scores(self.records)


@attrs.frozen(eq=False)
class Task:
    """Artifacts of one epoch to compute, with the place of their records; call it for the outcome."""

    artifacts: tuple[tuple[str, Callable[[], Value]], ...]
    epoch: int
    step: int
    split: str | None

    def __call__(self) -> Outcome:
        """Compute all; one that raises does not keep the others from being computed."""
        made: list[Record] = []
        failures: list[Failure] = []
        for name, compute in self.artifacts:
            try:
                made.append(Record(name, compute(), self.epoch, self.step, self.split))
            except Exception as error:
                failures.append(Failure(name, self.epoch, self.split, error))
        return Outcome(tuple(made), tuple(failures))

    def failed(self, error: Exception) -> Outcome:
        """Give the outcome of a task of which nothing could be computed."""
        return Outcome((), tuple(Failure(name, self.epoch, self.split, error) for name, _ in self.artifacts))


class Background(Protocol):
    """Whoever computes tasks while training goes on."""

    def submit(self, task: Task, shared: Iterable[object]) -> Pending:
        """Take a snapshot of a task and compute it later.

        Args:
            task: what to compute; it may change after the call, and must not change the outcome.
            shared: objects, reachable from the task, that later tasks will have again: they need be
                sent to a worker once.
        """
        ...
