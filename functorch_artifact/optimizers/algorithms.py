"""The built-in optimizers, by their usual names and with torch's defaults.

Belongs here: constructors that check hyper-parameters and choose a rule. Does not: arithmetic (`rules`).
Floor 2.

Every `learning_rate` and `weight_decay` is a number, a 0-d tensor, or a `LearningRate` such as a
schedule; all but a number that is a weight decay live in the state (`with_rates`). Each
optimizer ends in `Assigned` leaves, and on float32 and float64 CPU parameters its eager trajectory
has the same bits as the class of `torch.optim` it names (foreach=False).
"""

from __future__ import annotations

from typing import TypeAlias

import attrs
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.optimizers import fused as fused_rules
from functorch_artifact.optimizers import rules
from functorch_artifact.optimizers.rule import Rule, from_rule
from functorch_artifact.optimizers.schedules import LearningRate, as_learning_rate
from functorch_artifact.optimizers.transformation import (
    GradientTransformation,
    OptState,
    Params,
    Scores,
    Updates,
    aligned,
    check,
    delta,
    told,
)

Rate: TypeAlias = float | Tensor | LearningRate


def sgd(
    learning_rate: Rate,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: Rate = 0.0,
    maximize: bool = False,
) -> GradientTransformation:
    """Descend along the gradient, with momentum if asked, as `torch.optim.SGD` (bitwise).

    Raises:
        OptimizerError: a hyper-parameter is negative, or Nesterov is asked for without momentum
            or with dampening.
    """
    check(momentum >= 0, "sgd", "momentum", "a number >= 0", momentum)
    check(
        not nesterov or (momentum > 0 and dampening == 0),
        "sgd",
        "nesterov",
        "momentum > 0 and dampening == 0",
        f"momentum {momentum}, dampening {dampening}",
    )
    rule = rules.sgd(momentum=momentum, dampening=dampening, nesterov=nesterov)
    return _build("sgd", rule, learning_rate, weight_decay=weight_decay, maximize=maximize)


def adam(
    learning_rate: Rate = 1e-3,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: Rate = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    fused: bool = False,
) -> GradientTransformation:
    """Adapt to the gradient's two moments, as `torch.optim.Adam` (bitwise); decay is coupled.

    Kingma and Ba, 2015.

    Args:
        fused: call torch's fused kernel, as `torch.optim.Adam(fused=True)` (bitwise), which on large
            models takes a third of the time. Leaves that it does not take together (of several
            dtypes or devices, complex, under `vmap` or differentiated), and any with a weight decay
            that is no number, are stepped as without it, which is the same to rounding.

    Raises:
        OptimizerError: a beta is outside [0, 1), or another hyper-parameter is negative; this torch
            has no fused kernel.
    """
    rule = fused_rules.adam(betas=_betas("adam", betas), eps=_eps("adam", eps), amsgrad=amsgrad, fused=fused)
    return _build("adam", rule, learning_rate, weight_decay=weight_decay, maximize=maximize)


def adamw(
    learning_rate: Rate = 1e-3,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: Rate = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
    fused: bool = False,
) -> GradientTransformation:
    """Do as Adam with decay decoupled from the gradient, as `torch.optim.AdamW` (bitwise).

    Loshchilov and Hutter, 2019. For `fused` see `adam`.

    Raises:
        OptimizerError: a beta is outside [0, 1), or another hyper-parameter is negative; this torch
            has no fused kernel.
    """
    rule = fused_rules.adam(betas=_betas("adamw", betas), eps=_eps("adamw", eps), amsgrad=amsgrad, fused=fused)
    return _build("adamw", rule, learning_rate, weight_decay=weight_decay, decoupled=True, maximize=maximize)


def rmsprop(
    learning_rate: Rate = 1e-2,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: Rate = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> GradientTransformation:
    """Divide by the running root mean square, as `torch.optim.RMSprop` (bitwise).

    Raises:
        OptimizerError: a hyper-parameter is out of range.
    """
    check(0 <= alpha < 1, "rmsprop", "alpha", "a number in [0, 1)", alpha)
    check(momentum >= 0, "rmsprop", "momentum", "a number >= 0", momentum)
    rule = rules.rmsprop(alpha=alpha, eps=_eps("rmsprop", eps), centered=centered, momentum=momentum)
    return _build("rmsprop", rule, learning_rate, weight_decay=weight_decay, maximize=maximize)


def adagrad(
    learning_rate: Rate = 1e-2,
    *,
    lr_decay: float = 0.0,
    weight_decay: Rate = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> GradientTransformation:
    """Divide by the root of all squares so far, as `torch.optim.Adagrad` (bitwise).

    Raises:
        OptimizerError: a hyper-parameter is negative.
    """
    check(lr_decay >= 0, "adagrad", "lr_decay", "a number >= 0", lr_decay)
    check(
        initial_accumulator_value >= 0,
        "adagrad",
        "initial_accumulator_value",
        "a number >= 0",
        initial_accumulator_value,
    )
    rule = rules.adagrad(
        lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value, eps=_eps("adagrad", eps)
    )
    return _build("adagrad", rule, learning_rate, weight_decay=weight_decay, maximize=maximize)


def lion(
    learning_rate: Rate = 1e-4,
    *,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: Rate = 0.0,
    maximize: bool = False,
) -> GradientTransformation:
    """Step along the sign of an interpolated momentum; decay is decoupled.

    Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, algorithm 2.

    Raises:
        OptimizerError: a beta is outside [0, 1), or another hyper-parameter is negative.
    """
    rule = rules.lion(betas=_betas("lion", betas))
    return _build("lion", rule, learning_rate, weight_decay=weight_decay, decoupled=True, maximize=maximize)


def scale_by_learning_rate(learning_rate: Rate) -> GradientTransformation:
    """Multiply updates by minus the rate, which makes a gradient a descent step.

    The sum `param + update` differs from `torch.optim.SGD`'s fused step in the last place; `sgd`
    does not.
    """
    rate = as_learning_rate(learning_rate)

    def update(updates: Updates, state: OptState, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        factor = -rate.rate(state)
        scaled = [delta(u, p) * factor.to(p.device) for u, p in zip(changes, leaves, strict=True)]
        return trees.unflatten(structure, scaled), rate.on_step(state)

    def on_epoch(state: OptState, scores: Scores) -> OptState:
        return rate.on_epoch(state, scores)

    return GradientTransformation(lambda params: rate.init(), update, on_epoch)


def _build(
    name: str,
    rule: Rule,
    learning_rate: Rate,
    *,
    weight_decay: Rate,
    decoupled: bool = False,
    maximize: bool,
) -> GradientTransformation:
    rates, number = {"lr": as_learning_rate(learning_rate)}, 0.0
    if isinstance(weight_decay, Tensor | LearningRate):
        rates["weight_decay"] = as_learning_rate(weight_decay)
    else:
        check(weight_decay >= 0, name, "weight_decay", "a number >= 0", weight_decay)
        number = weight_decay
    made = from_rule(
        rule,
        rates,
        weight_decay=number,
        decoupled=decoupled,
        maximize=maximize,
    )
    return attrs.evolve(made, description=f"{name}({told(learning_rate)}, weight_decay={told(weight_decay)})")


def _betas(name: str, betas: tuple[float, float]) -> tuple[float, float]:
    check(all(0 <= beta < 1 for beta in betas), name, "betas", "two numbers in [0, 1)", betas)
    return betas


def _eps(name: str, eps: float) -> float:
    check(eps >= 0, name, "eps", "a number >= 0", eps)
    return eps
