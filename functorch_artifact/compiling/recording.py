"""Recording: steps as one CUDA graph, launched again and again.

Belongs here: capture, what goes before it, the generators of a graph's noise; all that is CUDA's. Does not:
the buffers that a graph reads and writes (`compiling.graphs`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from functorch_artifact import keys

Launch: TypeAlias = Callable[[Sequence[int]], list[Tensor]]
"""From a key of noise for each step, or none, to the results: a buffer each, which the next launch
overwrites; of several steps, [steps, ...]."""


class RecordingError(ValueError):
    """A step that cannot be replayed as a CUDA graph, and why."""


class Recorder(Protocol):
    """Makes a launch of steps that only read and write memory that stays where it is."""

    @property
    def device(self) -> torch.device:
        """Where the steps compute."""
        ...

    def record(self, steps: Sequence[Callable[[], list[Tensor]]], draws: bool) -> Launch:
        """Record steps, which may `draw` noise from the global generator; they run a few times meanwhile."""
        ...


class CudaRecorder:
    """Records CUDA graphs, all of which share their memory for intermediate values.

    They may share it because one is never launched while another runs, and results are copied
    before the next launch.
    """

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def record(self, steps: Sequence[Callable[[], list[Tensor]]], draws: bool) -> Launch:
        # The noise of a step depends on its key alone, so each has a generator, seeded before a launch.
        # While it is recorded, the global generator stands for it.
        generators = [torch.Generator(self.device) for _ in steps] if draws else []
        everyones = torch.cuda.default_generators[self.device.index]

        def run(*, recorded: bool) -> list[Tensor]:
            rows = []
            for number, step in enumerate(steps):
                if recorded and draws:
                    everyones.graphsafe_set_state(generators[number])
                rows.append(step())
            return rows[0] if len(rows) == 1 else [torch.stack(each) for each in zip(*rows, strict=True)]

        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), keys.seeded(0, self.device):
            for _ in range(3):  # what is done once, such as tuning and loading kernels, cannot be recorded
                run(recorded=False)
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        found = everyones.graphsafe_get_state()
        everyones.graphsafe_set_state(everyones.clone_state())  # what a failed capture leaves unusable
        results: list[Tensor] = []
        cause: Exception | None = None
        try:
            with (
                torch.cuda.stream(current),  # to come back to, should it fail
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                try:
                    results += run(recorded=True)
                except Exception as error:
                    cause = error
                    raise
        except Exception:
            if cause is not None:  # the end of the capture has only the consequence to tell
                raise cause from None
            raise
        finally:
            everyones.graphsafe_set_state(found)
        self._pool = graph.pool()

        def launch(noise: Sequence[int]) -> list[Tensor]:
            for generator, key in zip(generators, noise, strict=True):
                generator.manual_seed(key)
            graph.replay()
            return results

        return launch


def recorder(device: torch.device) -> Recorder:
    """Make what records steps on a device.

    Raises:
        RecordingError: there are no CUDA graphs on it.
    """
    if device.type != "cuda":
        raise RecordingError(f"there are no CUDA graphs on {device.type}")
    return CudaRecorder(device)
