"""Learning rates: small pure state machines, most of them a function of a count.

Belongs here: the `LearningRate` contract, closed-form schedules, the plateau rule. Does not:
reading `torch.optim.lr_scheduler` objects (`lifting`).
Floor 2.

A schedule at count n gives the rate that torch's scheduler of the same name gives after n calls
of its `step()`; so update number n + 1 (or epoch n + 1) runs at `schedule(n)`. Whether steps or
epochs are counted is for the user to say: `per=` has no default.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs
import torch
from torch import Tensor

from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers.transformation import check
from functorch_artifact.trees import node

Per: TypeAlias = Literal["step", "epoch"]


class LearningRate(ABC):
    """A rate that may change after each step, and at each epoch's end with the epoch's scores."""

    @abstractmethod
    def init(self) -> Any:
        """Make the state before the first step."""

    @abstractmethod
    def rate(self, state: Any) -> Tensor:
        """Give the rate of the next update: float64 []."""

    def on_step(self, state: Any) -> Any:
        """Move on after an update."""
        return state

    def on_epoch(self, state: Any, scores: Mapping[str, float]) -> Any:
        """Move on at an epoch's end."""
        return state


@attrs.frozen
class Constant(LearningRate):
    """One rate for ever. It lives in the state, so that stacked states can hold several."""

    value: float | Tensor

    def __call__(self, count: int | Tensor) -> Tensor:
        """Give the rate at a count: float64 []."""
        return torch.as_tensor(self.value, dtype=torch.float64)

    def init(self) -> Tensor:
        return self(0).detach().clone() if isinstance(self.value, Tensor) else self(0)

    def rate(self, state: Tensor) -> Tensor:
        return state


@attrs.frozen
class Schedule(LearningRate):
    """A rate that is a function of how many steps, or epochs, are over.

    Args:
        function: from a count, float64 [], to the rate; tensor operations only, if it shall trace.
        per: what is counted.

    Example:
        >>> from functorch_artifact.optimizers import Schedule
        >>> Schedule(lambda count: 0.1 / (1 + count), per="epoch")(1)
        tensor(0.0500, dtype=torch.float64)
    """

    function: Callable[[Tensor], Tensor]
    per: Per = attrs.field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.per not in ("step", "epoch"):
            raise OptimizerError("does not say what it counts", where="per", expected="'step' or 'epoch'", got=self.per)

    def __call__(self, count: int | Tensor) -> Tensor:
        """Give the rate at a count: float64 []."""
        return torch.as_tensor(self.function(torch.as_tensor(count, dtype=torch.float64)), dtype=torch.float64)

    def init(self) -> Tensor:
        return torch.zeros((), dtype=torch.int64)

    def rate(self, state: Tensor) -> Tensor:
        return self(state)

    def on_step(self, state: Tensor) -> Tensor:
        return state + 1 if self.per == "step" else state

    def on_epoch(self, state: Tensor, scores: Mapping[str, float]) -> Tensor:
        return state + 1 if self.per == "epoch" else state


def as_learning_rate(value: float | Tensor | LearningRate) -> LearningRate:
    """Take a learning rate, or make a number one that is constant.

    Raises:
        OptimizerError: it is neither, or a negative number.
    """
    if isinstance(value, LearningRate):
        return value
    if isinstance(value, Tensor):
        return Constant(value)
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise OptimizerError(
            "is not a learning rate",
            where="learning_rate",
            expected="a number or a LearningRate",
            got=type(value).__name__,
            fix="wrap a function of the count in Schedule(function, per=...); "
            "lift a torch scheduler with from_torch_schedule",
        )
    check(value >= 0, "optimizer", "learning_rate", "a number >= 0", value)
    return Constant(float(value))


def constant(value: float | Tensor) -> Constant:
    """Keep one rate."""
    return Constant(value)


def step(initial: float | Tensor, *, step_size: int, gamma: float | Tensor = 0.1, per: Per) -> Schedule:
    """Multiply by `gamma` every `step_size` counts, as StepLR (within 1e-12 of it)."""
    check(step_size >= 1, "step", "step_size", "an integer >= 1", step_size)
    return Schedule(lambda count: initial * gamma ** torch.floor(count / step_size), per=per)


def exponential(initial: float | Tensor, *, gamma: float | Tensor, per: Per) -> Schedule:
    """Multiply by `gamma` at every count, as ExponentialLR (within 1e-12 of it)."""
    return Schedule(lambda count: initial * gamma**count, per=per)


def piecewise(initial: float | Tensor, *, milestones: Sequence[int], gamma: float | Tensor = 0.1, per: Per) -> Schedule:
    """Multiply by `gamma` at each milestone, as MultiStepLR (within 1e-12 of it)."""
    marks = tuple(milestones)

    def function(count: Tensor) -> Tensor:
        passed = torch.zeros_like(count)
        for mark in marks:
            passed = passed + (count >= mark)
        return initial * gamma**passed

    return Schedule(function, per=per)


def cosine(initial: float | Tensor, *, total: int, minimum: float | Tensor = 0.0, per: Per) -> Schedule:
    """Fall along half a cosine to `minimum` at count `total`, and stay there.

    Until `total` as CosineAnnealingLR (within 1e-12 of it), whose rate rises again afterwards.
    Loshchilov and Hutter, SGDR, 2017.
    """
    check(total >= 1, "cosine", "total", "an integer >= 1", total)
    return Schedule(lambda count: _cosine(initial, minimum, (count / total).clamp(max=1.0)), per=per)


