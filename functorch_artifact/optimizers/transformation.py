"""Gradient transformations: what an optimizer is here, and the stages that have no memory of their own.

Belongs here: `GradientTransformation`, `Assigned`, `apply_updates`, `chain`, clipping, scaling, decay.
Does not: optimizers with moments (`rules`, `algorithms`), choosing leaves (`selection`), rates (`schedules`).
Floor 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import ConfigurationError, OptimizerError
from functorch_artifact.trees import node

T = TypeVar("T")

Params: TypeAlias = Any
"""A tree of tensors, usually `dict[str, Tensor]`."""
Updates: TypeAlias = Any
"""A tree like the parameters, of tensors to add or of `Assigned` values."""
OptState: TypeAlias = Any
"""Whatever tree of tensors a transformation remembers."""
Scores: TypeAlias = Mapping[str, float]


@node
@attrs.frozen(eq=False)
class Assigned:
    """An update that says what the parameter becomes, rather than what to add to it.

    Optimizers end in it because torch's in-place steps are fused multiply-adds, whose bits no
    separate addition reproduces.
    """

    value: Tensor  # shape and dtype of the parameter


def _same(state: OptState, scores: Scores) -> OptState:
    return state


@attrs.frozen
class GradientTransformation:
    """A pure optimizer, or one stage of it; every member traces and none changes an argument.

    Attributes:
        init: makes the state for a tree of parameters.
        update: turns gradients, state and parameters into updates and the next state; it counts
            its own steps.
        on_epoch: called once at each epoch's end with the epoch's scores.
        description: what it is, for people; `custom` where nobody said.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> tx = optimizers.chain(optimizers.clip_by_value(1.0), optimizers.sgd(0.5))
        >>> params = {"w": torch.tensor([1.0, 2.0])}
        >>> updates, state = tx.update({"w": torch.tensor([4.0, -0.5])}, tx.init(params), params)
        >>> optimizers.apply_updates(params, updates)["w"]
        tensor([0.5000, 2.2500])
    """

    init: Callable[[Params], OptState] = attrs.field(repr=False)
    update: Callable[[Updates, OptState, Params], tuple[Updates, OptState]] = attrs.field(repr=False)
    on_epoch: Callable[[OptState, Scores], OptState] = attrs.field(default=_same, repr=False)
    description: str = "custom"


def aligned(updates: Updates, params: Params) -> tuple[list[Tensor], list[Tensor | Assigned], Any]:
    """Split parameters and updates into lists in one order, and the parameters' structure.

    Raises:
        OptimizerError: the updates do not have the structure of the parameters.
    """
    leaves, structure = trees.flatten(params)
    try:
        changes: list[Any] = structure.flatten_up_to(updates)
    except ValueError as error:
        raise OptimizerError(
            "the updates do not have the structure of the parameters",
            expected=trees.paths(params),
            got=trees.paths(updates),
            fix="pass one gradient for each parameter, zeros where the loss does not depend on it",
        ) from error
    return leaves, changes, structure


def beside(params: Params, numbers: T) -> T:
    """Place an optimizer's counts and rates where the parameters are, so that no step waits for a copy."""
    leaves = trees.tensors(params)
    return trees.to_device(numbers, leaves[0].device) if leaves else numbers


def delta(update: Tensor | Assigned, param: Tensor) -> Tensor:
    """Give an update as the number to add."""
    return update.value - param if isinstance(update, Assigned) else update


