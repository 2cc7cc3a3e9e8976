"""When to stop training, as a pure fold over epochs whose verdict carries its reason.

Belongs here: the `EarlyStopper` contract, our own stoppers, and `any_of`/`all_of` over them.
Does not: the scores they read (`scores`), or what a stop does to the run (`driver`).
Floor 3.

A stopper is a frozen configuration; what it has seen is a separate state, an immutable tree that
goes through checkpoints. The driver calls `update` once an epoch and ends the run at the first
`Stop`.

| you want to stop | write |
|---|---|
| after 20 epochs | `EpochBoundStopper(n_epochs=20)` |
| when a loss no longer falls | `ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=100, patience=5)` |
| when an accuracy no longer rises | `ScoreMaximizationStopper("ACCURACY", max_n_epochs=100, patience=5)` |
| at the first of several signs | `any_of(a, b)` |
| when they all agree | `any_of(all_of(a, b), EpochBoundStopper(n_epochs=100))` |
| by a rule of your own | subclass `EarlyStopper`, and `StopperUpdateData` if it needs more than scores |
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
import torch
from torch import Tensor

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.trees import node


@attrs.frozen
class StopperUpdateData:
    """Carry what a stopper may know of one finished epoch.

    Extend it for a stopper that needs more:

        >>> import attrs
        >>> from functorch_artifact.stoppers import StopperUpdateData
        >>> @attrs.frozen(kw_only=True)
        ... class TimedData(StopperUpdateData):
        ...     seconds: float
        >>> TimedData(n_epochs_elapsed=3, seconds=1.5).seconds
        1.5
    """

    n_epochs_elapsed: int  # epochs completed, counted from 1
    scores: Mapping[str, float] = attrs.field(factory=dict)  # what this epoch reported, by name


@attrs.frozen
class Continue:
    """Say that training goes on."""


@attrs.frozen
class Stop:
    """Say that training ends, and why."""

    reason: str


Verdict: TypeAlias = Continue | Stop

StopperStateT = TypeVar("StopperStateT")
StopperUpdateDataT = TypeVar("StopperUpdateDataT", bound=StopperUpdateData)
StopperUpdateDataTContr = TypeVar("StopperUpdateDataTContr", bound=StopperUpdateData, contravariant=True)


class EarlyStopper(ABC, Generic[StopperStateT, StopperUpdateDataTContr]):
    """Decide after each epoch whether training goes on. Every method is pure.

    Laws: the verdict is a function of the updates alone; once it is `Stop`, further updates keep
    it and its reason; a state that goes through a checkpoint decides the same. It is contravariant
    in its data: a stopper that asks for less serves a trainer that gives more.
    """

    @abstractmethod
    def init(self) -> StopperStateT:
        """Make the state before the first epoch: a tree of tensors and plain data."""

    @abstractmethod
    def update(self, state: StopperStateT, data: StopperUpdateDataTContr) -> StopperStateT:
        """Make the state after one more epoch; return `state` as it is once the verdict is `Stop`."""

    @abstractmethod
    def verdict(self, state: StopperStateT) -> Verdict:
        """Judge a state."""

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores it reads, so that a misspelt name can be refused before training."""
        return ()

    @property
    def bound(self) -> int | None:
        """The number of epochs after which it stops in any case; None if it does not know one."""
        return None


@attrs.frozen
class EpochBoundStopper(EarlyStopper[Tensor, StopperUpdateData]):
    """Stop once `n_epochs` epochs are completed.

    Its state is the number of epochs seen, int64 [].

    Raises:
        ConfigurationError: `n_epochs` is not a positive int.
    """

    n_epochs: int

    def __attrs_post_init__(self) -> None:
        _check_positive_int(self, "n_epochs")

    @property
    def bound(self) -> int:
        return self.n_epochs

    def init(self) -> Tensor:
        return torch.tensor(0)

    def update(self, state: Tensor, data: StopperUpdateData) -> Tensor:
        return state if _stopped(self, state) else torch.tensor(data.n_epochs_elapsed, dtype=torch.int64)

    def verdict(self, state: Tensor) -> Verdict:
        return _bounded(int(state), self.n_epochs)


@node
@attrs.frozen(eq=False)
class PlateauState:
    """What a `ScoreStopper` remembers."""

    n_epochs: Tensor  # int64 [], epochs completed
    best: Tensor  # float64 [], the last score that was an improvement; the worst infinity before one
    best_epoch: Tensor  # int64 [], its epoch; 0 before there is one
    n_stale: Tensor  # int64 [], scores seen since, none of them an improvement


