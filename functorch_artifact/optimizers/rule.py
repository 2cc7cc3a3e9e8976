"""The one machine that runs an optimizer's arithmetic over a tree of parameters.

Belongs here: `Rule`, its state, `from_rule`. Does not: any optimizer's arithmetic (`rules`).
Floor 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import optree
import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level
from torch.utils._python_dispatch import _get_current_dispatch_mode

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
    beside,
    delta,
)
from functorch_artifact.trees import node

_lists: Any = torch  # for its operations on lists of tensors, which are not exported
_AT_ONCE: Final = 2**22  # bytes of a list that need no division

Slots: TypeAlias = dict[str, Tensor]
"""What a rule remembers of one leaf, under torch's names: shaped like the leaf, or []."""
Columns: TypeAlias = dict[str, Any]
"""For each slot the tensors of all leaves."""
Scalars: TypeAlias = dict[str, Tensor]
"""Numbers of one step, each []: float64 where they are made, of the leaf's precision and device in
`step`, unless the name ends in 64."""


@attrs.frozen
class Rule:
    """An optimizer's arithmetic.

    Attributes:
        slots: makes a leaf's memory before its first step.
        scalars: from the step's number (float64 [], counted from 1) and the rates at this step,
            always with `lr`, to the numbers that `step` needs.
        step: from parameter, gradient, slots and scalars to the new parameter and slots.
        together: the same for many leaves at once, to the same bits, with fewer calls; its scalars may be
            Python's, of float64.
        fused: the same in one kernel, to rounding: from parameters, gradients, slots, the step's number
            (int64 []), the rate (float64 []), and the weight decay and whether it is decoupled.
    """

    slots: Callable[[Tensor], Slots]
    scalars: Callable[[Tensor, Scalars], Scalars]
    step: Callable[[Tensor, Tensor, Slots, Scalars], tuple[Tensor, Slots]]
    together: Callable[[list[Tensor], list[Tensor], Columns, Scalars], tuple[list[Tensor], Columns]] | None = None
    fused: (
        Callable[[list[Tensor], list[Tensor], Columns, Tensor, Tensor, float, bool], tuple[list[Tensor], Columns]]
        | None
    ) = None


@node
@attrs.frozen(eq=False)
class RuleState:
    """The memory of an optimizer."""

    count: Tensor  # int64 [], updates made
    rates: dict[str, Any]  # the state of each rate
    slots: dict[str, Any]  # for each slot a tree like the parameters


