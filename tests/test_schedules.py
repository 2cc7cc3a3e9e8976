"""Closed-form schedules and the plateau rule against `torch.optim.lr_scheduler`, and lifted schedulers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer, lr_scheduler

from functorch_artifact import optimizers
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers import LearningRate, Schedule, from_torch_schedule

torch.set_num_threads(1)

N = 120


def optimizer(lr: float = 0.1, **options: Any) -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], lr=lr, **options)


def torch_rates(scheduler: Any, n: int = N) -> list[float]:
    rates = []
    for _ in range(n):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def rates_of(machine: LearningRate, per: str, n: int = N) -> list[float]:
    state, rates = machine.init(), []
    for _ in range(n):
        rate = machine.rate(state)
        assert (rate.dtype, rate.shape) == (torch.float64, ())
        rates.append(rate.item())
        for _ in range(1 if per == "step" else 3):
            state = machine.on_step(state)
        for _ in range(1 if per == "epoch" else 3):
            state = machine.on_epoch(state, {})
    return rates


PAIRS: dict[str, tuple[Callable[[Any], Schedule], Callable[[Optimizer], Any]]] = {
    "step": (
        lambda per: optimizers.step(0.1, step_size=7, gamma=0.5, per=per),
        lambda o: lr_scheduler.StepLR(o, 7, 0.5),
    ),
    "exponential": (
        lambda per: optimizers.exponential(0.1, gamma=0.97, per=per),
        lambda o: lr_scheduler.ExponentialLR(o, 0.97),
    ),
    "piecewise": (
        lambda per: optimizers.piecewise(0.1, milestones=[3, 30, 80], gamma=0.3, per=per),
        lambda o: lr_scheduler.MultiStepLR(o, [3, 30, 80], 0.3),
    ),
    "cosine": (
        lambda per: optimizers.cosine(0.1, total=N, minimum=0.01, per=per),
        lambda o: lr_scheduler.CosineAnnealingLR(o, N, 0.01),
    ),
    "one_cycle": (
        lambda per: optimizers.one_cycle(0.5, total=N, rising=0.25, div_factor=10.0, final_div_factor=50.0, per=per),
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.5, N, pct_start=0.25, div_factor=10.0, final_div_factor=50.0, cycle_momentum=False
        ),
    ),
    "linear_warmup": (
        lambda per: optimizers.linear_warmup(
            optimizers.cosine(0.1, total=N - 10, per=per), length=10, start_factor=0.2, per=per
        ),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.2, 1.0, 10), lr_scheduler.CosineAnnealingLR(o, N - 10)],
            milestones=[10],
        ),
    ),
}


@pytest.mark.parametrize("per", ["step", "epoch"])
@pytest.mark.parametrize("name", PAIRS)
def test_closed_forms_agree_with_torch(name: str, per: str) -> None:
    ours, theirs = PAIRS[name]
    expected = torch_rates(theirs(optimizer()))
    assert rates_of(ours(per), per) == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert [ours(per)(n).item() for n in range(N)] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_finished_schedules_keep_their_last_rate() -> None:
    assert optimizers.cosine(1.0, total=5, minimum=0.25, per="step")(99) == 0.25
    cycle = optimizers.one_cycle(1.0, total=5, per="step")
    assert cycle(99) == cycle(4)
    assert optimizers.linear_warmup(0.5, length=4, per="epoch")(99) == 0.5


def test_a_cycle_without_time_to_rise_begins_at_its_maximum() -> None:
    rates = rates_of(optimizers.one_cycle(0.5, total=10, rising=0.1, per="epoch"), "epoch", 10)  # torch divides by 0
    assert rates[0] == 0.5
    assert all(after < before for before, after in itertools.pairwise(rates))


def test_count_may_be_a_tensor_and_trace() -> None:
    schedule = optimizers.one_cycle(1.0, total=20, per="step")
    counts = torch.arange(20)
    stacked = torch.func.vmap(schedule)(counts)
    assert torch.equal(stacked, torch.stack([schedule(int(n)) for n in counts]))
    compiled = torch.compile(schedule, fullgraph=True, backend="aot_eager")
    assert compiled(counts[7]) == schedule(7)


def test_constant_never_moves() -> None:
    rate = optimizers.constant(0.3)
    assert set(rates_of(rate, "step", 5)) == {0.3}
    assert rate(7) == torch.tensor(0.3, dtype=torch.float64)


def losses() -> list[float]:
    g = torch.Generator().manual_seed(3)
    falling = [1.0 / (1 + n / 5) for n in range(40)] + [0.1] * 60
    noise = (torch.randn(100, generator=g) * 0.05).tolist()
    found = [a + b for a, b in zip(falling, noise, strict=True)]
    found[10], found[55], found[56] = math.nan, math.nan, math.inf
    return found


PLATEAUS = [
    {"mode": mode, "factor": 0.5, "patience": patience, "threshold": 0.01, "threshold_mode": kind, "cooldown": cooldown}
    for mode in ("min", "max")
    for kind in ("rel", "abs")
    for patience, cooldown in ((0, 0), (2, 3), (4, 1))
]


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateau_decides_as_torch_does(options: dict[str, Any]) -> None:
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer(0.8), min_lr=0.01, **options)
    ours = optimizers.reduce_on_plateau(0.8, min_lr=0.01, **options)
    lifted = from_torch_schedule(
        lr_scheduler.ReduceLROnPlateau(optimizer(0.8), min_lr=0.01, **options), score="VAL_LOSS"
    )
    state, other = ours.init(), lifted.init()
    for loss in losses():
        theirs.step(loss)
        state = ours.on_step(ours.on_epoch(state, {"VAL_LOSS": loss}))
        other = lifted.on_epoch(lifted.on_step(other), {"VAL_LOSS": loss})
        assert ours.rate(state) == lifted.rate(other) == theirs.optimizer.param_groups[0]["lr"]
    assert ours.rate(state) < 0.8


def test_plateau_without_its_score_stays() -> None:
    rate = optimizers.reduce_on_plateau(1.0, patience=0)
    state = rate.on_epoch(rate.init(), {"VAL_LOSS": 1.0})
    assert rate.on_epoch(state, {"TRAIN_LOSS": 5.0}) is state


def test_plateau_takes_over_where_torch_stood() -> None:
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer(), factor=0.5, patience=3, cooldown=2)
    for loss in losses()[:60]:
        theirs.step(loss)
    lifted = from_torch_schedule(theirs, score="S")
    state = lifted.init()
    for loss in losses()[60:]:
        theirs.step(loss)
        state = lifted.on_epoch(state, {"S": loss})
        assert lifted.rate(state) == theirs.optimizer.param_groups[0]["lr"]


class Halving(lr_scheduler.LRScheduler):
    """A scheduler of the user's own, with a memory."""

    def get_lr(self) -> list[float]:
        return [group["lr"] * (0.5 if self.last_epoch % 10 == 9 else 1.0) for group in self.optimizer.param_groups]