@attrs.frozen
class ScoreStopper(EarlyStopper[PlateauState, StopperUpdateData]):
    """Stop when a score has stopped improving, and at `max_n_epochs` in any case.

    An epoch that reports the score is an improvement if the score is finite and better than the
    best so far by more than `min_delta`; the first finite score always is. Training stops as soon
    as `patience` reported scores in a row were no improvement. NaN and both infinities are never
    an improvement and never become the best, so they cannot hide a later one. An epoch that does
    not report the score (one with a longer period) neither uses up patience nor restores it.

    `patience` and `min_delta` mean what they mean in Keras' and Lightning's `EarlyStopping`: with
    `patience=1` the first score that is no improvement ends the run. `ReduceLROnPlateau` of torch
    is one score more patient. Unlike Lightning's default (`check_finite=True`), a score that is
    not finite uses up patience and no more.

    Args:
        score: the name of the score, as its callback logs it.
        max_n_epochs: the bound on the number of epochs, at least 1.
        patience: how many scores in a row may be no improvement, at least 1.
        min_delta: how much better is better; finite, at least 0.

    Raises:
        ConfigurationError: an argument is out of these bounds.
    """

    score: str
    max_n_epochs: int = attrs.field(kw_only=True)
    patience: int = attrs.field(kw_only=True)
    min_delta: float = attrs.field(default=0.0, kw_only=True)

    @property
    @abstractmethod
    def _sign(self) -> int:
        """1 to minimise, -1 to maximise."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.score, str) or not self.score:
            raise _wrong(self, "score", expected="the name of a score, as its callback logs it", example="VAL_LOSS")
        _check_positive_int(self, "max_n_epochs")
        _check_positive_int(self, "patience")
        if not isinstance(self.min_delta, int | float) or not 0 <= self.min_delta < math.inf:
            raise _wrong(self, "min_delta", expected="a finite number, at least 0", example=0.001)

    @property
    def score_names(self) -> tuple[str, ...]:
        return (self.score,)

    @property
    def bound(self) -> int:
        return self.max_n_epochs

    def init(self) -> PlateauState:
        return PlateauState(
            n_epochs=torch.tensor(0),
            best=torch.tensor(self._sign * math.inf, dtype=torch.float64),
            best_epoch=torch.tensor(0),
            n_stale=torch.tensor(0),
        )

    def update(self, state: PlateauState, data: StopperUpdateData) -> PlateauState:
        if _stopped(self, state):
            return state
        state = attrs.evolve(state, n_epochs=torch.tensor(data.n_epochs_elapsed, dtype=torch.int64))
        if self.score not in data.scores:
            return state
        score = float(data.scores[self.score])
        if math.isfinite(score) and self._sign * score + self.min_delta < self._sign * float(state.best):
            return attrs.evolve(
                state,
                best=torch.tensor(score, dtype=torch.float64),
                best_epoch=torch.tensor(data.n_epochs_elapsed, dtype=torch.int64),
                n_stale=torch.tensor(0),
            )
        return attrs.evolve(state, n_stale=state.n_stale + 1)

    def verdict(self, state: PlateauState) -> Verdict:
        if int(state.n_stale) < self.patience:
            return _bounded(int(state.n_epochs), self.max_n_epochs)
        span = "its latest value" if self.patience == 1 else f"its last {self.patience} values"
        if int(state.best_epoch) == 0:
            return Stop(f"{self.score} has not been finite over {span}")
        margin = f" by more than {self.min_delta:g}" if self.min_delta else ""
        best = f"{float(state.best):.6g} (epoch {int(state.best_epoch)})"
        return Stop(f"{self.score} has not improved on {best}{margin} over {span}")


@attrs.frozen
class ScoreMinimizationStopper(ScoreStopper):
    """Stop when a score, such as a loss, has stopped falling; see `ScoreStopper` for the rule.

    Example:
        >>> from functorch_artifact.stoppers import ScoreMinimizationStopper, StopperUpdateData
        >>> stopper = ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=100, patience=2)
        >>> state = stopper.init()
        >>> for epoch, loss in enumerate([0.5, 0.25, float("nan"), 0.375], start=1):
        ...     state = stopper.update(state, StopperUpdateData(epoch, {"VAL_LOSS": loss}))
        >>> stopper.verdict(state)
        Stop(reason='VAL_LOSS has not improved on 0.25 (epoch 2) over its last 2 values')
    """

    @property
    def _sign(self) -> int:
        return 1


@attrs.frozen
class ScoreMaximizationStopper(ScoreStopper):
    """Stop when a score, such as an accuracy, has stopped rising; see `ScoreStopper` for the rule."""

    @property
    def _sign(self) -> int:
        return -1


@attrs.frozen
class CombinedStopper(EarlyStopper[tuple[Any, ...], StopperUpdateDataTContr]):
    """Let several stoppers decide together; made by `any_of` and `all_of`.

    Its state is the tuple of theirs. Each member's own `Stop` is final, even if the member would
    take it back. The reason is theirs, joined in their order.
    """

    stoppers: tuple[EarlyStopper[Any, StopperUpdateDataTContr], ...]
    n_required: int  # how many must have stopped

    def __attrs_post_init__(self) -> None:
        if not self.stoppers or not all(isinstance(stopper, EarlyStopper) for stopper in self.stoppers):
            raise ConfigurationError(
                "cannot be combined",
                where="stoppers",
                expected="one EarlyStopper or more",
                got=self.stoppers,
                fix="pass instances, e.g. any_of(EpochBoundStopper(n_epochs=10), ...)",
            )

    @property
    def score_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for stopper in self.stoppers for name in stopper.score_names))

    @property
    def bound(self) -> int | None:
        known = sorted(stopper.bound for stopper in self.stoppers if stopper.bound is not None)
        return known[self.n_required - 1] if len(known) >= self.n_required else None

    def init(self) -> tuple[Any, ...]:
        return tuple(stopper.init() for stopper in self.stoppers)

    def update(self, state: tuple[Any, ...], data: StopperUpdateDataTContr) -> tuple[Any, ...]:
        if _stopped(self, state):
            return state
        return tuple(
            own if _stopped(stopper, own) else stopper.update(own, data)
            for stopper, own in zip(self.stoppers, state, strict=True)
        )

    def verdict(self, state: tuple[Any, ...]) -> Verdict:
        verdicts = [
            as_verdict(stopper, stopper.verdict(own)) for stopper, own in zip(self.stoppers, state, strict=True)
        ]
        reasons = [verdict.reason for verdict in verdicts if isinstance(verdict, Stop)]
        return Stop("; ".join(reasons)) if len(reasons) >= self.n_required else Continue()


def any_of(*stoppers: EarlyStopper[Any, StopperUpdateDataT]) -> CombinedStopper[StopperUpdateDataT]:
    """Stop as soon as one of the stoppers does.

    Raises:
        ConfigurationError: there is none, or one is not an `EarlyStopper`.
    """
    return CombinedStopper(stoppers, n_required=1)


def all_of(*stoppers: EarlyStopper[Any, StopperUpdateDataT]) -> CombinedStopper[StopperUpdateDataT]:
    """Stop once every one of the stoppers has; none may take back what it decided earlier.

    Raises:
        ConfigurationError: there is none, or one is not an `EarlyStopper`.
    """
    return CombinedStopper(stoppers, n_required=len(stoppers))


def as_verdict(stopper: EarlyStopper[Any, Any], found: object) -> Verdict:
    """Take what a stopper's `verdict` returned: a bool would never end a run.

    Raises:
        ConfigurationError: it is no verdict.
    """
    if not isinstance(found, Continue | Stop):
        raise ConfigurationError(
            "returned no verdict",
            where=f"{type(stopper).__name__}.verdict",
            expected="Continue() or Stop('why')",
            got=repr(found),
            fix="return stoppers.Stop('why') or stoppers.Continue(), whatever the state",
        )
    return found


def _stopped(stopper: EarlyStopper[StopperStateT, Any], state: StopperStateT) -> bool:
    return isinstance(as_verdict(stopper, stopper.verdict(state)), Stop)


def _bounded(n_epochs: int, bound: int) -> Verdict:
    if n_epochs < bound:
        return Continue()
    return Stop(f"the run has reached its bound of {bound} epoch{'s' if bound > 1 else ''}")


def _check_positive_int(stopper: object, name: str) -> None:
    value = getattr(stopper, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(stopper, name, expected="an int, at least 1", example=10)


def _wrong(stopper: object, name: str, *, expected: str, example: object) -> ConfigurationError:
    return ConfigurationError(
        "cannot be used",
        where=f"{type(stopper).__name__}.{name}",
        expected=expected,
        got=repr(getattr(stopper, name)),
        fix=f"pass e.g. {name}={example!r}",
    )
