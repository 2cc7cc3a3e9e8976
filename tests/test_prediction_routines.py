"""Routines of the domains of classes, run on real classifiers: what holds of two holds of several."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from functorch_artifact import binary_classification, classification, records
from functorch_artifact.background import Background
from functorch_artifact.contracts import ModelInput, ModelOutput
from functorch_artifact.errors import ConfigurationError, PredictionError
from functorch_artifact.predictions import ClassificationParams


class Batch(ModelInput):
    x: Tensor  # float32 [n, 2]
    y: Tensor  # [n]


@attrs.frozen
class Tempered(ClassificationParams):
    temperature: float = 1.0


class Logistic(binary_classification.BinaryClassifier[Batch, ModelOutput, Tempered, Tensor]):
    """Logistic regression, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.asked: list[Tempered] = []

    def forward(self, batch: Batch) -> ModelOutput:
        logits = self.linear(batch["x"]).squeeze(1)
        return {"loss": nn.functional.binary_cross_entropy_with_logits(logits, batch["y"])}

    def classify(self, data: Tensor, params: Tempered) -> binary_classification.BinaryClassificationResults:
        self.asked.append(params)
        probabilities = torch.sigmoid(self.linear(data) / params.temperature).squeeze(1)
        assert not probabilities.requires_grad
        return binary_classification.BinaryClassificationResults(probabilities=probabilities)


