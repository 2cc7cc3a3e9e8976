"""Torch's fused kernels as pure functions: a whole optimizer in one operation.

Belongs here: what is one kernel in torch, and the same in single operations, for compilers. Does not:
arithmetic a leaf at a time (`rules`), when a kernel is called (`rule`).
Floor 2.

A fused kernel reads and writes each number once, where single operations do so a dozen times. Its
float32 results differ from theirs in the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import torch
from torch import Tensor

from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers import rules
from functorch_artifact.optimizers.rule import Columns, Rule

_torch: Any = torch  # for its fused kernels, which are not exported


def adam(*, betas: tuple[float, float], eps: float, amsgrad: bool = False, fused: bool | None = False) -> Rule:
    """Make Adam's rule; if `fused`, with torch's kernel, which `torch.optim.Adam(fused=True)` calls.

    Raises:
        OptimizerError: this torch has no such kernel.
    """
    single = rules.adam(betas=betas, eps=eps, amsgrad=amsgrad)
    if not fused:
        return single
    if not hasattr(_torch, "_fused_adam_"):
        raise OptimizerError("is not in this torch", where="the fused kernel of Adam", fix="drop fused=True")

    def kernel(
        ps: list[Tensor], gs: list[Tensor], slots: Columns, count: Tensor, lr: Tensor, decay: float, decoupled: bool
    ) -> tuple[list[Tensor], Columns]:
        # Copies to write to; a compiled step writes to the state that it was given instead.
        ps = [p.clone() for p in ps]
        moved = {name: [_like(slot, p) for slot, p in zip(column, ps, strict=True)] for name, column in slots.items()}
        largest = moved.get("max_exp_avg_sq", [])
        call = _torch._fused_adamw_ if decoupled else _torch._fused_adam_
        call(
            ps,
            # The kernel goes through memory, whatever the strides.
            [g if g.stride() == p.stride() else _like(g, p) for g, p in zip(gs, ps, strict=True)],
            moved["exp_avg"],
            moved["exp_avg_sq"],
            largest,
            [count.to(torch.float32)] * len(ps),
            lr=lr if lr.is_cpu else lr.to(torch.float32),
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=decay,
            eps=eps,
            amsgrad=amsgrad,
            maximize=False,
        )
        return ps, moved

    return attrs.evolve(single, fused=kernel)


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    """Copy a tensor into memory in the order of another's."""
    return tensor.clone() if tensor.stride() == other.stride() else torch.empty_like(other).copy_(tensor)


def _in_single_operations(decoupled: bool) -> Callable[..., None]:
    def adam(
        params: list[Tensor],
        grads: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        largest: list[Tensor],
        counts: list[Tensor],
        *,
        lr: Tensor,
        beta1: float,
        beta2: float,
        weight_decay: float,
        eps: float,
        amsgrad: bool,
        **options: Any,  # which `adam` above leaves as they are
    ) -> None:
        rule = rules.adam(betas=(beta1, beta2), eps=eps, amsgrad=amsgrad)
        slots = {"exp_avg": means, "exp_avg_sq": squares} | ({"max_exp_avg_sq": largest} if amsgrad else {})
        kind = torch.float64 if params[0].dtype == torch.float64 else torch.float32
        rate = lr.to(torch.float64)
        numbers = rule.scalars(counts[0].to(torch.float64), {"lr": rate})
        numbers = {name: number.to(params[0].device, kind) for name, number in numbers.items()}
        ps, gs = params, grads
        if weight_decay and decoupled:
            ps = [p * (1 - rate * weight_decay).to(p.device, kind) for p in ps]
        elif weight_decay:
            gs = [g.add(p, alpha=weight_decay) for p, g in zip(ps, gs, strict=True)]
        assert rule.together is not None
        values, moved = rule.together(ps, gs, slots, numbers)
        for old, new in zip((params, *slots.values()), (values, *moved.values()), strict=True):
            for one, other in zip(old, new, strict=True):
                one.copy_(other)

    return adam


DECOMPOSITIONS: Final[dict[Any, Callable[..., Any]]] = {
    getattr(torch.ops.aten, name).tensor_lr: _in_single_operations(name == "_fused_adamw_")
    for name in ("_fused_adam_", "_fused_adamw_")
    if hasattr(torch.ops.aten, name)
}
"""For each kernel above the same in single operations, which compilers fuse by themselves."""
