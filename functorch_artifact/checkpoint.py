"""State files: any tree of ours, written atomically, verified when read, free of code.

Belongs here: writing and reading one tree, and the series of a run's checkpoints. Does not: what is
worth saving, or when a run resumes (`driver`); how a tree becomes data (`structure`).
Floor 7.

A checkpoint is one safetensors file. Its tensors are the tree's, by path (`.params['w']`); its
metadata holds a manifest: the format's version, the structure with its plain data, each tensor's
dtype, shape, device and BLAKE2b digest, the caller's notes, and a digest of all that. One file has
one name, so replacing it is one renaming: at no instant is there neither the old nor the new.

Values come back bit for bit. Memory that leaves shared, `requires_grad` and subclasses of `Tensor`
do not. A format that was once released stays readable: a reader knows its own version and those
before it, and refuses later ones by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, overload

import attrs
import safetensors.torch
import torch
from torch import Tensor

from functorch_artifact import structure, trees
from functorch_artifact.errors import CheckpointError, ConfigurationError
from functorch_artifact.fs import DISK, Fs, Unlink
from functorch_artifact.structure import Json

T = TypeVar("T")
PathLike: TypeAlias = str | os.PathLike[str]
Notes: TypeAlias = Mapping[str, str | int | float | bool]

FORMAT: Final = 1
READABLE: Final = (1,)
"""The versions of the format that this reader knows."""
_METADATA: Final = "functorch_artifact"
_SUFFIX: Final = ".safetensors"


class CheckpointWarning(UserWarning):
    """A damaged checkpoint that was passed over."""


def save(path: PathLike, tree: Any, *, notes: Notes | None = None, fs: Fs = DISK) -> Path:
    """Write `tree` to the file `path`, wholly or not at all, and have it on disk on return.

    A checkpoint already there is replaced in one renaming (see `fs.Fs.replace`).

    Args:
        path: where to write; missing directories are made.
        tree: any nesting of dict, OrderedDict (keys: str, int, bool), list, tuple, deque,
            NamedTuple and `@node` classes over tensors, int, float, bool, str and None.
        notes: plain data to keep beside it, such as versions; `notes` reads it.
        fs: how the disk is written to.

    Raises:
        CheckpointError: a leaf or a container that the format does not hold, by path.

    Example:
        >>> import tempfile, torch
        >>> from functorch_artifact import checkpoint
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     where = checkpoint.save(f"{parent}/state", {"w": torch.ones(2), "rate": float("nan")})
        ...     checkpoint.load(where)
        {'w': tensor([1., 1.]), 'rate': nan}
    """
    target = Path(path)
    content = _encode(tree, notes or {})
    fs.make_directory(target.parent)
    fs.replace(target, content)
    return target


@overload
def load(path: PathLike) -> Any: ...
@overload
def load(path: PathLike, like: T, *, free: Sequence[str] = ()) -> T: ...
def load(path: PathLike, like: Any = None, *, free: Sequence[str] = ()) -> Any:
    """Read the tree that `save` wrote to `path`, after verifying every byte of meaning.

    Without `like`, tensors come back on the CPU. With it, the tree must have its structure,
    shapes and dtypes, and each tensor goes to the device of its counterpart.

    Args:
        path: what `save` was given.
        like: a tree of the structure that is expected, such as a freshly initialised state. It
            is also where NamedTuple classes are found.
        free: paths of sub-trees that may differ from `like`'s, e.g. `[".scores", ".tracker"]`,
            because they grow. Their tensors go where the others saved from their device went.

    Raises:
        CheckpointError: a file that is missing, truncated, altered or of another format; a class
            that is not registered; or, one line a path, what differs from `like`.
    """
    body, tensors = _read(Path(path))
    return _rebuild(Path(path), body, tensors, like, free)


def notes(path: PathLike) -> dict[str, Any]:
    """Read the notes that were saved with a checkpoint."""
    described: Json = _manifest(Path(path), _content(Path(path)))["notes"]
    return {name: structure.build(value, {}, {}, str(path)) for name, value in described.items()}


class Position(NamedTuple):
    """How far a run had come: epochs completed, and batches of the next."""

    epoch: int
    batch: int = 0


@attrs.frozen
class Checkpoints:
    """The checkpoints of one run: `DIRECTORY/epoch_000005.safetensors`, and so on.

    One in the middle of an epoch is `epoch_000005_batch_000100`: five epochs and a hundred batches.

    Args:
        directory: what holds them.
        keep_last: how many to keep, the newest; by default all of them.
        fs: how the disk is written to.

    Raises:
        ConfigurationError: `keep_last` is below 1.
    """

    directory: Path = attrs.field(converter=Path)
    keep_last: int | None = None
    fs: Fs = DISK

    def __attrs_post_init__(self) -> None:
        if self.keep_last is not None and self.keep_last < 1:
            raise ConfigurationError(
                "is too small", where="Checkpoints.keep_last", expected="at least 1", got=self.keep_last
            )

    def save(
        self, epoch: int, tree: Any, *, batch: int = 0, notes: Notes | None = None, keep: Collection[int] = ()
    ) -> Path:
        """Write a checkpoint, then remove those before it that are not kept.

        Args:
            epoch: the epochs completed.
            tree: what to write.
            batch: the batches completed of the next epoch.
            notes: see `save`.
            keep: epochs whose checkpoints are kept besides the last, such as the best.
        """
        position = Position(epoch, batch)
        path = save(self.path(position), tree, notes=notes, fs=self.fs)
        if self.keep_last is not None:
            before = [each for each in self.positions() if each <= position][: -self.keep_last]
            removed = [each for each in before if each.batch or each.epoch not in keep]
            for old in removed:
                self.fs.perform(Unlink(self.path(old)))
            if removed:
                self.fs.sync_directory(self.directory)
        return path

    def path(self, position: Position) -> Path:
        """Name the file of a position."""
        batch = f"_batch_{position.batch:06d}" if position.batch else ""
        return self.directory / f"epoch_{position.epoch:06d}{batch}{_SUFFIX}"

    def positions(self) -> list[Position]:
        """List the positions that have a checkpoint, in order."""
        pattern = re.compile(r"epoch_(\d{6,})(?:_batch_(\d{6,}))?" + re.escape(_SUFFIX))
        found = (pattern.fullmatch(entry.name) for entry in self.directory.glob("epoch_*"))
        return sorted(Position(int(each[1]), int(each[2] or 0)) for each in found if each)

    def paths(self) -> list[Path]:
        """List the files, in order."""
        return [self.path(position) for position in self.positions()]

    @overload
    def latest(self) -> tuple[Position, Any] | None: ...
    @overload
    def latest(self, like: T, *, free: Sequence[str] = ()) -> tuple[Position, T] | None: ...
    def latest(self, like: Any = None, *, free: Sequence[str] = ()) -> tuple[Position, Any] | None:
        """Read the newest checkpoint that is whole, with its position; None when there is none.

        A damaged one is named in a `CheckpointWarning` and passed over. One that is whole but
        does not fit `like` (see `load`) is an error.
        """
        for position in reversed(self.positions()):
            path = self.path(position)
            try:
                body, tensors = _read(path)
            except CheckpointError as error:
                warnings.warn(f"passed over a damaged checkpoint: {error}", CheckpointWarning, stacklevel=2)
            else:
                return position, _rebuild(path, body, tensors, like, free)
        return None


def _encode(tree: Any, notes: Notes) -> bytes:
    found: dict[str, Tensor] = {}
    described = structure.describe(tree, "", found)
    body = {
        "format": FORMAT,
        "notes": {name: structure.describe(value, f"notes[{name!r}]", {}) for name, value in notes.items()},
        "tensors": {path: _summary(tensor) for path, tensor in found.items()},
        "tree": described,
    }
    manifest = json.dumps({"blake2b": _digest(_canonical(body)), **body}, allow_nan=False)
    # safetensors refuses tensors that share memory or are not contiguous: give it copies.
    tensors = {path: _dense(tensor).clone() for path, tensor in found.items()}
    return safetensors.torch.save(tensors, {_METADATA: manifest})


def _rebuild(where: Path, body: Json, tensors: dict[str, Tensor], like: Any, free: Sequence[str]) -> Any:
    if like is None:
        return structure.build(body["tree"], tensors, {}, str(where))
    homes = {path: leaf.device for path, leaf in trees.named_leaves(like).items() if isinstance(leaf, Tensor)}
    saved = {path: summary["device"] for path, summary in body["tensors"].items()}
    # Leaves without a counterpart follow those that were saved from the same device.
    moved = {saved[path]: device for path, device in homes.items() if path in saved}
    placed = {path: leaf.to(homes.get(path, moved.get(saved[path], leaf.device))) for path, leaf in tensors.items()}
    tree = structure.build(body["tree"], placed, structure.named_tuples(like), str(where))

    expected, got = structure.containers(like), structure.containers(tree)
    lines = trees.differences(like, tree) + [
        f"{path or 'the tree'}: expected {expected[path]}, got {got[path]}"
        for path in expected
        if path in got and expected[path] != got[path]
    ]
    allowed = tuple(path + end for path in free for end in ".[:")
    if lines := [line for line in lines if not line.startswith(allowed)]:
        raise CheckpointError(
            "\n    ".join(["differs from the tree that was asked for", *lines]),
            where=str(where),
            fix="resume with the model, optimizer and callbacks that the checkpoint was made with",
        )
    return tree


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, "a checkpoint", error) from error


def _manifest(path: Path, content: bytes) -> Json:
    """Read the manifest from a file's header: its length in 8 bytes, then JSON."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        manifest = json.loads(header["__metadata__"][_METADATA])
        declared = manifest.pop("blake2b")
        version = manifest["format"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(path, "a checkpoint with a manifest", error) from error
    if version not in READABLE:
        raise CheckpointError(
            "is of another format", where=str(path), expected=f"format {FORMAT}", got=f"format {version}"
        )
    if _digest(_canonical(manifest)) != declared:
        raise _damaged(path, f"contents of digest {declared}", "others")
    return manifest


def _read(path: Path) -> tuple[Json, dict[str, Tensor]]:
    """Read and verify a file."""
    content = _content(path)
    body = _manifest(path, content)
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # safetensors raises several kinds, some of them bare
        raise _damaged(path, "tensors as the manifest says", error) from error
    for name, summary in body["tensors"].items():
        if name not in tensors:
            raise _damaged(path, f"the tensor {name}", "none of that name")
        got = {**_summary(tensors[name]), "device": summary["device"]}
        if got != summary:
            raise _damaged(path, f"the tensor {name} as {summary}", got)
    return body, tensors


def _damaged(path: Path, expected: str, got: object) -> CheckpointError:
    problem = "is damaged" if path.exists() else "is missing"
    return CheckpointError(problem, where=str(path), expected=expected, got=got, fix="use another checkpoint")


def _summary(tensor: Tensor) -> Json:
    flat = _dense(tensor).reshape(-1).view(torch.uint8)
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "device": str(tensor.device),
        "blake2b": _digest(flat.numpy().data),
    }


def _dense(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _canonical(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
