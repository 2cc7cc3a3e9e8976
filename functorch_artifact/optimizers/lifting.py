"""Optimizers of `torch.optim`, and subclasses, as pure gradient transformations.

Belongs here: reading a torch optimizer, matching its parameters. Does not: arithmetic (`rules`).
Floor 2.

The eleven classic classes become our own rules with their groups' options, which give torch's bits
and also trace under `torch.compile`, `make_fx` and `vmap`, where torch's own functional forms read
their counters on the host. All others run through `opaque`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
from torch import Tensor, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from functorch_artifact import trees
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers import fused, rules
from functorch_artifact.optimizers.lifted_schedules import LiftedSchedule, from_torch_schedule
from functorch_artifact.optimizers.opaque import from_opaque
from functorch_artifact.optimizers.rule import Rule, from_rule
from functorch_artifact.optimizers.schedules import Constant, LearningRate
from functorch_artifact.optimizers.selection import leaf_names, partition
from functorch_artifact.optimizers.transformation import GradientTransformation, OptState, Params, unchanged

_RULES: Final[Mapping[type[Optimizer], tuple[Callable[..., Rule], tuple[str, ...]]]] = {
    optim.SGD: (rules.sgd, ("momentum", "dampening", "nesterov")),
    optim.Adam: (fused.adam, ("betas", "eps", "amsgrad", "fused")),
    optim.AdamW: (fused.adam, ("betas", "eps", "amsgrad", "fused")),
    optim.NAdam: (rules.nadam, ("betas", "eps", "momentum_decay")),
    optim.RAdam: (rules.radam, ("betas", "eps")),
    optim.Adamax: (rules.adamax, ("betas", "eps")),
    optim.Adadelta: (rules.adadelta, ("rho", "eps")),
    optim.Adagrad: (rules.adagrad, ("lr_decay", "initial_accumulator_value", "eps")),
    optim.RMSprop: (rules.rmsprop, ("alpha", "eps", "centered", "momentum")),
    optim.Rprop: (rules.rprop, ("lr", "etas", "step_sizes")),
    optim.ASGD: (rules.asgd, ("lr", "lambd", "alpha", "t0")),
}
_UNCHANGED: Final = "unchanged"

Members: TypeAlias = tuple[tuple[Tensor, ...], ...]
"""The parameters of each group."""


def from_torch(optimizer: Optimizer, schedule: LearningRate | LRScheduler | None = None) -> GradientTransformation:
    """Make a torch optimizer a pure transformation that continues from where it stands.

    Options, state and parameter groups are copied now; the optimizer is never touched. SGD, Adam,
    AdamW, NAdam, RAdam, Adamax, Adadelta, Adagrad, RMSprop, Rprop and ASGD trace, and on float32
    and float64 CPU parameters their trajectory has the bits of torch's single-tensor code, or of the
    fused kernel if Adam or AdamW has `fused=True`. The flags foreach and capturable, and fused
    elsewhere, choose other kernels of the same arithmetic and are not followed; a learning rate
    that is a tensor counts as its float64 value. Any other class, and an optimizer with hooks, runs
    in a private instance, which cannot be traced.

    `init(params)` gives each leaf to the group of the optimizer's parameter that it is, or whose
    memory it shares; so pass the model's own parameters, or their `detach()`. Leaves that no group
    holds, and parameters with `requires_grad=False`, stay as they are.

    Args:
        optimizer: built over the model's parameters.
        schedule: a learning rate of this package, for every group, or a torch scheduler, lifted by
            `from_torch_schedule` if it is not yet.

    Raises:
        OptimizerError: the optimizer needs a closure or is differentiable; the scheduler belongs
            to another optimizer; in `init`, when a parameter of the optimizer is no leaf.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> layer = torch.nn.Linear(2, 1)
        >>> tx = optimizers.from_torch(torch.optim.Adam(layer.parameters(), lr=1e-3))
        >>> params = {name: p.detach() for name, p in layer.named_parameters()}
        >>> updates, state = tx.update(params, tx.init(params), params)
    """
    _refuse(optimizer)
    rates = _rates(optimizer, schedule)
    members: Members = tuple(tuple(group["params"]) for group in optimizer.param_groups)
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if type(optimizer) in _RULES and not hooked:
        made = _from_rules(optimizer, members, rates)
    else:
        # An option without a schedule is the private instance's own to change.
        scheduled = rates if schedule is not None else tuple({} for _ in rates)
        made = from_opaque(optimizer, scheduled, lambda params: _match(members, params))
    told = [" ".join(repr(optimizer).split())] + ([] if schedule is None else [type(schedule).__name__])
    return attrs.evolve(made, description=", ".join(told))


def _refuse(optimizer: Optimizer) -> None:
    name = type(optimizer).__qualname__
    arguments = list(inspect.signature(type(optimizer).step).parameters.values())[1:]
    if any(a.default is a.empty and a.kind is a.POSITIONAL_OR_KEYWORD for a in arguments) or isinstance(
        optimizer, optim.LBFGS
    ):
        raise OptimizerError(
            "an optimizer whose step calls the loss again through a closure cannot be lifted",
            where=name,
            expected="an optimizer whose step() needs only gradients",
            fix="use a first-order optimizer, such as torch.optim.Adam",
        )
    if any(group.get("differentiable") for group in optimizer.param_groups):
        raise OptimizerError(
            "differentiable=True is not lifted",
            where=name,
            fix="drop the flag and differentiate through a transformation such as "
            "functorch_artifact.optimizers.adam, which is pure",
        )


def _rates(optimizer: Optimizer, schedule: LearningRate | LRScheduler | None) -> tuple[dict[str, LearningRate], ...]:
    if isinstance(schedule, LRScheduler):
        schedule = from_torch_schedule(schedule)
    if isinstance(schedule, LiftedSchedule):
        if schedule.optimizer is not optimizer:
            raise OptimizerError(
                "the scheduler belongs to another optimizer",
                where="from_torch",
                expected="a scheduler built over this optimizer",
                got=f"one over another {type(schedule.optimizer).__qualname__}",
                fix="build the scheduler with the optimizer that is lifted",
            )
        return tuple(dict(group) for group in schedule.groups)
    return tuple(
        {"lr": Constant(float(group["lr"])) if schedule is None else schedule} if "lr" in group else {}
        for group in optimizer.param_groups
    )


def _alias(tensor: Tensor) -> tuple[Any, ...]:
    return (
        tensor.device,
        tensor.dtype,
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
    )


def _match(members: Members, params: Params) -> list[list[tuple[int, Tensor]]]:
    """Find the leaves of each group: position in the tree and torch's parameter, in torch's order."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, leaf in enumerate(trees.leaves(params)):
        places.setdefault(_alias(leaf), []).append(place)
    groups: list[list[tuple[int, Tensor]]] = []
    for index, group in enumerate(members):
        found: list[tuple[int, Tensor]] = []
        for position, param in enumerate(group):
            if not param.requires_grad:
                continue  # torch passes over parameters that get no gradient
            if _alias(param) not in places:
                raise OptimizerError(
                    "an optimizer over parameters that are not the model's",
                    where=f"param_groups[{index}]['params'][{position}]",
                    expected=f"one of {leaf_names(params)}, or a tensor that shares its memory",
                    got=trees.describe(param),
                    fix="build the optimizer with model.parameters() of the model that is trained",
                )
            found += [(place, param) for place in places[_alias(param)]]
        groups.append(found)
    return groups


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a group's options; tensors among them become numbers."""
    options = {name: option for name, option in group.items() if name not in ("params", "param_names")}
    return trees.map_tensors(float, options)


