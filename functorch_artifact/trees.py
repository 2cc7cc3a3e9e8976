"""Immutable pytrees: how our classes become nodes, and typed operations over any tree.

Belongs here: registration, mapping, paths, structural comparison, digests, placement.
Does not: what the trees mean (states, batches, records).
Floor 0.

A tree is any nesting of dict, list, tuple, NamedTuple, OrderedDict, deque and `@node`
classes. Leaves are tensors, or plain data (int, float, bool, str). `None` is structure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

import attrs
import optree
import torch
import torch.utils._pytree as torch_pytree
from torch import Tensor

from functorch_artifact.errors import TreeError

T = TypeVar("T")

NAMESPACE: Final = "functorch_artifact"
_STATIC_KEY: Final = "functorch_artifact.static"
STATIC: Final[dict[str, bool]] = {_STATIC_KEY: True}
"""Metadata that keeps a field out of the leaves: `n: int = attrs.field(metadata=STATIC)`."""
NODES: Final[dict[str, type]] = {}
"""Every class that `node` has registered, by `module.qualname`: what a checkpoint may rebuild."""


def node(cls: type[T]) -> type[T]:
    """Register a frozen attrs class as a pytree node, for optree and for `torch.func`.

    Stack it over `@attrs.frozen(eq=False)`. Every field is a child, unless its metadata is
    `STATIC`: then it is part of the structure and must be hashable. Instances can be built and
    evolved (`attrs.evolve`) inside `torch.compile(fullgraph=True)` and under `vmap`.

    Raises:
        TreeError: the class is not a frozen attrs class, generates `==` (which on tensors
            returns tensors), or validates or converts (unflattening calls the constructor with
            placeholders).

    Example:
        >>> import attrs, torch
        >>> from functorch_artifact import trees
        >>> @trees.node
        ... @attrs.frozen(eq=False)
        ... class Point:
        ...     x: torch.Tensor  # float32 []
        ...     y: torch.Tensor  # float32 []
        >>> trees.map(lambda t: t + 1, Point(torch.zeros(()), torch.ones(()))).y
        tensor(2.)
    """
    declared: type[Any] = cls
    if not attrs.has(declared) or "__setattr__" not in vars(cls):
        raise TreeError(
            "is not a frozen attrs class",
            where=cls.__qualname__,
            fix="decorate it with @node over @attrs.frozen(eq=False)",
        )
    fields = attrs.fields(declared)
    if any(field.eq for field in fields) and declared.__eq__ is not object.__eq__:
        raise TreeError(
            "has a generated ==, which on tensors returns a tensor",
            where=cls.__qualname__,
            fix="pass eq=False to @attrs.frozen",
        )
    for field in fields:
        if field.validator is not None or field.converter is not None:
            raise TreeError(
                "a node cannot validate or convert its fields: unflattening builds it from placeholders",
                where=f"{cls.__qualname__}.{field.name}",
                fix="check the value where it is made",
            )
    if hasattr(cls, "__attrs_post_init__"):
        raise TreeError(
            "a node cannot have __attrs_post_init__: unflattening builds it from placeholders",
            where=cls.__qualname__,
            fix="check the value where it is made",
        )
    _replace_init(cls, fields)
    NODES[f"{cls.__module__}.{cls.__qualname__}"] = cls

    children = tuple(f.name for f in fields if not f.metadata.get(_STATIC_KEY))
    static = tuple(f.name for f in fields if f.metadata.get(_STATIC_KEY))
    aliases = tuple(f.alias for f in fields if not f.metadata.get(_STATIC_KEY)) + tuple(
        f.alias for f in fields if f.metadata.get(_STATIC_KEY)
    )

    def flatten(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[str, ...]]:
        return (
            tuple(getattr(value, name) for name in children),
            tuple(getattr(value, name) for name in static),
            children,
        )

    def with_keys(value: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        return [(torch_pytree.GetAttrKey(name), getattr(value, name)) for name in children], flatten(value)[1]

    def unflatten(metadata: tuple[Any, ...], values: Iterable[Any]) -> Any:
        return cls(**dict(zip(aliases, (*values, *metadata), strict=True)))

    optree.register_pytree_node(
        cls,  # type: ignore[arg-type]
        flatten,
        unflatten,  # type: ignore[arg-type]
        path_entry_type=optree.GetAttrEntry,
        namespace=NAMESPACE,
    )
    # torch.func.grad and vmap only know torch's own registry.
    torch_pytree.register_pytree_node(
        cls,
        lambda value: (list(flatten(value)[0]), flatten(value)[1]),
        lambda values, metadata: unflatten(metadata, values),
        serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        flatten_with_keys_fn=with_keys,
    )
    return cls


def _replace_init(cls: type[Any], fields: Iterable[Any]) -> None:
    # Dynamo traces `object.__setattr__(self, 'x', x)` only when it is spelled exactly so; the
    # __init__ that attrs generates reaches it through a cached descriptor and fails to compile.
    scope: dict[str, Any] = {"_NOTHING": attrs.NOTHING}
    positional: list[str] = []
    keyword: list[str] = []
    body: list[str] = []
    for field in fields:
        name, default = field.alias, field.default
        target = keyword if field.kw_only else positional
        if default is attrs.NOTHING:
            target.append(name)
        elif hasattr(default, "takes_self"):  # an attrs.Factory
            scope[f"_factory_{name}"] = default.factory
            target.append(f"{name}=_NOTHING")
            body.append(f"if {name} is _NOTHING: {name} = _factory_{name}({'self' if default.takes_self else ''})")
        else:
            scope[f"_default_{name}"] = default
            target.append(f"{name}=_default_{name}")
        body.append(f"object.__setattr__(self, '{field.name}', {name})")
    source = "def __init__(self, {}):\n    {}\n".format(
        ", ".join([*positional, *(["*", *keyword] if keyword else [])]), "\n    ".join(body or ["pass"])
    )
    exec(compile(source, f"<node {cls.__qualname__}>", "exec"), scope)
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = dict(cls.__init__.__annotations__)
    cls.__init__ = init


def leaves(tree: Any) -> list[Any]:
    """List the leaves, in a fixed order (dict entries sorted by key)."""
    return optree.tree_leaves(tree, namespace=NAMESPACE)


def flatten(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """Split a tree into its leaves and its structure."""
    found, structure = optree.tree_flatten(tree, namespace=NAMESPACE)
    return found, structure


def unflatten(structure: optree.PyTreeSpec, values: Iterable[Any]) -> Any:
    """Build the tree of `structure` over `values`: the inverse of `flatten`."""
    return optree.tree_unflatten(structure, values)


def map(function: Callable[..., Any], tree: T, *rest: Any) -> T:
    """Apply `function` to every leaf (and the leaves at the same place in `rest`)."""
    return cast(T, optree.tree_map(function, cast(Any, tree), *rest, namespace=NAMESPACE))


def paths(tree: Any, root: str = "") -> list[str]:
    """List each leaf's path as the Python that reaches it, e.g. `state.params['w']`."""
    accessors, _, _ = optree.tree_flatten_with_accessor(tree, namespace=NAMESPACE)
    return [accessor.codify(root) for accessor in accessors]


