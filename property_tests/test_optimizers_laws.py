"""Laws of gradient transformations and learning rates, over hyper-parameters, labels and histories."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import lr_scheduler

from functorch_artifact import optimizers, trees
from functorch_artifact.optimizers import GradientTransformation
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import BoundLaw

torch.set_num_threads(1)

Tree = dict[str, Tensor]
SHAPES = {"b": (3,), "a.w": (2, 3), "c": ()}

seeds = st.integers(0, 2**20)
rates = st.floats(1e-4, 1.0)
betas = st.floats(0.0, 0.999)
decays = st.sampled_from([0.0, 0.01, 0.3])
few = settings(deadline=None, max_examples=25)


def tensors(seed: int, dtype: torch.dtype = torch.float64) -> Tree:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=g).to(dtype) * 10.0 ** (seed % 5 - 2) for name, shape in SHAPES.items()}


@st.composite
def transformations(draw: st.DrawFn) -> GradientTransformation:
    """Built-in optimizers, whose every leaf moves by its own gradient alone."""
    lr, decay = draw(rates), draw(decays)
    b1, b2, flag = draw(betas), draw(betas), draw(st.booleans())
    built = {
        "sgd": lambda: optimizers.sgd(lr, momentum=b1, weight_decay=decay, maximize=flag),
        "adam": lambda: optimizers.adam(lr, betas=(b1, b2), weight_decay=decay, amsgrad=flag),
        "adamw": lambda: optimizers.adamw(lr, betas=(b1, b2), weight_decay=decay, maximize=flag),
        "rmsprop": lambda: optimizers.rmsprop(lr, alpha=b2, momentum=b1, centered=flag),
        "adagrad": lambda: optimizers.adagrad(lr, weight_decay=decay),
        "lion": lambda: optimizers.lion(lr, betas=(b1, b2), weight_decay=decay),
        "cosine": lambda: optimizers.sgd(optimizers.cosine(lr, total=5, per="step")),
    }
    return built[draw(st.sampled_from(sorted(built)))]()


def run(tx: GradientTransformation, seed: int, steps: int = 4, state: Any = None, params: Any = None) -> Any:
    params = tensors(seed) if params is None else params
    state = tx.init(params) if state is None else state
    for n in range(steps):
        updates, state = tx.update(tensors(seed + 1 + n), state, params)
        params = optimizers.apply_updates(params, updates)
    return params, state


@few
@given(transformations(), seeds)
def test_an_update_is_a_function_and_changes_no_argument(tx: GradientTransformation, seed: int) -> None:
    params, state = run(tx, seed)
    before = trees.digest((params, state))
    first = run(tx, seed + 7, 2, state, params)
    assert trees.digest((params, state)) == before
    assert trees.digest(run(tx, seed + 7, 2, state, params)) == trees.digest(first)
    assert trees.differences((params, state), first) == []


@few
@given(transformations(), seeds, st.lists(st.sampled_from("xyz"), min_size=3, max_size=3))
def test_any_partition_into_one_optimizer_is_that_optimizer(
    tx: GradientTransformation, seed: int, labels: list[str]
) -> None:
    tree = dict(zip(SHAPES, labels, strict=True))
    parts = optimizers.partition(dict.fromkeys("xyz", tx), tree)
    assert trees.digest(run(parts, seed)[0]) == trees.digest(run(tx, seed)[0])


@few
@given(transformations(), seeds, st.lists(st.booleans(), min_size=3, max_size=3))
def test_frozen_leaves_keep_their_bits_and_the_others_never_notice(
    tx: GradientTransformation, seed: int, mask: list[bool]
) -> None:
    frozen = dict(zip(SHAPES, mask, strict=True))
    moved, free = run(optimizers.chain(tx, optimizers.freeze(frozen)), seed)[0], run(tx, seed)[0]
    for name, is_frozen in frozen.items():
        assert trees.digest(moved[name]) == trees.digest((tensors(seed) if is_frozen else free)[name])


@few
@given(transformations(), seeds, st.floats(1e-3, 10.0))
def test_chain_is_associative_with_identity(tx: GradientTransformation, seed: int, limit: float) -> None:
    a, b = optimizers.clip_by_global_norm(limit), optimizers.add_decayed_weights(0.1)
    expected = trees.digest(run(optimizers.chain(a, b, tx), seed)[0])
    for other in (
        optimizers.chain(a, optimizers.chain(b, tx)),
        optimizers.chain(optimizers.chain(a, b), tx),
        optimizers.chain(optimizers.identity(), a, optimizers.identity(), b, tx, optimizers.identity()),
    ):
        assert trees.digest(run(other, seed)[0]) == expected


@few
@given(seeds, st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_keeps_the_direction_and_leaves_the_short(seed: int, limit: float) -> None:
    grads = tensors(seed)
    clip = optimizers.clip_by_global_norm(limit)
    clipped, _ = clip.update(grads, clip.init(grads), grads)
    flat, short = (torch.cat([x.reshape(-1) for x in tree.values()]) for tree in (grads, clipped))
    assert short.norm() <= limit * (1 + 1e-12)
    torch.testing.assert_close(short * flat.norm(), flat * short.norm(), rtol=1e-9, atol=1e-9)
    if flat.norm() < limit - 1e-5:
        assert torch.equal(flat, short)


@few
@given(seeds, rates, betas, betas, decays, st.booleans(), st.integers(0, 6))
def test_a_lifted_adamw_continues_torch_from_any_step(
    seed: int, lr: float, b1: float, b2: float, decay: float, amsgrad: bool, before: int
) -> None:
    theirs = {name: p.requires_grad_() for name, p in tensors(seed).items()}
    adamw = torch.optim.AdamW(
        theirs.values(), lr=lr, betas=(b1, b2), weight_decay=decay, amsgrad=amsgrad, foreach=False
    )

    def torch_steps(first: int, last: int) -> None:
        for n in range(first, last):
            for name, grad in tensors(seed + 1 + n).items():
                theirs[name].grad = grad
            adamw.step()

    torch_steps(0, before)
    start = {name: p.detach() for name, p in theirs.items()}
    tx = optimizers.from_torch(adamw)
    moved, _ = run(tx, seed + before, 5, tx.init(start), start)
    torch_steps(before, before + 5)
    assert trees.digest(moved) == trees.digest(theirs)


scores = st.one_of(st.none(), st.floats(-10, 10), st.just(math.nan), st.just(math.inf))


@few
@given(
    st.lists(scores, max_size=40),
    st.sampled_from(["min", "max"]),
    st.sampled_from(["rel", "abs"]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.floats(0.0, 0.5),
)
def test_the_plateau_rule_is_torchs_on_every_history(
    history: list[float | None], mode: Any, threshold_mode: Any, patience: int, cooldown: int, threshold: float
) -> None:
    options: dict[str, Any] = {
        "mode": mode, "threshold_mode": threshold_mode, "patience": patience, "cooldown": cooldown,
        "threshold": threshold, "factor": 0.5, "min_lr": 0.05,
    }  # fmt: skip
    theirs = lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([torch.zeros(1)], lr=1.0), **options)
    ours = optimizers.reduce_on_plateau(1.0, **options)
    state = ours.init()
    for score in history:
        if score is None:
            state = ours.on_epoch(state, {"OTHER": 0.0})
        else:
            theirs.step(score)
            state = ours.on_epoch(state, {"VAL_LOSS": score})
        assert ours.rate(state) == theirs.optimizer.param_groups[0]["lr"]
        assert (state.bad_epochs, state.cooldown) == (theirs.num_bad_epochs, theirs.cooldown_counter)


@few
@given(rates, st.integers(2, 50), st.integers(1, 20), st.integers(0, 100))
def test_schedules_stay_in_their_bounds(top: float, total: int, length: int, count: int) -> None:
    cosine = optimizers.cosine(top, total=total, minimum=top / 10, per="step")
    warm = optimizers.linear_warmup(cosine, length=length, per="step")
    cycle = optimizers.one_cycle(top, total=total, per="epoch")
    slack = 1e-12 * top
    assert top / 10 - slack <= cosine(count) <= top + slack
    assert -slack <= warm(count) <= top + slack
    assert warm(count + length) == cosine(count)
    assert 0 <= cycle(count) <= top + slack


@few
@given(rates, st.lists(st.booleans(), max_size=30))
def test_a_schedule_counts_only_what_it_says(top: float, events: list[bool]) -> None:
    by_step = optimizers.exponential(top, gamma=0.9, per="step")
    by_epoch = optimizers.exponential(top, gamma=0.9, per="epoch")
    first, second = by_step.init(), by_epoch.init()
    for is_step in events:
        first = by_step.on_step(first) if is_step else by_step.on_epoch(first, {})
        second = by_epoch.on_step(second) if is_step else by_epoch.on_epoch(second, {})
    assert first == sum(events)
    assert second == len(events) - sum(events)
    assert by_step.rate(first) == by_step(sum(events))


LONG = settings(deadline=None, max_examples=6)
MEMBERS: dict[str, GradientTransformation] = {
    "adam": optimizers.adam(0.1),
    "schedule": optimizers.adamw(optimizers.cosine(0.1, total=9, per="epoch")),
    "plateau": optimizers.sgd(optimizers.reduce_on_plateau(0.1, patience=0), momentum=0.9),
    "clipped": optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.lion(0.01)),
    "parts": optimizers.partition(
        {"a": optimizers.sgd(0.1), "b": optimizers.adagrad(0.1)}, {"w": "a", "b": "b", "scale": "a"}
    ),
}
RATES: dict[str, Any] = {
    "constant": optimizers.constant(0.1),
    "by step": optimizers.linear_warmup(optimizers.cosine(0.1, total=9, per="step"), length=3, per="step"),
    "by epoch": optimizers.step(0.1, step_size=2, per="epoch"),
    "plateau": optimizers.reduce_on_plateau(0.1, patience=1, cooldown=1),
}
LAWS = [
    pytest.param(law, id=f"{name}-{law.__name__}") for name, each in (MEMBERS | RATES).items() for law in laws(each)
]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()


@LONG
@given(st.data(), seeds, rates, decays, betas, betas, st.booleans())
def test_hundreds_of_steps_are_torchs(
    data: st.DataObject, seed: int, lr: float, decay: float, b1: float, b2: float, flag: bool
) -> None:
    """To the bit, over drawn hyper-parameters."""
    pairs: dict[str, tuple[GradientTransformation, Any]] = {
        "sgd": (
            optimizers.sgd(lr, momentum=b1, nesterov=flag and b1 > 0, weight_decay=decay),
            lambda p: torch.optim.SGD(p, lr, momentum=b1, nesterov=flag and b1 > 0, weight_decay=decay, foreach=False),
        ),
        "adam": (
            optimizers.adam(lr, betas=(b1, b2), weight_decay=decay, amsgrad=flag),
            lambda p: torch.optim.Adam(p, lr, betas=(b1, b2), weight_decay=decay, amsgrad=flag, foreach=False),
        ),
        "adamw": (
            optimizers.adamw(lr, betas=(b1, b2), weight_decay=decay, maximize=flag),
            lambda p: torch.optim.AdamW(p, lr, betas=(b1, b2), weight_decay=decay, maximize=flag, foreach=False),
        ),
        "rmsprop": (
            optimizers.rmsprop(lr, alpha=b2, momentum=b1, centered=flag, weight_decay=decay),
            lambda p: torch.optim.RMSprop(
                p, lr, alpha=b2, momentum=b1, centered=flag, weight_decay=decay, foreach=False
            ),
        ),
        "adagrad": (
            optimizers.adagrad(lr, lr_decay=decay, weight_decay=decay),
            lambda p: torch.optim.Adagrad(p, lr, lr_decay=decay, weight_decay=decay, foreach=False),
        ),
    }
    tx, like = pairs[data.draw(st.sampled_from(sorted(pairs)))]
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    laws(tx, like=like, dtype=dtype, n_steps=300)["it_follows_torch"](seed=seed)


@LONG
@given(seeds, st.lists(rates, min_size=2, max_size=3), st.lists(decays, min_size=3, max_size=3), st.booleans())
def test_hundreds_of_steps_of_several_groups_are_torchs(
    seed: int, lrs: list[float], wds: list[float], sgd: bool
) -> None:
    """To the bit, over drawn param groups: each has its own rate and decay."""
    start = tensors(seed)
    theirs = {name: p.clone().requires_grad_() for name, p in start.items()}
    split = [list(theirs.values())[index :: len(lrs)] for index in range(len(lrs))]
    groups = [{"params": p, "lr": lr, "weight_decay": wd} for p, lr, wd in zip(split, lrs, wds, strict=False)]
    kind: Any = torch.optim.SGD if sgd else torch.optim.AdamW
    optimizer = kind(groups, lr=0.1, foreach=False, **({"momentum": 0.9} if sgd else {}))
    tx = optimizers.from_torch(optimizer)
    params = {name: p.detach().clone() for name, p in theirs.items()}
    state = tx.init({name: p.detach() for name, p in theirs.items()})
    for n in range(200):
        grads = tensors(seed + 1 + n)
        for name, grad in grads.items():
            theirs[name].grad = grad
        optimizer.step()
        updates, state = tx.update(grads, state, params)
        params = optimizers.apply_updates(params, updates)
    assert trees.digest(params) == trees.digest({name: p.detach() for name, p in theirs.items()})


@LONG
@given(rates, st.integers(1, 30), st.floats(0.5, 0.99), st.integers(40, 400), st.sampled_from(["step", "epoch"]))
def test_hundreds_of_counts_of_schedules_are_torchs(
    top: float, length: int, gamma: float, total: int, per: Any
) -> None:
    """Within 1e-9 relatively, over drawn hyper-parameters, for 200 counts."""
    for schedule, like in (
        (optimizers.step(top, step_size=length, gamma=gamma, per=per), lambda o: lr_scheduler.StepLR(o, length, gamma)),
        (optimizers.exponential(top, gamma=gamma, per=per), lambda o: lr_scheduler.ExponentialLR(o, gamma)),
        (
            optimizers.piecewise(top, milestones=[length, 2 * length], gamma=gamma, per=per),
            lambda o: lr_scheduler.MultiStepLR(o, [length, 2 * length], gamma),
        ),
        (
            optimizers.cosine(top, total=total, minimum=top / 10, per=per),
            lambda o: lr_scheduler.CosineAnnealingLR(o, total, top / 10),
        ),
    ):
        begun = lambda optimizer, like=like: _from(optimizer, top, like)  # noqa: E731
        laws(schedule, like=begun)["it_follows_torch"](scores=[0.5] * min(200, total))


def _from(optimizer: torch.optim.Optimizer, lr: float, like: Any) -> Any:
    optimizer.param_groups[0]["lr"] = lr
    return like(optimizer)
