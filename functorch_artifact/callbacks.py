"""Callbacks: named, periodic folds over batches that end in records.

Belongs here: the callback families, callbacks by value, the loss callbacks. Does not: running
them (`routines`), or what a record is (`records`).
Floor 3.

| family | sees | due | record |
|---|---|---|---|
| `Batch...Callback` | the batch just trained on, in training mode | every `period` optimizer steps | one a due step |
| `DataLoader...Callback` | all batches of a loader, in eval mode | every `period` epochs | one a due epoch |

Each family has six modalities: score, array, plot, and a collection of each. Subclass one and
say its name and its fold, or make a callback by value: `score("ACCURACY", folds.mean(...))`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, final

import attrs

from functorch_artifact import folds, records
from functorch_artifact.contracts import (
    BatchResult,
    BatchTContr,
    ModelOutput,
    ModelOutputTContr,
)
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.folds import Fold
from functorch_artifact.records import Value


def check_period(period: int, where: str, name: str = "period") -> None:
    """Refuse a period below 1.

    Raises:
        ConfigurationError: `period` is not an integer of at least 1.
    """
    if not isinstance(period, int) or isinstance(period, bool) or period < 1:
        raise ConfigurationError(
            "is too small", where=f"{where}.{name}", expected="an integer of at least 1", got=repr(period)
        )


@attrs.frozen(eq=False)
class Callback(ABC, Generic[BatchTContr, ModelOutputTContr]):
    """Aggregate batches into one record every `period`; all hooks are pure.

    Raises:
        ConfigurationError: `period` is below 1.
    """

    modality: ClassVar[Any]
    """The record value class that the fold's result becomes."""

    period: int = attrs.field(default=1, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_period(self.period, type(self).__name__)

    @abstractmethod
    def _get_name(self) -> str:
        """Name the record, e.g. `VAL_LOSS`."""

    @abstractmethod
    def _get_fold(self) -> Fold[BatchResult[BatchTContr, ModelOutputTContr], Any, Any]:
        """Make the fold over batches; its result must fit the callback's modality."""

    @final
    @property
    def name(self) -> str:
        """The record's name."""
        return self._get_name()

    @final
    def due(self, n: int) -> bool:
        """Say whether the callback runs at the n-th step or epoch (counted from 1)."""
        return n % self.period == 0

    @final
    def finish(self, accumulator: Any) -> Value | None:
        """Turn a folded accumulator into a record's value; `None` if nothing was folded.

        Raises:
            RecordError: the fold's result does not fit the callback's modality.
        """
        result = self._get_fold().finish(accumulator)
        value: Value | None = None if result is None else self.modality.of(result, where=self.name)
        return value


class BatchScoreCallback(Callback[BatchTContr, ModelOutputTContr]):
    """A number of one batch; base for your own."""

    modality = records.Score


class BatchArrayCallback(Callback[BatchTContr, ModelOutputTContr]):
    """An array of one batch; base for your own."""

    modality = records.Array


class BatchPlotCallback(Callback[BatchTContr, ModelOutputTContr]):
    """A picture of one batch; base for your own."""

    modality = records.Plot


class BatchScoreCollectionCallback(Callback[BatchTContr, ModelOutputTContr]):
    """Named numbers of one batch; base for your own."""

    modality = records.ScoreCollection


class BatchArrayCollectionCallback(Callback[BatchTContr, ModelOutputTContr]):
    """Named arrays of one batch; base for your own."""

    modality = records.ArrayCollection


class BatchPlotCollectionCallback(Callback[BatchTContr, ModelOutputTContr]):
    """Named pictures of one batch; base for your own."""

    modality = records.PlotCollection


class DataLoaderScoreCallback(Callback[BatchTContr, ModelOutputTContr]):
    """A number over a loader; base for your own."""

    modality = records.Score


class DataLoaderArrayCallback(Callback[BatchTContr, ModelOutputTContr]):
    """An array over a loader; base for your own."""

    modality = records.Array


class DataLoaderPlotCallback(Callback[BatchTContr, ModelOutputTContr]):
    """A picture over a loader; base for your own."""

    modality = records.Plot


class DataLoaderScoreCollectionCallback(Callback[BatchTContr, ModelOutputTContr]):
    """Named numbers over a loader; base for your own."""

    modality = records.ScoreCollection


class DataLoaderArrayCollectionCallback(Callback[BatchTContr, ModelOutputTContr]):
    """Named arrays over a loader; base for your own."""

    modality = records.ArrayCollection


class DataLoaderPlotCollectionCallback(Callback[BatchTContr, ModelOutputTContr]):
    """Named pictures over a loader; base for your own."""

    modality = records.PlotCollection


@final
class BatchLossCallback(BatchScoreCallback[object, ModelOutput]):
    """Log `BATCH_LOSS`: the loss of the batch just trained on."""

    def _get_name(self) -> str:
        return "BATCH_LOSS"

    def _get_fold(self) -> Fold[BatchResult[object, ModelOutput], Any, Any]:
        return _mean_loss


@final
class TrainLossCallback(DataLoaderScoreCallback[object, ModelOutput]):
    """Log `TRAIN_LOSS`: the loss in eval mode, averaged over the loader's examples."""

    def _get_name(self) -> str:
        return "TRAIN_LOSS"

    def _get_fold(self) -> Fold[BatchResult[object, ModelOutput], Any, Any]:
        return _mean_loss


@final
class ValLossCallback(DataLoaderScoreCallback[object, ModelOutput]):
    """Log `VAL_LOSS`: the loss in eval mode, averaged over the loader's examples."""

    def _get_name(self) -> str:
        return "VAL_LOSS"

    def _get_fold(self) -> Fold[BatchResult[object, ModelOutput], Any, Any]:
        return _mean_loss


def _loss(result: BatchResult[object, ModelOutput]) -> Any:
    return result.output["loss"]


_mean_loss: Fold[BatchResult[object, ModelOutput], Any, Any] = folds.mean(_loss)


@final
@attrs.frozen(eq=False)
class FoldCallback(Callback[BatchTContr, ModelOutputTContr]):
    """A callback by value, for either family; made by `score`, `array`, `plot`, ..."""

    modality: Any  # type: ignore[misc]  # a field here, a class attribute elsewhere
    label: str
    fold: Fold[BatchResult[BatchTContr, ModelOutputTContr], Any, Any]

    def _get_name(self) -> str:
        return self.label

    def _get_fold(self) -> Fold[BatchResult[BatchTContr, ModelOutputTContr], Any, Any]:
        return self.fold


def score(name: str, fold: Fold[Any, Any, Any], *, period: int = 1) -> FoldCallback[Any, Any]:
    """Log the fold's result, one number.

    Example:
        >>> from functorch_artifact import callbacks, folds
        >>> callbacks.score("LOSS", folds.mean(lambda batch: batch.output["loss"]), period=2).due(4)
        True
    """
    return FoldCallback(records.Score, name, fold, period=period)


def array(name: str, fold: Fold[Any, Any, Any], *, period: int = 1) -> FoldCallback[Any, Any]:
    """Log the fold's result, one array."""
    return FoldCallback(records.Array, name, fold, period=period)


def plot(name: str, fold: Fold[Any, Any, Any], *, period: int = 1) -> FoldCallback[Any, Any]:
    """Log the fold's result, one matplotlib figure or PNG; draw in `fold.then(...)`."""
    return FoldCallback(records.Plot, name, fold, period=period)


def score_collection(name: str, fold: Fold[Any, Any, Any], *, period: int = 1) -> FoldCallback[Any, Any]:
    """Log the fold's result, numbers by name; see `folds.product` of a mapping."""
    return FoldCallback(records.ScoreCollection, name, fold, period=period)


def array_collection(name: str, fold: Fold[Any, Any, Any], *, period: int = 1) -> FoldCallback[Any, Any]:
    """Log the fold's result, arrays by name."""
    return FoldCallback(records.ArrayCollection, name, fold, period=period)


def plot_collection(name: str, fold: Fold[Any, Any, Any], *, period: int = 1) -> FoldCallback[Any, Any]:
    """Log the fold's result, figures by name."""
    return FoldCallback(records.PlotCollection, name, fold, period=period)


@attrs.frozen
class CheckpointCallback:
    """Say when a checkpoint is written, and how many are kept; one is always written at the end.

    Args:
        period: write one every so many epochs, or steps.
        keep_last: remove all but the newest so many, and that of the best epoch; `None` keeps all.
        unit: what `period` counts.

    Raises:
        ConfigurationError: a number is below 1, or the unit is unknown.
    """

    period: int = 1
    keep_last: int | None = 3
    unit: Literal["epochs", "steps"] = "epochs"

    def __attrs_post_init__(self) -> None:
        check_period(self.period, "CheckpointCallback")
        if self.keep_last is not None:
            check_period(self.keep_last, "CheckpointCallback", "keep_last")
        if self.unit not in ("epochs", "steps"):
            raise ConfigurationError(
                "is unknown", where="CheckpointCallback.unit", expected="'epochs' or 'steps'", got=repr(self.unit)
            )

    def due(self, epoch: int) -> bool:
        """Say whether one is written after an epoch (counted from 1)."""
        return self.unit == "epochs" and epoch % self.period == 0

    def due_step(self, step: int) -> bool:
        """Say whether one is written after a step (counted from 1)."""
        return self.unit == "steps" and step % self.period == 0


def every(*, epochs: int | None = None, steps: int | None = None, keep_last: int | None = 3) -> CheckpointCallback:
    """Write a checkpoint every so many epochs, or every so many steps.

    Args:
        epochs: so many epochs; or
        steps: so many optimizer steps.
        keep_last: see `CheckpointCallback`.

    Raises:
        ConfigurationError: not one of the two is given, or a number is below 1.

    Example:
        >>> from functorch_artifact import callbacks
        >>> [callbacks.every(epochs=5).due(10), callbacks.every(steps=1000).due_step(500)]
        [True, False]
    """
    if epochs is not None and steps is None:
        return CheckpointCallback(epochs, keep_last)
    if steps is not None and epochs is None:
        return CheckpointCallback(steps, keep_last, "steps")
    raise ConfigurationError("takes one of two", where="every", expected="epochs=... or steps=...", got=(epochs, steps))
