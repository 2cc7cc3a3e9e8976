"""One step of many members: a training step under `vmap`, with each member's own noise.

Belongs here: `VectorizedStep`, the joint step over it, stacking and unstacking states. Does not:
which members there are and what becomes of them (`ensemble`).
Floor 10.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar, cast

import attrs
import torch
from torch import Tensor

from functorch_artifact import keys, trees
from functorch_artifact import precision as precisions
from functorch_artifact.compiling import CompiledStep, Mode, compile
from functorch_artifact.ensembles import noise as noises
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.precision import Precision
from functorch_artifact.step import NonfinitePolicy, TrainState, TrainStep, device_of

T = TypeVar("T")

_MOVING = ("params", "frozen", "buffers", "opt_state", "step", "batch", "loss_scale")  # what a step reads or changes


class VectorizationWarning(UserWarning):
    """Members whose steps cannot be taken in one kernel, and are taken one after the other."""


def stack(members: Sequence[T]) -> T:
    """Join trees, leaf by leaf, along a new first dimension.

    Raises:
        ConfigurationError: they differ in structure, shapes or dtypes.
    """
    first, *rest = members
    for other in rest:
        if trees.flatten(other)[1] != trees.flatten(first)[1] or [*map(trees.describe, trees.leaves(other))] != [
            *map(trees.describe, trees.leaves(first))
        ]:
            raise ConfigurationError(
                "differ in structure, so they cannot share a kernel",
                where="the members",
                got="; ".join(trees.differences(first, other)),
                fix="let members differ in values only",
            )
    return trees.map(lambda *leaves: torch.stack(leaves), first, *rest)


def unstack(joined: T) -> list[T]:
    """Take what was stacked apart, into views of the joined memory."""
    leaves, structure = trees.flatten(joined)
    return [trees.unflatten(structure, parts) for parts in zip(*(leaf.unbind() for leaf in leaves), strict=True)]


def moving(state: TrainState) -> dict[str, Any]:
    """Give what a step reads or changes of a state."""
    return {name: getattr(state, name) for name in _MOVING}


def _told(output: dict[str, Any]) -> dict[str, Any]:
    """Keep of an output what says how the step went."""
    return {name: output[name] for name in ("loss", "held_back") if name in output}


@attrs.frozen(eq=False)
class VectorizedStep:
    """The step of every member of an ensemble in one kernel; `compile` takes it as it takes a step.

    Attributes:
        make: makes the step of one member of its hyper-parameters, each float64 [].
        whole: whether the models' whole outputs are returned, or their losses alone.
    """

    make: Callable[[dict[str, Tensor]], TrainStep]
    whole: bool = False
    precision: Precision = "fp32"
    nonfinite: NonfinitePolicy = "skip"  # each member's losses are judged when an epoch is over

    def __call__(self, state: TrainState, inputs: Any) -> tuple[TrainState, dict[str, Any]]:
        """Take the step as it is; see `kernel`."""
        return self.kernel(state, inputs)

    def kernel(self, state: TrainState, inputs: Any) -> tuple[TrainState, dict[str, Any]]:
        """Take one optimizer step for each member.

        Args:
            state: what moves of it has the members' axis in front of every leaf.
            inputs: batch and hyper-parameters, stacked likewise, and the noise, one tensor
                [members, ...] a draw; or None where it is drawn as it is asked for.

        Returns:
            The next state, and the outputs, with the members' axis in front.
        """
        batch, hyperparameters, noise = inputs

        def of_member(member: Tensor, moved: Any, batch: Any, own: dict[str, Tensor]) -> Any:
            with noises.shared():
                step = self.make(own)
            with noises.batched(member):
                following, output = step.kernel(attrs.evolve(state, **moved), batch)
            return moving(following), output if self.whole else _told(output)

        before = moving(state)
        member = torch.zeros(len(state.step), device=device_of(state))
        vectorized = torch.func.vmap(of_member, randomness="different")
        if noise is None:
            moved, output = vectorized(member, before, batch, hyperparameters)
        else:
            with noises.given(noise):
                moved, output = vectorized(member, before, batch, hyperparameters)
        return attrs.evolve(state, **moved), output


class JointStep:
    """Take the steps of several members at once, each with the noise it would draw alone.

    Args:
        make: makes the step of one member of its hyper-parameters, each float64 [], inside `vmap`.
        mode: how the kernel runs; see `compile`.
        whole: whether the models' whole outputs are returned, or their losses alone.
        precision: that of the members' steps.
        n_steps: for the mode `auto`, how many steps there will be.
    """

    def __init__(
        self,
        make: Callable[[dict[str, Tensor]], TrainStep],
        *,
        mode: Mode = "captured",
        whole: bool = False,
        precision: Precision = "fp32",
        n_steps: int | None = None,
    ) -> None:
        self.kernel = VectorizedStep(make, whole, precision)
        self.compiled: Any = compile(cast(TrainStep, self.kernel), mode, donate=mode != "eager", n_steps=n_steps)
        self._draws: dict[Hashable, list[noises.Draw] | None] = {}  # None: not together

    def __call__(
        self,
        alone: Sequence[TrainStep],
        states: TrainState,
        batch: Any,
        hyperparameters: dict[str, Tensor],
        seeds: Sequence[int],
        step: int,
    ) -> tuple[TrainState, dict[str, Any]]:
        """Take one step for each member; the states' memory is reused.

        Members that one kernel cannot serve (an operation without a rule for `vmap`, a decision by
        a value) take it one after the other, with one `VectorizationWarning` a signature.

        Args:
            alone: each member's own step.
            states: the members' states: what moves stacked, the rest the first one's.
            batch: the members' batches, stacked.
            hyperparameters: what distinguishes the members, float64 [members].
            seeds: each member's seed.
            step: the steps that all have taken.
        """
        signature = tuple(map(trees.describe, trees.leaves(batch)))
        if signature in self._draws:
            draws = self._draws[signature]
            if draws is None:
                return self._apart(alone, states, batch, seeds, step)
            return self._together(draws, states, batch, hyperparameters, seeds, step)
        draws = self._drawn_alone(alone[0], states, batch, seeds[0], step)
        kept = attrs.evolve(states, **trees.snapshot(moving(states)))  # should the kernel fail with the states in hand
        try:
            result = self._together(draws, kept, batch, hyperparameters, seeds, step)
            self._draws[signature] = draws
        except Exception as error:
            result = self._apart(alone, states, batch, seeds, step)  # a step that is itself at fault says so here
            self._draws[signature] = None
            why = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
            warnings.warn(
                f"the members take their steps one after the other: {why}", VectorizationWarning, stacklevel=2
            )
        return result

    def _drawn_alone(self, step: TrainStep, states: TrainState, batch: Any, seed: int, at: int) -> list[noises.Draw]:
        one, own = trees.map(lambda leaf: leaf[0].clone(), (moving(states), batch))
        with keys.seeded(keys.derive(seed, "step", at), device_of(states)), noises.Recorded() as recorded:
            step.kernel(attrs.evolve(states, **one), own)
        return list(recorded.draws)

    def _together(
        self,
        draws: list[noises.Draw],
        states: TrainState,
        batch: Any,
        own: dict[str, Tensor],
        seeds: Sequence[int],
        step: int,
    ) -> tuple[TrainState, dict[str, Any]]:
        if not draws:
            return cast(tuple[TrainState, dict[str, Any]], self.compiled(states, (batch, own, [])))
        device, each = device_of(states), [keys.derive(seed, "step", step) for seed in seeds]
        with keys.seeded(0, device):  # to leave the generators as they were
            if not all(draw.free for draw in draws):
                with noises.live(draws, each, device), precisions.kernels(self.kernel.precision, device):
                    return self.kernel.kernel(states, (batch, own, None))
            noise = noises.draw(draws, each, device)
        return cast(tuple[TrainState, dict[str, Any]], self.compiled(states, (batch, own, noise)))

    def _apart(
        self, alone: Sequence[TrainStep], states: TrainState, batch: Any, seeds: Sequence[int], at: int
    ) -> tuple[TrainState, dict[str, Any]]:
        device, results = device_of(states), []
        for step, (moved, own), seed in zip(alone, unstack((moving(states), batch)), seeds, strict=True):
            with keys.seeded(keys.derive(seed, "step", at), device), precisions.kernels(self.kernel.precision, device):
                following, output = step.kernel(attrs.evolve(states, **moved), own)
            results.append((moving(following), output if self.kernel.whole else _told(output)))
        moved, output = stack(results)
        return attrs.evolve(states, **moved), output

    @property
    def builds(self) -> tuple[Any, ...]:
        """How the kernel runs, a build for each signature; see `explain`."""
        return self.compiled.explain().builds if isinstance(self.compiled, CompiledStep) else ()
