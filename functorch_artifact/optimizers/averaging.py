"""Wrappers that remember across steps: accumulated gradients, averaged parameters.

Belongs here: `accumulate`, `ema`, and reading the average out of a state. Does not: what the
wrapped optimizer does.
Floor 2.

They compose: `ema(accumulate(tx, steps=4), 0.999)` averages at every call, `accumulate(ema(tx, 0.999),
steps=4)` only when the parameters move, which is what is usually meant.
"""

from __future__ import annotations

from typing import Any

import attrs
import optree
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import OptimizerError, TreeError
from functorch_artifact.optimizers.schedules import LearningRate, as_learning_rate
from functorch_artifact.optimizers.transformation import (
    Assigned,
    GradientTransformation,
    OptState,
    Params,
    Scores,
    Updates,
    aligned,
    apply_updates,
    beside,
    check,
    check_transformation,
    delta,
    told,
)
from functorch_artifact.trees import node


@node
@attrs.frozen(eq=False)
class AccumulateState:
    """What `accumulate` remembers."""

    count: Tensor  # int64 [], gradients in the mean so far, below `steps`
    mean: Any  # like the parameters, the mean of those gradients
    inner: Any  # the wrapped transformation's state


def accumulate(tx: GradientTransformation, *, steps: int) -> GradientTransformation:
    """Average the gradients of `steps` calls, then take one step of `tx` with their mean.

    As `optax.MultiSteps`: the calls in between change no parameter and nothing that `tx`
    remembers, so a schedule per step counts the steps that `tx` takes. A mean that an epoch's end
    interrupts goes on in the next epoch. The mean runs over calls: a smaller last batch weighs as
    much as a whole one.

    The count is never read on the host, so that the step traces; `tx` computes at every call and
    its result is kept at every `steps`-th.

    Raises:
        OptimizerError: `steps` is below 1; or, in `update`, what `tx` remembers changes its structure.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> tx = optimizers.accumulate(optimizers.sgd(1.0), steps=2)
        >>> params = {"w": torch.zeros(1)}
        >>> state = tx.init(params)
        >>> for grad in (1.0, 3.0):
        ...     updates, state = tx.update({"w": torch.tensor([grad])}, state, params)
        ...     params = optimizers.apply_updates(params, updates)
        ...     print(params["w"])
        tensor([0.])
        tensor([-2.])
    """
    check_transformation(tx, "accumulate")
    check(steps >= 1, "accumulate", "steps", "an integer >= 1", steps)

    def init(params: Params) -> AccumulateState:
        count = beside(params, torch.zeros((), dtype=torch.int64))
        return AccumulateState(count, trees.map(torch.zeros_like, params), tx.init(params))

    def update(updates: Updates, state: AccumulateState, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        count = state.count + 1
        mean = [
            old + (delta(change, leaf) - old) / count.to(leaf.device)
            for old, change, leaf in zip(trees.leaves(state.mean), changes, leaves, strict=True)
        ]
        moved, inner = tx.update(trees.unflatten(structure, mean), state.inner, params)
        due = count == steps
        kept = [_if(due, change, leaf) for change, leaf in zip(aligned(moved, params)[1], leaves, strict=True)]
        return trees.unflatten(structure, kept), AccumulateState(
            torch.where(due, torch.zeros_like(count), count),
            trees.unflatten(structure, [torch.where(due.to(m.device), torch.zeros_like(m), m) for m in mean]),
            _held(due, inner, state.inner),
        )

    def on_epoch(state: AccumulateState, scores: Scores) -> OptState:
        return attrs.evolve(state, inner=tx.on_epoch(state.inner, scores))

    return GradientTransformation(init, update, on_epoch, f"accumulate({tx.description}, steps={steps})")


def _if(due: Tensor, change: Tensor | Assigned, leaf: Tensor) -> Tensor | Assigned:
    due = due.to(leaf.device)
    if isinstance(change, Assigned):
        return Assigned(torch.where(due, change.value, leaf))
    return torch.where(due, change, torch.zeros_like(change))


def _held(due: Tensor, new: OptState, old: OptState) -> OptState:
    try:
        return trees.select(due, new, old)
    except TreeError as error:
        raise OptimizerError(
            "cannot be held between steps",
            where="accumulate",
            expected="an optimizer whose state is of tensors and keeps its structure",
            fix="use an optimizer that is not run as it is (see optimizers.from_torch)",
        ) from error


@node
@attrs.frozen(eq=False)
class EMAState:
    """What `ema` remembers."""

    count: Tensor  # int64 [], updates averaged
    decay: Any  # the decay's state
    average: Any  # like the parameters
    inner: Any  # the wrapped transformation's state


def ema(tx: GradientTransformation, decay: float | Tensor | LearningRate = 0.999) -> GradientTransformation:
    """Follow the parameters that `tx` gives by an exponential moving average, and change nothing.

    The average starts as the parameters after the first update; then it moves by `1 - decay` of
    the distance to each new value. As `torch.optim.swa_utils.AveragedModel` with
    `get_ema_multi_avg_fn(decay)`, updated after each step (bitwise on the CPU). Buffers are not
    averaged. Read it with `ema_params`, or let `Program(evaluate="ema")` validate, track and
    return the averaged model.

    Args:
        tx: the whole optimizer, whose updates are the steps that are taken.
        decay: what is kept of the average at each step: a number in [0, 1), or a schedule.

    Raises:
        OptimizerError: the decay is a number outside [0, 1).

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> tx = optimizers.ema(optimizers.sgd(1.0), decay=0.5)
        >>> params = {"w": torch.zeros(1)}
        >>> state = tx.init(params)
        >>> for _ in range(3):
        ...     updates, state = tx.update({"w": -torch.ones(1)}, state, params)
        ...     params = optimizers.apply_updates(params, updates)
        >>> params["w"], optimizers.ema_params(state)["w"]
        (tensor([3.]), tensor([2.2500]))
    """
    check_transformation(tx, "ema")
    rate = as_learning_rate(decay)
    if isinstance(decay, float | int):
        check(0 <= decay < 1, "ema", "decay", "a number in [0, 1)", decay)

    def init(params: Params) -> EMAState:
        average = trees.map(lambda leaf: leaf.detach().clone(), params)
        count, start = beside(params, (torch.zeros((), dtype=torch.int64), rate.init()))
        return EMAState(count, start, average, tx.init(params))

    def update(updates: Updates, state: EMAState, params: Params) -> tuple[Updates, OptState]:
        moved, inner = tx.update(updates, state.inner, params)
        weight = 1 - rate.rate(state.decay)  # in float64, as torch has it
        first = state.count == 0

        def follow(average: Tensor, new: Tensor) -> Tensor:
            return torch.where(first.to(new.device), new, torch.lerp(average, new, weight.to(new.device, new.dtype)))

        average = trees.map(follow, state.average, apply_updates(params, moved))
        return moved, EMAState(state.count + 1, rate.on_step(state.decay), average, inner)

    def on_epoch(state: EMAState, scores: Scores) -> OptState:
        return attrs.evolve(state, decay=rate.on_epoch(state.decay, scores), inner=tx.on_epoch(state.inner, scores))

    return GradientTransformation(init, update, on_epoch, f"ema({tx.description}, {told(decay)})")


def ema_params(opt_state: OptState) -> Params:
    """Read the averaged parameters out of an optimizer's state, however deep the `ema` in it.

    Raises:
        OptimizerError: the optimizer has no `ema`, or more than one.
    """
    found = [
        each
        for each in optree.tree_leaves(
            opt_state, is_leaf=lambda value: isinstance(value, EMAState), namespace=trees.NAMESPACE
        )
        if isinstance(each, EMAState)
    ]
    if len(found) != 1:
        raise OptimizerError(
            "is not the state of one average",
            where="ema_params",
            expected="exactly one optimizers.ema",
            got=len(found),
            fix="wrap the whole optimizer: optimizers.ema(tx, decay)",
        )
    return found[0].average
