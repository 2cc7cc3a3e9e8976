"""Validation of a classifier in training.

Belongs here: `PredictionRoutine`, the base of the routines of the domains of classes. Does not:
what it computes (`plan`), when the driver asks for it (`routines`).
Floor 5.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self

import pandas as pd
import torch

from functorch_artifact.artifacts import ArtifactPlan
from functorch_artifact.errors import PredictionError
from functorch_artifact.predictions.evaluation import PredictionsT, SpecT
from functorch_artifact.predictions.model import (
    ClassificationDataTCov,
    ClassificationParamsTCov,
    ClassifyingModel,
    ResultsT,
)
from functorch_artifact.predictions.plan import PredictionPlan
from functorch_artifact.records import TrackingClient
from functorch_artifact.routines import PlanRoutine, unfilled


class PredictionRoutine(
    PlanRoutine[ClassifyingModel[Any, Any, ClassificationParamsTCov, ClassificationDataTCov, ResultsT], PredictionsT],
    Generic[ClassificationParamsTCov, ClassificationDataTCov, SpecT, ResultsT, PredictionsT],
):
    """Classify examples when due, judge the results by their labels, and export them if asked to.

    Make one by value, or subclass it, fill in the hooks and call `build`. The labels are read
    once, here.

    Args:
        data: what the model classifies, as its `classify` takes it.
        labels: the true class names, in the same order.
        spec: the classes.
        params: what the model is asked for.
        plan: what to compute; by default all scores.
        period: run every so many epochs.
        export_period: log labels, predictions and probabilities as `PREDICTIONS` every so many
            epochs, a multiple of `period`; by default never.
        tracking_client: where the records go; by default, where the run's records go.
        split: the records' split.

    Raises:
        PredictionError: there is no label, one is missing, or one is not a class.
        ConfigurationError: a period is below 1, or `export_period` is no multiple of `period`.

    It is covariant in its parameters and in its data: a routine that gives more fits where one
    that gives less is wanted.
    """

    plan_type: ClassVar[type[PredictionPlan[Any, Any]]]  # pyright: ignore[reportIncompatibleVariableOverride] - never assigned to
    export_name: ClassVar[str] = "PREDICTIONS"

    def __init__(
        self,
        data: ClassificationDataTCov,
        labels: Any,
        spec: SpecT,
        params: ClassificationParamsTCov,
        plan: ArtifactPlan[PredictionsT] | None = None,
        *,
        period: int = 1,
        export_period: int | None = None,
        tracking_client: TrackingClient | None = None,
        split: str | None = "VALIDATION",
    ) -> None:
        super().__init__(plan, period=period, export_period=export_period, split=split, tracking_client=tracking_client)
        self.data = data
        self.spec = spec
        self.true = self.plan_type.resource_type.read_labels(labels, spec)
        self.params = params

    @classmethod
    def build(
        cls,
        data: ClassificationDataTCov,  # type: ignore[misc]  # as sound as in __init__
        labels: Any,
        spec: SpecT,
        *,
        tracking_client: TrackingClient | None = None,
        split: str | None = "VALIDATION",
    ) -> Self:
        """Build the routine that the hooks describe.

        Raises:
            ConfigurationError: `_get_classification_params` is not filled in.
            PredictionError: there is no label, one is missing, or one is not a class.
        """
        params = cls._get_classification_params()
        return cls(data, labels, spec, params, tracking_client=tracking_client, split=split, **cls._from_hooks())

    @staticmethod
    def _get_classification_params() -> ClassificationParamsTCov:
        raise unfilled("_get_classification_params", "classify")

    @property
    def shared(self) -> tuple[object, ...]:
        """The labels."""
        return (self.true,)

    def produce(
        self, model: ClassifyingModel[Any, Any, ClassificationParamsTCov, ClassificationDataTCov, ResultsT]
    ) -> tuple[PredictionsT, pd.DataFrame]:
        """Classify the examples once, without gradients, and put the results beside the labels.

        Raises:
            PredictionError: `classify` returned no results, or such as do not fit the classes or
                the labels.
        """
        kind = self.plan_type.resource_type
        with torch.no_grad():
            results = model.classify(self.data, self.params)
        if not isinstance(results, kind.results_type):
            raise PredictionError(
                "returned no results",
                where=f"{type(model).__name__}.classify",
                expected=kind.results_type.__name__,
                got=type(results).__name__,
            )
        judged: Any = kind.of(self.spec, self.true, results)
        return judged, judged.frame()
