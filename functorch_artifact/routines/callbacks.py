"""Callbacks over batches: which run on what, and how one sweep serves them all.

Belongs here: `BatchRoutine` and `DataLoaderRoutine`, as pure reducers to outcomes. Does not:
iterating over loaders, moving data, or storing records (`driver`).
Floor 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Self, final

import attrs

from functorch_artifact import purity
from functorch_artifact.callbacks import Callback
from functorch_artifact.contracts import BatchResult, BatchTContr, Loader, ModelOutputTContr
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    Plot,
    PlotCollection,
    Record,
    Score,
    ScoreCollection,
    TrackingClient,
)
from functorch_artifact.routines.outcomes import Failure, Outcome


def as_tuple(items: Iterable[Any]) -> tuple[Any, ...]:
    """Convert a field's argument, for callers who pass a list."""
    return tuple(items)


class _CallbackHooks(Generic[BatchTContr, ModelOutputTContr]):
    """The six hooks that declare callbacks, one a modality."""

    @staticmethod
    def _get_score_callbacks() -> Sequence[Callback[BatchTContr, ModelOutputTContr]]:
        return []

    @staticmethod
    def _get_array_callbacks() -> Sequence[Callback[BatchTContr, ModelOutputTContr]]:
        return []

    @staticmethod
    def _get_plot_callbacks() -> Sequence[Callback[BatchTContr, ModelOutputTContr]]:
        return []

    @staticmethod
    def _get_score_collection_callbacks() -> Sequence[Callback[BatchTContr, ModelOutputTContr]]:
        return []

    @staticmethod
    def _get_array_collection_callbacks() -> Sequence[Callback[BatchTContr, ModelOutputTContr]]:
        return []

    @staticmethod
    def _get_plot_collection_callbacks() -> Sequence[Callback[BatchTContr, ModelOutputTContr]]:
        return []

    @classmethod
    def _collect(cls) -> tuple[Callback[BatchTContr, ModelOutputTContr], ...]:
        declared: list[Callback[BatchTContr, ModelOutputTContr]] = []
        for hook, modality in (
            (cls._get_score_callbacks, Score),
            (cls._get_array_callbacks, Array),
            (cls._get_plot_callbacks, Plot),
            (cls._get_score_collection_callbacks, ScoreCollection),
            (cls._get_array_collection_callbacks, ArrayCollection),
            (cls._get_plot_collection_callbacks, PlotCollection),
        ):
            for callback in hook():
                if callback.modality is not modality:
                    raise ConfigurationError(
                        "returns a callback of another modality",
                        where=f"{cls.__name__}.{hook.__name__}",
                        expected=modality.__name__,
                        got=f"{callback.name!r}, which logs {callback.modality.__name__}",
                    )
                declared.append(callback)
        return tuple(declared)


def _score_names(callbacks: Iterable[Callback[Any, Any]]) -> tuple[str, ...]:
    names = {Score: "{}", ScoreCollection: "{}/*"}
    return tuple(names[each.modality].format(each.name) for each in callbacks if each.modality in names)


@attrs.frozen(eq=False)
class Observation:
    """A batch callback's fold of one due step, not yet read from the device."""

    callback: Callback[Any, Any]
    step: int
    accumulator: Any


@attrs.frozen(eq=False)
class BatchRoutine(_CallbackHooks[BatchTContr, ModelOutputTContr]):
    """Run callbacks on the batches that are trained on.

    Subclass it and declare callbacks in the hooks `_get_score_callbacks` and its siblings, then
    `build` it; or pass callbacks by value.
    """

    callbacks: tuple[Callback[BatchTContr, ModelOutputTContr], ...] = attrs.field(converter=as_tuple, default=())
    tracking_client: TrackingClient | None = None
    split: str = "TRAIN"

    @classmethod
    def build(cls, tracking_client: TrackingClient | None = None) -> Self:
        """Build the routine that the hooks declare; its records go to `tracking_client`."""
        return cls(cls._collect(), tracking_client)

    @final
    def observe(
        self, result: BatchResult[BatchTContr, ModelOutputTContr], epoch: int, step: int
    ) -> tuple[tuple[Observation, ...], tuple[Failure, ...]]:
        """Fold the batch of one step into the callbacks that are due, without reading it."""
        observations: list[Observation] = []
        failures: list[Failure] = []
        for callback in self.callbacks:
            if callback.due(step):
                try:
                    lifted = purity.call(f"{callback.name}: its fold", callback._get_fold().lift, result)
                    observations.append(Observation(callback, step, lifted))
                except Exception as error:
                    failures.append(Failure(callback.name, epoch, self.split, error))
        return tuple(observations), tuple(failures)

    @final
    def finish(self, observations: Iterable[Observation], epoch: int) -> Outcome:
        """Read an epoch's observations into records."""
        return _finish(((each.callback, each.accumulator, each.step) for each in observations), epoch, self.split)


