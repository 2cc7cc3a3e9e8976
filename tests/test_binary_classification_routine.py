"""Routines of the domain of two classes, run on a real classifier."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from functorch_artifact import records
from functorch_artifact.background import Background
from functorch_artifact.binary_classification import (
    BinaryClassificationPlan,
    BinaryClassificationResults,
    BinaryClassificationRoutine,
    BinaryClassificationScoreType,
    BinaryClassifier,
    BinaryClassSpec,
    ClassificationParams,
    evaluate,
)
from functorch_artifact.contracts import ModelInput, ModelOutput
from functorch_artifact.errors import ConfigurationError, PredictionError


class Batch(ModelInput):
    x: Tensor  # float32 [n, 2]
    y: Tensor  # float32 [n]


@attrs.frozen
class Thresholded(ClassificationParams):
    threshold: float = 0.5


class Logistic(BinaryClassifier[Batch, ModelOutput, Thresholded, Tensor]):
    """Logistic regression, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.asked: list[Thresholded] = []

    def forward(self, batch: Batch) -> ModelOutput:
        logits = self.linear(batch["x"]).squeeze(1)
        return {"loss": nn.functional.binary_cross_entropy_with_logits(logits, batch["y"])}

    def classify(self, data: Tensor, params: Thresholded) -> BinaryClassificationResults:
        self.asked.append(params)
        probabilities = torch.sigmoid(self.linear(data)).squeeze(1)
        assert not probabilities.requires_grad
        return BinaryClassificationResults(probabilities=probabilities, threshold=params.threshold)


SPEC = BinaryClassSpec(["down", "up"], positive_class="up")
X = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
LABELS = ["up" if total > 0 else "down" for total in (X.sum(1) + 0.3 * X[:, 0]).tolist()]


class Declared(BinaryClassificationRoutine[Thresholded, Tensor]):
    @staticmethod
    def _get_period() -> int:
        return 2

    @staticmethod
    def _get_classification_params() -> Thresholded:
        return Thresholded(0.7)

    @staticmethod
    def _get_artifact_plan() -> BinaryClassificationPlan:
        return BinaryClassificationPlan.of(BinaryClassificationScoreType.RECALL)

    @staticmethod
    def _get_export_period() -> int | None:
        return 4


def test_a_routine_by_hooks_runs_when_due_and_exports_when_due() -> None:
    model, routine = Logistic(), Declared.build(X, LABELS, SPEC)
    assert [epoch for epoch in range(1, 9) if routine.due(epoch)] == [2, 4, 6, 8]
    assert (routine.score_names, routine.split) == (("RECALL",), "VALIDATION")
    names = {epoch: [record.name for record in routine.run(model, epoch, 10 * epoch).records] for epoch in (2, 4)}
    assert names == {2: ["RECALL"], 4: ["RECALL", "PREDICTIONS"]}
    assert model.asked == [Thresholded(0.7)] * 2


def test_records_carry_their_place_and_hold_what_evaluate_gives() -> None:
    model = Logistic()
    routine = BinaryClassificationRoutine(X, LABELS, SPEC, Thresholded(), export_period=3, period=3, split="TEST")
    outcome = routine.run(model, epoch=3, step=30)
    assert outcome.failures == ()
    assert {(each.epoch, each.step, each.split) for each in outcome.records} == {(3, 30, "TEST")}
    values = {each.name: each.value for each in outcome.records}
    frame = values.pop("PREDICTIONS").frame
    assert frame.columns.tolist() == ["label", "predicted", "probability"]
    assert frame["label"].tolist() == LABELS
    assert values == evaluate(LABELS, frame["probability"], SPEC).values
    assert list(values) == list(BinaryClassificationScoreType)
    assert values["ACCURACY"].value == (frame["label"] == frame["predicted"]).mean()


def test_a_routine_of_its_hooks_defaults_computes_all_scores_every_epoch_and_never_exports() -> None:
    class Least(BinaryClassificationRoutine[Thresholded, Tensor]):
        @staticmethod
        def _get_classification_params() -> Thresholded:
            return Thresholded()

    routine = Least.build(X, LABELS, SPEC, split="TRAIN")
    assert (routine.period, routine.export_period, routine.split) == (1, None, "TRAIN")
    assert routine.score_names == tuple(BinaryClassificationScoreType)


def test_an_exported_table_is_a_snapshot_and_missing_predictions_are_missing() -> None:
    probabilities = torch.tensor([0.9, float("nan")])

    class Reusing(Logistic):
        def classify(self, data: Tensor, params: Thresholded) -> BinaryClassificationResults:
            return BinaryClassificationResults(probabilities=probabilities)

    routine = BinaryClassificationRoutine(
        X[:2], ["up", "down"], SPEC, Thresholded(), BinaryClassificationPlan(), export_period=1
    )
    (record,) = routine.run(Reusing(), 1, 1).records
    probabilities.zero_()
    assert isinstance(record.value, records.Table)
    frame = record.value.frame
    assert frame["label"].tolist() == ["up", "down"]
    assert frame["predicted"].tolist() == ["up", None]
    assert frame["probability"].tolist() == pytest.approx([0.9, float("nan")], nan_ok=True)


def test_pictures_are_made_in_the_background_with_the_same_bits() -> None:
    plan = BinaryClassificationPlan.of("ACCURACY", "CONFUSION_MATRIX", "ROC_CURVE")
    routine = BinaryClassificationRoutine(X, LABELS, SPEC, Thresholded(), plan)
    now = routine.run(Logistic(), 2, 20)
    with Background(lambda: ThreadPoolExecutor(1)) as background:
        outcome = routine.run(Logistic(), 2, 20, executor=background)
        (pending,) = outcome.pending
        later = pending.result()
    assert [record.name for record in outcome.records] == ["ACCURACY"]
    assert [record.name for record in later.records] == ["CONFUSION_MATRIX", "ROC_CURVE"]
    assert later.failures == ()
    assert later.records[1].value == now.records[2].value


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (torch.zeros(60), r"Wrong.classify: returned no results\n  expected: BinaryClassificationR.*\n  got: Tensor"),
        (None, "got: NoneType"),
        (BinaryClassificationResults(probabilities=torch.zeros(3)), "expected: 60, as the labels"),
        (BinaryClassificationResults(probabilities=torch.full((60,), 7.0)), "do this: if these are logits"),
    ],
)
def test_a_classifier_that_gives_something_else_is_told_so(given: Any, text: str) -> None:
    class Wrong(Logistic):
        def classify(self, data: Tensor, params: Thresholded) -> Any:
            return given

    routine = BinaryClassificationRoutine(X, LABELS, SPEC, Thresholded())
    with pytest.raises(PredictionError, match=text):
        list(routine.artifacts(Wrong(), 1))
    assert [type(failure.error) for failure in routine.run(Wrong(), 1, 1).failures] == [PredictionError]


def test_a_routine_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="_get_classification_params: is not filled in"):
        BinaryClassificationRoutine.build(X, LABELS, SPEC)
    with pytest.raises(PredictionError, match="the labels: has labels that are no class"):
        Declared.build(X, ["sideways"] * 60, SPEC)
    with pytest.raises(ConfigurationError, match="a multiple of the period, 2"):
        BinaryClassificationRoutine(X, LABELS, SPEC, Thresholded(), period=2, export_period=3)