def from_rule(
    rule: Rule,
    rates: Mapping[str, LearningRate],
    *,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    count: int = 0,
    recall: Callable[[Tensor], Mapping[str, Tensor]] = lambda leaf: {},
) -> GradientTransformation:
    """Run a rule over a tree of parameters.

    Args:
        rule: what happens to one leaf.
        rates: `lr`, and any other hyper-parameter of the rule, or `weight_decay`, that changes during
            training or lives in the state.
        weight_decay: added to the gradient, or, if `decoupled`, taken off the parameter first.
        maximize: follow the gradient up.
        count: updates made before.
        recall: gives those slots of a leaf that were filled before.
    """

    def init(params: Params) -> RuleState:
        leaves, structure = trees.flatten(params)
        made = []
        for leaf in leaves:
            slots, recalled = _initial(rule, leaf), recall(leaf)
            made.append({name: recalled.get(name, slot).clone().to(slot.device) for name, slot in slots.items()})
        names = made[0] if made else {}
        return RuleState(
            beside(params, torch.tensor(count, dtype=torch.int64)),
            beside(params, {name: rate.init() for name, rate in rates.items()}),
            {name: trees.unflatten(structure, [slots[name] for slots in made]) for name in names},
        )

    def update(updates: Updates, state: RuleState, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        steps = state.count + 1
        now = {name: rate.rate(state.rates[name]) for name, rate in rates.items()}
        decay = now.get("weight_decay", weight_decay)
        columns = {name: structure.flatten_up_to(tree) for name, tree in state.slots.items()}
        grads = [delta(change, param) for param, change in zip(leaves, changes, strict=True)]
        if maximize:
            grads = [-grad for grad in grads]
        at_once = not isinstance(decay, Tensor) and _alike(leaves) and not _followed([*leaves, *grads, *now.values()])
        if rule.fused is not None and at_once and now.keys() == {"lr"}:
            values, columns = rule.fused(leaves, grads, columns, steps, now["lr"], weight_decay, decoupled)
        elif rule.together is not None and at_once:
            own = _read(rule, steps, now, weight_decay, leaves[0])
            own = own or _scalars(rule, steps, now, weight_decay).like(leaves[0])
            values = []
            for part in _parts(leaves):
                ps, gs = leaves[part], grads[part]
                if weight_decay and decoupled:
                    ps = list(_lists._foreach_mul(ps, for_each(own["decay"], ps)))
                elif weight_decay:
                    gs = list(_lists._foreach_add(gs, ps, alpha=weight_decay))
                moved, slots = rule.together(ps, gs, {name: column[part] for name, column in columns.items()}, own)
                values += moved
                for name, column in slots.items():
                    columns[name][part] = column
        else:
            values, scalars = [], _scalars(rule, steps, now, decay)
            for index, (param, grad) in enumerate(zip(leaves, grads, strict=True)):
                slots = {name: column[index] for name, column in columns.items()}
                value, slots = _real(rule, param, grad, slots, scalars, decay, decoupled)
                values.append(value)
                for name, slot in slots.items():
                    columns[name][index] = slot
        return trees.unflatten(structure, map(Assigned, values)), RuleState(
            steps,
            {name: rate.on_step(state.rates[name]) for name, rate in rates.items()},
            {name: trees.unflatten(structure, column) for name, column in columns.items()},
        )

    def on_epoch(state: RuleState, scores: Scores) -> OptState:
        return attrs.evolve(
            state, rates={name: rate.on_epoch(state.rates[name], scores) for name, rate in rates.items()}
        )

    return GradientTransformation(init, update, on_epoch)


def _scalars(rule: Rule, count: Tensor, rates: Scalars, decay: float | Tensor) -> _Cast:
    numbers = {**rule.scalars(count.to(torch.float64), rates), "decay": 1 - rates["lr"] * decay}
    return _Cast({**numbers, "weight_decay": decay} if isinstance(decay, Tensor) else numbers)


def _read(rule: Rule, count: Tensor, rates: Scalars, decay: float, leaf: Tensor) -> Any:
    """Compute a step's scalars in Python, if it is free to read what they depend on: the bits are the same."""
    readable = type(count) is Tensor and count.is_cpu and _get_current_dispatch_mode() is None
    if not readable or leaf.dtype not in (torch.float32, torch.float64):
        return None
    known: Any = {name: rate.item() for name, rate in rates.items()}
    return {**rule.scalars(count.item(), known), "decay": 1 - known["lr"] * decay}  # type: ignore[arg-type]


def _followed(tensors: list[Tensor]) -> bool:
    """Tell whether autograd looks on; lists are computed with in place."""
    return torch.is_grad_enabled() and any(each.requires_grad for each in tensors)


def _alike(leaves: list[Tensor]) -> bool:
    """Tell whether torch takes the leaves as one list: real, of one kind, and not under `vmap`."""
    if torch.compiler.is_compiling() or maybe_current_level() is not None or not leaves:
        return False
    dtype, device = leaves[0].dtype, leaves[0].device
    return not dtype.is_complex and all(leaf.dtype == dtype and leaf.device == device for leaf in leaves)


def for_each(number: float | Tensor, leaves: list[Tensor]) -> Any:
    """Prepare a number for a list of leaves: on the CPU torch would make it a tensor for each of them anew."""
    like = leaves[0]
    if isinstance(number, Tensor) or not like.is_cpu or like.dtype not in (torch.float32, torch.float64):
        return number
    return [torch.full((), number, dtype=like.dtype)] * len(leaves)


def _parts(leaves: list[Tensor]) -> list[slice]:
    """Divide leaves into lists that are long enough to save calls, but short of the memory of them all.

    What is computed on the way to the result is as large as the list.
    """
    sizes = [leaf.nbytes for leaf in leaves]
    total = sum(sizes)
    bounds, held = [0], 0
    for index, size in enumerate(sizes):
        if held and held + size > max(_AT_ONCE, total // 32):
            bounds.append(index)
            held = 0
        held += size
    return [slice(*pair) for pair in itertools.pairwise([*bounds, len(leaves)])]


def with_rates(opt_state: OptState, values: Mapping[str, Tensor]) -> OptState:
    """Put other constant rates into an optimizer's state, wherever it has rates of these names.

    Args:
        opt_state: the state of an optimizer, or of a chain or wrapper of several.
        values: for each name, such as `lr`, the new rate: float64 [].

    Raises:
        OptimizerError: no optimizer in it has a constant rate of that name.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> tx = optimizers.sgd(0.1)
        >>> params = {"w": torch.zeros(1)}
        >>> state = optimizers.with_rates(tx.init(params), {"lr": torch.tensor(2.0, dtype=torch.float64)})
        >>> optimizers.apply_updates(params, tx.update({"w": torch.ones(1)}, state, params)[0])
        {'w': tensor([-2.])}
    """
    found: set[str] = set()

    def replaced(value: Any) -> Any:
        if not isinstance(value, RuleState):
            return value
        constant = {n for n, rate in value.rates.items() if isinstance(rate, Tensor) and rate.is_floating_point()}
        found.update(constant)
        own = {name: values[name].to(value.rates[name].device) for name in constant & set(values)}
        return attrs.evolve(value, rates={**value.rates, **own})

    result = optree.tree_map(
        replaced, opt_state, is_leaf=lambda value: isinstance(value, RuleState), namespace=trees.NAMESPACE
    )
    if missing := sorted(set(values) - found):
        raise OptimizerError(
            "is not a constant rate of the optimizer",
            where=repr(missing[0]),
            expected=f"one of {sorted(found)}",
            fix="give it as a tensor where the optimizer is made: optimizers.adamw(weight_decay=torch.tensor(0.01))",
        )
    return result


class _Cast:
    """One step's scalars, on the device and in the precision of the leaf at hand, cast once each."""

    def __init__(self, scalars: Scalars) -> None:
        self.scalars = scalars
        self.cast: dict[tuple[torch.device, torch.dtype], Scalars] = {}

    def like(self, leaf: Tensor) -> Scalars:
        # Half precision takes float32 scalars, as torch's kernels do.
        dtype = torch.float64 if leaf.dtype == torch.float64 else torch.float32
        key = (leaf.device, dtype)
        if key not in self.cast:
            self.cast[key] = {
                name: s if name.endswith("64") else s.to(leaf.device, dtype) for name, s in self.scalars.items()
            }
        return self.cast[key]


def _initial(rule: Rule, leaf: Tensor) -> Slots:
    leaf = leaf.detach()
    if not leaf.is_complex():
        return rule.slots(leaf)
    real = torch.view_as_real(leaf)
    return {n: torch.view_as_complex(s) if s.shape == real.shape else s for n, s in rule.slots(real).items()}


def _real(
    rule: Rule, p: Tensor, g: Tensor, slots: Slots, scalars: _Cast, weight_decay: float | Tensor, decoupled: bool
) -> tuple[Tensor, Slots]:
    """Step one leaf; a complex one as two reals, as torch does."""
    if p.is_complex():
        views = {n: torch.view_as_real(s) if s.is_complex() else s for n, s in slots.items()}
        value, moved = _real(
            rule, torch.view_as_real(p), torch.view_as_real(g), views, scalars, weight_decay, decoupled
        )
        return torch.view_as_complex(value), {
            n: torch.view_as_complex(s) if slots[n].is_complex() else s for n, s in moved.items()
        }
    own = scalars.like(p)
    if isinstance(weight_decay, Tensor):
        p, g = (p * own["decay"], g) if decoupled else (p, torch.addcmul(g, p, own["weight_decay"]))
    elif weight_decay:
        p, g = (p * own["decay"], g) if decoupled else (p, g.add(p, alpha=weight_decay))
    return rule.step(p, g, slots, own)
