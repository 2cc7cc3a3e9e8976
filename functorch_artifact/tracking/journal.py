"""The journal: one SQLite file that is the truth about a run's records, commits and deliveries.

Belongs here: the file's schema, and writing to it. Does not: reading it (`journal_reader`), what a
value becomes as text and bytes (`payloads`), handing records to clients (`delivery`).
Floor 7.

    journal.sqlite            all that follows, in write-ahead mode
    payloads/3f/3f2a...png    what is too large for a row, named by its BLAKE2b digest

A commit is one transaction: an epoch's records and the row that says so, or neither. Payload files
are on disk before the row that names them. A record's identity is (epoch, step, name, split), and
what is committed again replaces what was there. Whatever a clock says is in `sessions` and
`commits`; `records` of two runs of one program are equal to the bit.

Every change is one `Transaction` of the run's `Fs`. SQLite makes it atomic (see `fs`).
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from functorch_artifact.errors import TrackingError
from functorch_artifact.fs import DISK, Fs, Transaction
from functorch_artifact.records import Record, RunInfo
from functorch_artifact.tracking.journal_reader import (
    FILE,
    FORMAT,
    PAYLOADS,
    FailureRow,
    JournalReader,
    Outcome,
    Parameters,
    digest_of,
)
from functorch_artifact.tracking.payloads import Encoded, encode

_SCHEMA: Final = """
CREATE TABLE run (id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, name TEXT, parameters TEXT);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, pid INTEGER, host TEXT,
    fingerprint TEXT NOT NULL, outcome TEXT, reason TEXT);
CREATE TABLE records (sequence INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, step INTEGER NOT NULL,
    name TEXT NOT NULL, split TEXT, part TEXT NOT NULL, addressee TEXT, kind TEXT NOT NULL, value TEXT NOT NULL,
    digest TEXT, suffix TEXT);
CREATE UNIQUE INDEX identity ON records (epoch, step, name, ifnull(split, 0));
CREATE TABLE commits (epoch INTEGER, part TEXT, step INTEGER, complete INTEGER NOT NULL, time REAL NOT NULL,
    PRIMARY KEY (epoch, part));
