"""Compiling steps: the same function with the same bits, and no Python between its kernels.

Belongs here: `compile`, and how a step becomes a flat graph. Does not: what a step computes (`step`).
Floor 5.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.step import TrainState, TrainStep, run_kernel

Mode = Literal["eager", "captured"]
"""`eager`: the function itself. `captured`: traced once, replayed as a flat graph."""

_MOVING = ("params", "frozen", "buffers", "opt_state", "step", "batch", "loss_scale")  # what a step reads or changes


class CompileWarning(UserWarning):
    """A step that could not be captured, and runs as it is."""


@attrs.frozen(eq=False)
class _Graph:
    """A kernel for one signature of its arguments: from flat leaves to flat results."""

    module: torch.fx.GraphModule
    structure: Any  # of the results


@attrs.frozen(eq=False)
class CompiledStep:
    """A training step that replays captured graphs; made by `compile`."""

    step: TrainStep
    _graphs: dict[Hashable, _Graph | None] = attrs.field(factory=dict, init=False, repr=False)

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        """Take one optimizer step: the results, to the bit, and the errors of the step itself."""
        return run_kernel(self.kernel, self.step.nonfinite, state, batch, self.step.precision)

    def kernel(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        """Replay the graph for these structures, shapes, dtypes and devices; capture it if it is new."""
        leaves, structure = trees.flatten((_moving(state), batch))
        signature = (structure, *map(_kind, leaves))
        if signature not in self._graphs:
            try:
                self._graphs[signature] = self._capture(leaves, structure, state)
            except Exception as error:
                result = self.step.kernel(state, batch)  # a step that is itself at fault says so here
                self._graphs[signature] = None
                why = next(iter(str(error).strip().splitlines()), "")
                warnings.warn(
                    f"the step is not captured and runs as it is: {type(error).__name__}: {why}",
                    CompileWarning,
                    stacklevel=4,
                )
                return result
        graph = self._graphs[signature]
        if graph is None:
            return self.step.kernel(state, batch)
        with torch.no_grad():
            moved, output = trees.unflatten(graph.structure, graph.module(*leaves))
        return attrs.evolve(state, **moved), output

    def _capture(self, leaves: list[Any], structure: Any, state: TrainState) -> _Graph:
        from torch.fx.experimental.proxy_tensor import make_fx  # costs as much to import as all of us

        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise TypeError("it has arguments that are not tensors")
        results: list[Any] = []

        def flat(*given: Tensor) -> list[Any]:
            moved, batch = trees.unflatten(structure, given)
            following, output = self.step.kernel(attrs.evolve(state, **moved), batch)
            values, spec = trees.flatten((_moving(following), output))
            results.append(spec)
            return values

        # Over fake tensors, so that reading a value fails. Over real ones it would succeed, and the
        # value would stand in the graph for ever.
        module = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*leaves)
        module.graph.eliminate_dead_code()
        module.recompile()
        return _Graph(module, results[-1])


def compile(step: TrainStep, mode: Mode = "captured") -> TrainStep | CompiledStep:
    """Make a step faster without changing what it does.

    A captured step is traced with `make_fx` once for each signature (tree structure, shapes,
    dtypes, devices) and replayed as a flat graph, without autograd's and the module's own
    overhead; its results have the bits of the eager step. A smaller last batch is a second
    signature. What is not a tensor operation happens while tracing and not again: a module that
    prints, or counts in a Python attribute, does so once.

    A step that cannot be traced, because it reads a tensor's value, runs as it is, with one
    `CompileWarning` a signature.

    Args:
        step: what `train_step` made.
        mode: `captured`, or `eager` for the step itself.

    Raises:
        ConfigurationError: the mode is unknown.

    Example:
        >>> import torch
        >>> import functorch_artifact as fa
        >>> from functorch_artifact import optimizers
        >>> net, tx = torch.nn.Linear(3, 1), optimizers.adam(1e-2)
        >>> step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
        >>> fast, state, batch = fa.compile(step), fa.init(net, tx), torch.ones(8, 3)
        >>> torch.equal(fast(state, batch)[1]["loss"], step(state, batch)[1]["loss"])
        True
    """
    if mode == "eager":
        return step
    if mode != "captured":
        raise ConfigurationError("is unknown", where="mode", expected="'eager' or 'captured'", got=repr(mode))
    return CompiledStep(step)


def _moving(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in _MOVING}


def _kind(leaf: Any) -> tuple[Any, ...]:
    return (tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else (type(leaf),)