class Softmax(classification.Classifier[Batch, ModelOutput, Tempered, Tensor]):
    """Softmax regression, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
        self.asked: list[Tempered] = []

    def forward(self, batch: Batch) -> ModelOutput:
        return {"loss": nn.functional.cross_entropy(self.linear(batch["x"]), batch["y"])}

    def classify(self, data: Tensor, params: Tempered) -> classification.ClassificationResults:
        self.asked.append(params)
        probabilities = torch.softmax(self.linear(data) / params.temperature, dim=1)
        assert not probabilities.requires_grad
        return classification.ClassificationResults(probabilities=probabilities)


X = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
TOTALS = (X.sum(1) + 0.3 * X[:, 0]).tolist()


@attrs.frozen
class Domain:
    """What the tests need to know of a domain."""

    module: Any
    model: Any
    spec: Any
    labels: list[str]
    results: Any
    routine: Any
    plan: Any
    scores: Any
    curve: str
    probabilities: Tensor  # of one example, and none of another

    def ask(self, model: Any) -> Any:
        with torch.no_grad():
            return model.classify(X, Tempered())


TWO = Domain(
    module=binary_classification,
    model=Logistic,
    spec=binary_classification.BinaryClassSpec(["down", "up"], positive_class="down"),
    labels=["up" if total > 0 else "down" for total in TOTALS],
    results=binary_classification.BinaryClassificationResults,
    routine=binary_classification.BinaryClassificationRoutine,
    plan=binary_classification.BinaryClassificationPlan,
    scores=binary_classification.BinaryClassificationScoreType,
    curve="ROC_CURVE",
    probabilities=torch.tensor([0.9, float("nan")]),
)
SEVERAL = Domain(
    module=classification,
    model=Softmax,
    spec=classification.ClassSpec(["down", "level", "up"]),
    labels=["up" if total > 0.8 else "down" if total < -0.8 else "level" for total in TOTALS],
    results=classification.ClassificationResults,
    routine=classification.ClassificationRoutine,
    plan=classification.ClassificationPlan,
    scores=classification.ClassificationScoreType,
    curve="ROC_CURVES",
    probabilities=torch.tensor([[0.9, 0.1, 0.0], [float("nan")] * 3]),
)
pytestmark = pytest.mark.parametrize("domain", [TWO, SEVERAL], ids=["two", "several"])


def declared(domain: Domain) -> Any:
    class Declared(domain.routine[Tempered, Tensor]):  # type: ignore[misc,name-defined]
        @staticmethod
        def _get_period() -> int:
            return 2

        @staticmethod
        def _get_classification_params() -> Tempered:
            return Tempered(2.0)

        @staticmethod
        def _get_artifact_plan() -> Any:
            return domain.plan.of(domain.scores.MCC)

        @staticmethod
        def _get_export_period() -> int | None:
            return 4

    return Declared


def test_a_routine_by_hooks_runs_when_due_and_exports_when_due(domain: Domain) -> None:
    model, routine = domain.model(), declared(domain).build(X, domain.labels, domain.spec)
    assert [epoch for epoch in range(1, 9) if routine.due(epoch)] == [2, 4, 6, 8]
    assert (routine.score_names, routine.split) == (("MCC",), "VALIDATION")
    names = {epoch: [record.name for record in routine.run(model, epoch, 10 * epoch).records] for epoch in (2, 4)}
    assert names == {2: ["MCC"], 4: ["MCC", "PREDICTIONS"]}
    assert model.asked == [Tempered(2.0)] * 2


def test_records_carry_their_place_and_hold_what_evaluate_gives(domain: Domain) -> None:
    model = domain.model()
    routine = domain.routine(X, domain.labels, domain.spec, Tempered(), export_period=3, period=3, split="TEST")
    outcome = routine.run(model, epoch=3, step=30)
    assert outcome.failures == ()
    assert {(each.epoch, each.step, each.split) for each in outcome.records} == {(3, 30, "TEST")}
    values = {each.name: each.value for each in outcome.records}
    frame = values.pop("PREDICTIONS").frame
    assert frame.columns.tolist() == ["label", "predicted", "probability"]
    assert frame["label"].tolist() == domain.labels
    given = domain.ask(model).probabilities
    assert values == domain.module.evaluate(domain.labels, given, domain.spec).values
    assert list(values) == list(domain.scores)
    assert values["ACCURACY"].value == (frame["label"] == frame["predicted"]).mean()
    assert frame["probability"].tolist() == pytest.approx((given if given.ndim == 1 else given.max(1).values).tolist())


def test_a_routine_of_its_hooks_defaults_computes_all_scores_every_epoch_and_never_exports(domain: Domain) -> None:
    class Least(domain.routine[Tempered, Tensor]):  # type: ignore[misc,name-defined]
        @staticmethod
        def _get_classification_params() -> Tempered:
            return Tempered()

    routine = Least.build(X, domain.labels, domain.spec, split="TRAIN")
    assert (routine.period, routine.export_period, routine.split) == (1, None, "TRAIN")
    assert routine.score_names == tuple(domain.scores)


def test_an_exported_table_is_a_snapshot_and_missing_predictions_are_missing(domain: Domain) -> None:
    probabilities = domain.probabilities.clone()

    class Reusing(domain.model):  # type: ignore[misc,name-defined]
        def classify(self, data: Tensor, params: Tempered) -> Any:
            return domain.results(probabilities=probabilities)

    routine = domain.routine(X[:2], ["down", "up"], domain.spec, Tempered(), domain.plan(), export_period=1)
    (record,) = routine.run(Reusing(), 1, 1).records
    probabilities.zero_()
    assert isinstance(record.value, records.Table)
    frame = record.value.frame
    assert frame["label"].tolist() == ["down", "up"]
    assert frame["predicted"].tolist() == ["down", None]
    assert frame["probability"].tolist() == pytest.approx([0.9, float("nan")], nan_ok=True)


def test_pictures_are_made_in_the_background_with_the_same_bits(domain: Domain) -> None:
    plan = domain.plan.of("ACCURACY", "CONFUSION_MATRIX", domain.curve)
    routine = domain.routine(X, domain.labels, domain.spec, Tempered(), plan)
    now = routine.run(domain.model(), 2, 20)
    with Background(lambda: ThreadPoolExecutor(1)) as background:
        outcome = routine.run(domain.model(), 2, 20, executor=background)
        (pending,) = outcome.pending
        later = pending.result()
    assert [record.name for record in outcome.records] == ["ACCURACY"]
    assert [record.name for record in later.records] == ["CONFUSION_MATRIX", domain.curve]
    assert later.failures == ()
    assert later.records[1].value == now.records[2].value


@pytest.mark.parametrize(
    ("give", "text"),
    [
        (lambda results, _: torch.zeros(60), r"Wrong.classify: returned no results\n  expected: {}\n  got: Tensor"),
        (lambda results, _: None, r"Wrong.classify: returned no results\n  expected: {}\n  got: NoneType"),
        (lambda results, shape: results(probabilities=torch.full((2, *shape), 1 / 3)), "expected: 60, as the labels"),
        (lambda results, shape: results(probabilities=torch.full((60, *shape), 7.0)), "do this: if these are logits"),
        (lambda results, _: results(), r"hold neither probabilities nor predictions\n  expected: {}\(proba"),
    ],
)
def test_a_classifier_that_gives_something_else_is_told_so(domain: Domain, give: Any, text: str) -> None:
    class Wrong(domain.model):  # type: ignore[misc,name-defined]
        def classify(self, data: Tensor, params: Tempered) -> Any:
            return give(domain.results, domain.probabilities.shape[1:])

    routine = domain.routine(X, domain.labels, domain.spec, Tempered())
    with pytest.raises(PredictionError, match=text.replace("{}", domain.results.__name__)):
        list(routine.artifacts(Wrong(), 1))
    assert [type(failure.error) for failure in routine.run(Wrong(), 1, 1).failures] == [PredictionError]


def test_a_routine_that_cannot_be_is_refused(domain: Domain) -> None:
    (other,) = {TWO.plan, SEVERAL.plan} - {domain.plan}
    with pytest.raises(ConfigurationError, match="_get_classification_params: is not filled in"):
        domain.routine.build(X, domain.labels, domain.spec)
    with pytest.raises(PredictionError, match="the labels: has labels that are no class"):
        declared(domain).build(X, ["sideways"] * 60, domain.spec)
    with pytest.raises(ConfigurationError, match="a multiple of the period, 2"):
        domain.routine(X, domain.labels, domain.spec, Tempered(), period=2, export_period=3)
    refused = rf"plan: is a plan of another domain\n  expected: a {domain.plan.__name__}\n  got: {other.__name__}"
    with pytest.raises(ConfigurationError, match=refused):
        domain.routine(X, domain.labels, domain.spec, Tempered(), other.of("ACCURACY"))
