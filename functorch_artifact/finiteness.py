"""What is NaN or infinite: finding it, and saying where.

Belongs here: tests of finiteness and the errors they end in. Does not: what follows (`step`, `driver`).
Floor 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from functorch_artifact.errors import LossError


def all_finite(grads: Mapping[str, Tensor], also: Tensor) -> Tensor:
    """Say whether all gradients are finite, and `also` (bool []) holds: bool [], on its device."""
    found = [torch.isfinite(grad).all().to(also.device) for grad in grads.values()]
    return torch.stack([also, *found]).all()


def nonfinite_loss(step: int, epoch: int, batch: int, value: float) -> LossError:
    """Make the error for a loss that is NaN or infinite or, where it is finite, for its gradient."""
    return LossError(
        "a gradient is not finite" if math.isfinite(value) else f"the loss is {value}",
        where=f"step {step} (epoch {epoch}, batch {batch})",
        expected="a finite number",
        fix="lower the learning rate, clip gradients, check the data; or pass nonfinite='skip' or 'stop'",
    )


def nonfinite_parameter(params: Mapping[str, Tensor], step: int, epoch: int) -> LossError | None:
    """Make the error for the first trained parameter that is NaN or infinite; `None` if all are finite."""
    if not params:
        return None
    device = next(iter(params.values())).device
    finite = torch.stack([torch.isfinite(each).all().to(device) for each in params.values()])
    if bool(finite.all()):
        return None
    name = list(params)[finite.tolist().index(False)]
    return LossError(
        "is not finite",
        where=f"parameter {name!r} after step {step} (epoch {epoch})",
        expected="finite numbers",
        fix="lower the learning rate, clip gradients; or pass nonfinite='skip', 'stop' or 'record'",
    )
