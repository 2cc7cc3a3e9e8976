"""The arithmetic of each optimizer, one leaf at a time, and the one machine that runs it over a tree.

Belongs here: `Rule`s and `from_rule`. Does not: public constructors (`algorithms`), lifting.
Floor 2.

Each rule takes its operations in the order of torch's single-tensor code (foreach=False), so
that float32 and float64 parameters get the same bits on the CPU in eager mode; half precision
agrees to its last place. Three facts make that possible without a Python number in the graph:
`add(x, alpha=a)` equals `addcmul(x, a)` with a 0-d tensor, `addcdiv(m, d, value=a)` equals
adding `(a * m) / d`, and 0-d float64 arithmetic equals Python's. Whatever depends only on the
count and the rates is computed once a step, in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
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
from functorch_artifact.trees import node

Slots: TypeAlias = dict[str, Tensor]
"""What a rule remembers of one leaf, under torch's names: shaped like the leaf, or []."""
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
    """

    slots: Callable[[Tensor], Slots]
    scalars: Callable[[Tensor, Scalars], Scalars]
    step: Callable[[Tensor, Tensor, Slots, Scalars], tuple[Tensor, Slots]]


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
        rates: `lr`, and any other hyper-parameter of the rule that changes during training.
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
            made.append({name: recalled.get(name, slot).clone() for name, slot in slots.items()})
        names = made[0] if made else {}
        return RuleState(
            torch.tensor(count, dtype=torch.int64),
            {name: rate.init() for name, rate in rates.items()},
            {name: trees.unflatten(structure, [slots[name] for slots in made]) for name in names},
        )

    def update(updates: Updates, state: RuleState, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        steps = state.count + 1
        now = {name: rate.rate(state.rates[name]) for name, rate in rates.items()}
        scalars = _Cast({**rule.scalars(steps.to(torch.float64), now), "decay": 1 - now["lr"] * weight_decay})
        columns = {name: structure.flatten_up_to(tree) for name, tree in state.slots.items()}
        moved: list[Assigned] = []
        for index, (param, change) in enumerate(zip(leaves, changes, strict=True)):
            grad = delta(change, param)
            slots = {name: column[index] for name, column in columns.items()}
            value, slots = _real(rule, param, -grad if maximize else grad, slots, scalars, weight_decay, decoupled)
            moved.append(Assigned(value))
            for name, slot in slots.items():
                columns[name][index] = slot
        return trees.unflatten(structure, moved), RuleState(
            steps,
            {name: rate.on_step(state.rates[name]) for name, rate in rates.items()},
            {name: trees.unflatten(structure, column) for name, column in columns.items()},
        )

    def on_epoch(state: RuleState, scores: Scores) -> OptState:
        return attrs.evolve(
            state, rates={name: rate.on_epoch(state.rates[name], scores) for name, rate in rates.items()}
        )

    return GradientTransformation(init, update, on_epoch)


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
    rule: Rule, p: Tensor, g: Tensor, slots: Slots, scalars: _Cast, weight_decay: float, decoupled: bool
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
    if weight_decay:
        p, g = (p * own["decay"], g) if decoupled else (p, g.add(p, alpha=weight_decay))
    return rule.step(p, g, slots, own)


def _lerp(start: Tensor, end: Tensor, beta: float | Tensor) -> Tensor:
    weight = 1 - beta
    return torch.lerp(start, end, weight.to(start.dtype) if isinstance(weight, Tensor) else weight)


def _zeros(*names: str) -> Callable[[Tensor], Slots]:
    return lambda p: {name: torch.zeros_like(p) for name in names}


def sgd(*, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> Rule:
    """Sutskever et al., 2013, in torch's form."""

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        beta = rates.get("momentum", torch.full_like(count, momentum))
        first = count == 1  # the buffer starts as the first gradient, undampened
        added = torch.where(first, torch.ones_like(count), torch.full_like(count, 1 - dampening))
        return {"lr": rates["lr"], "beta": beta, "kept": torch.where(first, torch.zeros_like(beta), beta), "added": added}

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        if momentum:
            buffer = torch.addcmul(slots["momentum_buffer"] * s["kept"], g, s["added"])
            g = torch.addcmul(g, buffer, s["beta"]) if nesterov else buffer
            slots = {"momentum_buffer": buffer}
        return torch.addcmul(p, g, s["lr"], value=-1), slots

    return Rule(_zeros("momentum_buffer") if momentum else _zeros(), scalars, step)


