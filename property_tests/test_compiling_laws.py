"""The law of compiling: whatever the mode, the donation and the steps a call, it is the eager run.

To the bit where it is captured; in float64 within 1e-7 where it is compiled. What anybody holds
stays as it is, and so do the global generators.
"""

from __future__ import annotations

import functools
from typing import Any

import attrs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees

schedules = optimizers.schedules


def network(norm: bool, dropout: float) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(4)] if norm else []
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 2)).double()


def transformation(kind: str) -> optimizers.GradientTransformation:
    if kind == "groups":
        slow, fast = optimizers.sgd(0.01, momentum=0.9), optimizers.adam(0.01)
        return optimizers.partition(
            {"slow": slow, "fast": fast}, lambda path, leaf: "slow" if path[0] == "0" else "fast"
        )
    if kind == "clipped, scheduled":
        rate = schedules.cosine(0.1, total=20, per="step")
        return optimizers.chain(optimizers.clip_by_global_norm(0.1), optimizers.adamw(rate))
    return optimizers.adam(0.01)


@functools.cache
def built(kind: str, norm: bool, dropout: float, nonfinite: Any, mode: Any, donate: bool, steps: int) -> Any:
    model = fa.functional(network(norm, dropout), inputs=lambda batch: batch["x"])
    step = fa.train_step(
        model,
        transformation(kind),
        lambda out, batch: nn.functional.cross_entropy(out, batch["y"]),
        nonfinite=nonfinite,
    )
    return step, fa.compile(step, mode, donate=donate, steps=steps), fa.init(model, step.tx, seed=3)


def data(n: int, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(8, 3, dtype=torch.float64, generator=generator) for _ in range(n)]
    return [{"x": each, "y": (each.sum(1) > 0).long()} for each in x]


def follow(configuration: tuple[Any, ...], n: int, seed: int, keep: set[int]) -> tuple[Any, Any]:
    """Take n steps eagerly and as configured; what was held must not have changed by the end."""
    *_, steps = configuration
    step, fast, start = built(*configuration)
    eager, state, held = start, attrs.evolve(start), [start]
    digests, generator = [trees.digest(start)], torch.get_rng_state()
    outputs, expected = [], []
    batches = data(n, seed)
    for number in range(0, n, steps):
        few = batches[number : number + steps]
        given_ = few[0] if steps == 1 else trees.map(lambda *leaves: torch.stack(leaves), few[0], *few[1:])
        before = trees.digest(given_)
        if number in keep:
            held += [state.params, state.buffers, attrs.evolve(state)]
            digests += [trees.digest(each) for each in held[-3:]]
        state, output = fast(state, given_)
        outputs.append(output["loss"].reshape(-1))
        assert trees.digest(given_) == before
        for batch in few:
            eager, wanted = step(eager, batch)
            expected.append(wanted["loss"].reshape(-1))
    assert [trees.digest(each) for each in held] == digests
    assert torch.equal(torch.get_rng_state(), generator)
    return (state, torch.cat(outputs)), (eager, torch.cat(expected))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(
        st.sampled_from(["adam", "groups", "clipped, scheduled"]),
        st.booleans(),
        st.sampled_from([0.0, 0.5]),
        st.sampled_from(["raise", "skip"]),
        st.sampled_from(["eager", "captured"]),
        st.booleans(),
        st.sampled_from([1, 3]),
    ),
    st.integers(1, 7),
    st.integers(0, 3),
    st.sets(st.integers(0, 6)),
)
def test_captured_is_eager_to_the_bit(configuration: Any, n: int, seed: int, keep: set[int]) -> None:
    found, expected = follow(configuration, n, seed, keep)
    assert trees.digest(found) == trees.digest(expected)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(
        [
            ("clipped, scheduled", True, 0.5, "raise", "compiled", True, 1),
            ("clipped, scheduled", True, 0.5, "raise", "compiled", True, 3),  # the same code
            ("groups", True, 0.0, "skip", "compiled", False, 1),
        ]
    ),
    st.integers(1, 7),
    st.integers(0, 3),
    st.sets(st.integers(0, 6)),
)
def test_compiled_is_eager_within_rounding(configuration: Any, n: int, seed: int, keep: set[int]) -> None:
    found, expected = follow(configuration, n, seed, keep)
    assert trees.differences(found, expected) == []
    for one, other in zip(trees.tensors(found), trees.tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
