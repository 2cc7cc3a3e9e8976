"""Laws of the loss scale: it is that of `torch.amp.GradScaler`, to the bit, whatever overflows when."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import precision, trees

torch.set_num_threads(1)

factors = st.sampled_from([1.0, 1e-38, 3.7, 1e30, math.inf, -math.inf, math.nan])


@given(
    st.lists(st.lists(factors, min_size=1, max_size=3), max_size=40),
    st.integers(1, 5),
    st.integers(-126, 127),
    st.integers(0, 99),
)
def test_gradients_and_scale_are_those_of_grad_scaler(
    steps: list[list[float]], interval: int, exponent: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**exponent, growth_interval=interval)
    ours = precision.LossScale(torch.tensor(2.0**exponent), torch.tensor(0, dtype=torch.int32))
    for factors in steps:
        grads = {str(i): torch.randn(2, generator=generator) * factor for i, factor in enumerate(factors)}
        leaves = [torch.zeros(2, requires_grad=True) for _ in factors]
        for leaf, grad in zip(leaves, grads.values(), strict=True):
            leaf.grad = grad.clone()
        optimizer = torch.optim.SGD(leaves, lr=1.0)
        scaler.scale(torch.ones(()))  # makes the scaler's tensors
        scaler.unscale_(optimizer)
        held_back = bool(scaler._found_inf_per_device(optimizer)[torch.device("cpu")])
        scaler.update()

        found, finite = precision.unscaled(grads, ours)
        ours = precision.updated(ours, finite, interval=interval)
        assert bool(finite) is not held_back
        assert trees.digest(found) == trees.digest({str(i): leaf.grad for i, leaf in enumerate(leaves)})
        assert float(ours.scale) == scaler.get_scale()
        assert int(ours.streak) == scaler._get_growth_tracker()
