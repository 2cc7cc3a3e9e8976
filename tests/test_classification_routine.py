"""Routines of the domain of several classes, run on a real classifier."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from functorch_artifact import records
from functorch_artifact.background import Background
from functorch_artifact.classification import (
    ClassificationParams,
    ClassificationPlan,
    ClassificationResults,
    ClassificationRoutine,
    ClassificationScoreType,
    Classifier,
    ClassSpec,
    evaluate,
)
from functorch_artifact.contracts import ModelInput, ModelOutput
from functorch_artifact.errors import ConfigurationError, PredictionError


class Batch(ModelInput):
    x: Tensor  # float32 [n, 2]
    y: Tensor  # int64 [n]


@attrs.frozen
class Tempered(ClassificationParams):
    temperature: float = 1.0


class Softmax(Classifier[Batch, ModelOutput, Tempered, Tensor]):
    """Softmax regression, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
        self.asked: list[Tempered] = []

    def forward(self, batch: Batch) -> ModelOutput:
        return {"loss": nn.functional.cross_entropy(self.linear(batch["x"]), batch["y"])}

    def classify(self, data: Tensor, params: Tempered) -> ClassificationResults:
        self.asked.append(params)
        probabilities = torch.softmax(self.linear(data) / params.temperature, dim=1)
        assert not probabilities.requires_grad
        return ClassificationResults(probabilities=probabilities)


SPEC = ClassSpec(["down", "level", "up"])
X = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
LABELS = ["up" if t > 0.8 else "down" if t < -0.8 else "level" for t in (X.sum(1) + 0.3 * X[:, 0]).tolist()]


class Declared(ClassificationRoutine[Tempered, Tensor]):
    @staticmethod
    def _get_period() -> int:
        return 2

    @staticmethod
    def _get_classification_params() -> Tempered:
        return Tempered(2.0)

    @staticmethod
    def _get_artifact_plan() -> ClassificationPlan:
        return ClassificationPlan.of(ClassificationScoreType.F1_MACRO)

    @staticmethod
    def _get_export_period() -> int | None:
        return 4


def test_a_routine_by_hooks_runs_when_due_and_exports_when_due() -> None:
    model, routine = Softmax(), Declared.build(X, LABELS, SPEC)
    assert [epoch for epoch in range(1, 9) if routine.due(epoch)] == [2, 4, 6, 8]
    assert (routine.score_names, routine.split) == (("F1_MACRO",), "VALIDATION")
    names = {epoch: [record.name for record in routine.run(model, epoch, 10 * epoch).records] for epoch in (2, 4)}
    assert names == {2: ["F1_MACRO"], 4: ["F1_MACRO", "PREDICTIONS"]}
    assert model.asked == [Tempered(2.0)] * 2


def test_records_carry_their_place_and_hold_what_evaluate_gives() -> None:
    model = Softmax()
    routine = ClassificationRoutine(X, LABELS, SPEC, Tempered(), export_period=3, period=3, split="TEST")
    outcome = routine.run(model, epoch=3, step=30)
    assert outcome.failures == ()
    assert {(each.epoch, each.step, each.split) for each in outcome.records} == {(3, 30, "TEST")}
    values = {each.name: each.value for each in outcome.records}
    frame = values.pop("PREDICTIONS").frame
    assert frame.columns.tolist() == ["label", "predicted", "probability"]
    assert frame["label"].tolist() == LABELS
    with torch.no_grad():
        results = model.classify(X, Tempered())
    assert values == evaluate(LABELS, results, SPEC).values
    assert list(values) == list(ClassificationScoreType)
    assert values["ACCURACY"].value == (frame["label"] == frame["predicted"]).mean() > 0.4
    assert frame["probability"].tolist() == pytest.approx(results.probabilities.max(1).values.tolist())


def test_a_routine_of_its_hooks_defaults_computes_all_scores_every_epoch_and_never_exports() -> None:
    class Least(ClassificationRoutine[Tempered, Tensor]):
        @staticmethod
        def _get_classification_params() -> Tempered:
            return Tempered()

    routine = Least.build(X, LABELS, SPEC, split="TRAIN")
    assert (routine.period, routine.export_period, routine.split) == (1, None, "TRAIN")
    assert routine.score_names == tuple(ClassificationScoreType)


def test_an_exported_table_is_a_snapshot_and_missing_predictions_are_missing() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [float("nan")] * 3])

    class Reusing(Softmax):
        def classify(self, data: Tensor, params: Tempered) -> ClassificationResults:
            return ClassificationResults(probabilities=probabilities)

    routine = ClassificationRoutine(X[:2], ["down", "up"], SPEC, Tempered(), ClassificationPlan(), export_period=1)
    (record,) = routine.run(Reusing(), 1, 1).records
    probabilities.zero_()
    assert isinstance(record.value, records.Table)
    frame = record.value.frame
    assert frame["label"].tolist() == ["down", "up"]
    assert frame["predicted"].tolist() == ["down", None]
    assert frame["probability"].tolist() == pytest.approx([0.9, float("nan")], nan_ok=True)


def test_pictures_are_made_in_the_background_with_the_same_bits() -> None:
    plan = ClassificationPlan.of("ACCURACY", "CONFUSION_MATRIX", "ROC_CURVES")
    routine = ClassificationRoutine(X, LABELS, SPEC, Tempered(), plan)
    now = routine.run(Softmax(), 2, 20)
    with Background(lambda: ThreadPoolExecutor(1)) as background:
        outcome = routine.run(Softmax(), 2, 20, executor=background)
        (pending,) = outcome.pending
        later = pending.result()
    assert [record.name for record in outcome.records] == ["ACCURACY"]
    assert [record.name for record in later.records] == ["CONFUSION_MATRIX", "ROC_CURVES"]
    assert later.failures == ()
    assert later.records[1].value == now.records[2].value


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (torch.zeros(60), r"Wrong.classify: returned no results\n  expected: ClassificationR.*\n  got: Tensor"),
        (None, "got: NoneType"),
        (ClassificationResults(probabilities=torch.full((2, 3), 1 / 3)), "expected: 60, as the labels"),
        (ClassificationResults(probabilities=torch.full((60, 3), 7.0)), "do this: if these are logits"),
    ],
)
def test_a_classifier_that_gives_something_else_is_told_so(given: Any, text: str) -> None:
    class Wrong(Softmax):
        def classify(self, data: Tensor, params: Tempered) -> Any:
            return given

    routine = ClassificationRoutine(X, LABELS, SPEC, Tempered())
    with pytest.raises(PredictionError, match=text):
        list(routine.artifacts(Wrong(), 1))
    assert [type(failure.error) for failure in routine.run(Wrong(), 1, 1).failures] == [PredictionError]


def test_a_routine_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="_get_classification_params: is not filled in"):
        ClassificationRoutine.build(X, LABELS, SPEC)
    with pytest.raises(PredictionError, match="the labels: has labels that are no class"):
        Declared.build(X, ["sideways"] * 60, SPEC)
    with pytest.raises(ConfigurationError, match="a multiple of the period, 2"):
        ClassificationRoutine(X, LABELS, SPEC, Tempered(), period=2, export_period=3)
