"""Lowering: from a function of tensors to a flat graph, and from a graph to generated code.

Belongs here: tracing with `make_fx`, tidying graphs, code by Inductor and where it is kept between
processes. This is the one place that touches torch's unstable interfaces for that. Does not: what
the function computes (`step`), which graphs are worth it (`compiling`).
Floor 5.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import torch
from torch import Tensor, fx

from functorch_artifact import keys, precision, trees
from functorch_artifact.optimizers import fused

Flat: TypeAlias = Callable[[list[Any]], Sequence[Any]]
"""From a list of tensors, which it may empty, to the results. It notes nothing for autograd."""

_INDUCTOR = {
    "fallback_random": True,  # torch's own random numbers, to the bit
    "triton.cudagraphs": False,
    "size_asserts": False,  # a step's signature has been looked at
    "alignment_asserts": False,
    "unroll_reductions_threshold": 17,  # a sum of so few is vectorized along another axis
    "reorder_for_peak_memory": False,  # noise is drawn in the order of eager torch
}

# Not on the CPU alone: before torch 2.13 it fails where operations on lists are among what it reorders.
_ELSEWHERE = {"loop_ordering_after_fusion": False}

_FEW, _MANY = 1024, 16  # values that are computed beforehand for loops over at least so many times as many


def capture(
    function: Callable[..., Sequence[Tensor]],
    leaves: Sequence[Tensor],
    decompositions: Mapping[Any, Callable[..., Any]] | None = None,
) -> fx.GraphModule:
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
    # With threads, the gradients of tensors on a GPU would be computed by one that does not trace.
    with _without_onednn(), _unlogged(), torch.autograd.set_multithreading_enabled(False):
        tracer = make_fx(function, dict(decompositions or {}), tracing_mode="fake", _allow_non_fake_inputs=True)
        module = tracer(*leaves)
    _tidy(module.graph)
    module.recompile()
    return module


def in_single_operations(module: fx.GraphModule, leaves: Sequence[Tensor]) -> fx.GraphModule:
    """Trace a graph again without the fused kernels that its functions called; a compiler fuses by itself."""
    if any(node.target in fused.DECOMPOSITIONS for node in module.graph.nodes):
        return capture(lambda *given: module(*given), leaves, fused.DECOMPOSITIONS)
    return module


def n_operations(module: fx.GraphModule) -> int:
    """Count the operations of a graph."""
    return sum(node.op == "call_function" for node in module.graph.nodes)


def results(module: fx.GraphModule) -> list[Any]:
    """List the nodes that a graph returns."""
    returned: Any = module.graph.output_node().args[0]
    return list(returned)


def draws(module: fx.GraphModule) -> bool:
    """Tell whether a graph draws random numbers."""
    return any(map(random, module.graph.nodes))


def random(node: fx.Node) -> bool:
    """Tell whether an operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def passed(module: fx.GraphModule, written: Collection[int]) -> frozenset[int]:
    """Find the results of a graph that are, or view, arguments which nothing is written into."""
    arguments = module.graph.find_nodes(op="placeholder")
    kept = {_memory(argument) for place, argument in enumerate(arguments) if place not in written}
    return frozenset(place for place, result in enumerate(results(module)) if _memory(result) in kept)


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
    returned = [result for result, place in zip(results, places, strict=True) if place is None]
    graph.output(returned + [number for number in _numbers(graph) if number not in returned])
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
    return _without_autograd(module.forward)


def generate(module: fx.GraphModule, leaves: Sequence[Tensor]) -> tuple[Flat, bool]:
    """Compile a graph with Inductor, or find it compiled by an earlier process.

    Returns:
        The compiled function, and whether it was found. What it returns beyond the graph's results is
        of no interest.

    Raises:
        Exception: whatever torch raises: an operation that it cannot compile, no C++ compiler.
    """
    path, on_cpu = kept(module), all(leaf.is_cpu for leaf in leaves)
    make, load = (_package, _load_package) if on_cpu else (_artifact, _load_artifact)
    with _quiet():
        with contextlib.suppress(Exception):  # a file of another version, or damaged, is made again
            return load(path), True
        with tempfile.TemporaryDirectory() as folder, _remembering_writes():
            made = Path(folder) / "step.pt2"
            try:
                run = make(module, leaves, made)
            except Exception:
                return _compiled(module, leaves), False
            with contextlib.suppress(OSError):  # what cannot be kept is compiled by each process
                path.parent.mkdir(parents=True, exist_ok=True)
                draft = path.with_suffix(f".{os.getpid()}")
                draft.write_bytes(made.read_bytes())
                draft.replace(path)
            return run, False


def _package(module: fx.GraphModule, leaves: Sequence[Tensor], path: Path) -> Flat:
    """Generate C++ for a graph on the CPU, calls and all, and pack the library."""
    from torch._inductor import aot_compile
    from torch._inductor.package.package import package_aoti

    files: Any = aot_compile(module, tuple(leaves), options={**_INDUCTOR, "aot_inductor.package": True})
    # Some versions, torch 2.11 among them, find a package by its wrapper's source; it is not compiled again.
    package_aoti(str(path), [file for file in files if not file.endswith(".kernel.cpp")])
    return _load_package(path)