LIFTED: dict[str, Callable[[Optimizer], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 7, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 30, 80], 0.3),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.3, 5),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.3, 1.0, 20),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.97),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 30, 0.01),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 50, 2.0),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.5, N),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.5, 8, mode="triangular2"),
    "CyclicLR exp": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.5, 8, mode="exp_range", gamma=0.99),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda n: 1.0 / (1 + n)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda n: 0.99),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 10), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[10]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.1, 1.0, 10), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "own": Halving,
}


@pytest.mark.parametrize("per", ["step", "epoch"])
@pytest.mark.parametrize("name", LIFTED)
def test_lifted_schedulers_have_the_bits_of_torch(name: str, per: Any) -> None:
    lifted = from_torch_schedule(LIFTED[name](optimizer(momentum=0.9)), per=per)
    assert rates_of(lifted, per) == torch_rates(LIFTED[name](optimizer(momentum=0.9)))


def test_default_unit_is_the_step_for_cycles_and_the_epoch_otherwise() -> None:
    for name, make in LIFTED.items():
        machine = from_torch_schedule(make(optimizer(momentum=0.9)))
        moved = machine.on_step(machine.init())
        stepwise = name.startswith(("OneCycle", "Cyclic"))
        assert (moved.count == 1) == stepwise, name


def test_lifting_does_not_touch_the_scheduler_and_starts_where_it_stands() -> None:
    scheduler = lr_scheduler.ExponentialLR(optimizer(), 0.9)
    torch_rates(scheduler, 5)
    before = dict(scheduler.state_dict())
    lifted = from_torch_schedule(scheduler)
    ahead = rates_of(lifted, "epoch", 20)
    assert scheduler.state_dict() == before
    assert ahead == torch_rates(scheduler, 20)


