"""Runners: a built step over flat leaves, and the state that it leads to.

Belongs here: running built code step after step, what its results share memory with. Does not: building
(`compiling.steps`), steps over buffers (`compiling.graphs`).
Floor 5.
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import torch

from functorch_artifact import deferral, keys, trees
from functorch_artifact.compiling import donation, lowering
from functorch_artifact.compiling.graphs import COUNTERS
from functorch_artifact.step import TrainState


@attrs.define(eq=False)
class Runner:
    """A step for one signature of its arguments: from flat leaves to flat results."""

    run: lowering.Flat
    moved: Any  # structure of the results' first part, what moves of the state
    output: Any  # and of the second
    written: frozenset[int]  # the arguments that results are written into
    passed: frozenset[int]  # of what moves, arguments that it passes on unwritten
    draws: bool  # random numbers
    device: torch.device
    counters: tuple[int, ...]  # where they are in what moves
    # Found by the first run.
    kind: int = -1  # of the next state
    shared: frozenset[int] = frozenset()  # of what moves, what an output, a batch or the code may hold as well

    def take(
        self, leaves: list[Any], batches: list[list[Any]], noise: list[int]
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        """Take a step for each batch, given as its leaves, with its key; give what has moved, and the outputs."""
        outputs: list[dict[str, Any]] = []
        preserved: AbstractContextManager[list[torch.Generator]]
        preserved = keys.preserved(self.device) if self.draws else nullcontext([])
        with preserved as generators:
            for index, batch in enumerate(batches):
                for each in generators:
                    each.manual_seed(noise[index])
                if index and self.shared:
                    donation.own(leaves, self.written & self.shared)
                leaves += batch
                results = list(self.run(leaves))
                leaves.clear()  # else it would be another holder of what was written to, and is a result
                leaves, output = results[: self.moved.num_leaves], results[self.moved.num_leaves :]
                del results
                if self.kind < 0:
                    self.shared = self.passed.union(donation.held(leaves, range(len(leaves))))
                outputs.append(trees.unflatten(self.output, output))
        return leaves, outputs

    def state(self, leaves: list[Any], still: dict[str, Any]) -> TrainState:
        """Make the next state, which is put together when somebody looks at more of it than its counters."""

        def fetch() -> dict[str, Any]:
            moved = trees.unflatten(self.moved, leaves)
            return {name: value for name, value in moved.items() if name not in COUNTERS}

        counters = {name: leaves[place] for name, place in zip(COUNTERS, self.counters, strict=True)}
        return deferral.deferred(TrainState, {**still, **counters}, fetch)


def places_of(module: Any, n_moving: int) -> list[int | None]:
    """Find for each result of a step the argument that it can be written into: its predecessor."""
    before = [node.meta["val"] for node in module.graph.find_nodes(op="placeholder")][:n_moving]
    after = [node.meta["val"] for node in module.graph.output_node().args[0]]
    alike = [layout(old) == layout(new) for old, new in zip(before, after, strict=False)]
    return [index if index < n_moving and alike[index] else None for index in range(len(after))]


def joined(code: lowering.Flat, places: list[int | None], n_arguments: int) -> lowering.Flat:
    """Put the arguments that were written into among the results again."""
    returned = itertools.count(n_arguments)
    order = [next(returned) if place is None else place for place in places]

    def run(arguments: list[Any]) -> list[Any]:
        values = [*arguments, *code(arguments)]
        return [values[place] for place in order]

    return run


def layout(leaf: Any) -> tuple[Any, ...]:
    """Describe an argument as far as a step is built for it."""
    if not isinstance(leaf, torch.Tensor):
        return (type(leaf),)
    return (leaf.dtype, leaf.shape, leaf.stride(), leaf.device)