def apply_updates(params: Params, updates: Updates) -> Params:
    """Add the updates to the parameters; an `Assigned` leaf replaces its parameter.

    Raises:
        OptimizerError: the updates do not have the structure of the parameters, or their shapes and dtypes.
    """
    leaves, changes, structure = aligned(updates, params)
    moved = [u.value if isinstance(u, Assigned) else p + u for p, u in zip(leaves, changes, strict=True)]
    for index, (p, u, new) in enumerate(zip(leaves, changes, moved, strict=True)):
        if not isinstance(u, Assigned) and (u.shape != p.shape or new.dtype != p.dtype):
            raise OptimizerError(
                "would change its shape or dtype",
                where=f"the update of {trees.paths(params, 'params')[index]}",
                expected=trees.describe(p),
                got=trees.describe(changes[index]),
                fix="give an update of the parameter's shape and dtype",
            )
    return trees.unflatten(structure, moved)


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Apply transformations in order, each to what the one before it gave.

    A stage after an optimizer sees the step that the optimizer would have taken.

    Raises:
        ConfigurationError: one is no transformation.
    """
    for place, each in enumerate(transformations, start=1):
        check_transformation(each, f"chain: stage {place}")

    def init(params: Params) -> OptState:
        return tuple(each.init(params) for each in transformations)

    def update(updates: Updates, state: OptState, params: Params) -> tuple[Updates, OptState]:
        states = []
        for each, before in zip(transformations, state, strict=True):
            updates, after = each.update(updates, before, params)
            states.append(after)
        return updates, tuple(states)

    def on_epoch(state: OptState, scores: Scores) -> OptState:
        return tuple(each.on_epoch(before, scores) for each, before in zip(transformations, state, strict=True))

    return GradientTransformation(init, update, on_epoch, ", ".join(each.description for each in transformations))


def check_transformation(given: object, where: str) -> None:
    """Refuse what is no transformation.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(given, GradientTransformation):
        return
    got, fix = type(given).__name__, "make one, e.g. optimizers.adam(1e-3)"
    if isinstance(given, torch.optim.Optimizer):
        fix = "wrap a torch optimizer in optimizers.from_torch(...)"
    elif callable(given) and hasattr(given, "__name__"):
        got, fix = f"the function {given.__name__}", f"call it: {given.__name__}(...)"
    raise ConfigurationError("is not a gradient transformation", where=where, got=got, fix=fix)


def stateless(
    function: Callable[[list[Tensor], list[Tensor]], list[Any]], description: str = "custom"
) -> GradientTransformation:
    """Make a transformation of a function from (deltas, parameters), as lists, to updates."""

    def update(updates: Updates, state: OptState, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        deltas = [delta(u, p) for p, u in zip(leaves, changes, strict=True)]
        return trees.unflatten(structure, function(deltas, leaves)), state

    return GradientTransformation(lambda params: (), update, description=description)


def identity() -> GradientTransformation:
    """Pass updates through as they are."""
    return GradientTransformation(
        lambda params: (), lambda updates, state, params: (updates, state), description="identity()"
    )


def unchanged() -> GradientTransformation:
    """Leave every parameter as it is, to the bit, whatever its gradient."""
    return stateless(lambda deltas, params: [Assigned(p) for p in params], "unchanged()")


def scale(factor: float | Tensor) -> GradientTransformation:
    """Multiply every update by a number; `scale(-1.0)` before an optimizer maximises."""
    return stateless(lambda deltas, params: [u * factor for u in deltas], f"scale({told(factor)})")


def clip_by_value(limit: float) -> GradientTransformation:
    """Clamp every element to [-limit, limit], as `torch.nn.utils.clip_grad_value_` (bitwise).

    Raises:
        OptimizerError: the limit is not positive.
    """
    check(limit > 0, "clip_by_value", "limit", "a positive number", limit)
    return stateless(lambda deltas, params: [u.clamp(-limit, limit) for u in deltas], f"clip_by_value({told(limit)})")


def clip_by_global_norm(max_norm: float | Tensor) -> GradientTransformation:
    """Shrink all updates together so that their joint L2 norm is at most `max_norm`.

    As `torch.nn.utils.clip_grad_norm_`: the coefficient `max_norm / (norm + 1e-6)` is clamped at
    1. The leaves' norms are joined in the tree's order; where that is torch's order the result
    agrees bitwise on the CPU, otherwise to the last place of the norm.

    Raises:
        OptimizerError: the norm is not positive.
    """
    check(max_norm > 0, "clip_by_global_norm", "max_norm", "a positive number", max_norm)

    def clip(deltas: list[Tensor], params: list[Tensor]) -> list[Tensor]:
        if not deltas:
            return deltas
        norms = [torch.linalg.vector_norm(u).to(deltas[0].device) for u in deltas]
        coefficient = (max_norm / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-6)).clamp(max=1.0)
        return [u * coefficient.to(u.device) for u in deltas]

    return stateless(clip, f"clip_by_global_norm({told(max_norm)})")


def told(rate: object) -> str:
    """Write a number; a schedule, or a tensor, which may be one of many under vmap, by its class."""
    return f"{rate:g}" if isinstance(rate, float | int) else type(rate).__name__


def check(holds: bool | Tensor, where: str, name: str, expected: str, got: object) -> None:
    """Refuse a hyper-parameter that cannot work; one that is a tensor is not looked at, so as to trace.

    Raises:
        OptimizerError: it does not hold.
    """
    if not isinstance(holds, Tensor) and not holds:
        raise OptimizerError(f"{name} is out of range", where=where, expected=expected, got=got)
