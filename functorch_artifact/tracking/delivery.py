"""Handing records to clients, beside the training, so that none is lost and none stops it.

Belongs here: one worker a client, its cursor, back-off, and what is owed in the end. Does not:
storing anything (`journal`, the clients).
Floor 7.

A run with a directory feeds its clients from the journal, and a client's cursor is kept there: what
a client has not got when the run ends, or the process dies, the next run or `sync` gives it. A run
without a directory feeds them from memory, of which it takes no more than so many records.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

from functorch_artifact.errors import FunctorchArtifactError, TrackingError
from functorch_artifact.fs import DISK, Fs
from functorch_artifact.records import Record, RunInfo, TrackingClient
from functorch_artifact.tracking.journal import Journal
from functorch_artifact.tracking.journal_reader import JournalReader
from functorch_artifact.tracking.sources import FromJournal, FromMemory, Offer, Refusals, Source

_CHUNK: Final = 256  # records at a time
_FIRST_PAUSE: Final = 0.1  # seconds after the first failure; twice as long after each further one
_LONGEST_PAUSE: Final = 60.0
_PARKED_AFTER: Final = 5  # failures in a row
_LAST_ATTEMPTS: Final = 3  # once the run has ended
_OPENING: Final = 5.0  # seconds that a run's beginning waits for clients, at most


class TrackingWarning(UserWarning):
    """A tracking client that raised, refused a record, or is still owed some."""


@attrs.frozen(eq=False)
class Owed:
    """What a client had not taken when the run ended, and why."""

    client: str
    records: int
    reason: str


@attrs.define(eq=False)
class _Pump:
    """One client and how far it has come; used by one thread."""

    client: TrackingClient
    name: str
    everyones: bool  # whether the records for everyone are for it
    source: Source
    cursor: int = 0
    refusals: Refusals = attrs.field(factory=dict)

    def open(self, run: RunInfo) -> None:
        """Open the client, and find where it was."""
        self.client.open(run)
        self.cursor, self.refusals = self.source.load(self.name) if self.client.durable else (0, {})
        self._retry()
        self._store()

    def pump(self) -> int:
        """Offer some of what waits; say how many records that were."""
        offers = list(self.source.waiting(self.cursor, _addressees(self.name, self.everyones), _CHUNK))
        if offers:
            self.refusals |= self._offer(offers)
            self.cursor = offers[-1].sequence
            self._store()
        return len(offers)

    def _retry(self) -> None:
        for sequence in sorted(self.refusals):
            if not self._offer([self.source.refused(sequence)]):
                del self.refusals[sequence]

    def _offer(self, offers: Sequence[Offer]) -> Refusals:
        """Offer records together or, if one is refused, one by one; say which are, and why.

        A refusal is for good and for one record: it must not hold up the others.
        """
        try:
            self.client.log([offer.record() for offer in offers])
        except TrackingError as error:
            if len(offers) == 1:
                return {offers[0].sequence: str(error)}
            return {key: why for offer in offers for key, why in self._offer([offer]).items()}
        return {}

    def _store(self) -> None:
        if self.client.durable or not self.source.durable:
            self.source.store(self.name, self.cursor, self.refusals, everyones=self.everyones)


class _Worker(threading.Thread):
    """Feed one client until it is closed."""

    def __init__(self, client: TrackingClient, name: str, everyones: bool, source: Callable[[], Source]) -> None:
        super().__init__(name=f"deliver to {name}", daemon=True)  # a client that hangs must not keep the process
        self.client = client
        self.label = name
        self.everyones = everyones
        self.opened = threading.Event()  # or failed to
        self.fault: FunctorchArtifactError | None = None  # the client cannot work as it is configured
        self.error: Exception | None = None  # of the last attempt
        self.messages: deque[str] = deque()
        self.pump: _Pump | None = None
        self._source = source
        self._run = RunInfo("run")
        self._wake = threading.Condition()
        self._news = True
        self._closing = False

    def begin(self, run: RunInfo) -> None:
        self._run = run
        self.start()

    def notify(self, *, closing: bool = False) -> None:
        with self._wake:
            self._news = True
            self._closing |= closing
            self._wake.notify()

    @property
    def addressees(self) -> tuple[str | None, ...]:
        return _addressees(self.label, self.everyones)

    def run(self) -> None:
        pump, failures, last, is_open = None, 0, 0, False
        while True:
            closing = self._wait(failures)
            try:
                if pump is None:
                    pump = self.pump = _Pump(self.client, self.label, self.everyones, self._source())
                if not is_open:
                    pump.open(self._run)
                    is_open = True
                    self.opened.set()
                while pump.pump():
                    failures, self.error = 0, None
                failures, self.error = 0, None
            except Exception as error:
                failures, self.error = failures + 1, error
                if isinstance(error, FunctorchArtifactError) and not is_open:
                    self.fault = error
                self.opened.set()
                if failures == _PARKED_AFTER:
                    self.messages.append(f"fails, and is tried again from time to time: {_say(error)}")
                if closing and (last := last + 1) < _LAST_ATTEMPTS and self.fault is None:
                    time.sleep(_FIRST_PAUSE * 2 ** (last - 1))
                    continue
            if closing or self.fault:
                break
        if is_open:
            try:
                self.client.close()
            except Exception as error:
                self.messages.append(f"could not be closed: {_say(error)}")
        if pump is not None:
            pump.source.close()

    def _wait(self, failures: int) -> bool:
        """Wait for news, or after a failure for a while; say whether to close."""
        pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE) if failures else None
        with self._wake:
            if failures:
                self._wake.wait_for(lambda: self._closing, pause)
            else:
                self._wake.wait_for(lambda: self._news or self._closing)
            self._news = False
            return self._closing


class Delivery:
    """Hands records to tracking clients, in order, as often as it takes, from threads of its own.

    A client that raises is tried again after a while, ever longer; after five failures in a row it
    is named in one `TrackingWarning`. A record that a client refuses with a `TrackingError` does not
    hold up the others.

    Args:
        clients: who gets the records that are for everyone.
        own: who gets only records of its own.
        journal: opens the run's journal, once for each client; records are held in memory without.
        patience: seconds that `close` waits for the clients to take what waits.

    Example:
        >>> from functorch_artifact import records, tracking
        >>> client = tracking.InMemory()
        >>> with tracking.Delivery([client]) as delivery:
        ...     delivery.open(records.RunInfo("example"))
        ...     delivery.offer([(records.Record("LOSS", records.Score(0.5), epoch=1, step=10), None)])
        >>> [record.name for record in client.records]
        ['LOSS']
    """

    def __init__(
        self,
        clients: Sequence[TrackingClient] = (),
        own: Sequence[TrackingClient] = (),
        *,
        journal: Callable[[], Journal] | None = None,
        patience: float = 30.0,
    ) -> None:
        self._patience = patience
        self._memory = FromMemory()
        self._journal = journal
        self._workers: list[_Worker] = []
        self._closed: list[Owed] | None = None
        for client in (*clients, *own):
            if all(worker.client is not client for worker in self._workers):
                everyones = any(client is each for each in clients)
                self._workers.append(_Worker(client, self._name(client), everyones, self._source))

    def open(self, run: RunInfo) -> None:
        """Open every client for `run`, all at the same time, and wait for them a while.

        Raises:
            FunctorchArtifactError: a client cannot work as it is configured. Any other failure
                is tried again.
        """
        for worker in self._workers:
            worker.begin(run)
        deadline = time.monotonic() + min(self._patience, _OPENING)
        for worker in self._workers:
            worker.opened.wait(max(0.0, deadline - time.monotonic()))
        for worker in self._workers:
            if worker.fault is not None:
                raise worker.fault

    def addressee(self, client: TrackingClient | None) -> str | None:
        """Name the client that a record is for; `None` is everyone."""
        return next((worker.label for worker in self._workers if worker.client is client), None)

    def offer(self, records: Sequence[tuple[Record, str | None]]) -> None:
        """Hand over records, each with its addressee; those of a journal are there already.

        In memory, a client that keeps up is waited for before any record is dropped.
        """
        if self._journal is None and records and self._workers:
            deadline = time.monotonic() + self._patience
            while self._memory.full(len(records)) and time.monotonic() < deadline and self._healthy():
                time.sleep(0.01)
            if dropped := self._memory.add(records):
                text = f"{dropped} records were dropped: clients are too far behind; give the run a directory"
                warnings.warn(text, TrackingWarning, stacklevel=2)
        for worker in self._workers:
            worker.notify()
        self._report()

    def close(self) -> list[Owed]:
        """Have every client take what waits, for a bounded time, and say what it has not taken.

        Done again, it says the same. A client that is owed records is named in a `TrackingWarning` with their number.
        """
        if self._closed is not None:
            return self._closed
        deadline = time.monotonic() + self._patience
        for worker in self._workers:
            worker.notify(closing=True)
        for worker in self._workers:
            if worker.ident is not None:
                worker.join(max(0.0, deadline - time.monotonic()))
        self._report()
        owed = [each for worker in self._workers if (each := self._owed(worker)) is not None]
        for each in owed:
            warnings.warn(
                f"{each.client} is still owed {each.records} records: {each.reason}", TrackingWarning, stacklevel=2
            )
        self._closed = owed
        return owed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _source(self) -> Source:
        return self._memory if self._journal is None else FromJournal(self._journal())

    def _owed(self, worker: _Worker) -> Owed | None:
        try:
            source = self._source()
        except (OSError, sqlite3.Error):  # the journal is gone, and with it what was owed; who writes to it says so
            return None
        try:
            if worker.pump is None:
                cursor, refusals = source.load(worker.label) if worker.client.durable else (0, {})
            else:
                cursor, refusals = worker.pump.cursor, dict(worker.pump.refusals)
            waiting = sum(1 for _ in source.waiting(cursor, worker.addressees, sys.maxsize))
        finally:
            source.close()
        if not waiting and not refusals:
            return None
        reason = next(iter(refusals.values()), "it has not answered") if worker.error is None else _say(worker.error)
        return Owed(worker.label, waiting + len(refusals), reason)

    def _name(self, client: TrackingClient) -> str:
        """Tell apart clients of one name by their order."""
        taken = {worker.label for worker in self._workers}
        number = 1
        while (name := client.name if number == 1 else f"{client.name}#{number}") in taken:
            number += 1
        return name

    def _healthy(self) -> bool:
        return all(worker.error is None and worker.is_alive() for worker in self._workers)

    def _report(self) -> None:
        for worker in self._workers:
            while worker.messages:
                warnings.warn(f"{worker.label} {worker.messages.popleft()}", TrackingWarning, stacklevel=3)


def sync(run: str | Path, client: TrackingClient, *, fs: Fs = DISK) -> int:
    """Give a client what it has not got of a run, whether that has ended or goes on.

    A client that keeps nothing beyond the process is given everything. Done again, it is given what
    is new, and once more what it refused.

    Args:
        run: the run's directory.
        client: who takes the records, under the name it had during the run.
        fs: how the disk is written to.

    Returns:
        How many records were offered.

    Raises:
        TrackingError: the directory holds no run.
        Exception: whatever the client raises, except where it refuses a record (`TrackingError`).
    """
    directory = Path(run)
    JournalReader(directory).close()  # which makes none
    with Journal(directory, fs) as journal:
        pump = _Pump(client, client.name, journal.everyones(client.name), FromJournal(journal))
        pump.open(journal.info())
        try:
            offered = 0
            while count := pump.pump():
                offered += count
        finally:
            client.close()
        if pump.refusals:
            text = f"{pump.name} refuses {len(pump.refusals)} records: {next(iter(pump.refusals.values()))}"
            warnings.warn(text, TrackingWarning, stacklevel=2)
    return offered


def _addressees(name: str, everyones: bool) -> tuple[str | None, ...]:
    return (None, name) if everyones else (name,)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
