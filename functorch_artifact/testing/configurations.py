"""Strategies for configurations: schedules, optimizers, stoppers, folds, loaders, states, programs.

Belongs here: what a user of the library makes. Does not: data (`values`).
Floor 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from functorch_artifact import folds as fold_room
from functorch_artifact import keys
from functorch_artifact import optimizers as optimizer_room
from functorch_artifact import step as steps
from functorch_artifact.callbacks import BatchLossCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.data import DataLoader, ResidentDataset
from functorch_artifact.folds import Fold
from functorch_artifact.model import FunctionalModel, functional
from functorch_artifact.model_tracking import ScoreTracker
from functorch_artifact.optimizers import GradientTransformation, LearningRate
from functorch_artifact.optimizers import schedules as schedule_room
from functorch_artifact.program import Program
from functorch_artifact.routines import BatchRoutine, DataLoaderRoutine
from functorch_artifact.step import TrainState
from functorch_artifact.stoppers import (
    EarlyStopper,
    EpochBoundStopper,
    ScoreMaximizationStopper,
    ScoreMinimizationStopper,
    all_of,
    any_of,
)

Per = Literal["step", "epoch"]
_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 3),
    "norm": lambda: nn.BatchNorm1d(3),
    "dropout": lambda: nn.Dropout(0.3),
    "in place": lambda: nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)),
    "frozen": lambda: nn.Linear(3, 3).requires_grad_(False),
}


def schedules(*, per: Per | None = None, scores: Sequence[str] = ("VAL_LOSS",)) -> st.SearchStrategy[LearningRate]:
    """Draw learning rates: closed forms, warm-ups, and plateau rules that read one of `scores`."""

    @st.composite
    def drawn(draw: st.DrawFn) -> LearningRate:
        counts: Per = draw(st.sampled_from(["step", "epoch"])) if per is None else per
        rate, gamma = draw(st.floats(1e-3, 1.0)), draw(st.floats(0.1, 1.0))
        length, total = draw(st.integers(1, 4)), draw(st.integers(2, 12))
        room = schedule_room
        made: dict[str, Callable[[], LearningRate]] = {
            "constant": lambda: room.constant(rate),
            "step": lambda: room.step(rate, step_size=length, gamma=gamma, per=counts),
            "exponential": lambda: room.exponential(rate, gamma=gamma, per=counts),
            "piecewise": lambda: room.piecewise(rate, milestones=[length, total], gamma=gamma, per=counts),
            "cosine": lambda: room.cosine(rate, total=total, minimum=rate / 10, per=counts),
            "warm-up": lambda: room.linear_warmup(
                room.exponential(rate, gamma=gamma, per=counts), length=length, per=counts
            ),
            "one cycle": lambda: room.one_cycle(rate, total=total + 4, per=counts),
        }
        if per != "step":
            made["plateau"] = lambda: room.reduce_on_plateau(rate, score=scores[0], factor=0.5, patience=length - 1)
        return made[draw(st.sampled_from(sorted(made)))]()

    return drawn()


def optimizers(
    *,
    learning_rates: st.SearchStrategy[Any] | None = None,
    clipped: bool | None = None,
    names: Sequence[str] = ("adagrad", "adam", "adamw", "lion", "rmsprop", "sgd"),
) -> st.SearchStrategy[GradientTransformation]:
    """Draw optimizers with their hyper-parameters; all, none, or some (None) behind a clip."""

    @st.composite
    def drawn(draw: st.DrawFn) -> GradientTransformation:
        lr = draw(st.floats(1e-4, 0.3) if learning_rates is None else learning_rates)
        decay, flag = draw(st.sampled_from([0.0, 0.01, 0.3])), draw(st.booleans())
        b1, b2 = draw(st.floats(0.0, 0.99)), draw(st.floats(0.0, 0.999))
        room = optimizer_room
        made = {
            "sgd": lambda: room.sgd(lr, momentum=b1, weight_decay=decay, maximize=flag),
            "adam": lambda: room.adam(lr, betas=(b1, b2), weight_decay=decay, amsgrad=flag),
            "adamw": lambda: room.adamw(lr, betas=(b1, b2), weight_decay=decay, maximize=flag),
            "rmsprop": lambda: room.rmsprop(lr, alpha=b2, momentum=b1, centered=flag),
            "adagrad": lambda: room.adagrad(lr, weight_decay=decay),
            "lion": lambda: room.lion(lr, betas=(b1, b2), weight_decay=decay),
        }
        tx = made[draw(st.sampled_from(list(names)))]()
        clips = draw(st.booleans()) if clipped is None else clipped
        return room.chain(room.clip_by_global_norm(1.0), tx) if clips else tx

    return drawn()


def stoppers(
    *, scores: Sequence[str] = ("VAL_LOSS",), max_n_epochs: int = 12, combined: bool = True
) -> st.SearchStrategy[EarlyStopper[Any, Any]]:
    """Draw stoppers that read `scores` and stop after `max_n_epochs` at the latest."""
    bounds = st.integers(1, max_n_epochs)

    @st.composite
    def by_score(draw: st.DrawFn) -> EarlyStopper[Any, Any]:
        kind = draw(st.sampled_from([ScoreMinimizationStopper, ScoreMaximizationStopper]))
        return kind(
            draw(st.sampled_from(list(scores))),
            max_n_epochs=draw(bounds),
            patience=draw(st.integers(1, 4)),
            min_delta=draw(st.sampled_from([0.0, 0.0, 0.25, 1.0])),
        )

    single = by_score() | st.builds(EpochBoundStopper, bounds)
    if not combined:
        return single
    together = st.tuples(st.sampled_from([any_of, all_of]), st.lists(single, min_size=1, max_size=3))
    return single | together.map(lambda pair: pair[0](*pair[1]))


def folds() -> st.SearchStrategy[Fold[Tensor, Any, Any]]:
    """Draw folds over the rows of tensors [n]; cutting the rows otherwise changes no result."""

    def it(x: Tensor) -> Tensor:
        return x

    room = fold_room
    simple: dict[str, Fold[Tensor, Any, Any]] = {
        "sum": room.sum(it, each=True),
        "mean": room.mean(it, each=True),
        "weighted mean": room.mean(lambda x: x.double().mean(), weight=len),
        "variance": room.variance(it, each=True),
        "min": room.min(it, each=True),
        "max": room.max(it, each=True),
        "last": room.last(lambda x: x[-1]),
        "histogram": room.histogram(it, [-10.0, 0.0, 1.0, 5.0]),
        "concatenate": room.concatenate(it, bound=7),
        "mapped": room.max(it, each=True).premap(torch.neg).then(torch.square),
    }
    one = st.sampled_from(sorted(simple)).map(lambda name: simple[name])
    names = st.lists(st.sampled_from(sorted(simple)), min_size=1, max_size=3, unique=True)
    return one | names.map(lambda chosen: room.product({name: simple[name] for name in chosen}))


def loaders(
    *, min_size: int = 1, max_size: int = 12, features: int = 3, shuffle: bool | None = None
) -> st.SearchStrategy[DataLoader[Any]]:
    """Draw loaders of batches `{"x": float32 [n, features], "y": float32 [n]}`."""

    @st.composite
    def drawn(draw: st.DrawFn) -> DataLoader[Any]:
        n = draw(st.integers(min_size, max_size))
        generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        rows = {"x": torch.randn(n, features, generator=generator), "y": torch.randn(n, generator=generator)}
        return DataLoader(
            ResidentDataset(rows),
            batch_size=draw(st.integers(max(min_size, 1), max_size)),
            shuffle=draw(st.booleans()) if shuffle is None else shuffle,
        )

    return drawn()


def models(*, max_layers: int = 3) -> st.SearchStrategy[FunctionalModel[nn.Module]]:
    """Draw small models of `{"x": [n, 3], "y": [n]}`: norm, dropout, frozen and in-place layers."""

    @st.composite
    def drawn(draw: st.DrawFn) -> FunctionalModel[nn.Module]:
        names = draw(st.lists(st.sampled_from(sorted(_LAYERS)), max_size=max_layers))
        return functional(regression(names, seed=draw(st.integers(0, 99))))

    return drawn()


def regression(layers: Sequence[str], *, seed: int) -> nn.Module:
    """Make a module of `{"x": [n, 3], "y": [n]}` with some layers between two linear ones."""
    with keys.seeded(seed):
        return _Regression(nn.Sequential(nn.Linear(3, 3), *(_LAYERS[name]() for name in layers), nn.Linear(3, 1)))


class _Regression(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        prediction = self.body(batch["x"]).sum(1)
        return {"loss": (prediction - batch["y"]).square().mean(), "prediction": prediction}


def programs(*, max_n_epochs: int = 4) -> st.SearchStrategy[Program]:
    """Draw programs that run in milliseconds: two to a dozen rows, every part of a program."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Program:
        # BatchNorm takes no batch of one row in training.
        loader = draw(loaders(min_size=4).filter(lambda each: each._n % each.batch_size != 1))
        return Program(
            model=draw(models(max_layers=2)),
            optimizer=draw(  # whose steps are bounded, so that no run diverges
                optimizers(
                    learning_rates=schedules(scores=["TRAIN_LOSS"]), clipped=True, names=["adagrad", "lion", "sgd"]
                )
            ),
            train_loader=loader,
            stopper=draw(stoppers(scores=["VAL_LOSS", "TRAIN_LOSS"], max_n_epochs=max_n_epochs)),
            tracker=ScoreTracker("VAL_LOSS", draw(st.sampled_from(["min", "max"]))),
            seed=draw(st.integers(-(2**63), 2**63 - 1)),
            batch_routine=BatchRoutine([BatchLossCallback(period=draw(st.integers(1, 3)))]),
            loader_routines=[
                DataLoaderRoutine(loader, [TrainLossCallback(period=draw(st.integers(1, 2)))], split="TRAIN"),
                DataLoaderRoutine(draw(loaders()), [ValLossCallback()], split="VALIDATION"),
            ],
            mode="eager",  # tracing takes longer than the run
        )

    return drawn()


def train_states(*, max_steps: int = 3) -> st.SearchStrategy[TrainState]:
    """Draw states of small models after a few steps."""

    @st.composite
    def drawn(draw: st.DrawFn) -> TrainState:
        model, tx = draw(models()), draw(optimizers(clipped=False))
        state = steps.init(model, tx, seed=draw(st.integers(0, 2**31)))
        step = steps.train_step(model, tx, nonfinite="skip")
        generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        for _ in range(draw(st.integers(0, max_steps))):
            batch = {"x": torch.randn(4, 3, generator=generator), "y": torch.randn(4, generator=generator)}
            state, _ = step(state, batch)
        return state

    return drawn()
