"""Lowering: from a function of tensors to a flat graph, and from a graph to generated code.

Belongs here: tracing with `make_fx`, tidying graphs, code by Inductor and where it is kept between
processes. This is the one place that touches torch's unstable interfaces for that. Does not: what
the function computes (`step`), which graphs are worth it (`compiling`).
Floor 5.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from functorch_artifact import trees

Flat: TypeAlias = Callable[[list[Any]], Sequence[Any]]
"""From a list of tensors, which it may empty, to the results."""

# Torch's own random numbers, to the bit. The wrapper in C++ would be 10 % faster, and has crashed.
_INDUCTOR = {"fallback_random": True, "cpp_wrapper": False, "triton.cudagraphs": False}


def capture(function: Callable[..., Sequence[Tensor]], leaves: Sequence[Tensor]) -> fx.GraphModule:
    """Trace a function of tensors into a flat graph of torch's operations, gradients included.

    It is traced over fake tensors, so that reading a value fails. Over real ones it would succeed,
    and the value would stand in the graph for ever.

    Raises:
        TypeError: an argument is not a tensor.
        Exception: whatever torch raises where the function reads a value.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # costs as much to import as all of us

    if not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise TypeError("it has arguments that are not tensors")
    with _without_onednn():
        module = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*leaves)
    _tidy(module.graph)
    module.recompile()
    return module


def n_operations(module: fx.GraphModule) -> int:
    """Count the operations of a graph."""
    return sum(node.op == "call_function" for node in module.graph.nodes)


def draws(module: fx.GraphModule) -> bool:
    """Tell whether a graph draws random numbers."""
    return any(torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in module.graph.nodes)


def write_back(module: fx.GraphModule, places: Sequence[int | None]) -> fx.GraphModule:
    """Make a graph to generate code from, whose results are written into its arguments.

    Args:
        module: the graph.
        places: for each result the argument that it goes into, or None for those still returned.
    """
    graph = fx.Graph()
    copied: dict[fx.Node, Any] = {}
    results: list[Any] = list(graph.graph_copy(module.graph, copied))  # type: ignore[arg-type]
    arguments = graph.find_nodes(op="placeholder")
    moves = {
        index: arguments[place]
        for index, place in enumerate(places)
        if place is not None and results[index] is not arguments[place]
    }
    written = {_memory(argument) for argument in moves.values()}
    for index, result in enumerate(results):
        if (index in moves or places[index] is None) and _memory(result) in written:
            # It is, or views, an argument that is about to be written to.
            results[index] = graph.call_function(torch.ops.aten.clone.default, (result,))
            results[index].meta["val"] = result.meta.get("val")
    for index, argument in moves.items():
        stored = graph.call_function(torch.ops.aten.copy_.default, (argument, results[index]))
        stored.meta["val"] = argument.meta.get("val")
    graph.output([result for result, place in zip(results, places, strict=True) if place is None])
    _fix_noise(graph)
    written_back = fx.GraphModule(module, graph)
    for node in graph.find_nodes(op="get_attr"):
        # A constant. As a parameter or a buffer of the module it would be taken for an argument.
        delattr(written_back, node.target)
        written_back.__dict__[node.target] = getattr(module, node.target).detach()
    return written_back


def replay(module: fx.GraphModule) -> Flat:
    """Run a graph operation by operation; each value is freed after its last use, arguments too."""
    from torch.fx.graph import _BoxedCodeGen

    _bind(module.graph)
    module.graph.set_codegen(_BoxedCodeGen())
    module.recompile()
    return module.forward


