"""Graphs: a step over buffers that stay where they are, which is what a CUDA graph can replay.

Belongs here: the buffers of state, batches and results; what is copied into them and out of them,
and when. Does not: recording itself (`compiling.recording`), what of a step is recorded
(`compiling.splitting`).
Floor 5.

A replay reads and writes the same addresses each time. So the state lives in buffers, and the state
that a call returns is lent: while nobody looks at it, it is only a name for what is in the buffers, and
passing it on copies nothing. Whoever looks, and whoever keeps it while the buffers are written to
anew, gets a copy. The counters `step` and `batch` stay on the host, beside the recorded part.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import torch
from torch import Tensor, fx

from functorch_artifact import deferral, trees
from functorch_artifact.compiling import lowering
from functorch_artifact.compiling.builds import reason, warn
from functorch_artifact.compiling.recording import Launch, Recorder, RecordingError
from functorch_artifact.compiling.splitting import split
from functorch_artifact.step import TrainState

_lists: Any = torch  # for its operations on lists of tensors, which are not exported

COUNTERS: Final = ("batch", "step")
"""What of a state the host counts; in the order of the leaves."""


class Buffers:
    """The memory that holds a state between launches; shared by all recordings for states of its kind."""

    def __init__(self, structure: Any, leaves: Sequence[Tensor], counters: Sequence[int]) -> None:
        self.structure = structure
        self.places = [place for place in range(len(leaves)) if place not in counters]
        self.leaves = [_like(leaves[place]) for place in self.places]
        self._counters = counters
        self._lent: Callable[[], TrainState | None] = lambda: None

    def hold(self, state: TrainState) -> bool:
        """Tell whether a state is what is in the buffers, and nobody has looked at it."""
        return self._lent() is state and deferral.pending(state)

    def load(self, leaves: Sequence[Tensor]) -> None:
        """Copy a state's leaves in."""
        self.vacate()
        _copy(self.leaves, [leaves[place] for place in self.places])

    def lend(self, fields: Mapping[str, Any], counters: Sequence[Tensor]) -> TrainState:
        """Give what is in the buffers a name, with the fields and counters that are not in them."""

        def fetch() -> dict[str, Any]:
            leaves = {place: leaf.clone() for place, leaf in zip(self.places, self.leaves, strict=True)}
            leaves |= dict(zip(self._counters, counters, strict=True))
            moved = trees.unflatten(self.structure, [leaves[place] for place in sorted(leaves)])
            return {name: value for name, value in moved.items() if name not in COUNTERS}

        state = deferral.deferred(TrainState, {**fields, **dict(zip(COUNTERS, counters, strict=True))}, fetch)
        self._lent = weakref.ref(state)
        return state

    def vacate(self) -> None:
        """Give a state that was lent and is still of use its copy, before the buffers are written to."""
        state, self._lent = self._lent(), lambda: None
        if state is not None:
            deferral.settle(state)


@attrs.define(eq=False)
class Recorded:
    """The step of one signature: recorded launches over the buffers of its states and of its batches."""

    buffers: Buffers
    slots: list[list[Tensor]]  # for each step of a launch, the batch
    launches: dict[int, Launch]  # by the number of steps
    counted: lowering.Flat
    structure: Any  # of a step's output
    draws: bool  # random numbers
    code: lowering.Flat  # whose constants the launches read

    def steps(self, at_most: int) -> int:
        """Say how many steps the next launch takes."""
        return at_most if at_most in self.launches else 1

    def take(
        self, counters: list[Tensor], batches: Sequence[Any], keys: Sequence[int]
    ) -> tuple[list[Tensor], list[Any]]:
        """Take a step for each batch, from what is in the buffers; give counters and outputs, copied."""
        given = [leaf for batch in batches for leaf in trees.leaves(batch)]
        _copy([buffer for slot in self.slots[: len(batches)] for buffer in slot], given)
        results = [each.clone() for each in self.launches[len(batches)](keys)]
        for _ in batches:
            counters = list(self.counted(list(counters)))
        rows = [results] if len(batches) == 1 else zip(*(each.unbind() for each in results), strict=True)
        return counters, [trees.unflatten(self.structure, list(row)) for row in rows]


