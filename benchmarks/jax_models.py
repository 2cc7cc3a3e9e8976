"""The MLP and the VAE in JAX with optax's Adam: one jitted step, or many in one `lax.scan`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import optax
import torch

SCANNED = 100
Loss = Callable[[dict[str, Any], dict[str, Any], Any], Any]


def side(net: torch.nn.Module, batch: dict[str, torch.Tensor], *, scanned: bool) -> tuple[Callable[[], None], int]:
    """Make a call, and say how many steps it takes, for a module whose loss is written again here."""
    loss: Loss = vae_loss if "codes" in batch else mlp_loss
    params = {name: jnp.asarray(p.detach().numpy()) for name, p in net.named_parameters()}
    held = {name: jnp.asarray(b.numpy()) for name, b in net.named_buffers()}
    data = {name: jnp.asarray(leaf.numpy()) for name, leaf in batch.items()} | {"buffers": held}
    tx = optax.adam(1e-3)

    def step(carry: Any, _: Any) -> tuple[Any, Any]:
        params, opt_state, key = carry
        key, own = jax.random.split(key)
        value, grads = jax.value_and_grad(loss)(params, data, own)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key), value

    n = SCANNED if scanned else 1
    run = jax.jit(
        lambda carry: jax.lax.scan(step, carry, None, length=n) if scanned else step(carry, None), donate_argnums=0
    )
    carry = [(params, tx.init(params), jax.random.key(0))]

    def call() -> None:
        carry[0], value = run(carry[0])
        jax.block_until_ready(value)

    return call, n


def linear(params: dict[str, Any], name: str, x: Any) -> Any:
    """Apply a linear layer of torch's naming."""
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def mlp_loss(params: dict[str, Any], batch: dict[str, Any], key: Any) -> Any:
    """Compute the tiny classifier's cross-entropy."""
    x = jax.nn.relu(linear(params, "net.0", batch["x"]))
    x = jax.nn.relu(linear(params, "net.2", x))
    scores = jax.nn.log_softmax(linear(params, "net.4", x))
    return -jnp.take_along_axis(scores, batch["y"][:, None], axis=1).mean()


def vae_loss(params: dict[str, Any], batch: dict[str, Any], key: Any) -> Any:
    """Compute the demo's evidence lower bound, negative."""

    def residual(name: str, x: Any) -> Any:
        inner = jax.nn.silu(linear(params, f"{name}.correction.1", jax.nn.silu(x)))
        return x + linear(params, f"{name}.correction.3", inner)

    codes, buffers = batch["codes"], batch["buffers"]
    x = params["embed.weight"][codes + buffers["offsets"]].sum(axis=1)
    x = linear(params, "encoder.2", jax.nn.silu(residual("encoder.0", x)))
    mean, log_std = jnp.split(x, 2, axis=-1)
    z = mean + jax.random.normal(key, mean.shape) * jnp.exp(log_std)
    z = residual("decoder.2", residual("decoder.1", linear(params, "decoder.0", z)))
    scores = linear(params, "decoder.4", jax.nn.silu(z)).reshape(len(codes), *buffers["missing"].shape)
    logs = jax.nn.log_softmax(scores + buffers["missing"])
    reconstruction = -jnp.take_along_axis(logs, codes[..., None], axis=-1).sum() / len(codes)
    kl = (0.5 * (mean**2 + jnp.exp(2 * log_std) - 1) - log_std).sum() / len(codes)
    return reconstruction + kl