def linear_warmup(
    then: float | Tensor | Schedule | Constant, *, length: int, start_factor: float = 0.0, per: Per
) -> Schedule:
    """Rise linearly to the first rate of `then` over `length` counts, then follow it from its start.

    As SequentialLR over LinearLR (within 1e-12 of it).

    Raises:
        OptimizerError: `then` counts something else, or has no count.
    """
    follow = as_learning_rate(then)
    if not isinstance(follow, Schedule | Constant) or getattr(follow, "per", per) != per:
        raise OptimizerError(
            "cannot warm up to a rate that counts something else",
            where="linear_warmup",
            expected=f"a number or a schedule per {per!r}",
            got=follow,
        )
    check(length >= 1, "linear_warmup", "length", "an integer >= 1", length)

    def function(count: Tensor) -> Tensor:
        rising = start_factor + (1.0 - start_factor) * (count / length).clamp(max=1.0)
        return rising * follow((count - length).clamp(min=0.0))

    return Schedule(function, per=per)


def one_cycle(
    maximum: float | Tensor,
    *,
    total: int,
    rising: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    per: Per,
) -> Schedule:
    """Rise along a cosine from `maximum / div_factor`, then fall to that over `final_div_factor`.

    As OneCycleLR with two cosine phases (within 1e-12 of it); after `total` counts, where torch
    raises, the last rate stays. Smith and Topin, Super-Convergence, 2018.
    """
    check(total >= 2, "one_cycle", "total", "an integer >= 2", total)
    check(0 < rising < 1, "one_cycle", "rising", "a fraction between 0 and 1", rising)
    initial, peak, last = maximum / div_factor, rising * total - 1, total - 1

    def function(count: Tensor) -> Tensor:
        up = _cosine(initial, maximum, count / peak if peak else torch.ones_like(count))  # no time to rise
        down = _cosine(maximum, initial / final_div_factor, ((count - peak) / (last - peak)).clamp(max=1.0))
        return torch.where(count <= peak, up, down)

    return Schedule(function, per=per)


def _cosine(start: float | Tensor, end: float | Tensor, fraction: Tensor) -> Tensor:
    return end + (start - end) / 2.0 * (1.0 + torch.cos(math.pi * fraction))


@node
@attrs.frozen(eq=False)
class PlateauState:
    """Where a `ReduceOnPlateau` stands."""

    rate: Tensor  # float64 []
    best: Tensor  # float64 []
    bad_epochs: Tensor  # int64 [], since the best or the last reduction
    cooldown: Tensor  # int64 [], epochs still to wait


@attrs.frozen(kw_only=True)
class ReduceOnPlateau(LearningRate):
    """The plateau rule; make it with `reduce_on_plateau`, which documents the fields."""

    score: str
    mode: Literal["min", "max"]
    factor: float
    patience: int
    threshold: float
    threshold_mode: Literal["rel", "abs"]
    cooldown: int
    min_lr: float
    eps: float
    start: tuple[float | Tensor, float, int, int]  # rate, best, bad epochs, cooldown left

    def init(self) -> PlateauState:
        rate, best, bad, waiting = self.start
        return PlateauState(
            torch.as_tensor(rate, dtype=torch.float64),
            torch.tensor(best, dtype=torch.float64),
            torch.tensor(bad, dtype=torch.int64),
            torch.tensor(waiting, dtype=torch.int64),
        )

    def rate(self, state: PlateauState) -> Tensor:
        return state.rate

    def on_epoch(self, state: PlateauState, scores: Mapping[str, float]) -> PlateauState:
        if self.score not in scores:
            return state
        score = torch.as_tensor(scores[self.score], dtype=torch.float64, device=state.best.device)
        # A comparison with NaN is false, so NaN is a bad epoch and never the best.
        sign = 1.0 if self.mode == "max" else -1.0
        margin = sign * self.threshold
        bar = state.best * (1.0 + margin) if self.threshold_mode == "rel" else state.best + margin
        better = score > bar if self.mode == "max" else score < bar
        zero = torch.zeros_like(state.bad_epochs)
        waiting = state.cooldown > 0
        bad = torch.where(better | waiting, zero, state.bad_epochs + 1)
        reduce = bad > self.patience
        lower = (state.rate * self.factor).clamp(min=self.min_lr)
        return PlateauState(
            torch.where(reduce & (state.rate - lower > self.eps), lower, state.rate),
            torch.where(better, score, state.best),
            torch.where(reduce, zero, bad),
            torch.where(reduce, zero + self.cooldown, (state.cooldown - 1).clamp(min=0)),
        )


def reduce_on_plateau(
    initial: float | Tensor,
    *,
    score: str = "VAL_LOSS",
    mode: Literal["min", "max"] = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
    eps: float = 1e-8,
) -> ReduceOnPlateau:
    """Multiply the rate by `factor` when a score has not improved for more than `patience` epochs.

    Decides exactly as ReduceLROnPlateau does, given the score of each epoch. An epoch that lacks
    the score changes nothing; NaN is never an improvement and counts as a bad epoch.

    Raises:
        OptimizerError: the factor is not below 1, or a mode is unknown.
    """
    check(factor < 1, "reduce_on_plateau", "factor", "a number below 1", factor)
    check(mode in ("min", "max"), "reduce_on_plateau", "mode", "'min' or 'max'", mode)
    check(threshold_mode in ("rel", "abs"), "reduce_on_plateau", "threshold_mode", "'rel' or 'abs'", threshold_mode)
    return ReduceOnPlateau(
        score=score,
        mode=mode,
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_lr=min_lr,
        eps=eps,
        start=(initial, -math.inf if mode == "max" else math.inf, 0, 0),
    )
