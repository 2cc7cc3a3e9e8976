"""Where a client's worker finds the records that wait: the run's journal, or memory.

Belongs here: both, behind one contract. Does not: offering records to a client (`delivery`).
Floor 7.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import attrs

from functorch_artifact.records import Record
from functorch_artifact.tracking.journal import Journal

Refusals: TypeAlias = dict[int, str]
"""Why a client did not take a record, by the record's sequence number."""


class Offer(Protocol):
    """A record that waits, with its place in the order."""

    @property
    def sequence(self) -> int: ...
    def record(self) -> Record: ...


class Source(Protocol):
    """Where a worker finds the records that wait for its client."""

    @property
    def durable(self) -> bool: ...

    def waiting(self, after: int, addressees: Sequence[str | None], limit: int) -> Iterator[Offer]: ...
    def refused(self, sequence: int) -> Offer: ...
    def load(self, client: str) -> tuple[int, Refusals]: ...
    def store(self, client: str, cursor: int, refusals: Refusals, *, everyones: bool) -> None: ...
    def close(self) -> None: ...


@attrs.frozen(eq=False)
class FromJournal:
    """Records from a run's journal; one for each thread."""

    journal: Journal

    @property
    def durable(self) -> bool:
        return True

    def waiting(self, after: int, addressees: Sequence[str | None], limit: int) -> Iterator[Offer]:
        return self.journal.entries(after, addressees, limit)

    def refused(self, sequence: int) -> Offer:
        return self.journal.entry(sequence)

    def load(self, client: str) -> tuple[int, Refusals]:
        return self.journal.cursor(client), dict(self.journal.refusals(client))

    def store(self, client: str, cursor: int, refusals: Refusals, *, everyones: bool) -> None:
        self.journal.acknowledge(client, cursor, list(refusals.items()), everyones=everyones)

    def close(self) -> None:
        self.journal.close()


@attrs.frozen(eq=False)
class _Held:
    sequence: int
    addressee: str | None
    held: Record

    def record(self) -> Record:
        return self.held


class FromMemory:
    """Records held in memory until all clients have them, or until there are too many.

    Args:
        limit: how many are held; of more, the oldest are dropped, with a `TrackingWarning`.
    """

    durable = False

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: deque[_Held] = deque()
        self._sequence = 0
        self._cursors: dict[str, int] = {}
        self._refused: dict[int, _Held] = {}

    def add(self, records: Sequence[tuple[Record, str | None]]) -> int:
        """Hold records, each with its addressee; say how many were dropped for that."""
        with self._lock:
            done = min(self._cursors.values(), default=self._sequence + len(records))
            while self._held and self._held[0].sequence <= done:
                self._held.popleft()
            for record, addressee in records:
                self._sequence += 1
                self._held.append(_Held(self._sequence, addressee, record))
            dropped = max(0, min(len(self._held) - self._limit, len(self._held) - len(records)))
            for _ in range(dropped):
                self._held.popleft()
            return dropped

    def full(self, more: int) -> bool:
        """Say whether `more` records would not fit beside those that wait."""
        with self._lock:
            done = min(self._cursors.values(), default=self._sequence)
            return done < self._sequence and self._sequence - done + more > self._limit

    def waiting(self, after: int, addressees: Sequence[str | None], limit: int) -> Iterator[Offer]:
        with self._lock:
            found = [each for each in self._held if each.sequence > after and each.addressee in addressees]
        return iter(found[:limit])

    def refused(self, sequence: int) -> Offer:
        return self._refused[sequence]

    def load(self, client: str) -> tuple[int, Refusals]:
        with self._lock:
            self._cursors.setdefault(client, 0)
        return 0, {}

    def store(self, client: str, cursor: int, refusals: Refusals, *, everyones: bool) -> None:
        with self._lock:
            self._refused |= {each.sequence: each for each in self._held if each.sequence in refusals}
            self._cursors[client] = cursor

    def close(self) -> None:
        """Do nothing: the records are every worker's."""
