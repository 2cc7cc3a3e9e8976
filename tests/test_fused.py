"""Fused kernels: the bits of torch's, purely; single operations where the kernel does not go."""

import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers import fused

CASES = {
    "adam": (optimizers.adam, torch.optim.Adam, {}),
    "adam, decay": (optimizers.adam, torch.optim.Adam, {"weight_decay": 0.1, "maximize": True}),
    "adam, amsgrad": (optimizers.adam, torch.optim.Adam, {"amsgrad": True, "betas": (0.8, 0.9), "eps": 1e-6}),
    "adamw": (optimizers.adamw, torch.optim.AdamW, {"weight_decay": 0.1}),
    "adamw, amsgrad": (optimizers.adamw, torch.optim.AdamW, {"amsgrad": True, "weight_decay": 0.0}),
}


def tensors(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in {"a": (7, 5), "b": (3,), "c": ()}.items()}
    drawn["t"] = torch.randn(4, 6, generator=generator).t()
    return {name: tensor.to(dtype) for name, tensor in drawn.items()}


def torchs(cls, params, dtype, n, rate=0.1, **options):
    """Step torch's own optimizer n times."""
    own = {name: nn.Parameter(tensor.clone()) for name, tensor in params.items()}
    optimizer = cls(own.values(), lr=rate, fused=True, **options)
    for seed in range(1, n + 1):
        for name, grad in tensors(dtype, seed).items():
            own[name].grad = grad.clone()
        optimizer.step()
    return own, optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_it_has_the_bits_of_torchs_fused_kernel_and_changes_nothing(case, dtype):
    make, cls, options = CASES[case]
    params = tensors(dtype)
    expected, optimizer = torchs(cls, params, dtype, 5, **options)
    tx = make(0.1, fused=True, **options)
    lifted = optimizers.from_torch(cls([each.clone() for each in params.values()], lr=0.1, fused=True, **options))
    assert lifted.description.startswith(cls.__name__)
    state = tx.init(params)
    for seed in range(1, 6):
        grads = tensors(dtype, seed)
        before = trees.digest((grads, state, params))
        updates, following = tx.update(grads, state, params)
        stepped = optimizers.apply_updates(params, updates)
        assert trees.digest((grads, state, params)) == before
        state, params = following, stepped
    for name, value in expected.items():
        assert torch.equal(params[name], value)
        for slot, column in state.slots.items():
            assert torch.equal(column[name], optimizer.state[value][slot])


def test_a_schedule_reaches_the_kernel():
    params = tensors()
    tx, state = optimizers.adam(optimizers.schedules.step(0.1, step_size=2, gamma=0.5, per="step"), fused=True), None
    own = {name: nn.Parameter(tensor.clone()) for name, tensor in params.items()}
    optimizer = torch.optim.Adam(own.values(), lr=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    state = tx.init(params)
    for seed in range(1, 6):
        grads = tensors(seed=seed)
        for name, grad in grads.items():
            own[name].grad = grad.clone()
        optimizer.step()
        schedule.step()
        updates, state = tx.update(grads, state, params)
        params = optimizers.apply_updates(params, updates)
    assert all(torch.equal(params[name], own[name]) for name in own)


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW])
def test_a_lifted_optimizer_goes_on_with_its_kernel(cls):
    params = tensors()
    own, optimizer = torchs(cls, params, torch.float32, 3)
    tx = optimizers.from_torch(optimizer)
    values = {name: each.detach() for name, each in own.items()}
    grads = tensors(seed=9)
    updates, _ = tx.update(grads, tx.init(values), values)
    stepped = optimizers.apply_updates(values, updates)
    for name, grad in grads.items():
        own[name].grad = grad.clone()
    optimizer.step()
    assert all(torch.equal(stepped[name], own[name]) for name in own)


def single(params, grads, **options):
    tx = optimizers.adamw(0.1, **options)
    return optimizers.apply_updates(params, tx.update(grads, tx.init(params), params)[0])


def test_where_the_kernel_does_not_go_single_operations_do():
    """Several dtypes, complex numbers, a decay that is a tensor, vmap: to rounding what it would have been."""
    mixed = tensors() | {"d": torch.ones(3, dtype=torch.float64)}
    grads = tensors(seed=1) | {"d": torch.ones(3, dtype=torch.float64)}
    assert trees.digest(single(mixed, grads, fused=True)) == trees.digest(single(mixed, grads))
    numbers = {"z": torch.randn(3, dtype=torch.complex64)}
    assert trees.digest(single(numbers, numbers, fused=True)) == trees.digest(single(numbers, numbers))
    decay = torch.tensor(0.1)
    one, other = (single(tensors(), tensors(seed=1), weight_decay=decay, fused=f) for f in (True, False))
    assert trees.digest(one) == trees.digest(other)
    stacked = trees.map(lambda *leaves: torch.stack(leaves), tensors(), tensors(seed=2))
    members = torch.vmap(lambda params: single(params, params, fused=True))(stacked)
    for index, seed in enumerate((0, 2)):
        alone = single(tensors(seed=seed), tensors(seed=seed), fused=True)
        for name, value in alone.items():
            torch.testing.assert_close(members[name][index], value)


@pytest.mark.parametrize("fused", [True, False])
def test_it_can_be_differentiated_through(fused):
    """With respect to parameters, gradients and the rate."""
    given = [torch.ones(3, requires_grad=True) for _ in range(2)]
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    tx, params = optimizers.adam(0.1, fused=fused), {"a": given[0]}
    state = optimizers.with_rates(tx.init({"a": torch.ones(3)}), {"lr": rate})
    updates, _ = tx.update({"a": given[1]}, state, params)
    optimizers.apply_updates(params, updates)["a"].sum().backward()
    assert torch.equal(given[0].grad, torch.ones(3))
    assert given[1].grad is not None
    assert float(rate.grad) == pytest.approx(-3.0, rel=1e-6)


def test_a_torch_without_the_kernel_is_told(monkeypatch):
    monkeypatch.delattr(torch, "_fused_adam_")
    with pytest.raises(OptimizerError, match=r"the fused kernel of Adam: is not in this torch\n  do this: drop fus"):
        optimizers.adam(fused=True)


@pytest.mark.parametrize("case", CASES)
def test_compilers_are_given_the_same_in_single_operations(case):
    make, _, options = CASES[case]
    params, grads = tensors(torch.float64), tensors(torch.float64, 1)
    tx = make(0.1, fused=True, **options)
    state = tx.init(params)

    def update(*leaves):
        given = trees.unflatten(trees.flatten((grads, state, params))[1], leaves)
        return trees.leaves(tx.update(*given))

    leaves = trees.leaves((grads, state, params))
    with torch.no_grad():
        found = torch.fx.experimental.proxy_tensor.make_fx(update, fused.DECOMPOSITIONS)(*leaves)
    assert not any(node.target in fused.DECOMPOSITIONS for node in found.graph.nodes)
    for one, other in zip(found(*leaves), update(*leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", ["captured", "compiled"])
def test_steps_with_a_fused_kernel_agree_in_every_mode(mode):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1)).double()
    tx = optimizers.adamw(1e-2, fused=True)
    step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
    fast = fa.compile(step, mode, donate=True)
    state, eager = fa.init(net, tx), fa.init(net, tx)
    for seed in range(5):
        batch = torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        state, _ = fast(state, batch)
        eager, _ = step(eager, batch)
    assert [build.mode for build in fa.explain(fast).builds] == [mode]
    if mode == "captured":
        assert trees.digest(state) == trees.digest(eager)
    for one, other in zip(trees.tensors(state), trees.tensors(eager), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