def named_leaves(tree: Any, root: str = "") -> dict[str, Any]:
    """Map each leaf's path to the leaf."""
    return dict(zip(paths(tree, root), leaves(tree), strict=True))


def tensors(tree: Any) -> list[Tensor]:
    """List the leaves that are tensors."""
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


def map_tensors(function: Callable[[Tensor], Any], tree: T) -> T:
    """Apply `function` to the tensor leaves; plain data stays as it is."""
    return map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def select(condition: Tensor, new: T, old: T) -> T:
    """Take every tensor of `new` where the condition (bool []) holds, else of `old`, without reading it.

    Raises:
        TreeError: the two differ in structure, or have a leaf that is not a tensor.
    """
    leaves, structure = flatten(new)
    if structure != flatten(old)[1] or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise TreeError(
            "cannot be chosen between by a tensor", expected="two trees of tensors of one structure", got=structure
        )
    return map(lambda a, b: torch.where(condition.to(a.device), a, b), new, old)


def detach(tree: T) -> T:
    """Cut every tensor off the autograd graph, sharing its memory."""
    return map_tensors(Tensor.detach, tree)


def snapshot(tree: T) -> T:
    """Copy every tensor, so that nothing that happens to the original shows in the copy."""
    return map_tensors(lambda tensor: tensor.detach().clone(), tree)


def to_device(tree: T, device: torch.device | str, *, non_blocking: bool = False) -> T:
    """Place every tensor of a tree (any nesting) on `device`."""
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking), tree)


def n_examples(batch: Any) -> int:
    """Count the examples of a batch: the length of the first tensor leaf that has a dimension.

    A batch with no such tensor counts as one example.
    """
    for leaf in leaves(batch):
        if isinstance(leaf, Tensor) and leaf.ndim > 0:
            return int(leaf.shape[0])
    return 1


def describe(leaf: Any) -> str:
    """Say in a few words what a leaf is, e.g. `float32[3, 4]`."""
    if isinstance(leaf, Tensor):
        dtype = str(leaf.dtype).removeprefix("torch.")
        return f"{dtype}[{', '.join(str(size) for size in leaf.shape)}]"
    shape = getattr(leaf, "shape", None)  # of an array, or a table
    return f"{type(leaf).__name__} {leaf!r}" if not shape else f"{type(leaf).__name__} of shape {tuple(shape)}"


def differences(expected: Any, got: Any, root: str = "") -> list[str]:
    """List, one line a leaf, where two trees differ in structure, shape or dtype.

    Values are not compared. An empty list means that one can take the other's place.
    """
    left, right = named_leaves(expected, root), named_leaves(got, root)
    lines = [f"{path}: missing, expected {describe(leaf)}" for path, leaf in left.items() if path not in right]
    lines += [f"{path}: unexpected {describe(leaf)}" for path, leaf in right.items() if path not in left]
    for path in left.keys() & right.keys():
        a, b = left[path], right[path]
        both = isinstance(a, Tensor) and isinstance(b, Tensor)
        if (describe(a) != describe(b)) if both else (type(a) is not type(b)):
            lines.append(f"{path}: expected {describe(a)}, got {describe(b)}")
    one, other = flatten(expected)[1], flatten(got)[1]
    if not lines and one != other:
        return [f"{root or 'tree'}: expected the structure {one}, got {other}"]
    return sorted(lines)


def digest(tree: Any) -> str:
    """Hash a tree: paths, dtypes, shapes and every byte (BLAKE2b, 128 bits, hexadecimal).

    Equal digests mean bit-identical trees; NaN payloads and signed zeros count.
    """
    total = hashlib.blake2b(digest_size=16)
    for path, leaf in named_leaves(tree).items():
        total.update(path.encode())
        if isinstance(leaf, Tensor):
            total.update(describe(leaf).encode())
            flat = leaf.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            if len(flat):  # an empty tensor may have strides that `view` refuses
                total.update(flat.view(torch.uint8).numpy().data)
        else:
            total.update(repr(leaf).encode())
    return total.hexdigest()
