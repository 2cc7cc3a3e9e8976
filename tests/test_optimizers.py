"""Built-in optimizers against `torch.optim`, stages against `torch.nn.utils`, and how all of them trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from functorch_artifact import optimizers, trees
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers import GradientTransformation

torch.set_num_threads(1)

Tree = dict[str, Tensor]


def make(seed: int, dtype: torch.dtype = torch.float32) -> Tree:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=g).to(dtype) for name, shape in (("bias", (5,)), ("weight", (7, 5)))}


def gradients(step: int, like: Tree) -> Tree:
    # Magnitudes over six decades exercise eps and the moments alike.
    return {name: g * 10.0 ** ((step * 7) % 13 / 2 - 3) for name, g in make(1000 + step, like["bias"].dtype).items()}


def step(tx: GradientTransformation, grads: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
    updates, state = tx.update(grads, state, params)
    return optimizers.apply_updates(params, updates), state


CASES: list[tuple[str, Callable[..., GradientTransformation], type[torch.optim.Optimizer], float, dict[str, Any]]] = [
    ("sgd", optimizers.sgd, torch.optim.SGD, 0.1, {}),
    ("sgd decay", optimizers.sgd, torch.optim.SGD, 0.1, {"weight_decay": 0.01}),
    ("sgd momentum", optimizers.sgd, torch.optim.SGD, 0.03, {"momentum": 0.9}),
    ("sgd dampened up", optimizers.sgd, torch.optim.SGD, 1e-5,
     {"momentum": 0.9, "dampening": 0.3, "maximize": True, "weight_decay": 0.01}),
    ("sgd nesterov", optimizers.sgd, torch.optim.SGD, 0.03,
     {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam", optimizers.adam, torch.optim.Adam, 1e-2, {}),
    ("adam decay up", optimizers.adam, torch.optim.Adam, 1e-2, {"weight_decay": 0.1, "maximize": True}),
    ("adam amsgrad", optimizers.adam, torch.optim.Adam, 1e-2, {"amsgrad": True, "betas": (0.8, 0.95)}),
    ("adamw", optimizers.adamw, torch.optim.AdamW, 1e-2, {}),
    ("adamw amsgrad", optimizers.adamw, torch.optim.AdamW, 1e-2, {"amsgrad": True, "weight_decay": 0.3}),
    ("rmsprop", optimizers.rmsprop, torch.optim.RMSprop, 1e-2, {"weight_decay": 0.1}),
    ("rmsprop centered", optimizers.rmsprop, torch.optim.RMSprop, 1e-2, {"centered": True, "momentum": 0.9}),
    ("adagrad", optimizers.adagrad, torch.optim.Adagrad, 1e-2, {"lr_decay": 0.01, "weight_decay": 0.1}),
    ("adagrad start", optimizers.adagrad, torch.optim.Adagrad, 1e-2, {"initial_accumulator_value": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("build", "reference", "lr", "options"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_trajectory_has_the_bits_of_torch(
    build: Callable[..., GradientTransformation],
    reference: type[torch.optim.Optimizer],
    lr: float,
    options: dict[str, Any],
    dtype: torch.dtype,
) -> None:
    params = make(0, dtype)
    theirs = {name: p.clone().requires_grad_() for name, p in params.items()}
    optimizer = reference(theirs.values(), lr=lr, foreach=False, **options)  # type: ignore[call-arg]
    tx = build(lr, **options)
    state = tx.init(params)
    for n in range(150):
        grads = gradients(n, params)
        for name, p in theirs.items():
            p.grad = grads[name].clone()
        optimizer.step()
        params, state = step(tx, grads, state, params)
    assert all(torch.equal(params[name], theirs[name]) for name in params)
    assert all(p.isfinite().all() for p in params.values())
    assert state.count == 150


@pytest.mark.parametrize(
    ("build", "reference"),
    [(optimizers.adam, torch.optim.Adam), (optimizers.adamw, torch.optim.AdamW)],
    ids=["adam", "adamw"],
)
def test_leaves_too_large_for_one_list_keep_the_bits(
    build: Callable[..., GradientTransformation], reference: type[torch.optim.Optimizer]
) -> None:
    params = {str(index): torch.randn(n) for index, n in enumerate((1_100_003, 7, 5, 1_100_001, 3))}
    theirs = {name: p.clone().requires_grad_() for name, p in params.items()}
    optimizer = reference(theirs.values(), lr=1e-2, weight_decay=0.1)  # type: ignore[call-arg]
    tx = build(1e-2, weight_decay=0.1)
    state = tx.init(params)
    for _ in range(3):
        grads = {name: torch.randn_like(p) for name, p in params.items()}
        for name, p in theirs.items():
            p.grad = grads[name].clone()
        optimizer.step()
        params, state = step(tx, grads, state, params)
    assert all(torch.equal(params[name], theirs[name]) for name in params)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
def test_other_precisions_agree_with_torch_to_their_last_places(dtype: torch.dtype) -> None:
    params = make(0, dtype)
    theirs = {name: p.clone().requires_grad_() for name, p in params.items()}
    optimizer = torch.optim.AdamW(theirs.values(), lr=1e-2, foreach=False)
    tx = optimizers.adamw(1e-2)
    state = tx.init(params)
    for n in range(20):
        grads = gradients(n, params)
        for name, p in theirs.items():
            p.grad = grads[name].clone()
        optimizer.step()
        params, state = step(tx, grads, state, params)
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-6
    for name, p in params.items():
        assert p.dtype == dtype
        torch.testing.assert_close(p, theirs[name].detach(), rtol=tolerance, atol=tolerance)


def test_lion_follows_its_paper() -> None:
    params, lr, (b1, b2), decay = make(0, torch.float64), 1e-2, (0.9, 0.99), 0.1
    tx = optimizers.lion(lr, betas=(b1, b2), weight_decay=decay)
    state, p, m = tx.init(params), params["weight"].numpy().copy(), 0.0
    for n in range(100):
        grads = gradients(n, params)
        params, state = step(tx, grads, state, params)
        g = grads["weight"].numpy()
        direction = torch.tensor(b1 * m + (1 - b1) * g).sign().numpy()
        p, m = p - lr * (direction + decay * p), b2 * m + (1 - b2) * g
    torch.testing.assert_close(params["weight"], torch.tensor(p), rtol=1e-12, atol=1e-12)


def test_adamw_learns() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=g)
    y = x @ torch.arange(5.0)
    tx = optimizers.chain(optimizers.clip_by_global_norm(5.0), optimizers.adamw(0.1, weight_decay=0.0))
    params = {"w": torch.zeros(5)}
    state = tx.init(params)
    loss = torch.func.grad_and_value(lambda p: ((x @ p["w"] - y) ** 2).mean())
    for _ in range(400):
        grads, value = loss(params)
        params, state = step(tx, grads, state, params)
    assert value < 1e-4


TRACED = {
    "sgd": lambda: optimizers.sgd(0.1, momentum=0.9, dampening=0.2),
    "adam": lambda: optimizers.adam(optimizers.cosine(0.1, total=9, per="step"), amsgrad=True, weight_decay=0.1),
    "adamw": lambda: optimizers.adamw(optimizers.reduce_on_plateau(0.1)),
    "rmsprop": lambda: optimizers.rmsprop(1e-2, centered=True, momentum=0.9),
    "adagrad": lambda: optimizers.adagrad(
        optimizers.linear_warmup(optimizers.piecewise(0.1, milestones=[3], per="step"), length=3, per="step")
    ),
    "lion": lambda: optimizers.lion(optimizers.one_cycle(0.1, total=30, per="step"), weight_decay=0.1),
    "stages": lambda: optimizers.chain(
        optimizers.clip_by_global_norm(1.0),
        optimizers.clip_by_value(0.5),
        optimizers.add_decayed_weights(0.1, lambda path, leaf: path == "weight"),
        optimizers.scale_by_learning_rate(optimizers.step(0.1, step_size=2, per="step")),
        optimizers.scale(2.0),
    ),
    "parts": lambda: optimizers.chain(
        optimizers.partition({"x": optimizers.adamw(0.1), "y": optimizers.sgd(0.1)}, {"bias": "x", "weight": "y"}),
        optimizers.freeze(lambda path, leaf: path == "bias"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_eager_compiled_captured_and_stacked_agree(name: str) -> None:
    tx = TRACED[name]()
    params = make(0)

    def advance(grads: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
        return step(tx, grads, state, params)

    first = (gradients(0, params), tx.init(params), params)
    after_one = advance(*first)
    second = (gradients(1, params), after_one[1], after_one[0])
    after_two = advance(*second)

    torch._dynamo.reset()
    compiled = torch.compile(advance, fullgraph=True, backend="aot_eager")
    assert trees.digest(compiled(*first)) == trees.digest(after_one)
    assert trees.digest(compiled(*second)) == trees.digest(after_two)

    leaves, structure = trees.flatten(first)
    graph = make_fx(lambda *flat: trees.leaves(advance(*trees.unflatten(structure, flat))))(
        *[leaf.clone() for leaf in leaves]
    )
    assert trees.digest(graph(*trees.leaves(second))) == trees.digest(trees.leaves(after_two))

    def stack(*members: Any) -> Any:
        return trees.map(lambda *rows: torch.stack(rows), *members)

    stacked = torch.func.vmap(advance)(*map(stack, first, second))
    assert trees.differences(stack(after_one, after_two), stacked) == []
    for got, want in zip(trees.leaves(stacked), trees.leaves(stack(after_one, after_two)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)


def test_stacked_states_hold_a_learning_rate_each() -> None:
    params, rates = make(0), [0.1, 0.01, 0.0]
    states = [optimizers.adamw(rate).init(params) for rate in rates]
    stacked = trees.map(lambda *rows: torch.stack(rows), *states)
    grads = gradients(0, params)
    moved, _ = torch.func.vmap(lambda s: step(optimizers.adamw(1.0), grads, s, params))(stacked)
    for index, rate in enumerate(rates):
        alone, _ = step(optimizers.adamw(rate), grads, states[index], params)
        torch.testing.assert_close(moved["weight"][index], alone["weight"], rtol=1e-6, atol=1e-7)


def test_vmap_over_a_learning_rate_given_as_a_tensor() -> None:
    params, grads = make(0), gradients(0, make(0))

    def one(rate: Tensor) -> Tree:
        tx = optimizers.sgd(rate)
        return step(tx, grads, tx.init(params), params)[0]

    moved = torch.func.vmap(one)(torch.tensor([0.0, 0.5], dtype=torch.float64))
    assert torch.equal(moved["bias"][0], params["bias"])
    assert torch.equal(moved["bias"][1], one(torch.tensor(0.5))["bias"])


@pytest.mark.parametrize("name", TRACED)
def test_update_changes_no_argument_and_repeats_itself(name: str) -> None:
    tx = TRACED[name]()
    params = make(0)
    arguments = (gradients(0, params), tx.init(params), params)
    before = trees.digest(arguments)
    once, again = tx.update(*arguments), tx.update(*arguments)
    tx.on_epoch(arguments[1], {"VAL_LOSS": 1.0})
    assert trees.digest(arguments) == before
    assert trees.digest(once) == trees.digest(again)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_clips_as_torch_does(factor: float) -> None:
    params = make(0)
    grads = {name: g * factor for name, g in make(1).items()}
    theirs = [p.clone() for p in params.values()]
    for p, g in zip(theirs, grads.values(), strict=True):
        p.grad = g.clone()
    clip = optimizers.clip_by_global_norm(1.5)
    clipped, _ = clip.update(grads, clip.init(params), params)
    torch.nn.utils.clip_grad_norm_(theirs, 1.5)
    assert all(torch.equal(a, p.grad) for a, p in zip(clipped.values(), theirs, strict=True))
    torch.nn.utils.clip_grad_value_(theirs, 0.01)
    clip = optimizers.clip_by_value(0.01)
    clipped, _ = clip.update(clipped, clip.init(params), params)
    assert all(torch.equal(a, p.grad) for a, p in zip(clipped.values(), theirs, strict=True))


def test_clip_of_no_parameters_is_no_parameters() -> None:
    assert optimizers.clip_by_global_norm(1.0).update({}, (), {}) == ({}, ())


def test_a_stage_after_an_optimizer_sees_its_step() -> None:
    params, grads = make(0, torch.float64), gradients(0, make(0, torch.float64))
    full, half = optimizers.adam(0.1), optimizers.chain(optimizers.adam(0.1), optimizers.scale(0.5))
    whole = step(full, grads, full.init(params), params)[0]
    part = step(half, grads, half.init(params), params)[0]
    torch.testing.assert_close(part["weight"], (params["weight"] + whole["weight"]) / 2)


def test_scaling_by_minus_one_before_an_optimizer_maximises() -> None:
    params, grads = make(0), gradients(0, make(0))
    up = optimizers.adam(0.1, maximize=True)
    flipped = optimizers.chain(optimizers.scale(-1.0), optimizers.adam(0.1))
    assert trees.digest(step(up, grads, up.init(params), params)[0]) == trees.digest(
        step(flipped, grads, flipped.init(params), params)[0]
    )


def test_composed_decay_is_coupled_decay() -> None:
    params, grads = make(0), gradients(0, make(0))
    built_in = optimizers.adam(0.1, weight_decay=0.3)
    composed = optimizers.chain(optimizers.add_decayed_weights(0.3), optimizers.adam(0.1))
    assert trees.digest(step(built_in, grads, built_in.init(params), params)[0]) == trees.digest(
        step(composed, grads, composed.init(params), params)[0]
    )


def test_partition_runs_each_optimizer_on_its_leaves_alone() -> None:
    params = make(0)
    tx = optimizers.partition(
        {"a": optimizers.adamw(0.1), "b": optimizers.sgd(0.1, momentum=0.9)},
        lambda path, leaf: "a" if leaf.ndim == 1 else "b",
    )
    alone = {"bias": optimizers.adamw(0.1), "weight": optimizers.sgd(0.1, momentum=0.9)}
    state, states = tx.init(params), {n: t.init({n: params[n]}) for n, t in alone.items()}
    theirs = params
    for n in range(5):
        grads = gradients(n, params)
        params, state = step(tx, grads, state, params)
        moved = {name: step(t, {name: grads[name]}, states[name], {name: theirs[name]}) for name, t in alone.items()}
        theirs, states = {n: m[0][n] for n, m in moved.items()}, {n: m[1] for n, m in moved.items()}
    assert trees.digest(params) == trees.digest(theirs)
    assert trees.paths(state, "state")[:3] == [
        "state.states['a'].count",
        "state.states['a'].rates['lr']",
        "state.states['a'].slots['exp_avg']['bias']",
    ]


def test_masked_passes_the_rest_through_and_freeze_keeps_bits() -> None:
    params = {"a": torch.tensor([1.0, -0.0]), "nested": {"b": torch.ones(2)}}
    grads = trees.map(torch.ones_like, params)
    halve = optimizers.masked(optimizers.scale(0.5), {"a": True, "nested": {"b": False}})
    updates, _ = halve.update(grads, halve.init(params), params)
    assert updates["a"].tolist() == [0.5, 0.5]
    assert updates["nested"]["b"].tolist() == [1.0, 1.0]
    seen: list[str] = []
    frozen = optimizers.chain(
        optimizers.adamw(0.1), optimizers.freeze(lambda path, leaf: (seen.append(path), path == "a")[1])
    )
    moved, _ = step(frozen, grads, frozen.init(params), params)
    assert seen == ["a", "nested.b"]
    assert trees.digest(moved["a"]) == trees.digest(params["a"])
    assert not torch.equal(moved["nested"]["b"], params["nested"]["b"])


def test_scores_reach_the_rates_inside_chains_and_partitions() -> None:
    rate = optimizers.reduce_on_plateau(1.0, patience=0, factor=0.5)
    tx = optimizers.chain(
        optimizers.clip_by_value(10.0),
        optimizers.masked(optimizers.sgd(rate), {"bias": True, "weight": False}),
        optimizers.scale_by_learning_rate(rate),
    )
    state = tx.init(make(0))
    for _ in range(3):
        state = tx.on_epoch(state, {"VAL_LOSS": 1.0})
    assert state[1].states["masked"].rates["lr"].rate == 0.25
    assert state[2].rate == 0.25


def test_an_update_can_be_differentiated_through() -> None:
    params, tx = {"w": torch.ones(2)}, optimizers.sgd(0.5)
    state = tx.init(params)
    slope = torch.func.grad(lambda g: step(tx, {"w": g}, state, params)[0]["w"].sum())(torch.tensor([1.0, 2.0]))
    assert slope.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: optimizers.sgd(-1.0), "learning_rate is out of range"),
        (lambda: optimizers.sgd("fast"), "is not a learning rate"),  # type: ignore[arg-type]
        (lambda: optimizers.sgd(0.1, momentum=-1.0), "sgd: momentum is out of range"),
        (lambda: optimizers.sgd(0.1, nesterov=True), "expected: momentum > 0 and dampening == 0"),
        (lambda: optimizers.adam(betas=(1.0, 0.9)), "adam: betas is out of range"),
        (lambda: optimizers.adamw(eps=-1.0), "adamw: eps is out of range"),
        (lambda: optimizers.adamw(weight_decay=-1.0), "adamw: weight_decay is out of range"),
        (lambda: optimizers.rmsprop(alpha=1.0), "rmsprop: alpha is out of range"),
        (lambda: optimizers.rmsprop(momentum=-0.1), "rmsprop: momentum is out of range"),
        (lambda: optimizers.adagrad(lr_decay=-1.0), "adagrad: lr_decay is out of range"),
        (lambda: optimizers.adagrad(initial_accumulator_value=-1.0), "initial_accumulator_value is out of range"),
        (lambda: optimizers.lion(betas=(-0.1, 0.9)), "lion: betas is out of range"),
        (lambda: optimizers.clip_by_value(0.0), "clip_by_value: limit is out of range"),
        (lambda: optimizers.clip_by_global_norm(0.0), "clip_by_global_norm: max_norm is out of range"),
    ],
)
def test_hyper_parameters_that_cannot_work_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        build()


def test_trees_that_do_not_fit_are_refused() -> None:
    params = make(0)
    tx = optimizers.sgd(0.1)
    with pytest.raises(OptimizerError, match="updates do not have the structure of the parameters"):
        tx.update({"bias": params["bias"]}, tx.init(params), params)
    with pytest.raises(OptimizerError, match="updates do not have the structure of the parameters"):
        optimizers.apply_updates(params, {"bias": params["bias"]})
    with pytest.raises(OptimizerError, match="tree of masks is not shaped like the parameters"):
        optimizers.freeze({"bias": True}).init(params)
    with pytest.raises(OptimizerError, match="tree of labels is not shaped like the parameters"):
        optimizers.partition({"a": tx}, {"bias": "a"}).init(params)
    with pytest.raises(OptimizerError, match=r"parameter 'bias': has an unknown label(.|\n)*got: 'b'"):
        optimizers.partition({"a": tx}, lambda path, leaf: "b").init(params)
    with pytest.raises(OptimizerError, match="parameter 'bias': has an unknown mask"):
        optimizers.masked(tx, lambda path, leaf: "yes").init(params)
