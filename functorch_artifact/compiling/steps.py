"""Compiling steps: the same function, faster, and what was chosen, said.

Belongs here: `compile`, its modes, signatures, `explain`. Does not: what a step computes (`step`),
how a graph is made and turned into code (`compiling.lowering`).
Floor 5.
"""

from __future__ import annotations

import copy
import itertools
import sys
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, get_args

import attrs
import torch
from torch import Tensor

from functorch_artifact import precision, trees
from functorch_artifact.compiling import donation, graphs, lowering, recording, reusing
from functorch_artifact.compiling.builds import Build, Explanation, Mode, reason, warn
from functorch_artifact.compiling.runners import Runner, joined, layout, places_of
from functorch_artifact.errors import BatchError, ConfigurationError
from functorch_artifact.step import TrainState, TrainStep, check_loss, device_of, key_of, surroundings

_MOVING = ("params", "frozen", "buffers", "opt_state", "step", "batch", "loss_scale")  # what a step reads or changes
_STILL = tuple(field.name for field in attrs.fields(TrainState) if field.name not in _MOVING)

# Seconds on one core, by which `auto` weighs compiling.
_SAVED_PER_OPERATION = 2.5e-6
_SPENT_TO_COMPILE = 5.0
_SPENT_PER_OPERATION = 0.05


@attrs.frozen(eq=False)
class _Last:
    """The last result of a compiled step."""

    state: Callable[[], Any] = lambda: None  # weakly held
    kind: int = -1
    leaves: list[Any] | None = None  # of what moves, unless they are in buffers
    shared: frozenset[int] = frozenset()  # those that others may hold, even if nobody looked at the state


_NOTHING = _Last()


@attrs.define(eq=False)
class _Memory:
    """What a compiled step remembers between calls."""

    runners: dict[Hashable, Runner | graphs.Recorded | None] = attrs.field(factory=dict)  # None: the step itself
    builds: list[Build] = attrs.field(factory=list)
    kinds: dict[Hashable, int] = attrs.field(factory=dict)  # of states: structure, shapes, dtypes
    last: _Last = _NOTHING
    largest: int = 0  # batch that was built for
    buffers: dict[int, graphs.Buffers] = attrs.field(factory=dict)  # for each kind of state that is recorded
    recorder: recording.Recorder | None = None


