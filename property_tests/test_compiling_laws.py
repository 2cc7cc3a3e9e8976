"""The law of compiling: whatever the mode, the donation and the steps a call, it is the eager run.

To the bit where it is captured, or replayed over buffers as a CUDA graph would; where it is compiled,
in float64 within 1e-7, and in bfloat16 within what the rounding of its products comes to. What anybody
holds stays as it is, and so do the global generators.
"""

from __future__ import annotations

import functools
import importlib
import random
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
rehearse = importlib.import_module("rehearsal").rehearse
schedules = optimizers.schedules


@attrs.frozen
class Configuration:
    """A step, and how it runs; equal ones share what was built for them."""

    kind: str  # of transformation
    norm: bool = False
    dropout: float = 0.0
    precision: Any = "fp32"  # in float64; a half precision casts float32
    nonfinite: Any = "raise"
    mode: Any = "captured"
    donate: bool = False
    steps: int = 1

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.precision == "fp32" else torch.float32


def network(own: Configuration) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(4)] if own.norm else []
    layers = [nn.Linear(3, 4), *middle, nn.Tanh(), nn.Dropout(own.dropout), nn.Linear(4, 2)]
    return nn.Sequential(*layers).to(own.dtype)


def transformation(kind: str) -> optimizers.GradientTransformation:
    match kind:
        case "groups":
            slow, fast = optimizers.sgd(0.01, momentum=0.9), optimizers.adam(0.01)
            return optimizers.partition(
                {"slow": slow, "fast": fast}, lambda path, leaf: "slow" if path[0] == "0" else "fast"
            )
        case "clipped, scheduled":
            rate = schedules.cosine(0.1, total=20, per="step")
            return optimizers.chain(optimizers.clip_by_global_norm(0.1), optimizers.adamw(rate))
        case "accumulated, averaged":
            return optimizers.accumulate(optimizers.ema(transformation("clipped, scheduled"), 0.9), steps=2)
        case "momentum":
            return optimizers.sgd(0.05, momentum=0.9)
        case _:
            return optimizers.adam(0.01)


@functools.cache
def built(own: Configuration) -> Any:
    model = fa.functional(network(own), inputs=lambda batch: batch["x"])
    step = fa.train_step(
        model,
        transformation(own.kind),
        lambda out, batch: nn.functional.cross_entropy(out, batch["y"]),
        nonfinite=own.nonfinite,
        precision=own.precision,
    )
    start = fa.init(model, step.tx, seed=3, precision=own.precision)
    return step, fa.compile(step, own.mode, donate=own.donate, steps=own.steps), start


def data(n: int, seed: int, dtype: torch.dtype) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(8, 3, dtype=dtype, generator=generator) for _ in range(n)]
    return [{"x": each, "y": (each.sum(1) > 0).long()} for each in x]


def generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def follow(own: Configuration, n: int, seed: int, keep: set[int]) -> tuple[Any, Any]:
    """Take n steps eagerly and as configured; what was held must not have changed by the end."""
    step, fast, start = built(own)
    eager, state, held = start, attrs.evolve(start), [start]
    digests, before_all = [trees.digest(start)], generators()
    outputs, expected = [], []
    batches = data(n, seed, own.dtype)
    for number in range(0, n, own.steps):
        few = batches[number : number + own.steps]
        given_ = few[0] if own.steps == 1 else trees.map(lambda *leaves: torch.stack(leaves), few[0], *few[1:])
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
    assert generators() == before_all
    return (state, torch.cat(outputs)), (eager, torch.cat(expected))


RUN = {"n": st.integers(1, 7), "seed": st.integers(0, 3), "keep": st.sets(st.integers(0, 6))}


@settings(max_examples=40, deadline=None)
@given(
    own=st.builds(
        Configuration,
        kind=st.sampled_from(["adam", "groups", "clipped, scheduled", "accumulated, averaged", "momentum"]),
        norm=st.booleans(),
        dropout=st.sampled_from([0.0, 0.5]),
        precision=st.sampled_from(["fp32", "bf16", "fp16"]),
        nonfinite=st.sampled_from(["raise", "skip"]),
        mode=st.sampled_from(["eager", "captured", "cudagraph"]),
        donate=st.booleans(),
        steps=st.sampled_from([1, 3]),
    ),
    **RUN,
)
def test_captured_is_eager_to_the_bit(own: Configuration, n: int, seed: int, keep: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        rehearse(patch)
        found, expected = follow(own, n, seed, keep)
    assert trees.digest(found) == trees.digest(expected)
    if own.mode != "eager":
        assert {build.mode for build in fa.explain(built(own)[1]).builds} == {own.mode}


ALL = Configuration("accumulated, averaged", norm=True, dropout=0.5, mode="compiled", donate=True)
HALF = Configuration("momentum", dropout=0.5, precision="bf16", mode="compiled", donate=True)


@settings(max_examples=15, deadline=None)
@given(
    own=st.sampled_from(
        [
            ALL,
            attrs.evolve(ALL, steps=3),  # the same code
            Configuration("groups", norm=True, nonfinite="skip", mode="compiled"),
            HALF,
            attrs.evolve(HALF, steps=3),
        ]
    ),
    **RUN,
)
def test_compiled_is_eager_within_rounding(own: Configuration, n: int, seed: int, keep: set[int]) -> None:
    found, expected = follow(own, n, seed, keep)
    assert trees.differences(found, expected) == []
    rtol, atol = (1e-7, 1e-9) if own.precision == "fp32" else (2e-3, 2e-3)
    for one, other in zip(trees.tensors(found), trees.tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