@attrs.frozen(eq=False)
class DataLoaderRoutine(_CallbackHooks[BatchTContr, ModelOutputTContr]):
    """Run callbacks over a loader, in eval mode, all due ones in one sweep.

    Subclass it and declare callbacks in the hooks `_get_score_callbacks` and its siblings, then
    `build` it; or pass callbacks by value.

    Example:
        >>> from functorch_artifact import DataLoader, DataLoaderRoutine, ResidentDataset
        >>> from functorch_artifact.callbacks import ValLossCallback
        >>> import torch
        >>> loader = DataLoader(ResidentDataset({"x": torch.zeros(8, 2)}), batch_size=4)
        >>> DataLoaderRoutine(loader, [ValLossCallback()], split="VALIDATION").score_names
        ('VAL_LOSS',)
    """

    data_loader: Loader[BatchTContr]
    callbacks: tuple[Callback[BatchTContr, ModelOutputTContr], ...] = attrs.field(converter=as_tuple, default=())
    tracking_client: TrackingClient | None = None
    split: str | None = None

    @classmethod
    def build(
        cls,
        data_loader: Loader[BatchTContr],
        tracking_client: TrackingClient | None = None,
        split: str | None = None,
    ) -> Self:
        """Build the routine that the hooks declare, over `data_loader`.

        Args:
            data_loader: where the batches come from.
            tracking_client: where the records go; by default, where the run's records go.
            split: the records' split, e.g. "VALIDATION".
        """
        return cls(data_loader, cls._collect(), tracking_client, split)

    @final
    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores it logs; a name ending in `/*` stands for a collection's."""
        return _score_names(self.callbacks)

    @final
    def due(self, epoch: int) -> bool:
        """Say whether any callback is due at the end of an epoch."""
        return any(callback.due(epoch) for callback in self.callbacks)

    @final
    def run(
        self,
        results: Iterable[BatchResult[BatchTContr, ModelOutputTContr]],
        epoch: int,
        step: int,
        *,
        only_due: bool = True,
    ) -> Outcome:
        """Fold evaluated batches into the records of the due callbacks."""
        due = [callback for callback in self.callbacks if not only_due or callback.due(epoch)]
        folds = [callback._get_fold() for callback in due]
        accumulators = [fold.init() for fold in folds]
        failures: dict[int, Failure] = {}
        for result in results:
            for i, (callback, fold) in enumerate(zip(due, folds, strict=True)):
                if i not in failures:
                    try:
                        where = f"{callback.name}: update of its fold"
                        accumulators[i] = purity.call(where, fold.update, accumulators[i], result)
                    except Exception as error:
                        failures[i] = Failure(callback.name, epoch, self.split, error)
        folded = ((c, accumulators[i], step) for i, c in enumerate(due) if i not in failures)
        outcome = _finish(folded, epoch, self.split)
        return Outcome(outcome.records, (*failures.values(), *outcome.failures))


def _finish(folded: Iterable[tuple[Callback[Any, Any], Any, int]], epoch: int, split: str | None) -> Outcome:
    made: list[Record] = []
    failures: list[Failure] = []
    for callback, accumulator, step in folded:
        try:
            value = callback.finish(accumulator)
        except Exception as error:
            failures.append(Failure(callback.name, epoch, split, error))
            continue
        if value is not None:
            made.append(Record(callback.name, value, epoch, step, split))
    return Outcome(tuple(made), tuple(failures))
