"""Precision: what a step computes in, and the scale that keeps half-precision gradients alive.

Belongs here: autocast and TF32 for the duration of a step, dynamic loss scaling as a pure state.
Does not: taking the step (`step`).
Floor 1.

| precision | products run in | parameters, optimizer | where |
|---|---|---|---|
| `fp32` | the dtype of their tensors | as they are | everywhere; torch's own flags stand |
| `tf32` | TensorFloat-32, inputs of 10 mantissa bits | as they are | CUDA; elsewhere no effect |
| `bf16` | bfloat16 | as they are (float32 masters) | everywhere |
| `fp16` | float16, the loss scaled | as they are (float32 masters) | everywhere; made for CUDA |

`bf16` and `fp16` are `torch.autocast`: it chooses the operations, and leaves float64 tensors alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, TypeVar, get_args

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.trees import node

T = TypeVar("T")

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""What a step computes in; see the module's table."""

_AUTOCAST: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check(precision: str, where: str) -> None:
    """Refuse a precision that there is not.

    Raises:
        ConfigurationError: it is unknown.
    """
    if precision not in get_args(Precision):
        raise ConfigurationError(
            "is unknown", where=where, expected=f"one of {get_args(Precision)}", got=repr(precision)
        )


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Cast what is computed inside, for `bf16` and `fp16`. A trace records the casts themselves."""
    if precision not in _AUTOCAST:
        return nullcontext()
    # Torch's cache of cast weights outlives no step here, and would stand in the way of tracing.
    return torch.autocast(device.type, _AUTOCAST[precision], cache_enabled=False)


def kernels(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Let products run in TensorFloat-32 inside, for `tf32` on CUDA; a flag of torch, not of a trace."""
    return _tf32() if precision == "tf32" and device.type == "cuda" else nullcontext()


def of_products() -> str:
    """Say in what torch's flags have float32 products computed: `highest`, `high`, `medium`, or a newer flag's word."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer flag was set, and the older one tells no more
        return str(torch.backends.cuda.matmul.fp32_precision)


@contextmanager
def _tf32() -> Iterator[None]:
    flags: tuple[Any, ...] = (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    )
    found, legacy = [flag.fp32_precision for flag in flags], None
    if found[0] != "tf32":  # by the older flag, which moves the newer ones; Inductor reads both, and torch
        legacy = torch.get_float32_matmul_precision()  # raises where they disagree
        torch.set_float32_matmul_precision("high")
    for flag in flags[1:3]:
        flag.fp32_precision = "tf32"
    try:
        yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
        for flag, value in zip(flags, found, strict=True):
            flag.fp32_precision = value


@node
@attrs.frozen(eq=False)
class LossScale:
    """The factor on the loss that keeps small float16 gradients from vanishing.

    The rule of `torch.amp.GradScaler`, to the bit: gradients that are not finite halve the scale
    and hold the step back; 2000 steps in a row with finite ones double it.
    """

    scale: Tensor  # float32 []
    streak: Tensor  # int32 [], steps with finite gradients since the scale last changed


def initial(precision: Precision, device: torch.device) -> LossScale | tuple[()]:
    """Make the scale before the first step: 65536 for `fp16`; `()` where none is needed."""
    if precision != "fp16":
        return ()
    return LossScale(torch.full((), 65536.0, device=device), torch.zeros((), dtype=torch.int32, device=device))


def unscaled(grads: T, state: LossScale) -> tuple[T, Tensor]:
    """Divide gradients by the scale, and say whether all were finite before: bool []."""
    inverse = state.scale.double().reciprocal().float()  # as GradScaler has it
    found = [torch.isfinite(grad).all().to(state.scale.device) for grad in trees.leaves(grads)]
    return trees.map(lambda grad: grad * inverse.to(grad.device), grads), torch.stack(found).all()


def updated(
    state: LossScale, finite: Tensor, *, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
) -> LossScale:
    """Make the scale after a step whose gradients were finite or not (bool [])."""
    streak = state.streak + 1
    due = streak == interval
    grown = state.scale * growth
    grown = torch.where(due & torch.isfinite(grown), grown, state.scale)
    zero = torch.zeros_like(streak)
    return LossScale(torch.where(finite, grown, state.scale * backoff), torch.where(finite & ~due, streak, zero))
