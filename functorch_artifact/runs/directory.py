"""A run's directory: who owns it, who is at work in it, and whether this program may use it.

Belongs here: claiming a directory for a run, and the lock that keeps it to one process. Does not:
what is kept in it (`tracking`, `checkpoint`).
Floor 8.

The lock is the operating system's (`flock`) on the file `lock`, so it ends with the process that
holds it, however that ends, and two processes cannot both take over a dead one's. The file says who
holds it, for the message to whoever comes second. On a network file system it is as good as that
system's locks.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import attrs

from functorch_artifact.errors import FunctorchArtifactError, RunDirectoryError, StorageError
from functorch_artifact.fs import DISK, PARTIAL, Fs, Touch, Write

Resume: TypeAlias = Literal["never", "auto", "must"]
Identity: TypeAlias = Mapping[str, str | int]

_MARKER: Final = "run.json"
_LOCK: Final = "lock"
_ATTEMPTS: Final = 20  # a reader that looks whether the lock is held holds it for an instant
_held: set[int] = set()


@attrs.frozen
class Holder:
    """The process that works in a run's directory."""

    pid: int
    host: str
    since: str  # ISO 8601, UTC


@attrs.frozen
class RunDirectory:
    """A directory that belongs to one run, locked for this process; a context manager that unlocks it."""

    path: Path
    found: bool  # whether it held the run already
    fs: Fs = DISK
    _lock: int = -1

    @classmethod
    def claim(cls, path: str | Path, identity: Identity, *, resume: Resume = "auto", fs: Fs = DISK) -> RunDirectory:
        """Make the directory for a run of this identity, or find it again, and lock it.

        Args:
            path: the directory.
            identity: what tells apart runs that cannot continue each other.
            resume: `never` to insist on a new run, `must` on one that is there.
            fs: how the disk is written to.

        Raises:
            RunDirectoryError: another process is at work in it; it holds a run of another identity,
                or files that are no run's; or `resume` is not fulfilled.
            StorageError: it cannot be written to.
        """
        path = Path(path)
        marker = path / _MARKER
        if resume == "must" and not marker.exists():
            raise RunDirectoryError(
                "holds no run to resume", where=str(path), fix="check the path, or pass resume='auto' to start one"
            )
        if _foreign(path) and not marker.exists():  # in this order: whoever claims it just now writes the marker first
            raise RunDirectoryError(
                "is in use by something that is no run", where=str(path), fix="choose a directory that is new or empty"
            )
        with storage(path, "the run's directory"):
            fs.make_directory(path)
            lock = _acquire(path / _LOCK, fs)
            try:
                found = marker.exists()
                if found:
                    _check(path, identity, resume)
                else:
                    fs.replace(marker, (json.dumps(dict(identity), indent=1) + "\n").encode())
                fs.sweep(path)
            except BaseException:
                _release(lock)
                raise
        return cls(path, found, fs, lock)

    def check(self) -> None:
        """See that the directory is still there; one that was removed must not be made again in part.

        Raises:
            FileNotFoundError: it was removed.
        """
        if not (self.path / _MARKER).exists():
            raise FileNotFoundError("it was removed while the run was going on")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Unlock the directory; done twice, nothing happens."""
        _release(self._lock)


@contextmanager
def storage(where: Path, what: str) -> Iterator[None]:
    """Name the place and the remedy where the disk refuses something.

    Raises:
        StorageError: what is done inside raised an `OSError`, or an error of SQLite's.
    """
    try:
        yield
    except FunctorchArtifactError:  # some are an `OSError` too, and say what is wrong
        raise
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            "cannot be written to",
            where=str(where),
            got=f"{what}: {type(error).__name__}: {error}",
            fix="make room for it, or mend the disk; then the same command continues the run",
        ) from error


def holder(path: str | Path) -> Holder | None:
    """Find out which process is at work in a run's directory; `None` if none is."""
    import fcntl

    lock = Path(path) / _LOCK
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(lock)
    else:
        return None
    finally:
        os.close(descriptor)


def _acquire(path: Path, fs: Fs) -> int:
    import fcntl

    if not path.exists():
        fs.perform(Touch(path))
    descriptor = os.open(path, os.O_RDWR)
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                os.close(descriptor)
                who = _read(path)
                raise RunDirectoryError(
                    "is in use by another process",
                    where=str(path.parent),
                    got=f"process {who.pid} on {who.host}, since {who.since}",
                    fix="wait until it has ended, end it, or choose another directory",
                ) from None
            time.sleep(0.05)
    _held.add(descriptor)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    who = Holder(os.getpid(), socket.gethostname(), since)
    try:
        fs.perform(Write(path, json.dumps(attrs.asdict(who)).encode()))  # in place: another file has another lock
    except BaseException:
        _release(descriptor)
        raise
    return descriptor


def _release(descriptor: int) -> None:
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def _forget() -> None:
    """In a forked process, such as a loader's worker, let go of what only the parent holds."""
    for descriptor in tuple(_held):
        _release(descriptor)


os.register_at_fork(after_in_child=_forget)


def _read(path: Path) -> Holder:
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return Holder(0, "unknown host", "just now")  # it has not signed yet


def _foreign(path: Path) -> bool:
    """Say whether anything is there that did not come from an interrupted claim."""
    if not path.is_dir():
        return path.exists()
    return any(entry.name != _LOCK and not entry.name.endswith(PARTIAL) for entry in path.iterdir())


def _check(path: Path, identity: Identity, resume: Resume) -> None:
    if resume == "never":
        raise RunDirectoryError(
            "already holds a run", where=str(path), fix="choose another directory, or pass resume='auto'"
        )
    try:
        found = json.loads((path / _MARKER).read_bytes())
    except ValueError as error:
        raise RunDirectoryError("is damaged", where=str(path / _MARKER), expected=dict(identity)) from error
    if found != dict(identity):
        raise RunDirectoryError(
            "belongs to another run",
            where=str(path),
            expected=dict(identity),
            got=found,
            fix="resume with the model, optimizer and seed it was started with, or choose another directory",
        )
