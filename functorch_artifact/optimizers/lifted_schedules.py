"""Schedulers of `torch.optim.lr_scheduler` as pure learning rates.

Belongs here: reading what a scheduler will do, off a private copy of it. Does not: our own
closed forms (`schedules`), optimizers (`lifting`).
Floor 2.
"""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers.schedules import LearningRate, Per, ReduceOnPlateau
from functorch_artifact.trees import node


@attrs.frozen(eq=False)
class LiftedSchedule(LearningRate):
    """A torch scheduler's rates, group by group; on its own it is group 0's learning rate."""

    optimizer: Optimizer  # whose groups the scheduler sets; compared, never touched
    groups: tuple[Mapping[str, LearningRate], ...]  # `lr`, and `momentum` or `beta1` where cycled

    def init(self) -> Any:
        return self.groups[0]["lr"].init()

    def rate(self, state: Any) -> Tensor:
        return self.groups[0]["lr"].rate(state)

    def on_step(self, state: Any) -> Any:
        return self.groups[0]["lr"].on_step(state)

    def on_epoch(self, state: Any, scores: Mapping[str, float]) -> Any:
        return self.groups[0]["lr"].on_epoch(state, scores)


def from_torch_schedule(
    scheduler: LRScheduler,
    per: Per | None = None,
    *,
    score: str | None = None,
    total: int | None = None,
) -> LiftedSchedule:
    """Make a torch scheduler a pure learning rate, from where it stands now.

    A private copy is stepped, and what its groups hold at each count is remembered; the scheduler
    and its optimizer are not touched and no weights are copied. So any scheduler works whose rates
    depend on the count alone, the user's own included. The values are torch's, to the bit.

    Args:
        scheduler: of `torch.optim.lr_scheduler`.
        per: what one `scheduler.step()` stands for. By default a step where the scheduler is, or
            holds, a OneCycleLR or CyclicLR, and an epoch otherwise, as torch's documentation has it.
        score: the name of the score that a ReduceLROnPlateau watches.
        total: counts to tabulate ahead; later counts keep the last values. A schedule per step
            needs it to trace, since otherwise each count is read on the host. For OneCycleLR it is
            known. A schedule per epoch always traces, because epochs end outside the traced step.

    Raises:
        OptimizerError: a ReduceLROnPlateau comes without a score or is to move per step.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> torch_optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(torch_optimizer, step_size=30)
        >>> tx = optimizers.adamw(optimizers.from_torch_schedule(scheduler, per="epoch"))
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        return _plateau(scheduler, per, score)
    members = list(_members(scheduler))
    if per is None:
        per = "step" if any(isinstance(each, OneCycleLR | CyclicLR) for each in members) else "epoch"
    if total is None and isinstance(scheduler, OneCycleLR):
        total = max(scheduler.total_steps - 1 - scheduler.last_epoch, 0)
    cycled = any(getattr(each, "cycle_momentum", False) for each in members)
    track = _Track(scheduler)
    groups = []
    for index, group in enumerate(scheduler.optimizer.param_groups):
        names = ["lr", *([("beta1" if "betas" in group else "momentum")] if cycled else [])]
        groups.append({name: _tracked(track, index, name, per, total) for name in names})
    return LiftedSchedule(scheduler.optimizer, tuple(groups))


def _members(scheduler: Any) -> Iterator[Any]:
    yield scheduler
    for each in getattr(scheduler, "_schedulers", ()):
        yield from _members(each)


class _Track:
    """What a scheduler's groups hold at each count: a function, computed in order and remembered."""

    def __init__(self, scheduler: LRScheduler) -> None:
        optimizer = scheduler.optimizer
        memo: dict[int, Any] = {id(p): torch.zeros(()) for group in optimizer.param_groups for p in group["params"]}
        memo[id(optimizer.state)] = defaultdict(dict)
        self._scheduler = copy.deepcopy(scheduler, memo)
        self._known = [self._read()]

    def _read(self) -> list[dict[str, float]]:
        found = []
        for group in self._scheduler.optimizer.param_groups:
            values = {"lr": float(group["lr"])}
            if "betas" in group:
                values["beta1"] = float(group["betas"][0])
            if "momentum" in group:
                values["momentum"] = float(group["momentum"])
            found.append(values)
        return found

    def at(self, count: int, group: int, name: str) -> float:
        while len(self._known) <= count:
            with warnings.catch_warnings():
                # Torch warns that no optimizer step came first; the copy's optimizer makes none.
                warnings.simplefilter("ignore")
                try:
                    self._scheduler.step()
                except ValueError as error:
                    raise OptimizerError(
                        "the torch scheduler has no rate for this count",
                        where=f"{type(self._scheduler).__name__} at count {len(self._known)}",
                        got=str(error),
                        fix="give the scheduler as many steps as the run has, or pass per='epoch' if it counts epochs",
                    ) from error
            self._known.append(self._read())
        return self._known[count][group][name]