def test_lifting_copies_no_weights() -> None:
    big = torch.zeros(10, requires_grad=True)
    adam = Adam([big])
    big.grad = torch.ones(10)
    adam.step()
    lifted = from_torch_schedule(lr_scheduler.ExponentialLR(adam, 0.9))
    copied = lifted.groups[0]["lr"].track._scheduler.optimizer  # type: ignore[attr-defined]
    assert [p.numel() for p in copied.param_groups[0]["params"]] == [1]
    assert not copied.state


def test_a_tabulated_schedule_per_step_traces_and_keeps_its_last_rate() -> None:
    params = {"w": torch.ones(2)}
    scheduler = lr_scheduler.ExponentialLR(optimizer(), 0.5)
    tx = optimizers.sgd(from_torch_schedule(scheduler, per="step", total=3))
    compiled = torch.compile(tx.update, fullgraph=True, backend="aot_eager")
    state = tx.init(params)
    rates = []
    for _ in range(6):
        rates.append(state.rates["lr"].value.item())
        _, state = compiled(params, state, params)
    assert rates == [0.1, 0.05, 0.025, 0.0125, 0.0125, 0.0125]


def test_epochs_of_stacked_states_move_together() -> None:
    machine = from_torch_schedule(lr_scheduler.ExponentialLR(optimizer(), 0.5))
    first, second = machine.init(), machine.on_epoch(machine.init(), {})
    both = type(first)(torch.stack([first.count, second.count]), torch.stack([first.value, second.value]))
    assert machine.on_epoch(both, {}).value.tolist() == [0.05, 0.025]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Schedule(lambda n: n, per="batch"), "per: does not say what it counts"),  # type: ignore[arg-type]
        (lambda: optimizers.step(0.1, step_size=0, per="step"), "step: step_size is out of range"),
        (lambda: optimizers.cosine(0.1, total=0, per="step"), "cosine: total is out of range"),
        (lambda: optimizers.one_cycle(0.1, total=1, per="step"), "one_cycle: total is out of range"),
        (lambda: optimizers.one_cycle(0.1, total=9, rising=1.0, per="step"), "one_cycle: rising is out of range"),
        (lambda: optimizers.linear_warmup(0.1, length=0, per="step"), "linear_warmup: length is out of range"),
        (
            lambda: optimizers.linear_warmup(optimizers.cosine(0.1, total=5, per="epoch"), length=5, per="step"),
            "cannot warm up to a rate that counts something else",
        ),
        (lambda: optimizers.reduce_on_plateau(0.1, factor=1.0), "factor is out of range"),
        (lambda: optimizers.reduce_on_plateau(0.1, mode="up"), "mode is out of range"),  # type: ignore[arg-type]
        (
            lambda: optimizers.reduce_on_plateau(0.1, threshold_mode="x"),  # type: ignore[arg-type]
            "threshold_mode is out of range",
        ),
        (
            lambda: from_torch_schedule(lr_scheduler.ReduceLROnPlateau(optimizer())),
            "needs the name of the score it watches",
        ),
    ],
)
def test_schedules_that_cannot_work_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        build()


def test_a_lifted_schedule_says_when_torch_has_no_more_rates() -> None:
    cycle = lr_scheduler.SequentialLR(
        base := optimizer(momentum=0.9),
        [lr_scheduler.ConstantLR(base, 1.0, 1), lr_scheduler.OneCycleLR(base, 0.5, 5)],
        milestones=[2],
    )
    with pytest.raises(OptimizerError, match="the torch scheduler has no rate for this count"):
        rates_of(from_torch_schedule(cycle), "step", 30)


def test_a_lifted_schedule_per_step_says_that_it_cannot_trace() -> None:
    machine = from_torch_schedule(lr_scheduler.ExponentialLR(optimizer(), 0.5), per="step")
    with pytest.raises(OptimizerError, match="reads its count on the host and cannot be traced"):
        torch.func.vmap(lambda c: machine.on_step(type(machine.init())(c, c.double())).value)(torch.arange(3))