def record(
    module: fx.GraphModule,
    arguments: tuple[dict[str, Any], Any],
    results: Any,
    buffers: Buffers | None,
    recorder: Recorder,
    steps: int,
) -> tuple[Recorded, str]:
    """Record a captured step, for one step a launch and for `steps`.

    Args:
        module: the graph, from the leaves of `arguments` to those of `results`.
        arguments: what moves of a state, and a batch.
        results: the structure of what moves of the next state, and the output.
        buffers: those for states of this kind, if there are any yet.
        recorder: what records.
        steps: how many steps a launch takes at most.

    Returns:
        The recording, and how it was made.

    Raises:
        RecordingError: the step cannot be replayed over buffers, and why.
        Exception: whatever torch raises while it records.
    """
    leaves, _ = trees.flatten(arguments)
    moving, structure = trees.flatten(arguments[0])
    n_moving, counters = len(moving), _places_of(arguments[0])
    names = trees.paths(arguments[0], "state") + trees.paths(arguments[1], "batch")
    moved_structure, output_structure = results.children()
    if moved_structure != structure:
        raise RecordingError(f"a step changes the state's structure: {structure} becomes {moved_structure}")
    parts = split(module, counters, names, recorder.device)
    after = [node.meta["val"] for node in lowering.results(module)]
    for place, new in enumerate(after[:n_moving]):
        if _layout(new) != _layout(leaves[place]):
            raise RecordingError(f"a step changes {names[place]}: {_layout(leaves[place])} becomes {_layout(new)}")
    if buffers is None:
        buffers = Buffers(structure, moving, counters)
    buffers.vacate()
    slots = [[_like(leaf) for leaf in leaves[n_moving:]] for _ in range(steps)]
    places = [parts.arguments.index(place) if place < n_moving else None for place in parts.results]
    written = lowering.write_back(parts.recorded, places)
    known = dict(zip(buffers.places, buffers.leaves, strict=True))

    def over(slot: list[Tensor]) -> list[Tensor]:
        own = known | dict(enumerate(slot, start=n_moving))
        return [own[place] for place in parts.arguments]

    buffers.load(leaves)
    _copy([buffer for slot in slots for buffer in slot], leaves[n_moving:] * steps)
    why = "compiled"
    try:
        code, found = lowering.generate(written, over(slots[0]))
        why = "found compiled" if found else why
    except Exception as error:
        code, why = lowering.replay(written), f"as traced: {reason(error)}"
        warn(f"the step is not compiled, and its traced operations are recorded as a CUDA graph: {reason(error)}")

    def step(slot: list[Tensor]) -> Callable[[], list[Tensor]]:
        return lambda: list(code(over(slot)))[: output_structure.num_leaves]

    draws = lowering.draws(parts.recorded)
    with torch.no_grad():
        launches = {n: recorder.record([step(slot) for slot in slots[:n]], draws) for n in sorted({1, steps})}
    return Recorded(buffers, slots, launches, parts.counted, output_structure, draws, code), why


def _places_of(moving: Mapping[str, Any]) -> list[int]:
    """Find the counters among the leaves."""
    marked, _ = trees.flatten({name: (name in COUNTERS) for name in moving})
    sizes = [len(trees.leaves(moving[name])) for name in sorted(moving)]
    return [sum(sizes[:index]) for index, counter in enumerate(marked) if counter]


def _layout(leaf: Any) -> tuple[Any, ...]:
    return (leaf.dtype, tuple(leaf.shape), leaf.stride(), leaf.device) if isinstance(leaf, Tensor) else (type(leaf),)


def _like(leaf: Tensor) -> Tensor:
    made = leaf.detach().clone()
    if made.stride() != leaf.stride():
        layout = f"shape {tuple(leaf.shape)} and strides {leaf.stride()}"
        raise RecordingError(f"a tensor of {layout} overlaps itself or has gaps")
    return made


def _copy(buffers: list[Tensor], values: list[Tensor]) -> None:
    if buffers:
        with torch.no_grad():
            _lists._foreach_copy_(buffers, values)
