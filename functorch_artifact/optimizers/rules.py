"""The arithmetic of each optimizer, one leaf at a time.

Belongs here: `Rule`s. Does not: running them (`rule`), public constructors (`algorithms`), lifting.
Floor 2.

Each rule takes its operations in the order of torch's single-tensor code (foreach=False), so
that float32 and float64 parameters get the same bits on the CPU in eager mode; half precision
agrees to its last place. Three facts make that possible without a Python number in the graph:
`add(x, alpha=a)` equals `addcmul(x, a)` with a 0-d tensor, `addcdiv(m, d, value=a)` equals
`addcdiv(a * m, d)`, and 0-d float64 arithmetic equals Python's. Whatever depends only on the
count and the rates is computed once a step, in float64, where the parameters are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functorch_artifact.optimizers.rule import Columns, Rule, Scalars, Slots, for_each

_lists: Any = torch  # for its operations on lists of tensors, which are not exported


def _lerp(start: Tensor, end: Tensor, weight: float | Tensor) -> Tensor:
    return torch.lerp(start, end, weight.to(start.dtype) if isinstance(weight, Tensor) else weight)


def _weights(rates: Scalars) -> Scalars:
    # Subtracted in float64: in the leaf's precision it would round twice.
    return {"weight": 1 - rates["beta1"]} if "beta1" in rates else {}


def _zeros(*names: str) -> Callable[[Tensor], Slots]:
    return lambda p: {name: torch.zeros_like(p) for name in names}


def sgd(*, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> Rule:
    """Sutskever et al., 2013, in torch's form."""

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        beta = rates.get("momentum", torch.full_like(count, momentum))
        first = count == 1  # the buffer starts as the first gradient, undampened
        added = torch.where(first, torch.ones_like(count), torch.full_like(count, 1 - dampening))
        kept = torch.where(first, torch.zeros_like(beta), beta)
        return {"lr": rates["lr"], "beta": beta, "kept": kept, "added": added}

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
            **_weights(rates),
            "step": -(rates["lr"] / (1 - beta1**count)),
            "root": _root(1 - beta2**count),
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("weight", 1 - betas[0]))
        square = (slots["exp_avg_sq"] * beta2).addcmul(g, g, value=1 - beta2)
        moved = {"exp_avg": mean, "exp_avg_sq": square}
        if amsgrad:
            square = moved["max_exp_avg_sq"] = torch.maximum(slots["max_exp_avg_sq"], square)
        return p.addcdiv(s["step"] * mean, square.sqrt() / s["root"] + eps), moved

    def together(ps: list[Tensor], gs: list[Tensor], slots: Columns, s: Scalars) -> tuple[list[Tensor], Columns]:
        weight: Any = s.get("weight", 1 - betas[0])
        weight = [weight.to(gs[0].dtype)] * len(gs) if isinstance(weight, Tensor) else weight
        means = list(_lists._foreach_lerp(slots["exp_avg"], gs, weight))
        squares = list(_lists._foreach_mul(slots["exp_avg_sq"], for_each(beta2, ps)))
        _lists._foreach_addcmul_(squares, gs, gs, 1 - beta2)
        moved = {"exp_avg": means, "exp_avg_sq": squares}
        if amsgrad:
            squares = moved["max_exp_avg_sq"] = list(_lists._foreach_maximum(slots["max_exp_avg_sq"], squares))
        roots = _lists._foreach_sqrt(squares)
        _lists._foreach_div_(roots, for_each(s["root"], ps))
        _lists._foreach_add_(roots, for_each(eps, ps))
        if isinstance(s["step"], float):
            return list(_lists._foreach_addcdiv(ps, means, roots, value=s["step"])), moved
        return list(_lists._foreach_addcdiv(ps, _lists._foreach_mul(means, s["step"]), roots)), moved

    return Rule(_zeros("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])), scalars, step, together)


def nadam(*, betas: tuple[float, float], eps: float, momentum_decay: float) -> Rule:
    """Dozat, 2016."""
    beta2 = betas[1]

    def slots_of(p: Tensor) -> Slots:
        return {**_zeros("exp_avg", "exp_avg_sq")(p), "mu_product": torch.ones((), device=p.device)}

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        beta1 = rates.get("beta1", betas[0])
        return {
            **rates,
            **_weights(rates),
            "correction": 1 - beta2**count,
            "lr64": rates["lr"],
            "mu64": beta1 * (1.0 - 0.5 * (0.96 ** (count * momentum_decay))),
            "next64": beta1 * (1.0 - 0.5 * (0.96 ** ((count + 1) * momentum_decay))),
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("weight", 1 - betas[0]))
        square = (slots["exp_avg_sq"] * beta2).addcmul(g, g, value=1 - beta2)
        lr, mu, ahead, kept = s["lr64"], s["mu64"], s["next64"], slots["mu_product"]
        kept = kept * mu.to(kept)  # torch keeps the product in the default precision
        now_rate = -lr * (1.0 - mu) / (1.0 - kept.to(torch.float64))
        next_rate = (-lr * ahead) / (1.0 - kept.to(torch.float64) * ahead)
        denominator = (square / s["correction"]).sqrt() + eps
        p = p.addcdiv(now_rate.to(s["lr"]) * g, denominator).addcdiv(next_rate.to(s["lr"]) * mean, denominator)
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
            **_weights(rates),
            "first": 1 - rates.get("beta1", betas[0]) ** count,
            "root": _root(correction),
            "rectifier": _root(rectified.clamp(min=0.0)),
            "long": length > 5.0,
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("weight", 1 - betas[0]))
        square = (slots["exp_avg_sq"] * beta2).addcmul(g, g, value=1 - beta2)
        plain = mean / s["first"] * s["lr"]
        adapted = plain * ((square.sqrt() + eps).reciprocal() * s["root"]) * s["rectifier"]
        return p - torch.where(s["long"] > 0, adapted, plain), {"exp_avg": mean, "exp_avg_sq": square}

    return Rule(_zeros("exp_avg", "exp_avg_sq"), scalars, step)


def adamax(*, betas: tuple[float, float], eps: float) -> Rule:
    """Kingma and Ba, 2015, section 7.1."""

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        return {
            **rates,
            **_weights(rates),
            "step": -(rates["lr"] / (1 - rates.get("beta1", betas[0]) ** count)),
        }

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        mean = _lerp(slots["exp_avg"], g, s.get("weight", 1 - betas[0]))
        norm = torch.maximum(slots["exp_inf"] * betas[1], g.abs() + eps)
        return p.addcdiv(s["step"] * mean, norm), {"exp_avg": mean, "exp_inf": norm}

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
        return p.addcdiv(s["step"] * g, total.sqrt() + eps), {"sum": total}

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
            return p.addcdiv(-s["lr"] * g, deviation), moved
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

    def slots_of(p: Tensor) -> Slots:
        return {"prev": torch.zeros_like(p), "step_size": torch.full_like(p, lr)}

    return Rule(slots_of, lambda count, rates: rates, step)


def asgd(*, lr: float, lambd: float, alpha: float, t0: float) -> Rule:
    """Polyak and Juditsky, 1992; the average is the slot `ax`."""

    def slots_of(p: Tensor) -> Slots:
        eta, mu = torch.tensor(lr, device=p.device), torch.ones((), device=p.device)
        return {"ax": torch.zeros_like(p), "eta": eta, "mu": mu}

    def scalars(count: Tensor, rates: Scalars) -> Scalars:
        eta = rates["lr"] / ((1 + lambd * rates["lr"] * count) ** alpha)
        return {"lr": rates["lr"], "eta64": eta, "mu64": 1 / (count - t0).clamp(min=1.0)}

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        eta, mu, kind = slots["eta"].to(torch.float64), slots["mu"].to(s["lr"]), s["lr"]
        p = torch.addcmul(p * (1 - lambd * eta).to(kind), g, eta.to(kind), value=-1)
        average = torch.where(mu != 1, slots["ax"] + (p - slots["ax"]) * mu, p)
        # Both numbers serve the next step, and stay where the count is: no copy to the host.
        return p, {"ax": average, "eta": s["eta64"].to(slots["eta"].dtype), "mu": s["mu64"].to(slots["mu"].dtype)}

    return Rule(slots_of, scalars, step)


def lion(*, betas: tuple[float, float]) -> Rule:
    """Chen et al., Symbolic Discovery of Optimization Algorithms, 2023."""

    def step(p: Tensor, g: Tensor, slots: Slots, s: Scalars) -> tuple[Tensor, Slots]:
        direction = slots["exp_avg"].lerp(g, 1 - betas[0]).sign()
        return torch.addcmul(p, direction, s["lr"], value=-1), {"exp_avg": slots["exp_avg"].lerp(g, 1 - betas[1])}

    return Rule(_zeros("exp_avg"), lambda count, rates: rates, step)


def _root(x: Tensor) -> Tensor:
    # Python's `x ** 0.5` is a power, which may differ from a square root in the last place.
    return torch.pow(x, torch.full_like(x, 0.5)) if isinstance(x, Tensor) else x**0.5
