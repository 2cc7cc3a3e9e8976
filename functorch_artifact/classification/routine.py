"""Validation of a classifier in training.

Belongs here: `ClassificationRoutine`. Does not: what it computes (`plan`), when the driver
asks for it (`routines`).
Floor 5.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self

import pandas as pd
import torch

from functorch_artifact.classification.evaluation import Evaluation, read_labels
from functorch_artifact.classification.model import (
    ClassificationDataTCov,
    ClassificationParamsTCov,
    ClassificationResults,
    Classifier,
)
from functorch_artifact.classification.plan import ClassificationPlan, all_scores
from functorch_artifact.classification.spec import ClassSpec
from functorch_artifact.errors import ConfigurationError, PredictionError
from functorch_artifact.records import TrackingClient
from functorch_artifact.routines import PlanRoutine


class ClassificationRoutine(
    PlanRoutine[Classifier[Any, Any, ClassificationParamsTCov, ClassificationDataTCov]],
    Generic[ClassificationParamsTCov, ClassificationDataTCov],
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

    export_name: ClassVar[str] = "PREDICTIONS"

    def __init__(
        self,
        data: ClassificationDataTCov,
        labels: Any,
        spec: ClassSpec,
        params: ClassificationParamsTCov,
        plan: ClassificationPlan | None = None,
        *,
        period: int = 1,
        export_period: int | None = None,
        tracking_client: TrackingClient | None = None,
        split: str | None = "VALIDATION",
    ) -> None:
        super().__init__(
            plan if plan is not None else all_scores(),
            period=period,
            export_period=export_period,
            split=split,
            tracking_client=tracking_client,
        )
        self.data = data
        self.spec = spec
        self.true = read_labels(labels, spec)
        self.params = params

    @classmethod
    def build(
        cls,
        data: ClassificationDataTCov,  # type: ignore[misc]  # as sound as in __init__
        labels: Any,
        spec: ClassSpec,
        *,
        tracking_client: TrackingClient | None = None,
        split: str | None = "VALIDATION",
    ) -> Self:
        """Build the routine that the hooks describe.

        Raises:
            ConfigurationError: `_get_classification_params` is not filled in.
            PredictionError: there is no label, one is missing, or one is not a class.
        """
        return cls(
            data,
            labels,
            spec,
            cls._get_classification_params(),
            cls._get_artifact_plan(),
            period=cls._get_period(),
            export_period=cls._get_export_period(),
            tracking_client=tracking_client,
            split=split,
        )

    @staticmethod
    def _get_classification_params() -> ClassificationParamsTCov:
        raise ConfigurationError(
            "is not filled in",
            where="_get_classification_params",
            expected="the parameters for the model's classify",
            fix="override the hook, or make the routine by value: ClassificationRoutine(data, labels, spec, ...)",
        )

    @staticmethod
    def _get_artifact_plan() -> ClassificationPlan:
        return all_scores()

    @property
    def shared(self) -> tuple[object, ...]:
        """The labels."""
        return (self.true,)

    def produce(
        self, model: Classifier[Any, Any, ClassificationParamsTCov, ClassificationDataTCov]
    ) -> tuple[Evaluation, pd.DataFrame]:
        """Classify the examples once, without gradients, and put the results beside the labels.

        Raises:
            PredictionError: `classify` returned no results, or such as do not fit the classes or
                the labels.
        """
        with torch.no_grad():
            results = model.classify(self.data, self.params)
        if not isinstance(results, ClassificationResults):
            raise PredictionError(
                "returned no results",
                where=f"{type(model).__name__}.classify",
                expected="ClassificationResults",
                got=type(results).__name__,
            )
        evaluation = Evaluation.of(self.spec, self.true, results)
        return evaluation, evaluation.frame()
