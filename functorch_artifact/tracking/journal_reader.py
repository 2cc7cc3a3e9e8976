"""Reading a run's journal: its records, sessions, failures and what clients are owed.

Belongs here: every question to the journal's file, also while another process writes it. Does not:
writing (`journal`, where the file is described).
Floor 7.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

import attrs

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo
from functorch_artifact.tracking.payloads import decode

FORMAT: Final = 1
FILE: Final = "journal.sqlite"
PAYLOADS: Final = "payloads"
Outcome: TypeAlias = Literal["finished", "interrupted", "failed"]
Parameters: TypeAlias = Mapping[str, str | int | float | bool]

_COLUMNS: Final = "sequence, epoch, step, name, split, kind, value, digest, suffix"


@attrs.frozen
class Session:
    """One process that worked on the run, the newest last."""

    started: float  # seconds since 1970
    ended: float | None
    pid: int
    host: str
    fingerprint: Parameters
    outcome: Outcome | None  # None: it is at work, or was killed
    reason: str | None


@attrs.frozen
class FailureRow:
    """One callback that raised, as the journal keeps it."""

    epoch: int
    step: int
    callback: str
    split: str | None
    error: str


@attrs.frozen
class Entry:
    """One record as it stands in the journal; its payload is read when it is asked for."""

    payloads: Path
    sequence: int
    epoch: int
    step: int
    name: str
    split: str | None
    kind: str
    text: str
    digest: str | None
    suffix: str

    def record(self) -> Record:
        """Read the record.

        Raises:
            TrackingError: its payload file is missing or altered.
        """
        value = decode(self.kind, self.text, None if self.digest is None else self._payload(self.digest))
        return Record(self.name, value, self.epoch, self.step, self.split)

    def _payload(self, digest: str) -> Path:
        path = self.payloads / digest[:2] / (digest + self.suffix)
        if not path.is_file() or digest_of(path) != digest:
            problem = "is damaged" if path.exists() else "is missing"
            raise TrackingError(problem, where=str(path), expected=f"the value of record {self.name!r}")
        return path


class JournalReader:
    """Read a journal, also while another process writes it.

    An object serves the thread that made it.

    Args:
        directory: the run's directory.

    Raises:
        TrackingError: the directory holds no journal, or one of a format that is not known here.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._connection = self._connect()
        self._check_format()

    def _connect(self) -> sqlite3.Connection:
        path = self.directory / FILE
        if not path.is_file():
            raise _none(self.directory)
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:  # on a medium on which not even the index of the log can be made
            connection.close()
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise _none(self.directory) from error
        return connection

    def _check_format(self) -> None:
        try:
            (version,) = self._connection.execute("SELECT format FROM run").fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            self.close()
            raise _none(self.directory) from error
        if version != FORMAT:
            self.close()
            raise TrackingError(
                "is of another format",
                where=str(self.directory / FILE),
                expected=f"format {FORMAT}",
                got=f"format {version}",
                fix="read it with the version of functorch_artifact that wrote it",
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def info(self) -> RunInfo:
        """Read what the run is."""
        name, parameters = self._connection.execute("SELECT name, parameters FROM run").fetchone()
        return RunInfo(name, str(self.directory), json.loads(parameters))

    def sessions(self) -> list[Session]:
        """List the processes that worked on the run, in order."""
        rows = self._connection.execute(
            "SELECT started, ended, pid, host, fingerprint, outcome, reason FROM sessions ORDER BY id"
        )
        return [
            Session(s, e, pid, host, json.loads(f), outcome, reason) for s, e, pid, host, f, outcome, reason in rows
        ]

    def records(self, *, kind: str | None = None, name: str | None = None) -> Iterator[Record]:
        """Read records in the order of their commits, by kind (see `payloads`) and name.

        Raises:
            TrackingError: a payload file is missing or altered.
        """
        where, values = ["sequence > 0"], []
        for column, value in (("kind", kind), ("name", name)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        return (entry.record() for entry in self._entries(where, values))

    def entries(self, after: int, addressees: Sequence[str | None], limit: int = -1) -> Iterator[Entry]:
        """Read what came after a sequence number for one of several addressees; `None` is everyone."""
        where = ["sequence > ?", f"({' OR '.join('addressee IS ?' for _ in addressees)})"]
        return self._entries(where, [after, *addressees], limit)

    def entry(self, sequence: int) -> Entry:
        """Read one entry by its sequence number."""
        return next(self._entries(["sequence = ?"], [sequence]))

    def _entries(self, where: Sequence[str], values: Sequence[Any], limit: int = -1) -> Iterator[Entry]:
        query = f"SELECT {_COLUMNS} FROM records WHERE {' AND '.join(where)} ORDER BY sequence LIMIT ?"
        payloads = self.directory / PAYLOADS
        return (Entry(payloads, *row) for row in self._connection.execute(query, (*values, limit)))

    def artifacts(self) -> Iterator[Entry]:
        """Read all that are no numbers, in the order of their commits, without their payloads."""
        return self._entries(["kind NOT LIKE 'score%'"], [])

    def scores(self) -> Iterator[tuple[str, str | None, int, int, str, float]]:
        """Read all numbers in the order of their commits: name, split, epoch, step, part, value."""
        query = (
            "SELECT name, split, epoch, step, part, kind, value FROM records WHERE kind LIKE 'score%' ORDER BY sequence"
        )
        for name, split, epoch, step, part, kind, text in self._connection.execute(query):
            found = json.loads(text)
            value = found[0] if isinstance(found, list) else found
            if kind == "score":
                yield name, split, epoch, step, part, value
            else:
                yield from ((f"{name}/{key}", split, epoch, step, part, each) for key, each in value.items())

    def committed(self, epoch: int) -> dict[str, bool]:
        """Say which parts of an epoch were committed, and whether they are complete."""
        query = "SELECT part, complete FROM commits WHERE epoch = ?"
        return {part: bool(complete) for part, complete in self._connection.execute(query, (epoch,))}

    def last_commit(self, before: float) -> float | None:
        """Read when the newest commit before a time was made, in seconds since 1970."""
        (when,) = self._connection.execute("SELECT max(time) FROM commits WHERE time < ?", (before,)).fetchone()
        return None if when is None else float(when)

    def epochs(self) -> list[int]:
        """List the epochs that have ended, in ascending order."""
        query = "SELECT epoch FROM commits WHERE part = 'epoch' ORDER BY epoch"
        return [epoch for (epoch,) in self._connection.execute(query)]

    def last_epoch(self) -> int:
        """Find the latest epoch of which anything was committed; 0 before there is one."""
        (epoch,) = self._connection.execute("SELECT max(epoch) FROM commits").fetchone()
        return epoch or 0

    def failures(self) -> list[FailureRow]:
        """List the callbacks that raised."""
        query = "SELECT epoch, step, callback, split, error FROM failures ORDER BY rowid"
        return [FailureRow(*row) for row in self._connection.execute(query)]

    def clients(self) -> list[str]:
        """Name the clients that keep what they take."""
        return [client for (client,) in self._connection.execute("SELECT client FROM cursors ORDER BY client")]

    def cursor(self, client: str) -> int:
        """Read the sequence number up to which a client has been offered everything."""
        row = self._connection.execute("SELECT sequence FROM cursors WHERE client = ?", (client,)).fetchone()
        return 0 if row is None else int(row[0])

    def everyones(self, client: str) -> bool:
        """Say whether the records for everyone are for a client, besides those for it alone."""
        row = self._connection.execute("SELECT everyones FROM cursors WHERE client = ?", (client,)).fetchone()
        return row is None or bool(row[0])

    def owed(self, client: str) -> int:
        """Count what a client has not taken: what comes after its cursor, and what it refused."""
        query = """SELECT count(*) FROM records, cursors WHERE client = ? AND records.sequence > cursors.sequence
            AND (addressee = client OR (addressee IS NULL AND everyones))"""
        (waiting,) = self._connection.execute(query, (client,)).fetchone()
        return int(waiting) + len(self.refusals(client))

    def refusals(self, client: str) -> list[tuple[int, str]]:
        """List what a client refused: sequence number and error."""
        query = "SELECT sequence, error FROM refusals JOIN records USING (sequence) WHERE client = ? ORDER BY sequence"
        return list(self._connection.execute(query, (client,)))


def digest_of(content: bytes | Path) -> str:
    """Hash bytes, or a file's content: BLAKE2b, 128 bits, hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _none(directory: Path) -> TrackingError:
    return TrackingError("holds no journal", where=str(directory), expected=f"a run's directory, with {FILE}")