def _from_rules(
    optimizer: Optimizer, members: Members, rates: tuple[dict[str, LearningRate], ...]
) -> GradientTransformation:
    make, names = _RULES[type(optimizer)]
    options = [_plain(group) for group in optimizer.param_groups]
    memory = {id(p): trees.snapshot(dict(slots)) for p, slots in optimizer.state.items()}
    # Parameters of a group that were stepped differently often, such as late unfrozen ones, keep
    # their own counts.
    buckets = {(index, _count(memory.get(id(p), {}))) for index, group in enumerate(members) for p in group}

    def assemble(owners: Mapping[int, tuple[int, Tensor]]) -> GradientTransformation:
        """Build the transformation of leaves, by identity, that groups and torch tensors own."""

        def label(path: str, leaf: Tensor) -> str:
            if id(leaf) not in owners:
                return _UNCHANGED
            index, param = owners[id(leaf)]
            return _label(index, _count(memory.get(id(param), {})))

        def recall(leaf: Tensor) -> Mapping[str, Tensor]:
            slots = memory.get(id(owners[id(leaf)][1]), {})
            return {name: slot for name, slot in slots.items() if isinstance(slot, Tensor)}

        made = {
            _label(index, count): from_rule(
                make(**{name: options[index][name] for name in names}),
                rates[index],
                weight_decay=options[index].get("weight_decay", 0.0),
                decoupled=options[index].get("decoupled_weight_decay", False),
                maximize=options[index]["maximize"],
                count=count,
                recall=recall,
            )
            for index, count in sorted(buckets)
        }
        return partition({**made, _UNCHANGED: unchanged()}, label)

    assembled = assemble({})

    def init(params: Params) -> OptState:
        leaves = trees.leaves(params)
        matched = _match(members, params)
        return assemble(
            {id(leaves[place]): (index, p) for index, group in enumerate(matched) for place, p in group}
        ).init(params)

    return GradientTransformation(init, assembled.update, assembled.on_epoch)


def _count(slots: Mapping[str, Any]) -> int:
    """Count the steps that a parameter's torch state has seen; SGD only shows whether there were any."""
    return int(slots["step"]) if "step" in slots else int(slots.get("momentum_buffer") is not None)


def _label(index: int, count: int) -> str:
    return f"group {index}" if count == 0 else f"group {index} from step {count}"
