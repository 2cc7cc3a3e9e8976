"""Losses: what a model's output is minimised by, and its gradients.

Belongs here: finding the scalar loss in an output, differentiating it. Does not: what is done with
gradients (`step`, `optimizers`), losses that are not finite (`finiteness`).
Floor 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from functorch_artifact import trees
from functorch_artifact.errors import LossError
from functorch_artifact.model import shown, tell

LossFunction = Callable[[Any, Any], Tensor]
"""`loss(output, batch)`: the scalar to minimise."""


def with_loss(raw: Any, batch: Any, loss: LossFunction | None, *, required: bool = True) -> dict[str, Any]:
    """Make a model's output a dict that holds the scalar `loss`.

    Raises:
        LossError: there is none (and it is `required`), or it is not a floating-point scalar.
    """
    output: dict[str, Any] = dict(raw) if isinstance(raw, Mapping) else {"output": raw}
    if loss is not None:
        try:
            output["loss"] = loss(raw, batch)
        except Exception as error:
            tell(error, "the loss function", batch, f"the model's output {shown(raw)}, and ")
            raise
    elif "loss" not in output:
        if not required:
            return output
        raise LossError(
            "there is no loss",
            where="the model's output",
            expected="a dict with the key 'loss', or a loss function",
            got=f"a dict with the keys {sorted(output)}" if isinstance(raw, Mapping) else type(raw).__name__,
            fix="return {'loss': ..., ...} from forward, or pass loss=lambda output, batch: ... to train_step",
        )
    value = output["loss"]
    if not isinstance(value, Tensor) or value.ndim != 0 or not value.is_floating_point():
        raise LossError(
            "is not a scalar",
            where="the loss",
            expected="a floating-point tensor of shape []",
            got=trees.describe(value),
            fix="return it, and reduce it over the batch, e.g. with .mean()",
        )
    return output


def gradient(
    objective: Callable[[dict[str, Tensor]], tuple[Tensor, tuple[Any, dict[str, Tensor]]]],
    params: dict[str, Tensor],
) -> tuple[dict[str, Tensor], Any, dict[str, Tensor]]:
    """Differentiate an objective by the parameters: gradients, the output, detached, and the buffers.

    Raises:
        LossError: the loss depends on none of the parameters.
    """
    # torch.func composes with vmap and Dynamo; plain autograd costs 30 % less when run eagerly.
    if torch.compiler.is_compiling() or transformed(params):
        grads, (_, (output, buffers)) = torch.func.grad_and_value(objective, has_aux=True)(params)
        return grads, trees.detach(output), buffers
    with torch.enable_grad():
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
        loss, (output, buffers) = objective(leaves)
        if not loss.requires_grad:
            raise LossError(
                "does not depend on any trainable parameter",
                where="the loss",
                fix="check for detach() and torch.no_grad() in forward, and for parameters frozen by mistake",
            )
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    grads = {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }
    return grads, trees.detach(output), buffers


def transformed(params: Mapping[str, Tensor]) -> bool:
    """Tell whether the parameters are under `torch.func`."""
    return any(map(is_functorch_wrapped_tensor, params.values()))