@node
@attrs.frozen(eq=False)
class TrackedState:
    """Where a lifted schedule stands."""

    count: Tensor  # int64 []
    value: Tensor  # float64 []


@attrs.frozen(eq=False)
class _Tracked(LearningRate):
    track: _Track
    group: int
    name: str
    per: Per
    table: Tensor | None  # float64 [total + 1]

    def init(self) -> TrackedState:
        count = torch.zeros((), dtype=torch.int64)
        return TrackedState(count, self._value(count))

    def rate(self, state: TrackedState) -> Tensor:
        return state.value

    def on_step(self, state: TrackedState) -> TrackedState:
        return self._next(state) if self.per == "step" else state

    def on_epoch(self, state: TrackedState, scores: Mapping[str, float]) -> TrackedState:
        return self._next(state) if self.per == "epoch" else state

    def _next(self, state: TrackedState) -> TrackedState:
        return TrackedState(state.count + 1, self._value(state.count + 1))

    def _value(self, count: Tensor) -> Tensor:
        if self.table is not None:
            index = count.clamp(max=len(self.table) - 1)
            return self.table.to(index.device).index_select(0, index.reshape(-1)).reshape(index.shape)
        try:
            counts = count.reshape(-1).tolist()
        except RuntimeError as error:
            raise OptimizerError(
                "a lifted schedule per step reads its count on the host and cannot be traced",
                where="from_torch_schedule",
                fix="pass total=, the number of steps, or use a schedule of functorch_artifact.optimizers",
            ) from error
        values = [self.track.at(n, self.group, self.name) for n in counts]
        return torch.tensor(values, dtype=torch.float64, device=count.device).reshape(count.shape)


def _tracked(track: _Track, group: int, name: str, per: Per, total: int | None) -> _Tracked:
    table = None
    if total is not None:
        table = torch.tensor([track.at(n, group, name) for n in range(total + 1)], dtype=torch.float64)
    return _Tracked(track, group, name, per, table)


def _plateau(scheduler: ReduceLROnPlateau, per: Per | None, score: str | None) -> LiftedSchedule:
    if score is None or per == "step":
        raise OptimizerError(
            "a ReduceLROnPlateau needs the name of the score it watches, once an epoch",
            where="from_torch_schedule",
            expected="score='VAL_LOSS' or the like, and per='epoch'",
            got=f"score={score!r}, per={per!r}",
            fix="return from_torch_schedule(scheduler, score='VAL_LOSS')",
        )
    groups = tuple(
        {
            "lr": ReduceOnPlateau(
                score=score,
                mode="max" if scheduler.mode == "max" else "min",
                factor=scheduler.factor,
                patience=scheduler.patience,
                threshold=scheduler.threshold,
                threshold_mode="abs" if scheduler.threshold_mode == "abs" else "rel",
                cooldown=scheduler.cooldown,
                min_lr=lowest,
                eps=scheduler.eps,
                start=(float(group["lr"]), scheduler.best, scheduler.num_bad_epochs, scheduler.cooldown_counter),
            )
        }
        for group, lowest in zip(scheduler.optimizer.param_groups, scheduler.min_lrs, strict=True)
    )
    return LiftedSchedule(scheduler.optimizer, groups)
