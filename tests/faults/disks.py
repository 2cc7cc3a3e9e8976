"""File systems that fail: one that dies or tears at an operation, one that forgets what was not synced."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from functorch_artifact import fs


class Counting(fs.Fs):
    """Performs, and counts."""

    def __init__(self) -> None:
        self.performed = 0

    def perform(self, operation: fs.Operation) -> None:
        super().perform(operation)
        self.performed += 1


class Listing(fs.Fs):
    """Performs, and lists the paths it was asked to change."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def perform(self, operation: fs.Operation) -> None:
        self.paths += [str(operation.path), str(getattr(operation, "target", operation.path))]
        super().perform(operation)


class Dying(fs.Fs):
    """Has the process killed at its n-th operation: before it, or with half of it done."""

    def __init__(self, at: int, *, torn: bool = False) -> None:
        self.left, self.torn = at, torn

    def perform(self, operation: fs.Operation) -> None:
        self.left -= 1
        if self.left < 0:
            if self.torn:
                self.tear(operation)
            os.kill(os.getpid(), signal.SIGKILL)
        super().perform(operation)

    def tear(self, operation: fs.Operation) -> None:
        """Leave half a file; of what cannot be halved, leave it done and nothing after it."""
        match operation:
            case fs.Write(path, data):
                path.write_bytes(data[: len(data) // 2])
            case fs.Copy(source, path):
                data = source.read_bytes()
                path.write_bytes(data[: len(data) // 2])
            case _:
                super().perform(operation)


@attrs.define(eq=False)
class _Node:
    """A file's bytes or a directory's entries: as they are, and as they are on disk."""

    now: Any
    durable: Any


class Recording(fs.Fs):
    """Performs, and notes after each operation what a cut of power would leave of `root`.

    Content is on disk once its file was synced, else half of it is; a name is on disk once its
    directory was synced. What SQLite commits it syncs itself, and with it the name of its log.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = _Node({}, {})
        self.cuts: list[tuple[str, dict[str, bytes | None]]] = []

    def perform(self, operation: fs.Operation) -> None:
        super().perform(operation)
        match operation:
            case fs.MakeDirectory(path):
                self.entries(path.parent).setdefault(path.name, _Node({}, {}))
            case fs.Write(path) | fs.Copy(path=path):
                content = path.read_bytes()
                node = self.entries(path.parent).setdefault(path.name, _Node(b"", b""))
                node.now, node.durable = content, content[: len(content) // 2]
            case fs.Sync(path):
                node = self.node(path)
                node.durable = node.now
            case fs.SyncDirectory(path):
                node = self.node(path)
                node.durable = dict(node.now)
            case fs.Rename(path, target):
                self.entries(target.parent)[target.name] = self.entries(path.parent).pop(path.name)
            case fs.Unlink(path) | fs.RemoveDirectory(path):
                self.entries(path.parent).pop(path.name, None)
            case fs.Transaction(path):
                parent = self.node(path.parent)
                for file in (path, path.with_name(f"{path.name}-wal")):
                    if file.exists():
                        node = parent.now.setdefault(file.name, _Node(b"", b""))
                        node.now = node.durable = file.read_bytes()
                        if file != path:
                            parent.durable[file.name] = node
        self.cuts.append((repr(operation), dict(self.left(self.tree, ""))))

    def node(self, path: Path) -> _Node:
        node = self.tree
        for name in path.relative_to(self.root).parts:
            node = node.now[name]
        return node

    def entries(self, path: Path) -> dict[str, _Node]:
        found: dict[str, _Node] = self.node(path).now
        return found

    def left(self, node: _Node, path: str) -> Iterator[tuple[str, bytes | None]]:
        """Walk what is on disk: paths with their bytes, or None for a directory."""
        for name, child in node.durable.items():
            below = f"{path}/{name}" if path else name
            if isinstance(child.now, dict):
                yield below, None
                yield from self.left(child, below)
            else:
                yield below, child.durable


def restore(cut: dict[str, bytes | None], root: Path) -> None:
    """Make `root` what a cut of power left."""
    root.mkdir()
    for path, content in cut.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


class Failing(fs.Fs):
    """Refuses operations with an error, from the n-th on; with `only`, so many of them."""

    def __init__(self, code: int, at: int, only: int | None = None) -> None:
        self.code, self.left, self.only = code, at, only

    def perform(self, operation: fs.Operation) -> None:
        self.left -= 1
        if self.left < 0 and (self.only is None or -self.left <= self.only):
            raise OSError(self.code, os.strerror(self.code), str(operation.path))
        super().perform(operation)
