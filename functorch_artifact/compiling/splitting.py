"""Splitting: a step's graph as what the device computes and what the host counts.

Belongs here: parting the two, lifting constants of the host to the device, refusing what cannot be
parted. Does not: the memory that the device's part runs over (`compiling.graphs`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, fx

from functorch_artifact import trees
from functorch_artifact.compiling import lowering
from functorch_artifact.compiling.recording import RecordingError


@attrs.frozen(eq=False)
class Parts:
    """A step's graph in two; places count the leaves of what moves of the state, then those of the batch."""

    recorded: fx.GraphModule
    arguments: list[int]  # of the recorded part, places
    results: list[int]  # of it, places among the step's results
    counted: lowering.Flat  # from the counters to the next ones


def split(module: fx.GraphModule, counters: Sequence[int], names: Sequence[str], device: torch.device) -> Parts:
    """Part a step's graph into what a device computes and what the host counts.

    Args:
        module: the graph; its results begin with what its arguments begin with, a step later.
        counters: the places of the counters, among arguments and results.
        names: of the arguments, for those who read errors.
        device: where all the rest is to be.

    Raises:
        RecordingError: the two are entangled, or something else than the counters is elsewhere.
    """
    rest = [place for place in range(len(lowering.results(module))) if place not in counters]
    recorded = _without(module, rest, counters, names)
    _lift_constants(recorded, device)
    arguments = [place for place in range(len(names)) if place not in counters]
    for place, node in zip(arguments, recorded.graph.find_nodes(op="placeholder"), strict=True):
        if (found := node.meta["val"].device) != device and node.users:
            raise RecordingError(f"{names[place]} is on {found}, the parameters are on {device}")
    for node in lowering.results(recorded):
        if not isinstance(node, fx.Node):
            raise RecordingError(f"its output holds {node!r}, which is no tensor")
        if (found := node.meta["val"].device) != device:
            raise RecordingError(f"a result of it is on {found}: {node.target}")
    return Parts(recorded, arguments, rest, lowering.replay(_counting(module, counters)))


def _without(
    module: fx.GraphModule, results: Sequence[int], counters: Sequence[int], names: Sequence[str]
) -> fx.GraphModule:
    """Copy a graph without some of its arguments, and with some of its results alone."""
    graph = fx.Graph()
    every: list[Any] = list(graph.graph_copy(module.graph, {}))  # type: ignore[arg-type]
    graph.output([every[place] for place in results])
    graph.eliminate_dead_code()
    placeholders = graph.find_nodes(op="placeholder")
    for place in counters:
        if placeholders[place].users:
            raise RecordingError(f"it computes with {names[place]}, which the host counts")
        graph.erase_node(placeholders[place])
    return fx.GraphModule(module, graph)


def _counting(module: fx.GraphModule, counters: Sequence[int]) -> fx.GraphModule:
    """Copy of a graph what leads from the counters to the next ones."""
    results = [lowering.results(module)[place] for place in counters]
    wanted: set[fx.Node] = set()
    ahead = list(results)
    while ahead:
        node = ahead.pop()
        if node not in wanted:
            wanted.add(node)
            ahead += node.all_input_nodes
    given = [module.graph.find_nodes(op="placeholder")[place] for place in counters]
    if strange := [node.name for node in wanted if node.op != "call_function" and node not in given]:
        raise RecordingError(f"its counters depend on {strange[0]}")
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node in given or node in wanted:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output([copies[node] for node in results])
    return fx.GraphModule(module, graph)


def _lift_constants(module: fx.GraphModule, device: torch.device) -> None:
    """Compute on the host, once, what is computed there and never changes, and keep it on the device."""
    if device.type == "cpu":
        return
    graph = module.graph
    known: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = getattr(module, str(node.target))
            if isinstance(value, Tensor) and value.device.type == "cpu":
                known[node] = value.detach().clone()
        elif node.op == "call_function" and any(each.device.type == "cpu" for each in _values(node)):
            if lowering.random(node) or not all(each in known for each in node.all_input_nodes):
                raise RecordingError(f"{node.target} is computed on the host, and may differ from step to step")
            operation: Any = node.target
            args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = operation(*args, **kwargs)
        else:
            for constant in [each for each in node.all_input_nodes if each in known]:
                _lift(module, node, constant, known[constant], device)
    for node in reversed(list(known)):
        if not node.users:
            graph.erase_node(node)
    module.recompile()


def _lift(module: fx.GraphModule, user: fx.Node, constant: fx.Node, value: Tensor, device: torch.device) -> None:
    name = f"_lifted_{constant.name}_{user.name}"
    module.register_buffer(name, value.clone().to(device))
    with module.graph.inserting_before(user):
        lifted = module.graph.get_attr(name)
    lifted.meta["val"] = constant.meta["val"].to(device) if "val" in constant.meta else getattr(module, name)
    user.replace_input_with(constant, lifted)


def _values(node: fx.Node) -> list[Tensor]:
    return trees.tensors(node.meta.get("val"))