CREATE TABLE failures (epoch INTEGER, step INTEGER, part TEXT, callback TEXT, split TEXT, error TEXT);
CREATE TABLE cursors (client TEXT PRIMARY KEY, sequence INTEGER NOT NULL, everyones INTEGER NOT NULL);
CREATE TABLE refusals (client TEXT, sequence INTEGER, error TEXT, PRIMARY KEY (client, sequence));
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('sequence', 0);
"""
_PATIENCE: Final = 60.0  # seconds to wait for another thread or process that is writing
_PLACE: Final = "epoch, step, name, split"
_CONTENT: Final = "part, addressee, kind, value, digest, suffix"
_Rows: TypeAlias = dict[tuple[Any, ...], tuple[Any, ...]]  # content by place


@attrs.frozen(eq=False)
class Part:
    """What is committed of an epoch: what its batches gave, its validation, or one that came later.

    Args:
        name: which part of the epoch it is.
        records: each with its addressee, the name of a client, or `None` for everyone.
        failures: the callbacks that raised.
        since: the step up to which an earlier commit of the part holds.
        complete: whether nothing more of it is to come.
    """

    name: str
    records: Sequence[tuple[Record, str | None]] = ()
    failures: Sequence[FailureRow] = ()
    since: int = -1
    complete: bool = True


class Journal(JournalReader):
    """Write a journal; it is made, or continued, where it is opened.

    Args:
        directory: the run's directory, which exists.
        fs: how the disk is written to.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from functorch_artifact import records
        >>> from functorch_artifact.tracking.journal import Journal, Part
        >>> loss = records.Record("LOSS", records.Score(0.5), epoch=1, step=10)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     with Journal(Path(directory)) as journal:
        ...         refused = journal.commit(1, 10, Part("epoch", [(loss, None)]))
        ...         [record.value for record in journal.records()]
        [Score(value=0.5)]
    """

    def __init__(self, directory: Path, fs: Fs = DISK) -> None:
        self._fs = fs
        super().__init__(directory)

    def _connect(self) -> sqlite3.Connection:
        path = self.directory / FILE
        if not _made(path):
            # To connect already makes a file, so it is part of the operation.
            self._fs.perform(Transaction(path, lambda: _make(path)))
            self._fs.sync_directory(self.directory)
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def begin(self, info: RunInfo, fingerprint: Parameters) -> None:
        """Open a session of this process."""
        who = (time.time(), os.getpid(), socket.gethostname(), json.dumps(dict(fingerprint)))

        def work(connection: sqlite3.Connection) -> None:
            parameters = json.dumps(dict(info.parameters))
            connection.execute("UPDATE run SET name = ?, parameters = ?", (info.name, parameters))
            connection.execute("INSERT INTO sessions (started, pid, host, fingerprint) VALUES (?, ?, ?, ?)", who)

        self._transact(work)

    def end(self, outcome: Outcome, reason: str) -> None:
        """Close the session of this process."""
        row = (time.time(), outcome, reason)
        newest = "id = (SELECT max(id) FROM sessions)"
        self._transact(
            lambda connection: connection.execute(
                f"UPDATE sessions SET ended = ?, outcome = ?, reason = ? WHERE {newest}", row
            )
        )

    def commit(self, epoch: int, step: int, *parts: Part) -> list[tuple[Record, TrackingError]]:
        """Commit parts of an epoch in one transaction: records, failures, and that it was.

        Of what a part held of that epoch after the step `since`, it holds afterwards exactly what is
        given. What is given again unchanged keeps its place, so that no client is offered it again.

        Args:
            epoch: the epoch that the parts are of.
            step: the step up to which they are there.
            parts: what to commit.

        Returns:
            The records that cannot be stored, each with what is wrong with it.
        """
        refused: list[tuple[Record, TrackingError]] = []
        rows = [self._rows(part, refused) for part in parts]

        def work(connection: sqlite3.Connection) -> None:
            for part, found in zip(parts, rows, strict=True):
                _replace(connection, found, epoch, part)
                values = (epoch, part.name, step, part.complete, time.time())
                connection.execute("INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?, ?)", values)

        self._transact(work)
        return refused

    def _rows(self, part: Part, refused: list[tuple[Record, TrackingError]]) -> _Rows:
        rows: _Rows = {}
        for record, addressee in part.records:
            try:
                encoded = encode(record)
                digest = self._store(encoded)
            except TrackingError as error:
                refused.append((record, error))
                continue
            content = (part.name, addressee, encoded.kind, encoded.text, digest, encoded.suffix)
            rows[record.epoch, record.step, record.name, record.split] = content
        return rows

    def acknowledge(
        self, client: str, sequence: int, refused: Sequence[tuple[int, str]] = (), *, everyones: bool = True
    ) -> None:
        """Remember up to where a client was offered everything, and what of all that it refused.

        Args:
            client: its name.
            sequence: the sequence number up to which it was offered what is for it.
            refused: sequence number and error of each record that it did not take.
            everyones: whether the records for everyone are for it, besides those for it alone.
        """

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (client, sequence, everyones))
            connection.execute("DELETE FROM refusals WHERE client = ?", (client,))
            rows = [(client, number, error) for number, error in refused]
            connection.executemany("INSERT INTO refusals VALUES (?, ?, ?)", rows)

        self._transact(work)

    def _store(self, encoded: Encoded) -> str | None:
        if encoded.payload is None:
            return None
        digest = digest_of(encoded.payload)
        path = self.directory / PAYLOADS / digest[:2] / (digest + encoded.suffix)
        if not path.exists():
            self._fs.make_directory(path.parent)
            self._fs.replace(path, encoded.payload)
        return digest

    def _transact(self, work: Callable[[sqlite3.Connection], object]) -> None:
        connection = self._connection

        def commit() -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        self._fs.perform(Transaction(self.directory / FILE, commit))
        # A file that was removed can still be written to, and then is lost.
        if not (self.directory / FILE).exists():
            raise FileNotFoundError(f"{self.directory / FILE} was removed while the run was going on")


def _replace(connection: sqlite3.Connection, rows: _Rows, epoch: int, part: Part) -> None:
    """Make a part what it is to be, touching only the rows that differ."""
    query = f"SELECT sequence, {_PLACE}, {_CONTENT} FROM records WHERE epoch = ? AND step > ?"
    found = {row[1:5]: (row[0], row[5:]) for row in connection.execute(query, (epoch, part.since))}
    gone = [
        (sequence,)
        for place, (sequence, held) in found.items()
        if (place in rows and rows[place] != held) or (place not in rows and held[0] == part.name)
    ]
    fresh = [(place, row) for place, row in rows.items() if place not in found or found[place][1] != row]
    (highest,) = connection.execute("SELECT value FROM counters WHERE name = 'sequence'").fetchone()
    connection.executemany("DELETE FROM records WHERE sequence = ?", gone)
    connection.executemany(
        f"INSERT INTO records (sequence, {_PLACE}, {_CONTENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(highest + 1 + i, *place, *row) for i, (place, row) in enumerate(fresh)],
    )
    connection.execute("UPDATE counters SET value = value + ? WHERE name = 'sequence'", (len(fresh),))
    connection.execute("DELETE FROM failures WHERE epoch = ? AND part = ? AND step > ?", (epoch, part.name, part.since))
    connection.executemany(
        "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?)",
        [(each.epoch, each.step, part.name, each.callback, each.split, each.error) for each in part.failures],
    )


def _made(path: Path) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'run'").fetchone() is not None


def _make(path: Path) -> None:
    row = f"INSERT INTO run VALUES (1, {FORMAT}, '', '{{}}');"
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{row}COMMIT;")
