"""The best model of a run so far, as an immutable value.

Belongs here: the `ModelTracker` contract, its criteria, and the tracker of a score.
Does not: computing the score (`callbacks`), storing models (`checkpoint`).
Floor 3.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.trees import node


@attrs.frozen
class ModelTrackingCriterion:
    """Base of what a model is judged by; extend it with what your tracker compares."""


@attrs.frozen
class ScoreCriterion(ModelTrackingCriterion):
    """Judge a model by one number."""

    value: float


CriterionT = TypeVar("CriterionT", bound=ModelTrackingCriterion)
CriterionTContr = TypeVar("CriterionTContr", bound=ModelTrackingCriterion, contravariant=True)


@node
@attrs.frozen(eq=False)
class ModelSnapshot:
    """A model as it was after an epoch."""

    model: Any  # any tree of tensors: parameters, or parameters with buffers
    epoch: Tensor  # int64 [], epochs completed


class ModelTracker(ABC, Generic[CriterionTContr]):
    """Keep the best model by a criterion. Every method is pure.

    Laws: `best` is the best candidate of all updates so far, the earliest on ties; it is a copy,
    which later steps never change, even those that reuse the memory of the model. It is
    contravariant in its criterion.
    """

    @abstractmethod
    def init(self) -> Any:
        """Make the state before the first candidate: a tree of tensors and plain data."""

    @abstractmethod
    def update(self, state: Any, criterion: CriterionTContr, candidate: ModelSnapshot) -> Any:
        """Make the state after one more candidate; keep a `trees.snapshot` of it if it is the best."""

    @abstractmethod
    def best(self, state: Any) -> ModelSnapshot | None:
        """Give the best model so far; `None` before there is one."""

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores its criterion reads, so that a misspelt name can be refused before training."""
        return ()


@node
@attrs.frozen(eq=False)
class ScoreTrackerState:
    """What a `ScoreTracker` remembers."""

    value: Tensor  # float64 [], the best criterion; the worst infinity before there is one
    best: ModelSnapshot | None


@attrs.frozen
class ScoreTracker(ModelTracker[ScoreCriterion]):
    """Keep the model with the lowest (`mode="min"`) or highest (`mode="max"`) value of a score.

    Only finite values count, and of equal ones the earliest. A model is copied when it is the best
    so far and at no other time; the copy stays on the model's device.

    Raises:
        ConfigurationError: `score` is not a name, or `mode` is neither "min" nor "max".

    Example:
        >>> import torch
        >>> from functorch_artifact.model_tracking import ModelSnapshot, ScoreTracker
        >>> tracker = ScoreTracker("VAL_LOSS", mode="min")
        >>> state = tracker.init()
        >>> for epoch, loss in enumerate([0.5, 0.25, float("nan"), 0.25], start=1):
        ...     candidate = ModelSnapshot({"w": torch.ones(2) * epoch}, torch.tensor(epoch))
        ...     state = tracker.update(state, tracker.criterion({"VAL_LOSS": loss}), candidate)
        >>> tracker.best(state)
        ModelSnapshot(model={'w': tensor([2., 2.])}, epoch=tensor(2))
    """

    score: str
    mode: Literal["min", "max"]

    def __attrs_post_init__(self) -> None:
        for name, right, expected in (
            ("score", isinstance(self.score, str) and self.score, "the name of a score, as its callback logs it"),
            ("mode", self.mode in ("min", "max"), "'min' or 'max'"),
        ):
            if not right:
                raise ConfigurationError(
                    "cannot be used",
                    where=f"ScoreTracker.{name}",
                    expected=expected,
                    got=repr(getattr(self, name)),
                    fix="e.g. ScoreTracker('VAL_LOSS', mode='min')",
                )

    @property
    def score_names(self) -> tuple[str, ...]:
        return (self.score,)

    def criterion(self, scores: Mapping[str, float]) -> ScoreCriterion | None:
        """Read the criterion from an epoch's scores; `None` if the epoch did not report it."""
        return ScoreCriterion(float(scores[self.score])) if self.score in scores else None

    def init(self) -> ScoreTrackerState:
        return ScoreTrackerState(value=torch.tensor(self._sign * math.inf, dtype=torch.float64), best=None)

    def update(
        self, state: ScoreTrackerState, criterion: ScoreCriterion, candidate: ModelSnapshot
    ) -> ScoreTrackerState:
        value = float(criterion.value)
        if not math.isfinite(value) or self._sign * value >= self._sign * float(state.value):
            return state
        return ScoreTrackerState(torch.tensor(value, dtype=torch.float64), trees.snapshot(candidate))

    def best(self, state: ScoreTrackerState) -> ModelSnapshot | None:
        return state.best

    @property
    def _sign(self) -> int:
        return 1 if self.mode == "min" else -1
