"""Any other `torch.optim.Optimizer` as a transformation, by running a private instance of its class.

Belongs here: the adapter. Does not: deciding who needs it, matching parameters (`lifting`).
Floor 2.

The adapter is pure in effect and cannot be traced. It carries what torch's own `state_dict`
carries, the state of each parameter and the options of each group; what an optimizer keeps in
other attributes starts each step as it was when it was lifted.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.optim import Optimizer

from functorch_artifact import trees
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers.schedules import LearningRate
from functorch_artifact.optimizers.transformation import (
    Assigned,
    GradientTransformation,
    OptState,
    Params,
    Scores,
    Updates,
    aligned,
    delta,
)
from functorch_artifact.trees import STATIC, node


@node
@attrs.frozen(eq=False)
class OpaqueState:
    """What a torch optimizer remembers."""

    memory: dict[str, Any]  # by the leaf's position, the state of its parameter
    shared: dict[Any, Any]  # state that belongs to no parameter
    options: tuple[dict[str, Any], ...]  # of each group
    rates: tuple[dict[str, Any], ...]  # of each group, the state of each scheduled option
    places: tuple[tuple[int, ...], ...] = attrs.field(metadata=STATIC)  # of each group, its leaves


def from_opaque(
    optimizer: Optimizer,
    rates: Sequence[Mapping[str, LearningRate]],
    match: Callable[[Params], list[list[tuple[int, Tensor]]]],
) -> GradientTransformation:
    """Make an optimizer of any class a transformation.

    Args:
        optimizer: its class, attributes, options and state are taken as they are now.
        rates: of each group the options that follow a schedule.
        match: finds for each group the leaves of a parameter tree: position and torch's tensor.
    """
    # A scheduler hangs a `step` on the instance that runs the user's optimizer, not ours.
    attributes = {k: v for k, v in vars(optimizer).items() if k not in ("step", "state", "param_groups")}
    options = tuple(
        copy.deepcopy({k: v for k, v in group.items() if k not in ("params", "param_names")})
        for group in optimizer.param_groups
    )
    remembered = {id(k): trees.snapshot(v) for k, v in optimizer.state.items() if isinstance(k, Tensor)}
    shared = {k: trees.snapshot(v) for k, v in optimizer.state.items() if not isinstance(k, Tensor)}

    def init(params: Params) -> OpaqueState:
        groups = match(params)
        return OpaqueState(
            {
                str(place): trees.snapshot(remembered[id(p)])
                for group in groups
                for place, p in group
                if id(p) in remembered
            },
            trees.snapshot(shared),
            trees.snapshot(options),
            tuple({name: rate.init() for name, rate in group.items()} for group in rates),
            tuple(tuple(place for place, _ in group) for group in groups),
        )

    def update(updates: Updates, state: OpaqueState, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        memory, kept = trees.snapshot(state.memory), trees.snapshot(state.shared)
        worker: Any = object.__new__(type(optimizer))
        worker.__dict__.update(attributes)
        worker.state = defaultdict(dict, kept)
        worker.param_groups = []
        own: dict[int, Tensor] = {}
        for places, group, machines, positions in zip(state.places, state.options, rates, state.rates, strict=True):
            for place in places:
                param = leaves[place].detach().clone().requires_grad_()
                param.grad = delta(changes[place], leaves[place]).detach().clone()
                own[place] = param
                if str(place) in memory:
                    worker.state[param] = memory[str(place)]
            scheduled = {name: float(each.rate(positions[name])) for name, each in machines.items()}
            worker.param_groups.append(
                {**trees.snapshot(group), **_options(group, scheduled), "params": [own[place] for place in places]}
            )
        _step(worker)
        after = [Assigned(own[i].detach() if i in own else leaf.detach()) for i, leaf in enumerate(leaves)]
        return trees.unflatten(structure, after), OpaqueState(
            {str(place): worker.state[param] for place, param in own.items() if param in worker.state},
            {k: v for k, v in worker.state.items() if not isinstance(k, Tensor)},
            tuple({k: v for k, v in group.items() if k != "params"} for group in worker.param_groups),
            tuple(
                {name: each.on_step(positions[name]) for name, each in machines.items()}
                for machines, positions in zip(rates, state.rates, strict=True)
            ),
            state.places,
        )

    def on_epoch(state: OpaqueState, scores: Scores) -> OptState:
        moved = tuple(
            {name: each.on_epoch(positions[name], scores) for name, each in machines.items()}
            for machines, positions in zip(rates, state.rates, strict=True)
        )
        return attrs.evolve(state, rates=moved)

    return GradientTransformation(init, update, on_epoch)


def _options(group: Mapping[str, Any], scheduled: Mapping[str, float]) -> dict[str, Any]:
    named: dict[str, Any] = dict(scheduled)
    if "beta1" in named:
        named["betas"] = (named.pop("beta1"), *group["betas"][1:])
    return named


def _step(worker: Any) -> None:
    try:
        with torch.enable_grad():
            worker.step()
    except Exception as error:
        raise OptimizerError(
            "the torch optimizer raised in its step",
            where=type(worker).__qualname__,
            got=f"{type(error).__name__}: {error}",
            fix="this adapter carries an optimizer's state and group options only, and cannot be traced; "
            "use a transformation of functorch_artifact.optimizers",
        ) from error
