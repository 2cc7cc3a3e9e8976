"""State files: any tree of ours, written atomically, verified when read, free of code.

Belongs here: writing and reading one tree, and the series of an experiment's checkpoints.
Does not: what is worth saving, or when a run resumes (`driver`).
Floor 7.

A checkpoint is a directory of two files:

- `tensors.safetensors`: the tensor leaves, by path (`.params['w']`).
- `manifest.json`: the format's version, the structure with its plain data, each tensor's dtype,
  shape, device and BLAKE2b digest, the caller's notes, and a digest of all that.

Reading it runs no code: the structure is data, and a node class is looked up by name among the
classes that `trees.node` has registered in this process; nothing is imported or unpickled.
Values come back bit for bit. Memory that leaves shared, `requires_grad` and subclasses of
`Tensor` do not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import warnings
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, overload

import attrs
import optree
import safetensors.torch
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import CheckpointError, ConfigurationError

T = TypeVar("T")
Json: TypeAlias = Any
PathLike: TypeAlias = str | os.PathLike[str]
Notes: TypeAlias = Mapping[str, str | int | float | bool]

FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_TENSORS: Final = "tensors.safetensors"
_CONTAINERS: Final[dict[str, type[Any]]] = {cls.__name__: cls for cls in (dict, OrderedDict, list, tuple, deque)}
_DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and dtype is not torch.complex128
}


class CheckpointWarning(UserWarning):
    """A damaged checkpoint that was passed over."""


def save(directory: PathLike, tree: Any, *, notes: Notes | None = None) -> Path:
    """Write `tree` to `directory`, wholly or not at all, and have it on disk on return.

    The files are written to a hidden sibling and renamed. A checkpoint already there is moved
    aside before and removed after the renaming, so a crash leaves the old or the new one, or
    (between the two renamings) the old one under `.NAME.replaced`; it never leaves a torn one.

    Args:
        directory: where to write; its parents are made.
        tree: any nesting of dict, OrderedDict (keys: str, int, bool), list, tuple, deque,
            NamedTuple and `@node` classes over tensors, int, float, bool, str and None.
        notes: plain data to keep beside it, such as versions; `notes` reads it.

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
    target = Path(directory)
    found: dict[str, Tensor] = {}
    structure = _describe(tree, "", found)
    body = {
        "format": FORMAT,
        "notes": {name: _describe(value, f"notes[{name!r}]", {}) for name, value in (notes or {}).items()},
        "tensors": {path: _summary(tensor) for path, tensor in found.items()},
        "tree": structure,
    }
    manifest = {"blake2b": _digest(_canonical(body)), **body}
    # safetensors refuses tensors that share memory or are not contiguous: give it copies.
    payload = safetensors.torch.save({path: _dense(tensor).clone() for path, tensor in found.items()})

    partial = target.with_name(f".{target.name}.partial")
    replaced = target.with_name(f".{target.name}.replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _write(partial / _TENSORS, payload)
    _write(partial / _MANIFEST, json.dumps(manifest, indent=1, allow_nan=False).encode())
    _sync(partial)
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    partial.rename(target)
    _sync(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return target


@overload
def load(directory: PathLike) -> Any: ...
@overload
def load(directory: PathLike, like: T, *, free: Sequence[str] = ()) -> T: ...
def load(directory: PathLike, like: Any = None, *, free: Sequence[str] = ()) -> Any:
    """Read the tree that `save` wrote to `directory`, after verifying every byte of meaning.

    Without `like`, tensors come back on the CPU. With it, the tree must have its structure,
    shapes and dtypes, and each tensor goes to the device of its counterpart.

    Args:
        directory: what `save` was given.
        like: a tree of the structure that is expected, such as a freshly initialised state. It
            is also where NamedTuple classes are found.
        free: paths of sub-trees that may differ from `like`'s, e.g. `[".scores", ".tracker"]`,
            because they grow. Their tensors go where the others saved from their device went.

    Raises:
        CheckpointError: a file that is missing, truncated, altered or of another format; a class
            that is not registered; or, one line a path, what differs from `like`.
    """
    body, tensors = _read(Path(directory))
    return _rebuild(Path(directory), body, tensors, like, free)


def notes(directory: PathLike) -> dict[str, Any]:
    """Read the notes that were saved with a checkpoint."""
    described: Json = _read_manifest(Path(directory))["notes"]
    return {name: _build(value, {}, {}, str(directory)) for name, value in described.items()}


@attrs.frozen
class Checkpoints:
    """The checkpoints of one run: `DIRECTORY/epoch_000005`, and so on.

    Args:
        directory: what holds them.
        keep_last: how many to keep, the newest; by default all of them.

    Raises:
        ConfigurationError: `keep_last` is below 1.
    """

    directory: Path = attrs.field(converter=Path)
    keep_last: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.keep_last is not None and self.keep_last < 1:
            raise ConfigurationError(
                "is too small", where="Checkpoints.keep_last", expected="at least 1", got=self.keep_last
            )

    def save(self, epoch: int, tree: Any, *, notes: Notes | None = None) -> Path:
        """Write the checkpoint of `epoch`, then remove those before it that are not kept."""
        path = save(self.directory / f"epoch_{epoch:06d}", tree, notes=notes)
        if self.keep_last is not None:
            for old in [each for each in self.epochs() if each <= epoch][: -self.keep_last]:
                shutil.rmtree(self.directory / f"epoch_{old:06d}")
        return path

    def epochs(self) -> list[int]:
        """List the epochs that have a checkpoint, in order."""
        names = (entry.name for entry in self.directory.glob("epoch_*"))
        return sorted(int(name.removeprefix("epoch_")) for name in names if re.fullmatch(r"epoch_\d{6,}", name))

    @overload
    def latest(self) -> tuple[int, Any] | None: ...
    @overload
    def latest(self, like: T, *, free: Sequence[str] = ()) -> tuple[int, T] | None: ...
    def latest(self, like: Any = None, *, free: Sequence[str] = ()) -> tuple[int, Any] | None:
        """Read the newest checkpoint that is whole, with its epoch; None when there is none.

        A damaged one is named in a `CheckpointWarning` and passed over. One that is whole but
        does not fit `like` (see `load`) is an error.
        """
        for epoch in reversed(self.epochs()):
            directory = self.directory / f"epoch_{epoch:06d}"
            try:
                body, tensors = _read(directory)
            except CheckpointError as error:
                warnings.warn(f"passed over a damaged checkpoint: {error}", CheckpointWarning, stacklevel=2)
            else:
                return epoch, _rebuild(directory, body, tensors, like, free)
        return None


def _describe(value: Any, path: str, tensors: dict[str, Tensor]) -> Json:
    """Put a tree into JSON, its tensors into `tensors` by path.

    Plain data stands for itself, a non-finite float is `{"float": "nan"}`, a tensor
    `{"tensor": path}`, and a container `{KIND: [[key, child], ...]}`.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_meta or value.dtype not in _DTYPES.values():
            raise CheckpointError(
                "cannot be saved",
                where=path,
                expected="a dense tensor, not complex128, on a device",
                got=f"{trees.describe(value)}, {value.layout}, on {value.device}",
            )
        tensors[path] = value
        return {"tensor": path}
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    kind, items = _open(value, path)
    return {kind: [[key, _describe(child, f"{path}{entry}", tensors)] for key, entry, child in items]}


def _open(value: Any, path: str) -> tuple[str, list[tuple[Json, str, Any]]]:
    """List a container's children: key, what the key adds to the path, child."""
    cls: Any = type(value)
    kind = _name(cls)
    if isinstance(value, dict) and cls in _CONTAINERS.values():
        if unfit := [key for key in value if type(key) not in (str, int, bool)]:
            where = path or "the tree"
            raise CheckpointError("has keys that cannot be saved", where=where, expected="str, int or bool", got=unfit)
        return cls.__name__, [(key, f"[{key!r}]", child) for key, child in value.items()]
    if cls in _CONTAINERS.values() and getattr(value, "maxlen", None) is None:
        return cls.__name__, [(index, f"[{index}]", child) for index, child in enumerate(value)]
    if trees.NODES.get(kind) is cls or (isinstance(value, tuple) and hasattr(cls, "_fields")):
        names = cls._fields if isinstance(value, tuple) else [field.name for field in attrs.fields(cls)]
        return kind, [(name, f".{name}", getattr(value, name)) for name in names]
    raise CheckpointError(
        "cannot be saved",
        where=path or "the tree",
        expected="tensors, int, float, bool, str or None in dict, list, tuple, deque, NamedTuple or @node classes",
        got=trees.describe(value),
        fix="make its class a node with trees.node, or keep it out of the tree",
    )


def _build(described: Json, tensors: Mapping[str, Tensor], named_tuples: Mapping[str, Any], where: str) -> Any:
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    items = [(key, _build(child, tensors, named_tuples, where)) for key, child in content]
    if (container := _CONTAINERS.get(kind)) is not None:
        return container(items if issubclass(container, dict) else (child for _, child in items))
    if kind in named_tuples:
        return named_tuples[kind](**dict(items))
    if kind not in trees.NODES:
        raise CheckpointError(
            f"holds a {kind}, a class that is not registered here",
            where=where,
            fix="import the module that defines the node; for a NamedTuple, pass a `like` that holds one",
        )
    cls: Any = trees.NODES[kind]
    values = dict(items)
    aliases = {field.name: field.alias for field in attrs.fields(cls)}
    if aliases.keys() != values.keys():
        raise CheckpointError(
            f"was saved from another definition of {kind}",
            where=where,
            expected=f"fields {', '.join(aliases)}",
            got=f"fields {', '.join(values)}",
        )
    return cls(**{aliases[name]: value for name, value in values.items()})


def _rebuild(where: Path, body: Json, tensors: dict[str, Tensor], like: Any, free: Sequence[str]) -> Any:
    if like is None:
        return _build(body["tree"], tensors, {}, str(where))
    homes = {path: leaf.device for path, leaf in trees.named_leaves(like).items() if isinstance(leaf, Tensor)}
    saved = {path: summary["device"] for path, summary in body["tensors"].items()}
    # Leaves without a counterpart follow those that were saved from the same device.
    moved = {saved[path]: device for path, device in homes.items() if path in saved}
    placed = {path: leaf.to(homes.get(path, moved.get(saved[path], leaf.device))) for path, leaf in tensors.items()}
    tree = _build(body["tree"], placed, _named_tuples(like), str(where))

    expected, got = _containers(like), _containers(tree)
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


def _containers(value: Any, path: str = "") -> dict[str, str]:
    """Map paths to what the leaves do not tell: container kinds, None, and static fields."""
    if value is None:
        return {path: "None"}
    if isinstance(value, Tensor | int | float | str):
        return {}
    kind, items = _open(value, path)
    found = {path: kind}
    fields = attrs.fields(type(value)) if kind in trees.NODES else ()
    static = {field.name for field in fields if trees.STATIC.items() <= field.metadata.items()}
    for key, entry, child in items:
        found |= {path + entry: repr(child)} if key in static else _containers(child, path + entry)
    return found


def _named_tuples(tree: Any) -> dict[str, type]:
    found: dict[str, type] = {}

    def note(value: Any) -> bool:
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            found[_name(type(value))] = type(value)
        return False

    optree.tree_leaves(tree, is_leaf=note, namespace=trees.NAMESPACE)
    return found


def _read_manifest(directory: Path) -> Json:
    path = directory / _MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        declared = manifest.pop("blake2b")
        version = manifest["format"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _damaged(path, "a JSON manifest", error) from error
    if version != FORMAT:
        raise CheckpointError(
            "is of another format", where=str(path), expected=f"format {FORMAT}", got=f"format {version}"
        )
    if _digest(_canonical(manifest)) != declared:
        raise _damaged(path, f"contents of digest {declared}", "others")
    return manifest


def _read(directory: Path) -> tuple[Json, dict[str, Tensor]]:
    """Read and verify both files."""
    body = _read_manifest(directory)
    path = directory / _TENSORS
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except Exception as error:  # safetensors raises several kinds, some of them bare
        raise _damaged(path, "a safetensors file", error) from error
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


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _canonical(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):  # a directory cannot be opened on Windows
        descriptor = os.open(directory, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