@attrs.frozen(eq=False)
class CompiledStep:
    """A training step that runs built graphs; made by `compile`."""

    step: TrainStep
    mode: Mode = "captured"
    donate: bool = False
    n_steps: int | None = None
    steps: int = 1
    batch_size: int = 0
    _memory: _Memory = attrs.field(factory=_Memory, init=False, repr=False)

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        """Take one optimizer step, as the step itself does, with its errors; or `steps` of them.

        Raises:
            StateError: the state was donated to an earlier call.
            BatchError: the batch is not a stack of `steps` batches or fewer.
        """
        given, structure = trees.flatten(batch)
        if self.steps == 1:
            following, (output,) = self._take(state, [given], structure, self.donate, _caller())
            return following, output
        if not self.donate:
            state = attrs.evolve(state)  # a shell to give up: what the caller holds is copied
        following, outputs = self._take(state, _unstacked(given, self.steps), structure, True, _caller())
        return following, trees.map(lambda *leaves: torch.stack(leaves), outputs[0], *outputs[1:])

    def take(self, state: TrainState, batches: Sequence[Any]) -> tuple[TrainState, list[dict[str, Any]]]:
        """Take a step for each batch in one call, and list the outputs, as `fit` does between two looks at the state.

        The batches need not be stacked, nor be as many as `steps`, nor of one shape.

        Raises:
            StateError: the state was donated to an earlier call.
        """
        caller, outputs = _caller(), list[dict[str, Any]]()
        if not self.donate:
            state = attrs.evolve(state)  # as in a call with a stack
        flat = [trees.flatten(batch) for batch in batches]
        for _, alike in itertools.groupby(flat, lambda each: (each[1], *map(layout, each[0]))):
            given, structures = zip(*alike, strict=True)
            state, found = self._take(state, list(given), structures[0], True, caller)
            outputs += found
        return state, outputs

    def _take(
        self, state: TrainState, batches: list[list[Any]], structure: Any, donate: bool, caller: str
    ) -> tuple[TrainState, list[dict[str, Any]]]:
        """Take a step for each batch, given as its leaves, of one structure."""
        memory = self._memory
        last, memory.last = memory.last, _NOTHING
        if last.state() is not state:  # else it need not be looked at, leaf by leaf
            leaves, own = trees.flatten(_moving(state))
            last = _Last(kind=self._kind(own, leaves), leaves=leaves)
            del leaves
        signature = (donate, last.kind, structure, *map(layout, batches[0]))
        if signature not in memory.runners:
            with surroundings(state, self.step.precision, seeded=False):
                batch = trees.unflatten(structure, batches[0])
                memory.runners[signature] = self._build(state, batch, donate, last.kind)
        runner = memory.runners[signature]
        if runner is None:
            following, output = self.step(state, trees.unflatten(structure, batches[0]))
            outputs, n_taken = [output], 1
            if donate:
                donation.give_up(state, caller)
        elif isinstance(runner, graphs.Recorded):
            n_taken = runner.steps(len(batches))
            following, outputs = self._launch(runner, state, last.leaves, batches[:n_taken], donate, caller)
            memory.last = _Last(weakref.ref(following), last.kind)
        else:
            # More than one, once it is known that a step leaves the kind of the state as it is.
            n_taken = len(batches) if runner.kind == last.kind else 1
            following, outputs = self._run(runner, state, last, batches[:n_taken], donate, caller)
        if n_taken < len(batches):
            following, rest = self._take(following, batches[n_taken:], structure, True, caller)
            outputs += rest
        return following, outputs

    def _run(
        self, runner: Runner, state: TrainState, last: _Last, batches: list[list[Any]], donate: bool, caller: str
    ) -> tuple[TrainState, list[dict[str, Any]]]:
        leaves = trees.leaves(_moving(state)) if last.leaves is None else last.leaves
        noise = [key_of(state, ahead) for ahead in range(len(batches))] if runner.draws else []
        still = {name: getattr(state, name) for name in _STILL}
        if donate:
            unseen = donation.give_up(state, caller)
            donation.own(leaves, runner.written & last.shared if unseen else runner.written)
        else:
            leaves = list(leaves)
        with precision.kernels(self.step.precision, runner.device):
            leaves, outputs = runner.take(leaves, batches, noise)
        if runner.kind < 0:
            runner.kind = self._kind(runner.moved, leaves)
        following = runner.state(leaves, still)
        self._memory.last = _Last(weakref.ref(following), runner.kind, leaves, runner.shared.union(runner.counters))
        for index, output in enumerate(outputs, start=1 - len(outputs)):
            check_loss(self.step.nonfinite, following, output, index)
        return following, outputs

    def _launch(
        self,
        recorded: graphs.Recorded,
        state: TrainState,
        leaves: list[Any] | None,
        batches: list[list[Any]],
        donate: bool,
        caller: str,
    ) -> tuple[TrainState, list[dict[str, Any]]]:
        buffers = recorded.buffers
        noise = [key_of(state, ahead) for ahead in range(len(batches))] if recorded.draws else []
        still = {name: getattr(state, name) for name in _STILL}
        counters = [getattr(state, name) for name in graphs.COUNTERS]
        if not buffers.hold(state):
            buffers.load(trees.leaves(_moving(state)) if leaves is None else leaves)
        elif not donate:
            buffers.vacate()
        if donate:
            donation.give_up(state, caller)
        counters, outputs = recorded.take(counters, batches, noise)
        return buffers.lend(still, counters), outputs

    def explain(self) -> Explanation:
        """Say what was built so far."""
        return Explanation(self.mode, self.donate, tuple(self._memory.builds), self.steps)

    def _kind(self, structure: Any, leaves: list[Any]) -> int:
        kinds = self._memory.kinds
        return kinds.setdefault((structure, *map(layout, leaves)), len(kinds))

    def _build(self, state: TrainState, batch: Any, donate: bool, kind: int) -> Runner | graphs.Recorded | None:
        """Build for a new signature; what does not work falls back, and says so once."""
        began = time.perf_counter()
        arguments = (_moving(state), batch)
        leaves, structure = trees.flatten(arguments)
        results: list[Any] = []
        device = device_of(state)

        def flat(*given: Tensor) -> list[Any]:
            moved, own = trees.unflatten(structure, given)
            following, output = self.step.kernel(attrs.evolve(state, **moved), own)
            values, spec = trees.flatten((_moving(following), output))
            results[:] = [spec, len(trees.leaves(_moving(following)))]
            return values

        shown = ", ".join(map(trees.describe, trees.leaves(batch)))
        if self.mode == "eager":
            self._memory.builds.append(Build(shown, "eager", "as asked", 0.0, 0))
            return None
        try:
            module = lowering.capture(flat, leaves)
        except Exception as error:
            self._leave(state, batch, shown, error, began)
            return None
        n_operations, (spec, n_moving) = lowering.n_operations(module), results
        mode, why = self._choose(n_operations, trees.n_examples(batch), device)
        traced, module = module, lowering.in_single_operations(module, leaves) if mode != "captured" else module
        if mode == "cudagraph":
            try:
                recorded, made = self._record(module, arguments, spec, device, kind)
                seconds = time.perf_counter() - began
                self._memory.builds.append(Build(shown, mode, f"{why}, {made}", seconds, n_operations))
                return recorded
            except Exception as error:
                mode, why = ("compiled" if device.type == "cuda" else "captured"), reason(error)
                warn(f"the step is not recorded as a CUDA graph and runs {mode}: {why}")
        written: list[int] = []
        run: lowering.Flat | None = None
        places = places_of(module, n_moving if donate else 0)
        if mode == "compiled":
            try:
                written = [place for place in places if place is not None]
                code, found = lowering.generate(lowering.write_back(module, places), leaves)
                run, why = joined(code, places, len(leaves)), f"{why}, found compiled" if found else why
            except Exception as error:
                warn(f"the step is not compiled and runs captured: {reason(error)}")
                mode, why = "captured", reason(error)
        draws = lowering.draws(module)
        if run is None:
            try:
                self._try(traced, state, leaves)
            except Exception as error:
                self._leave(state, batch, shown, error, began)
                return None
            written = reusing.reuse(traced, [place for place in places if place is not None])
            run = lowering.replay(traced)
        self._memory.builds.append(Build(shown, mode, why, time.perf_counter() - began, n_operations))
        moved, output = spec.children()
        numbered = trees.unflatten(moved, range(n_moving))
        counters = tuple(numbered[name] for name in graphs.COUNTERS)
        passed = lowering.passed(traced if mode == "captured" else module, written)
        return Runner(run, moved, output, frozenset(written), passed & set(range(n_moving)), draws, device, counters)

    def _record(
        self, module: Any, arguments: Any, spec: Any, device: torch.device, kind: int
    ) -> tuple[graphs.Recorded, str]:
        memory = self._memory
        memory.recorder = memory.recorder or recording.recorder(device)
        recorded, made = graphs.record(module, arguments, spec, memory.buffers.get(kind), memory.recorder, self.steps)
        memory.buffers[kind] = recorded.buffers
        return recorded, made

    def _try(self, module: Any, state: TrainState, leaves: list[Any]) -> None:
        """Run a graph once for nothing, while it writes to no argument: what traces may still not run."""
        run = lowering.replay(copy.deepcopy(module))
        with surroundings(state, self.step.precision, seeded=lowering.draws(module)):
            run(list(leaves))

    def _leave(self, state: TrainState, batch: Any, shown: str, error: Exception, began: float) -> None:
        """Leave a signature to the step itself, and say why."""
        self.step(state, batch)  # a step that is itself at fault says so here
        warn(f"the step is not captured and runs as it is, in mode 'eager': {reason(error)}")
        self._memory.builds.append(Build(shown, "eager", reason(error), time.perf_counter() - began, 0))

    def _choose(self, n_operations: int, n_examples: int, device: torch.device) -> tuple[Mode, str]:
        """Choose the mode of a new signature, by nothing that another run of the program could not see."""
        if n_examples < max(self.batch_size, self._memory.largest) and self.mode != "captured":
            return "captured", "a smaller batch than the others is not worth compiling for"
        self._memory.largest = n_examples
        if self.mode != "auto":
            return self.mode, "as asked"
        if device.type != "cpu":
            return ("cudagraph" if device.type == "cuda" else "compiled"), f"the device is {device.type}"
        if self.n_steps is None:
            return "captured", "on the CPU, and it is not known for how many steps"
        saved = self.n_steps * n_operations * _SAVED_PER_OPERATION
        spent = _SPENT_TO_COMPILE + n_operations * _SPENT_PER_OPERATION
        comparison = f"compiling costs about {spent:.0f} s and saves {saved:.0f} s in {self.n_steps} steps"
        return ("compiled" if saved > spent else "captured"), comparison


