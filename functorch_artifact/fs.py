"""The seam to the file system: every change a run makes on disk is one operation, as a value.

Belongs here: the operations, `Fs`, which performs them, and what is composed of them. Does not:
reading, or what the files mean.
Floor 6.

Whoever writes is given an `Fs`. A test gives one of its own that overrides `perform`, the one
method that acts, and can then count, refuse, tear, drop or die at any operation.

| operation | survives a crash of the machine once |
|---|---|
| `Write`, `Copy`: bytes into a file, new or replaced | `Sync` of that file returned, and its name is safe |
| `MakeDirectory`, `Touch`, `Rename`, `Unlink`, `RemoveDirectory`: names | `SyncDirectory` of the parent returned |
| `Transaction`: one commit to an SQLite database | it returned |

SQLite writes to its files itself, in C, out of Python's sight. So a transaction is one operation
here: a test can refuse it or die before or after it, and that it is atomic in between is SQLite's
own promise (write-ahead log, `synchronous=FULL`), which tests with real kills put to the proof.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import attrs


@attrs.frozen
class MakeDirectory:
    """Make one directory; one that is there already is left as it is."""

    path: Path


@attrs.frozen
class Touch:
    """Make an empty file; one that is there already is left as it is."""

    path: Path


@attrs.frozen
class Write:
    """Write a file's whole content, from its beginning; the file is made or emptied first."""

    path: Path
    data: bytes = attrs.field(repr=lambda data: f"{len(data)} bytes")


@attrs.frozen
class Copy:
    """Write the content of `source` to a file, which is made or emptied first."""

    source: Path
    path: Path


@attrs.frozen
class Sync:
    """Have a file's content on disk."""

    path: Path


@attrs.frozen
class Rename:
    """Give a file or directory another name; what has that name, if it is a file, is replaced at once."""

    path: Path
    target: Path


@attrs.frozen
class Unlink:
    """Remove a file, if it is there."""

    path: Path


@attrs.frozen
class RemoveDirectory:
    """Remove an empty directory."""

    path: Path


@attrs.frozen
class SyncDirectory:
    """Have the names in a directory on disk."""

    path: Path


@attrs.frozen
class Transaction:
    """Commit one transaction to the SQLite database at `path`: all of it or nothing."""

    path: Path
    commit: Callable[[], None] = attrs.field(repr=False)


Operation: TypeAlias = (
    MakeDirectory | Touch | Write | Copy | Sync | Rename | Unlink | RemoveDirectory | SyncDirectory | Transaction
)


class Fs:
    """Perform operations on the real file system.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from functorch_artifact.fs import Fs
        >>> class Counting(Fs):
        ...     def __init__(self):
        ...         self.performed = []
        ...     def perform(self, operation):
        ...         self.performed.append(type(operation).__name__)
        ...         super().perform(operation)
        >>> fs = Counting()
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     fs.replace(Path(parent, "x"), b"content")
        >>> fs.performed
        ['Write', 'Sync', 'Rename', 'SyncDirectory']
    """

    def perform(self, operation: Operation) -> None:
        """Perform one operation.

        Raises:
            OSError: it cannot be performed.
            sqlite3.Error: it is a transaction that cannot be committed.
        """
        match operation:
            case MakeDirectory(path):
                path.mkdir(exist_ok=True)
            case Touch(path):
                path.touch()
            case Write(path, data):
                path.write_bytes(data)
            case Copy(source, path):
                shutil.copyfile(source, path)
            case Sync(path):
                _sync(path, os.O_RDWR)
            case Rename(path, target):
                path.replace(target)
            case Unlink(path):
                path.unlink(missing_ok=True)
            case RemoveDirectory(path):
                path.rmdir()
            case SyncDirectory(path):
                if hasattr(os, "O_DIRECTORY"):  # a directory cannot be opened on Windows
                    _sync(path, os.O_RDONLY | os.O_DIRECTORY)
            case Transaction(_, commit):
                commit()

    def sync_directory(self, path: Path) -> None:
        """Have the names in a directory on disk."""
        self.perform(SyncDirectory(path))

    def make_directory(self, path: Path) -> None:
        """Make a directory and whatever of its parents is missing, and have their names on disk."""
        if path.is_dir():
            return
        if path.parent != path:
            self.make_directory(path.parent)
        self.perform(MakeDirectory(path))
        self.sync_directory(path.parent)

    def replace(self, path: Path, content: bytes | Path) -> None:
        """Make `path` a file of this content (bytes, or the file to copy), wholly or not at all.

        The content is written under a hidden name beside it, since a rename across file systems
        would be a copy, and is on disk before the name is: at no time is there no file, and never
        a torn one. On return both are on disk.
        """
        partial = path.with_name(f".{path.name}{PARTIAL}")
        self.perform(Copy(content, partial) if isinstance(content, Path) else Write(partial, content))
        self.perform(Sync(partial))
        self.perform(Rename(partial, path))
        self.sync_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file and have that on disk; nothing happens if it is not there."""
        if path.exists():
            self.perform(Unlink(path))
            self.sync_directory(path.parent)

    def sweep(self, directory: Path) -> None:
        """Remove what crashes left half-written in a directory."""
        for partial in sorted(directory.glob(f".*{PARTIAL}")):
            self.perform(Unlink(partial))


PARTIAL: Final = ".partial"
"""How the hidden names of files that are being written end."""
DISK: Final = Fs()
"""The real file system."""


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