def adam(*, betas: tuple[float, float], eps: float, amsgrad: bool = False) -> Rule:
    """Kingma and Ba, 2015; Reddi et al., 2018 (amsgrad); Loshchilov and Hutter, 2019 (decoupled)."""
    beta2 = betas[1]

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        beta1 = rates.get("beta1", betas[0])
        return {
            **rates,
            "step": -(rates["lr"] / (1 - beta1**count)),
            "root": _root(1 - beta2**count),
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("beta1", betas[0]))
        square = (slots["exp_avg_sq"] * beta2).addcmul(g, g, value=1 - beta2)
        moved = {"exp_avg": mean, "exp_avg_sq": square}
        if amsgrad:
            square = moved["max_exp_avg_sq"] = torch.maximum(slots["max_exp_avg_sq"], square)
        return p + (s["step"] * mean) / (square.sqrt() / s["root"] + eps), moved

    return Rule(_zeros("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])), scalars, step)


def nadam(*, betas: tuple[float, float], eps: float, momentum_decay: float) -> Rule:
    """Dozat, 2016."""
    beta2 = betas[1]

    def slots_of(p: Tensor) -> Slots:
        return {**_zeros("exp_avg", "exp_avg_sq")(p), "mu_product": torch.ones(())}

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        beta1 = rates.get("beta1", betas[0])
        return {
            **rates,
            "correction": 1 - beta2**count,
            "lr64": rates["lr"],
            "mu64": beta1 * (1.0 - 0.5 * (0.96 ** (count * momentum_decay))),
            "next64": beta1 * (1.0 - 0.5 * (0.96 ** ((count + 1) * momentum_decay))),
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("beta1", betas[0]))
        square = (slots["exp_avg_sq"] * beta2).addcmul(g, g, value=1 - beta2)
        lr, mu, ahead, kept = s["lr64"], s["mu64"], s["next64"], slots["mu_product"]
        kept = kept * mu.to(kept)  # torch keeps the product in the default precision
        now_rate = -lr * (1.0 - mu) / (1.0 - kept.to(torch.float64))
        next_rate = (-lr * ahead) / (1.0 - kept.to(torch.float64) * ahead)
        denominator = (square / s["correction"]).sqrt() + eps
        p = p + (now_rate.to(s["lr"]) * g) / denominator + (next_rate.to(s["lr"]) * mean) / denominator
        return p, {"exp_avg": mean, "exp_avg_sq": square, "mu_product": kept}

    return Rule(slots_of, scalars, step)


def radam(*, betas: tuple[float, float], eps: float) -> Rule:
    """Liu et al., 2020."""
    beta2 = betas[1]
    limit = 2 / (1 - beta2) - 1

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        correction = 1 - beta2**count
        length = limit - 2 * count * (beta2**count) / correction
        rectified = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        return {
            **rates,
            "first": 1 - rates.get("beta1", betas[0]) ** count,
            "root": _root(correction),
            "rectifier": _root(rectified.clamp(min=0.0)),
            "long": length > 5.0,
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("beta1", betas[0]))
        square = (slots["exp_avg_sq"] * beta2).addcmul(g, g, value=1 - beta2)
        plain = mean / s["first"] * s["lr"]
        adapted = plain * ((square.sqrt() + eps).reciprocal() * s["root"]) * s["rectifier"]
        return p - torch.where(s["long"] > 0, adapted, plain), {"exp_avg": mean, "exp_avg_sq": square}

    return Rule(_zeros("exp_avg", "exp_avg_sq"), scalars, step)


def adamax(*, betas: tuple[float, float], eps: float) -> Rule:
    """Kingma and Ba, 2015, section 7.1."""

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        return {**rates, "step": -(rates["lr"] / (1 - rates.get("beta1", betas[0]) ** count))}

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("beta1", betas[0]))
        norm = torch.maximum(slots["exp_inf"] * betas[1], g.abs() + eps)
        return p + (s["step"] * mean) / norm, {"exp_avg": mean, "exp_inf": norm}

    return Rule(_zeros("exp_avg", "exp_inf"), scalars, step)


def adadelta(*, rho: float, eps: float) -> Rule:
    """Zeiler, 2012."""

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        square = (slots["square_avg"] * rho).addcmul(g, g, value=1 - rho)
        move = (slots["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * g
        moves = (slots["acc_delta"] * rho).addcmul(move, move, value=1 - rho)
        return torch.addcmul(p, move, s["lr"], value=-1), {"square_avg": square, "acc_delta": moves}

    return Rule(_zeros("square_avg", "acc_delta"), lambda count, rates: rates, step)


def adagrad(*, lr_decay: float, initial_accumulator_value: float, eps: float) -> Rule:
    """Duchi, Hazan and Singer, 2011."""

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        return {"step": -(rates["lr"] / (1 + (count - 1) * lr_decay))}

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        total = slots["sum"].addcmul(g, g)
        return p + (s["step"] * g) / (total.sqrt() + eps), {"sum": total}

    return Rule(lambda p: {"sum": torch.full_like(p, initial_accumulator_value)}, scalars, step)


def rmsprop(*, alpha: float, eps: float, centered: bool = False, momentum: float = 0.0) -> Rule:
    """Tieleman and Hinton, 2012; Graves, 2013 (centered)."""

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        return {"momentum": torch.full_like(count, momentum), **rates}

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        square = (slots["square_avg"] * alpha).addcmul(g, g, value=1 - alpha)
        moved, variance = {"square_avg": square}, square
        if centered:
            mean = moved["grad_avg"] = slots["grad_avg"].lerp(g, 1 - alpha)
            variance = square.addcmul(mean, mean, value=-1)
        deviation = variance.sqrt() + eps
        if not momentum:
            return p + (-s["lr"] * g) / deviation, moved
        buffer = moved["momentum_buffer"] = (slots["momentum_buffer"] * s["momentum"]).addcdiv(g, deviation)
        return torch.addcmul(p, buffer, s["lr"], value=-1), moved

    names = ["square_avg", *(["grad_avg"] if centered else []), *(["momentum_buffer"] if momentum else [])]
    return Rule(_zeros(*names), scalars, step)


def rprop(*, lr: float, etas: tuple[float, float], step_sizes: tuple[float, float]) -> Rule:
    """Riedmiller and Braun, 1993; the rate is only the first step size."""

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        sign = (g * slots["prev"]).sign()
        factor = torch.where(sign > 0, etas[1], torch.where(sign < 0, etas[0], torch.where(sign == 0, 1.0, sign)))
        size = (slots["step_size"] * factor.to(p.dtype)).clamp(*step_sizes)
        g = torch.where(sign < 0, torch.zeros_like(g), g)
        return p.addcmul(g.sign(), size, value=-1), {"prev": g, "step_size": size}

    return Rule(lambda p: {"prev": torch.zeros_like(p), "step_size": torch.full_like(p, lr)}, lambda count, rates: rates, step)


def asgd(*, lr: float, lambd: float, alpha: float, t0: float) -> Rule:
    """Polyak and Juditsky, 1992; the average is the slot `ax`."""

    def slots_of(p: Tensor) -> Slots:
        return {"ax": torch.zeros_like(p), "eta": torch.tensor(lr), "mu": torch.ones(())}

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        eta = rates["lr"] / ((1 + lambd * rates["lr"] * count) ** alpha)
        return {"eta": eta, "mu": 1 / (count - t0).clamp(min=1.0)}

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        eta, mu = slots["eta"].to(torch.float64), slots["mu"]
        kind = s["eta"].dtype
        p = torch.addcmul(p * (1 - lambd * eta).to(kind), g, eta.to(kind), value=-1)
        average = torch.where(mu != 1, slots["ax"] + (p - slots["ax"]) * mu, p)
        return p, {"ax": average, "eta": s["eta"].to(slots["eta"].dtype), "mu": s["mu"].to(mu.dtype)}

    return Rule(slots_of, scalars, step)


def lion(*, betas: tuple[float, float]) -> Rule:
    """Chen et al., Symbolic Discovery of Optimization Algorithms, 2023."""

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        direction = _lerp(slots["exp_avg"], g, betas[0]).sign()
        return torch.addcmul(p, direction, s["lr"], value=-1), {"exp_avg": _lerp(slots["exp_avg"], g, betas[1])}

    return Rule(_zeros("exp_avg"), lambda count, rates: rates, step)


def _root(x: Tensor) -> Tensor:
    # Python's `x ** 0.5` is a power, which may differ from a square root in the last place.
    return torch.pow(x, torch.full_like(x, 0.5))
