"""Laws of what remembers across steps: accumulated gradients and averaged parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.testing import strategies as fas

torch.set_num_threads(1)

SIZE = 6  # examples of a micro-batch
seeds = st.integers(0, 2**20)
few = settings(deadline=None, max_examples=30)
# What has no sign in it, where rounding alone would decide.
smooth = fas.optimizers(names=["adagrad", "adam", "adamw", "rmsprop", "sgd"], learning_rates=st.floats(1e-4, 0.03))


def network() -> fa.FunctionalModel[Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    return fa.functional(net, inputs=lambda batch: batch["x"])


def batches(n: int, size: int, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n * size, 3, dtype=torch.float64, generator=generator)
    return [{"x": each, "y": each.sum(1, keepdim=True).sin()} for each in x.split(size)]


def trajectory(tx: optimizers.GradientTransformation, given: list[Any]) -> list[fa.TrainState]:
    """List the states after each batch."""
    model = network()
    step = fa.train_step(model, tx, lambda out, batch: (out - batch["y"]).square().mean())
    states = [fa.init(model, tx)]
    for batch in given:
        states.append(step(states[-1], batch)[0])
    return states[1:]


@few
@given(smooth, st.integers(1, 5), st.integers(1, 4), seeds)
def test_micro_batches_are_one_batch_for_a_mean_loss(
    tx: optimizers.GradientTransformation, k: int, n: int, seed: int
) -> None:
    whole = trajectory(tx, batches(n, SIZE * k, seed))
    parts = trajectory(optimizers.accumulate(tx, steps=k), batches(n * k, SIZE, seed))
    for large, small in zip(whole, parts[k - 1 :: k], strict=True):
        assert trees.differences(large.opt_state, small.opt_state.inner) == []
        pairs = zip(
            trees.leaves((large.params, large.opt_state)),
            trees.leaves((small.params, small.opt_state.inner)),
            strict=True,
        )
        for expected, found in pairs:
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@few
@given(smooth, st.integers(2, 5), st.integers(1, 9), seeds)
def test_between_steps_parameters_and_optimizer_keep_their_bits(
    tx: optimizers.GradientTransformation, k: int, n: int, seed: int
) -> None:
    states = trajectory(optimizers.accumulate(tx, steps=k), batches(n, SIZE, seed))
    for number in range(1, n):
        before, after = states[number - 1], states[number]
        assert int(after.opt_state.count) == (number + 1) % k
        if (number + 1) % k:
            assert trees.digest((before.params, before.opt_state.inner)) == trees.digest(
                (after.params, after.opt_state.inner)
            )


@few
@given(smooth, st.floats(0, 0.999), st.integers(1, 8), st.integers(1, 3), seeds)
def test_the_average_is_the_weighted_sum_of_all_parameters_so_far(
    tx: optimizers.GradientTransformation, decay: float, n: int, k: int, seed: int
) -> None:
    given_ = batches(n * k, SIZE, seed)
    alone = trajectory(optimizers.accumulate(tx, steps=k), given_)
    states = trajectory(optimizers.accumulate(optimizers.ema(tx, decay), steps=k), given_)
    assert [trees.digest(s.params) for s in states] == [trees.digest(s.params) for s in alone]
    moved = alone[k - 1 :: k]  # the first parameters weigh what is left over
    weights = [decay ** (n - 1)] + [(1 - decay) * decay ** (n - i) for i in range(2, n + 1)]
    assert sum(weights) == pytest.approx(1)
    for name, found in optimizers.ema_params(states[-1].opt_state).items():
        expected = sum(weight * state.params[name] for weight, state in zip(weights, moved, strict=True))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
