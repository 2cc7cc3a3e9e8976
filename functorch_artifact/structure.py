"""Trees as data: the structure as JSON, the tensors by path, and back, without running code.

Belongs here: turning a tree into data and data into a tree, and comparing what leaves do not tell.
Does not: files (`checkpoint`).
Floor 1.

A node class is looked up by name among those that `trees.node` has registered in this process, and
one of the library's own in its room; nothing else is imported, and nothing unpickled.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, TypeAlias

import attrs
import optree
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import CheckpointError

Json: TypeAlias = Any

_OWN: Final = f"{__package__}."
_CONTAINERS: Final[dict[str, type[Any]]] = {cls.__name__: cls for cls in (dict, OrderedDict, list, tuple, deque)}
_DTYPES: Final = {
    dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype) and dtype is not torch.complex128
}


def describe(value: Any, path: str, tensors: dict[str, Tensor]) -> Json:
    """Put a tree into JSON, its tensors into `tensors` by path.

    Plain data stands for itself, a non-finite float is `{"float": "nan"}`, a tensor
    `{"tensor": path}`, and a container `{KIND: [[key, child], ...]}`.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_meta or value.dtype not in _DTYPES:
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
    return {kind: [[key, describe(child, f"{path}{entry}", tensors)] for key, entry, child in items]}


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


def build(described: Json, tensors: Mapping[str, Tensor], classes: Mapping[str, Any], where: str) -> Any:
    """Put a tree together again from what `describe` made of it; NamedTuple classes are given.

    Raises:
        CheckpointError: a class is not registered here, or has other fields here.
    """
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "float":
        return float(content)
    if kind == "tensor":
        return tensors[content]
    items = [(key, build(child, tensors, classes, where)) for key, child in content]
    if (container := _CONTAINERS.get(kind)) is not None:
        return container(items if issubclass(container, dict) else (child for _, child in items))
    if kind in classes:
        return classes[kind](**dict(items))
    if kind not in trees.NODES and kind.startswith(_OWN):
        with suppress(ImportError):
            import_module(kind.rpartition(".")[0])  # of a room that nobody has asked for yet
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


def containers(value: Any, path: str = "") -> dict[str, str]:
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
        found |= {path + entry: repr(child)} if key in static else containers(child, path + entry)
    return found


def named_tuples(tree: Any) -> dict[str, type]:
    """Find the NamedTuple classes of a tree, by name."""
    found: dict[str, type] = {}

    def note(value: Any) -> bool:
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            found[_name(type(value))] = type(value)
        return False

    optree.tree_leaves(tree, is_leaf=note, namespace=trees.NAMESPACE)
    return found


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