def _load_package(path: Path) -> Flat:
    from torch._C._aoti import AOTIModelPackageLoader

    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise OSError("it is damaged")
    run: Flat = AOTIModelPackageLoader(str(path), "model", False, 1, -1).run
    return run


def _compiled(module: fx.GraphModule, leaves: Sequence[Tensor]) -> Flat:
    """Compile by torch's public interface, which knows more operations and has more to do at each call."""
    compiled = torch.compile(module, fullgraph=True, dynamic=False, options=dict(_INDUCTOR))
    with keys.seeded(0, leaves[0].device):
        compiled(*(leaf.clone() for leaf in leaves))  # which is when it is compiled
    return _without_autograd(lambda arguments: compiled(*arguments))


def _artifact(module: fx.GraphModule, leaves: Sequence[Tensor], path: Path) -> Flat:
    """Generate kernels for a graph elsewhere, called from Python; what can be loaded again is saved."""
    from torch._inductor.standalone_compile import standalone_compile

    keepable = not module.graph.find_nodes(op="get_attr")  # what is loaded has lost its constants
    ahead: dict[str, Any] = (
        {"aot": keepable} if "aot" in inspect.signature(standalone_compile).parameters else {}
    )  # not in torch 2.9
    options = {"config_patches": {**_INDUCTOR, **_ELSEWHERE}}
    made = standalone_compile(module, list(leaves), dynamic_shapes="from_example_inputs", options=options, **ahead)
    with contextlib.suppress(Exception):
        if keepable:
            made.save(path=str(path), format="binary")
    return _without_autograd(lambda arguments: made(*arguments))


def _load_artifact(path: Path) -> Flat:
    from torch._inductor.standalone_compile import CompiledArtifact

    found = CompiledArtifact.load(path=str(path), format="binary")
    return _without_autograd(lambda arguments: found(*arguments))


def _without_autograd(run: Flat) -> Flat:
    def guarded(arguments: list[Any]) -> Sequence[Any]:
        with torch.no_grad():
            return run(arguments)

    return guarded


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
        precision.of_products(),
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
            named = {**_unsaid_reduction(node.target, len(node.args)), **node.kwargs}
            args, kwargs = fx.map_arg((node.args, named), lambda each: each.meta["val"])
            with contextlib.suppress(Exception):  # it takes others
                function(*args, **kwargs)
                node.target, node.kwargs = function, named


def _unsaid_reduction(operation: torch._ops.OpOverload, n_said: int) -> dict[str, Any]:
    """Name a loss's reduction that was left to its default, which is no mean in torch's own functions."""
    unsaid = operation._schema.arguments[n_said:]
    return {each.name: each.default_value for each in unsaid if each.name == "reduction" and each.has_default_value()}


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


def _numbers(graph: fx.Graph) -> list[fx.Node]:
    """List the few values that loops over many read: Adam's bias corrections of a run, or of each member.

    Inductor computes such a value inside of each loop that reads it, powers and all, unless it is a result.
    """
    return [
        node
        for node in graph.nodes
        if node.op == "call_function"
        and not _is_view(node)
        and node.all_input_nodes
        and 0 < _count(node) <= _FEW
        and any(_work(reader, read) >= _MANY * _count(node) for reader, read in _readers(node))
    ]


def _readers(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Give the operations that read a value, and what they read: it or a view of it."""
    for user in node.users:
        yield from _readers(user) if _is_view(user) else [(user, node)]


def _is_view(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target.is_view


def _count(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def _work(reader: fx.Node, read: fx.Node) -> int:
    """Count the elements of the largest loop in which an operation, element by element, reads a value."""
    target: Any = reader.target
    if not isinstance(target, torch._ops.OpOverload):
        return 0
    if torch.Tag.pointwise in target.tags:
        return _count(reader)
    if not target._schema.name.startswith("aten::_foreach_"):
        return 0
    lists = [argument for argument in reader.args if isinstance(argument, list | tuple)]
    alone = read in reader.args  # each loop reads it; else that over the others in its places
    return max((_count(each) for row in zip(*lists, strict=True) if alone or read in row for each in row), default=0)


def _memory(node: Any) -> int | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep torch from logging, trace and all, an error that is raised as well: a wrong shape, say."""
    from torch._subclasses import fake_tensor

    before, fake_tensor.log.disabled = fake_tensor.log.disabled, True
    try:
        yield
    finally:
        fake_tensor.log.disabled = before


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


@contextlib.contextmanager
def _remembering_writes() -> Iterator[None]:
    """Mend Inductor: have a loop that it lays out anew still come after what writes in place to what it reads.

    As it is, it may use a dropout's mask before drawing it: torch 2.11 does so.
    """
    from torch._inductor.scheduler import SchedulerNode

    recompute = SchedulerNode.recompute_size_and_body

    def remember(node: SchedulerNode, *args: Any, **kwargs: Any) -> None:
        recompute(node, *args, **kwargs)
        node.set_read_writes(node.read_writes.rename(node.mutation_renames))

    with mock.patch.object(SchedulerNode, "recompute_size_and_body", remember):
        yield
