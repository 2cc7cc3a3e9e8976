"""Lifted torch optimizers against the originals: bits, groups, state, schedules, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer, lr_scheduler

from functorch_artifact import optimizers, trees
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers import GradientTransformation, from_torch, from_torch_schedule

torch.set_num_threads(1)

Tree = dict[str, Tensor]


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def parameters(net: nn.Module) -> Tree:
    return {name: p.detach() for name, p in net.named_parameters()}


def gradients(n: int, params: Tree) -> Tree:
    g = torch.Generator().manual_seed(n)
    return {name: torch.randn(p.shape, generator=g) * 10.0 ** (n % 5 - 2) for name, p in params.items()}


def torch_step(net: nn.Module, optimizer: Optimizer, n: int) -> None:
    for name, grad in gradients(n, parameters(net)).items():
        dict(net.named_parameters())[name].grad = grad
    optimizer.step()


def pure_step(tx: GradientTransformation, state: Any, params: Tree, n: int) -> tuple[Tree, Any]:
    updates, state = tx.update(gradients(n, params), state, params)
    return optimizers.apply_updates(params, updates), state


def trajectory(tx: GradientTransformation, params: Tree, steps: Iterable[int]) -> Tree:
    state = tx.init(params)
    for n in steps:
        params, state = pure_step(tx, state, params, n)
    return params


def same(params: Tree, net: nn.Module) -> bool:
    return all(torch.equal(params[name], p) for name, p in net.named_parameters())


class Signum(Optimizer):
    """A user's optimizer: a tensor, a number and a nested value a parameter, and one in the group."""

    def __init__(self, params: Any, lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "calls": 0, "betas": (0.9,)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["calls"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["mean"], state["n"], state["past"] = torch.zeros_like(p), 0, {"last": None}
                state["n"] += 1
                state["mean"].mul_(group["betas"][0]).add_(p.grad, alpha=0.1)
                last = state["past"]["last"]
                p.add_(state["mean"].sign() + (0 if last is None else 0.1 * last), alpha=-group["lr"] / group["calls"])
                state["past"] = {"last": p.grad.clone()}


class OwnAdam(optim.Adam):
    """A subclass whose step differs: only the private instance may serve it."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(0.99)


def two_groups(kind: Callable[..., Optimizer], first: dict[str, Any], second: dict[str, Any]) -> Callable[..., Any]:
    def build(net: Any) -> Optimizer:
        return kind(
            [
                {"params": list(net[0].parameters()), **first},
                {"params": list(reversed(list(net[2].parameters()))), **second},
            ],
            **({"foreach": False} if "foreach" in first else {}),
        )

    return build


BUILT: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": two_groups(
        optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, {"lr": 0.01, "weight_decay": 0.1, "maximize": True}
    ),
    "Adam": two_groups(
        optim.Adam, {"lr": 0.01, "amsgrad": True}, {"lr": 0.1, "betas": (0.5, 0.6), "weight_decay": 0.1}
    ),
    "AdamW": two_groups(optim.AdamW, {"lr": 0.01, "weight_decay": 0.2}, {"lr": 0.1, "maximize": True}),
    "NAdam": two_groups(optim.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}, {"momentum_decay": 0.1}),
    "RAdam": two_groups(optim.RAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}, {"betas": (0.8, 0.9)}),
    "Adamax": two_groups(optim.Adamax, {"weight_decay": 0.1}, {"lr": 0.1, "maximize": True}),
    "Adadelta": two_groups(optim.Adadelta, {"weight_decay": 0.1}, {"rho": 0.5, "lr": 0.5}),
    "Adagrad": two_groups(optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1}, {"weight_decay": 0.1}),
    "RMSprop": two_groups(optim.RMSprop, {"centered": True}, {"momentum": 0.9, "weight_decay": 0.1}),
    "Rprop": two_groups(optim.Rprop, {"lr": 0.1}, {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.5)}),
    "ASGD": two_groups(optim.ASGD, {"t0": 30}, {"weight_decay": 0.1, "lambd": 0.1}),
    "Signum": two_groups(Signum, {"lr": 0.1}, {}),
    "OwnAdam": two_groups(OwnAdam, {"lr": 0.1}, {"amsgrad": True}),
    "Adafactor": two_groups(optim.Adafactor, {"lr": 0.1}, {}),
}
RULED = [name for name in BUILT if name not in ("Signum", "OwnAdam", "Adafactor")]


@pytest.mark.parametrize("name", BUILT)
def test_lifted_trajectory_has_the_bits_of_torch(name: str) -> None:
    net = network()
    optimizer = BUILT[name](net)
    start = trees.snapshot(parameters(net))
    tx = from_torch(optimizer)
    state = tx.init(parameters(net))
    params = start
    for n in range(100):
        params, state = pure_step(tx, state, params, n)
    assert trees.digest(parameters(net)) == trees.digest(start)
    assert not any("exp_avg" in slots for slots in optimizer.state.values())
    for n in range(100):
        torch_step(net, optimizer, n)
    assert same(params, net)
    assert all(p.isfinite().all() for p in params.values())


@pytest.mark.parametrize("name", BUILT)
def test_a_used_optimizer_goes_on_from_its_state(name: str) -> None:
    net = network()
    optimizer = BUILT[name](net)
    for n in range(40):
        torch_step(net, optimizer, n)
    start = trees.snapshot(parameters(net))
    tx = from_torch(optimizer)
    state = tx.init(parameters(net))  # leaves that share the parameters' memory
    for n in range(40, 80):
        torch_step(net, optimizer, n)
    params = start
    for n in range(40, 80):
        params, state = pure_step(tx, state, params, n)
    assert same(params, net)


@pytest.mark.parametrize("name", RULED)
def test_the_classic_classes_trace(name: str) -> None:
    net = network()
    tx = from_torch(BUILT[name](net))
    params = parameters(net)

    def advance(grads: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
        updates, state = tx.update(grads, state, params)
        return optimizers.apply_updates(params, updates), state

    first = (gradients(0, params), tx.init(params), params)
    params, state = advance(*first)
    second = (gradients(1, params), state, params)
    expected = trees.digest(advance(*second))
    if name in ("SGD", "NAdam", "ASGD"):  # between them every kind of scalar and slot
        torch._dynamo.reset()
        compiled = torch.compile(advance, fullgraph=True, backend="eager")
        compiled(*first)
        assert trees.digest(compiled(*second)) == expected
    leaves, structure = trees.flatten(first)
    graph = make_fx(lambda *flat: trees.leaves(advance(*trees.unflatten(structure, flat))))(
        *[leaf.clone() for leaf in leaves]
    )
    assert trees.digest(graph(*trees.leaves(second))) == trees.digest(trees.leaves(advance(*second)))


@pytest.mark.parametrize("name", ["Adam", "Signum"])
def test_update_changes_no_argument_and_repeats_itself(name: str) -> None:
    net = network()
    tx = from_torch(BUILT[name](net))
    params = parameters(net)
    params, state = pure_step(tx, tx.init(params), trees.snapshot(params), 0)
    before = trees.digest((params, state))
    once = pure_step(tx, state, params, 1)
    assert trees.digest((params, state)) == before
    assert trees.digest(pure_step(tx, state, params, 1)) == trees.digest(once)


@pytest.mark.parametrize("name", ["Adam", "Signum"])
def test_later_changes_of_the_torch_optimizer_do_not_reach_the_lifted_one(name: str) -> None:
    net, other = network(), network()
    optimizer = BUILT[name](net)
    tx, reference = from_torch(optimizer), from_torch(BUILT[name](other))
    start = trees.snapshot(parameters(net))
    state = tx.init(parameters(net))
    torch_step(net, optimizer, 0)
    optimizer.param_groups[0]["lr"] = 100.0
    moved, _ = pure_step(tx, state, start, 1)
    assert trees.digest(moved) == trees.digest(trajectory(reference, parameters(other), [1]))


def test_parameters_of_one_group_may_have_different_step_counts() -> None:
    net = network()
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    net[0].requires_grad_(False)
    for n in range(3):
        for name, grad in gradients(n, parameters(net)).items():
            if name.startswith("2"):
                dict(net.named_parameters())[name].grad = grad
        optimizer.step()
    net[0].requires_grad_(True)
    start = trees.snapshot(parameters(net))
    tx = from_torch(optimizer)
    state = tx.init(parameters(net))
    assert sorted(state.states) == ["group 0", "group 0 from step 3"]
    params = start
    for n in range(5):
        torch_step(net, optimizer, n)
        params, state = pure_step(tx, state, params, n)
    assert same(params, net)


def test_a_tensor_learning_rate_counts_as_its_value() -> None:
    net = network()
    optimizer = optim.AdamW(net.parameters(), lr=torch.tensor(0.01))
    params = trajectory(from_torch(optimizer), parameters(net), range(20))
    for n in range(20):
        torch_step(net, optimizer, n)
    for name, p in net.named_parameters():
        torch.testing.assert_close(params[name], p.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [optim.AdamW, OwnAdam])
def test_leaves_without_a_group_and_frozen_parameters_stay(kind: Callable[..., Optimizer]) -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    optimizer = kind([*net[0].parameters(), net[2].weight], lr=0.1, weight_decay=0.5)
    everything = parameters(net)
    trainable = {name: p for name, p in everything.items() if name != "0.weight"}
    tx = from_torch(optimizer)
    for params in (everything, trainable):
        moved = trajectory(tx, params, range(3))
        still = {name for name, p in params.items() if torch.equal(moved[name], p)}
        assert still == {"0.weight", "2.bias"} & set(params)


def test_the_same_storage_in_another_shape_is_another_parameter() -> None:
    weight = torch.zeros(2, 3, requires_grad=True)
    tx = from_torch(optim.SGD([weight], lr=0.1))
    with pytest.raises(OptimizerError, match="parameters that are not the model's"):
        tx.init({"w": weight.detach().reshape(3, 2)})
    assert tx.init({"w": weight.detach().view(2, 3)}).labels == ("group 0",)


SCHEDULED: dict[str, tuple[Callable[[Any], Optimizer], Callable[[Optimizer], Any], str]] = {
    "step a step": (BUILT["Adam"], lambda o: lr_scheduler.StepLR(o, 5, 0.5), "step"),
    "cosine an epoch": (BUILT["SGD"], lambda o: lr_scheduler.CosineAnnealingLR(o, 10), "epoch"),
    "lambda a group": (
        BUILT["AdamW"],
        lambda o: lr_scheduler.LambdaLR(o, [lambda n: 0.9**n, lambda n: 1 / (1 + n)]),
        "epoch",
    ),
    "one cycle, beta1": (BUILT["Adam"], lambda o: lr_scheduler.OneCycleLR(o, [0.1, 0.2], 60), "step"),
    "one cycle, NAdam": (BUILT["NAdam"], lambda o: lr_scheduler.OneCycleLR(o, 0.1, 60), "step"),
    "one cycle, RAdam": (BUILT["RAdam"], lambda o: lr_scheduler.OneCycleLR(o, 0.1, 60), "step"),
    "one cycle, Adamax": (BUILT["Adamax"], lambda o: lr_scheduler.OneCycleLR(o, 0.1, 60), "step"),
    "cyclic, momentum": (
        lambda net: optim.SGD(net.parameters(), lr=0.1, momentum=0.9, dampening=0.1),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, 7),
        "step",
    ),
    "cyclic, RMSprop": (
        lambda net: optim.RMSprop(net.parameters(), lr=0.1, momentum=0.9),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, 7),
        "step",
    ),
    "private instance": (BUILT["Signum"], lambda o: lr_scheduler.ExponentialLR(o, 0.9), "epoch"),
    "private, beta1": (BUILT["OwnAdam"], lambda o: lr_scheduler.OneCycleLR(o, 0.1, 60), "step"),
    "Adagrad": (BUILT["Adagrad"], lambda o: lr_scheduler.ExponentialLR(o, 0.9), "step"),
    "ASGD": (BUILT["ASGD"], lambda o: lr_scheduler.ExponentialLR(o, 0.9), "step"),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_scheduled_trajectory_has_the_bits_of_torch(name: str) -> None:
    build, schedule, per = SCHEDULED[name]
    net = network()
    optimizer = build(net)
    scheduler = schedule(optimizer)
    tx = from_torch(optimizer, schedule=from_torch_schedule(scheduler, per=per))  # type: ignore[arg-type]
    params = trees.snapshot(parameters(net))
    state = tx.init(parameters(net))
    for epoch in range(12):
        for n in range(5):
            torch_step(net, optimizer, 5 * epoch + n)
            params, state = pure_step(tx, state, params, 5 * epoch + n)
            if per == "step":
                scheduler.step()
        if per == "epoch":
            scheduler.step()
        state = tx.on_epoch(state, {})
    assert same(params, net)


def test_a_torch_scheduler_and_our_own_schedule_serve_as_they_are() -> None:
    net = network()
    optimizer = BUILT["SGD"](net)
    tx = from_torch(optimizer, lr_scheduler.ExponentialLR(optimizer, 0.5))
    state = tx.on_epoch(tx.init(parameters(net)), {})
    assert [state.states[f"group {i}"].rates["lr"].value.item() for i in (0, 1)] == [0.05, 0.005]
    both = from_torch(optimizer, optimizers.cosine(1.0, total=4, per="step"))
    _, state = pure_step(both, both.init(parameters(net)), parameters(net), 0)
    assert [state.states[f"group {i}"].rates["lr"].item() for i in (0, 1)] == [1, 1]


def test_plateau_reaches_each_group() -> None:
    net = network()
    optimizer = BUILT["SGD"](net)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, min_lr=[0.05, 0.0])
    tx = from_torch(optimizer, from_torch_schedule(plateau, score="VAL_LOSS"))
    state = tx.init(parameters(net))
    for loss in (1.0, 2.0):
        state = tx.on_epoch(state, {"VAL_LOSS": loss})
        plateau.step(loss)
    assert [state.states[f"group {i}"].rates["lr"].rate.item() for i in (0, 1)] == [
        group["lr"] for group in optimizer.param_groups
    ]


def test_hooks_of_the_optimizer_run_in_the_private_instance() -> None:
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    calls: list[Optimizer] = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append(o))
    tx = from_torch(optimizer)
    trajectory(tx, parameters(net), range(2))
    assert len(calls) == 2
    assert optimizer not in calls


def test_what_cannot_be_lifted_is_refused() -> None:
    net, other = network(), network()

    class Closured(Signum):
        def step(self, closure: Any) -> None:  # type: ignore[override]
            closure()

    for optimizer in (optim.LBFGS(net.parameters()), Closured(net.parameters())):
        with pytest.raises(OptimizerError, match="calls the loss again through a closure cannot be lifted"):
            from_torch(optimizer)
    with pytest.raises(OptimizerError, match="Adam: differentiable=True is not lifted"):
        from_torch(optim.Adam(net.parameters(), differentiable=True))
    adam, sgd = optim.Adam(net.parameters()), optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(OptimizerError, match="the scheduler belongs to another optimizer"):
        from_torch(adam, lr_scheduler.StepLR(sgd, 3))
    with pytest.raises(OptimizerError, match="needs the name of the score it watches"):
        from_torch(adam, lr_scheduler.ReduceLROnPlateau(adam))
    for optimizer in (adam, Signum(net.parameters())):
        with pytest.raises(
            OptimizerError,
            match=r"param_groups\[0\]\['params'\]\[0\]: an optimizer over parameters that are not the model's"
            r"(.|\n)*got: float32\[6, 4\]",
        ):
            from_torch(optimizer).init(parameters(other))


def test_a_private_instance_that_raises_is_named() -> None:
    embedding = nn.Embedding(3, 2)
    tx = from_torch(optim.SparseAdam(embedding.parameters()))
    with pytest.raises(OptimizerError, match=r"SparseAdam: the torch optimizer raised in its step(.|\n)*dense grad"):
        trajectory(tx, parameters(embedding), range(1))