def generate(module: fx.GraphModule, leaves: Sequence[Tensor]) -> tuple[Flat, bool]:
    """Compile a graph with Inductor, or find it compiled by an earlier process.

    Returns:
        The compiled function, and whether it was found.

    Raises:
        Exception: whatever torch raises: an operation that it cannot compile, no C++ compiler.
    """
    path = kept(module)
    keepable = not module.graph.find_nodes(op="get_attr")  # what is loaded has lost its constants
    with contextlib.suppress(Exception):  # a file of another version, or damaged, is made again
        from torch._inductor.standalone_compile import CompiledArtifact

        if not keepable:
            raise LookupError
        with _quiet():
            found = CompiledArtifact.load(path=str(path), format="binary")
        return lambda arguments: found(*arguments), True
    try:
        from torch._inductor.standalone_compile import standalone_compile
    except ImportError:
        compiled = torch.compile(module, fullgraph=True, dynamic=False, options=dict(_INDUCTOR))
        return lambda arguments: compiled(*arguments), False
    with _quiet():
        made = standalone_compile(
            module, list(leaves), dynamic_shapes="from_graph", options={"config_patches": dict(_INDUCTOR)}, aot=keepable
        )
        with contextlib.suppress(Exception):  # a graph that cannot be kept is compiled by each process
            if keepable:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.save(path=str(path), format="binary")
    return lambda arguments: made(*arguments), False


def kept(module: fx.GraphModule) -> Path:
    """Name the file that a compiled graph is kept in, after all that its code depends on."""
    total = hashlib.blake2b(digest_size=16)
    for node in module.graph.nodes:
        total.update(repr((node.op, node.name, str(node.target), node.args, node.kwargs)).encode())
        for value in trees.tensors(node.meta.get("val")):
            total.update(repr((trees.describe(value), value.stride(), value.device)).encode())
        if node.op == "get_attr":
            total.update(trees.digest(getattr(module, str(node.target))).encode())
    settings = (
        torch.__version__,
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
        torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        _INDUCTOR,
    )
    total.update(repr(settings).encode())
    base = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "functorch_artifact" / total.hexdigest()


def _tidy(graph: fx.Graph) -> None:
    """Drop what only autograd needed: detached aliases, matrices transposed twice, dead code."""
    aten = torch.ops.aten
    for node in graph.nodes:
        if node.target == aten.detach.default:
            node.replace_all_uses_with(node.args[0])
        elif node.target == aten.t.default and node.args[0].target == aten.t.default:
            node.replace_all_uses_with(node.args[0].args[0])
    graph.eliminate_dead_code()


def _bind(graph: fx.Graph) -> None:
    """Call operations by torch's own functions, where these take the same arguments: that is faster."""
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten":
            name = node.target._schema.name.removeprefix("aten::")
            bindings: Any = torch._C
            homes = (bindings._VariableFunctions, bindings._nn, torch.Tensor)
            function: Any = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
            with contextlib.suppress(Exception):  # it takes others
                function(*args, **kwargs)
                node.target = function


def _fix_noise(graph: fx.Graph) -> None:
    """Draw dropout's masks in the order of eager torch, which is that of their memory.

    A mask has the layout of what it is for; Inductor may choose another, and others would drop out.
    """
    aten = torch.ops.aten
    for node in list(graph.nodes):
        value = node.meta.get("val")
        if node.target != aten.bernoulli_.float or value.is_contiguous():
            continue
        order = sorted(range(value.ndim), key=lambda axis: (-value.stride(axis), axis))
        flat = value.permute(order)
        if not flat.is_contiguous():  # it has gaps
            continue
        back = sorted(range(value.ndim), key=order.__getitem__)
        with graph.inserting_before(node):
            kind = {"dtype": value.dtype, "device": value.device}
            made = graph.call_function(aten.empty.memory_format, (list(flat.shape),), kind)
            drawn = graph.call_function(node.target, (made, *node.args[1:]))
            mask = graph.call_function(aten.permute.default, (drawn, back))
            made.meta["val"] = drawn.meta["val"] = flat
            mask.meta["val"] = value
        node.args[0].replace_all_uses_with(mask)
        node.replace_all_uses_with(mask)
        graph.erase_node(node)
    graph.eliminate_dead_code()


def _memory(node: Any) -> int | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    # Its recurrent layers trace, but do not run.
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # Inductor's remarks on itself
        yield
