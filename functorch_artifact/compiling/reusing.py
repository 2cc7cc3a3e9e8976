"""Reusing: a captured graph that writes over memory of no more use.

Belongs here: finding where an operation can be its own in-place twin. Does not: whether anybody else
holds what is written over (`compiling.donation`).
Floor 5.

An in-place operation runs the same kernel, to the same bits. It saves memory, and the time to fetch
more of it. An argument that was donated, and each value in between, may be written over by the last
operation that reads it.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from functorch_artifact.compiling import lowering

_CLONE = torch.ops.aten.clone.default


def reuse(module: fx.GraphModule, donated: Collection[int]) -> list[int]:
    """Replace operations by their in-place twins, and copies by what they are of, where nothing reads it later.

    Args:
        module: the graph, which is changed.
        donated: the arguments that may be written over.

    Returns:
        Those that are.
    """
    graph, written = module.graph, set()
    _advance(graph)
    arguments = graph.find_nodes(op="placeholder")
    memory = _Memory(graph, {arguments[place] for place in donated})
    for index, node in enumerate(list(graph.nodes)):
        changed: set[int] = set()
        if node.target == _CLONE and memory.may_end([node.args[0]], [node], index):
            changed = memory.join([node.args[0]], [node])
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif (twin := _twin(node)) is not None:
            old, new = _listed(node.args[0]), _results(node)
            if memory.may_end(old, new, index) and not memory.overlaps(old, node):
                changed = memory.join(old, new)
                with graph.inserting_before(node):
                    graph.call_function(twin, node.args, node.kwargs)
                for before, after in zip(old, new, strict=True):
                    after.replace_all_uses_with(before)
                for each in dict.fromkeys([*new, node]):
                    graph.erase_node(each)
        written |= changed
    module.recompile()
    return sorted(place for place in donated if memory.of(arguments[place]) & written)


def _advance(graph: fx.Graph) -> None:
    """Move what is computed with a list of tensors to behind the last other operation on their memory.

    So an optimizer uses up gradients as they come, and the memory of one serves the next.
    """
    nodes = list(graph.nodes)
    first = len(graph.find_nodes(op="placeholder"))
    places: dict[fx.Node, tuple[int, ...]] = {node: (index,) for index, node in enumerate(nodes)}
    for index, node in enumerate(nodes):  # the numbers of a step, which lists take as well
        if _is_number(node) and all(places[read][0] <= first for read in node.all_input_nodes):
            places[node] = (first, index)
    spaces = [_wide(node) for node in nodes]
    chains: list[tuple[set[int], list[int]]] = []  # memory that operations on lists share, and these
    for index, node in enumerate(nodes):
        if _is_listed(node):
            shared = [chain for chain in chains if chain[0] & spaces[index]]
            chains = [chain for chain in chains if chain not in shared]
            joined = sorted(each for _, members in shared for each in members)
            chains.append((spaces[index].union(*(chain[0] for chain in shared)), [*joined, index]))
    for space, members in chains:
        inside = {nodes[index] for index in members}
        others = [i for i, node in enumerate(nodes[: members[-1]]) if node not in inside and spaces[i] & space]
        taken = [places[read] for node in inside for read in node.all_input_nodes if read not in inside]
        behind = max([*((i,) for i in others), *taken], default=(first,))
        if behind < (members[0],):
            places |= {nodes[index]: (*behind, index) for index in members}
    end = graph.output_node()
    for node in sorted(nodes, key=places.__getitem__)[:-1]:
        end.prepend(node)


def _is_listed(node: fx.Node) -> bool:
    """Tell whether an operation is on lists, or takes a tensor out of what one gave."""
    made: Any = node.args[0] if node.target is operator.getitem else node
    return isinstance(made.target, torch._ops.OpOverload) and made.target._schema.name.startswith("aten::_foreach_")


def _is_number(node: fx.Node) -> bool:
    """Tell whether an operation gives a number and does nothing besides."""
    if not isinstance(node.target, torch._ops.OpOverload) or lowering.random(node) or node.target._schema.is_mutable:
        return False
    return [each.ndim for each in _tensors(node)] == [0]


def _wide(node: fx.Node) -> set[int]:
    """Name the memory that an operation reads or gives, but for numbers."""
    values = [value for each in (node, *node.all_input_nodes) for value in _tensors(each) if value.ndim]
    return {value.untyped_storage()._cdata for value in values}


class _Memory:
    """What each value of a graph occupies, and when that is read last."""

    def __init__(self, graph: fx.Graph, donated: Collection[fx.Node]) -> None:
        self.joined: dict[int, int] = {}  # from memory that is no longer taken, to what is taken instead
        self.last: dict[int, int] = {}
        self.kept: set[int] = set()
        for index, node in enumerate(graph.nodes):
            if node.op in ("placeholder", "get_attr") and node not in donated:
                self.kept |= self.of(node)
            for read in node.all_input_nodes:
                self.last |= dict.fromkeys(self.of(read), index)

    def of(self, node: fx.Node) -> set[int]:
        """Name the memory of a value; a list of tensors has several."""
        return {self._final(tensor.untyped_storage()._cdata) for tensor in _tensors(node)}

    def may_end(self, old: Sequence[Any], new: Sequence[fx.Node], index: int) -> bool:
        """Tell whether values can be written over at this place of the graph by others of the same form."""
        if not old or len(old) != len(new) or not all(isinstance(each, fx.Node) for each in old):
            return False
        spaces = [space for each in old for space in self.of(each)]
        return (
            len(set(spaces)) == len(old)
            and not self.kept & set(spaces)
            and all(self.last.get(space, index) <= index for space in spaces)
            and all(_form(one) is not None and _form(one) == _form(other) for one, other in zip(old, new, strict=True))
        )

    def overlaps(self, old: Sequence[fx.Node], node: fx.Node) -> bool:
        """Tell whether an operation reads what it would write to elsewhere than it writes to it."""
        spaces = {space for each in old for space in self.of(each)}
        for argument in (*node.args[1:], *node.kwargs.values()):
            for position, each in enumerate(_listed(argument)):
                if isinstance(each, fx.Node) and self.of(each) & spaces and each is not old[position % len(old)]:
                    return True
        return False

    def join(self, old: Sequence[fx.Node], new: Sequence[fx.Node]) -> set[int]:
        """Note that values are in the memory of others from now on; name that."""
        taken = set()
        for before, after in zip(old, new, strict=True):
            (place,), (left,) = self.of(before), self.of(after)
            if left != place:
                self.last[place] = max(self.last.get(place, 0), self.last.get(left, 0))
                self.joined[left] = place
            taken.add(place)
        return taken

    def _final(self, space: int) -> int:
        while space in self.joined:
            space = self.joined[space]
        return space


def _twin(node: fx.Node) -> Any:
    """Find the in-place operation of the same arithmetic, element by element."""
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten" or not node.args:
        return None
    name = target._schema.name.removeprefix("aten::")
    if torch.Tag.pointwise not in target.tags and not name.startswith("_foreach_"):
        return None
    if target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags:
        return None
    twin = getattr(getattr(torch.ops.aten, f"{name}_", None), target._overloadname, None)
    if twin is None or len(twin._schema.arguments) != len(target._schema.arguments):
        return None
    writes = [argument.alias_info is not None and argument.alias_info.is_write for argument in twin._schema.arguments]
    return twin if writes[0] and not any(writes[1:]) else None


def _results(node: fx.Node) -> list[fx.Node]:
    """List the values that an operation gives; none, if one is not looked at, or all are at once."""
    if isinstance(node.meta.get("val"), Tensor):
        return [node]
    places = {user.args[1]: user for user in node.users if user.target is operator.getitem}
    complete = len(places) == len(node.users) == len(node.meta.get("val") or ())
    return [places[index] for index in range(len(places))] if complete else []


def _listed(argument: Any) -> list[Any]:
    return list(argument) if isinstance(argument, list | tuple) else [argument]


def _tensors(node: fx.Node) -> list[Tensor]:
    return [each for each in _listed(node.meta.get("val")) if isinstance(each, Tensor)]


def _form(node: fx.Node) -> tuple[Any, ...] | None:
    """Describe a tensor that occupies its memory without gaps or overlaps."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    step = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size != 1 and stride != step:
            return None
        step *= size
    return (value.dtype, tuple(value.shape), value.stride(), value.device)