def compile(
    step: TrainStep,
    mode: Mode = "captured",
    *,
    donate: bool = False,
    steps: int = 1,
    n_steps: int | None = None,
    batch_size: int = 0,
) -> TrainStep | CompiledStep:
    """Make a step faster without changing what it does.

    | mode | what it is | agrees with eager | costs |
    |---|---|---|---|
    | `eager` | the step itself | | nothing |
    | `captured` | traced once, replayed as a flat graph | to the bit | about a second |
    | `compiled` | the graph as code by Inductor | float64 within 1e-7 | 5 to 50 s, once |
    | `cudagraph` | that code, recorded as a CUDA graph | float64 within 1e-7 | and a recording |
    | `auto` | what pays | as what it chose | |

    Each signature (tree structure, shapes, strides, dtypes, devices) is built for once; compiled
    code is kept between processes. A batch smaller than the others is a signature of its own, which
    runs captured. What is not a tensor operation happens while tracing and not again: a module that
    prints, or counts in a Python attribute, does so once.

    What cannot be recorded runs compiled (captured, if not on CUDA), what cannot be compiled runs
    captured, and what cannot be captured, because it reads a tensor's value, runs as it is; with one
    `CompileWarning` a signature. `explain` says what was built.

    Args:
        step: what `train_step` made.
        mode: see above.
        donate: let a call reuse the memory of the state it is given, which is then of no more
            use. What anybody else holds of its tensors never changes: those are copied first.
        steps: how many steps a call takes. If more than one, it takes a stack of so many batches,
            or of fewer (leaves [steps, batch, ...], see `DataLoader.stacks`), and gives a stack of
            outputs; the bits are those of single steps.
        n_steps: for `auto`, how many steps there will be in all.
        batch_size: the examples of a whole batch; by default those of the first.

    Raises:
        ConfigurationError: it is no training step, the mode is unknown, or `steps` is not positive.

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
    if not hasattr(step, "kernel"):  # as training steps and those of ensembles have
        raise ConfigurationError(
            "is no training step",
            where="compile",
            expected="what train_step made",
            got=type(step).__name__,
            fix="compile each of the training steps that it is made of",
        )
    if mode not in get_args(Mode):
        raise ConfigurationError("is unknown", where="mode", expected=f"one of {get_args(Mode)}", got=repr(mode))
    if steps < 1:
        raise ConfigurationError("is out of range", where="steps", expected="at least 1", got=steps)
    if mode == "eager" and not donate and steps == 1:
        return step
    return CompiledStep(step, mode, donate, n_steps, steps, batch_size)


def explain(step: TrainStep | CompiledStep) -> Explanation:
    """Say how a step runs: the mode asked for, and for each signature the mode, why, and what it cost.

    Example:
        >>> import torch
        >>> import functorch_artifact as fa
        >>> from functorch_artifact import optimizers
        >>> net, tx = torch.nn.Linear(3, 1), optimizers.adam(1e-2)
        >>> fast = fa.compile(fa.train_step(net, tx, loss=lambda out, batch: out.square().mean()), mode="auto")
        >>> _ = fast(fa.init(net, tx), torch.ones(8, 3))
        >>> build, = fa.explain(fast).builds
        >>> build.batch, build.mode, build.why
        ('float32[8, 3]', 'captured', 'on the CPU, and it is not known for how many steps')
    """
    return step.explain() if isinstance(step, CompiledStep) else Explanation("eager", False, ())


def _moving(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in _MOVING}


def _unstacked(leaves: list[Any], at_most: int) -> list[list[Any]]:
    lengths = {len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else 0 for leaf in leaves}
    if len(lengths) != 1 or not 1 <= min(lengths) <= at_most:
        raise BatchError(
            "is not a stack",
            where="the batch of a step compiled with steps",
            expected=f"leaves of shape [n, batch, ...], n from 1 to {at_most}, the same everywhere",
            got=", ".join(map(trees.describe, leaves)),
            fix="iterate over loader.stacks(epoch, seed, steps)",
        )
    return [list(row) for row in zip(*(leaf.unbind() for leaf in leaves), strict=True)]


def _caller() -> str:
    frame = sys._getframe(2)
    return f"the call at {frame.f_code.co_filename}:{frame.f_lineno}"
