"""Handing records to clients, so that none is lost and none stops the training.

Belongs here: queues, second offers, warnings. Does not: storing anything.
Floor 7.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Self

import attrs

from functorch_artifact.errors import FunctorchArtifactError, TrackingError
from functorch_artifact.records import Record, RunInfo, TrackingClient


class TrackingWarning(UserWarning):
    """A tracking client that raised; its records are kept, or at the end of the run, owed."""


@attrs.frozen(eq=False)
class Owed:
    """What a client had not taken when the run ended, and why."""

    client: TrackingClient
    records: tuple[Record, ...]
    error: Exception


@attrs.define(eq=False)
class _Queue:
    """The records that wait for one client, oldest first."""

    client: TrackingClient
    waiting: list[Record] = attrs.field(factory=list)
    is_open: bool = False
    error: Exception | None = None  # of the last attempt

    def open(self, run: RunInfo) -> None:
        if not self.is_open:
            self.client.open(run)
            self.is_open = True

    def flush(self, run: RunInfo) -> None:
        """Offer what waits; whatever a backend raises is noted, and training goes on."""
        try:
            self.open(run)
            self.note(self._log())
        except Exception as error:
            self.note(error)

    def _log(self) -> TrackingError | None:
        """Offer what waits together or, if that is refused, one by one; return the last refusal."""
        if not self.waiting:
            return None
        try:
            self.client.log(tuple(self.waiting))
        except TrackingError:
            # A refusal is for good and for one record: it must not hold up the others.
            refusal = None
            for record in tuple(self.waiting):
                try:
                    self.client.log((record,))
                except TrackingError as error:
                    refusal = error
                else:
                    self.waiting.remove(record)
            return refusal
        self.waiting.clear()
        return None

    def note(self, error: Exception | None) -> None:
        """Remember how the last attempt went, and warn of a failure of a new kind."""
        before, self.error = self.error, error
        if error is not None and type(error) is not type(before):
            self.warn("raised; its records are kept and offered again", error)

    def warn(self, what: str, error: Exception) -> None:
        name = type(self.client).__name__
        warnings.warn(f"{name} {what}: {type(error).__name__}: {error}", TrackingWarning, stacklevel=2)


class Delivery:
    """Hands records to tracking clients, in order, as often as it takes.

    A client that raises is named in one `TrackingWarning`, until it recovers or raises something
    else; what it was offered is kept and offered again, before anything newer, at each later
    offer and at the end. A record that a client refuses with a `TrackingError` is kept likewise,
    but does not hold up the others.

    Args:
        clients: who gets the records that are for everyone.

    Example:
        >>> from functorch_artifact import records, tracking
        >>> client = tracking.InMemory()
        >>> with tracking.Delivery([client]) as delivery:
        ...     delivery.open(records.RunInfo("example"))
        ...     delivery.offer(None, [records.Record("LOSS", records.Score(0.5), epoch=1, step=10)])
        >>> [record.name for record in client.records]
        ['LOSS']
    """

    def __init__(self, clients: Sequence[TrackingClient] = ()) -> None:
        self._run = RunInfo("run")
        self._everyone = [_Queue(client) for client in clients]
        self._queues = list(self._everyone)

    def open(self, run: RunInfo) -> None:
        """Open every client for `run`.

        Raises:
            FunctorchArtifactError: a client cannot work as it is configured. Any other failure
                is a warning, and opening is tried again with the next offer.
        """
        self._run = run
        for queue in self._queues:
            try:
                queue.open(run)
            except FunctorchArtifactError:
                raise
            except Exception as error:
                queue.note(error)

    def offer(self, client: TrackingClient | None, records: Sequence[Record]) -> None:
        """Hand `records` to one client (opened now if it is new), or to every client given (None)."""
        for queue in self._everyone if client is None else [self._queue(client)]:
            queue.waiting += records
            queue.flush(self._run)

    def close(self) -> list[Owed]:
        """Offer once more what waits, close the clients, and return what they still have not taken.

        A client that is owed records is named in a `TrackingWarning` with their number.
        """
        owed = []
        for queue in self._queues:
            if queue.waiting:
                queue.flush(self._run)
            if queue.is_open:
                try:
                    queue.client.close()
                except Exception as error:
                    queue.warn("could not be closed", error)
                queue.is_open = False
            if queue.waiting and queue.error is not None:
                owed.append(Owed(queue.client, tuple(queue.waiting), queue.error))
                queue.warn(f"is still owed {len(queue.waiting)} records", queue.error)
        return owed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _queue(self, client: TrackingClient) -> _Queue:
        for queue in self._queues:
            if queue.client is client:
                return queue
        self._queues.append(_Queue(client))
        return self._queues[-1]
