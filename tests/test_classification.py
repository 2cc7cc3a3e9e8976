"""Predictions of several classes, judged: every artifact by name, and what happens where it is undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from functorch_artifact import classification as domain
from functorch_artifact import records
from functorch_artifact.classification import (
    ClassificationArrayCollectionType,
    ClassificationArrayType,
    ClassificationPlan,
    ClassificationPlotCollectionType,
    ClassificationPlotType,
    ClassificationResults,
    ClassificationScoreCollectionType,
    ClassificationScoreType,
    ClassSpec,
    evaluate,
)
from functorch_artifact.errors import ConfigurationError, PredictionError

KINDS = {
    ClassificationScoreType: records.Score,
    ClassificationArrayType: records.Array,
    ClassificationPlotType: records.Plot,
    ClassificationScoreCollectionType: records.ScoreCollection,
    ClassificationArrayCollectionType: records.ArrayCollection,
    ClassificationPlotCollectionType: records.PlotCollection,
}
SPEC = ClassSpec(["a", "b", "c", "d"])  # nothing is ever a "d"
LABELS = ["a", "a", "b", "b", "c", "c"]
PROBABILITIES = [
    [0.7, 0.1, 0.1, 0.1],  # right
    [0.2, 0.5, 0.2, 0.1],  # a taken for b, a second
    [0.1, 0.6, 0.2, 0.1],  # right
    [0.3, 0.4, 0.2, 0.1],  # right
    [0.5, 0.2, 0.2, 0.1],  # c taken for a, c third after a tie
    [0.4, 0.3, 0.2, 0.1],  # c taken for a, c third
]
EVERYTHING = ClassificationPlan.of(*domain.toolkit)


def value(chosen: Any, labels: Any = LABELS, results: Any = PROBABILITIES, spec: ClassSpec = SPEC) -> Any:
    report = ClassificationPlan.of(chosen).evaluate(labels, results, spec)
    assert report.failures == {}
    (found,) = report.values.values()
    return found


def test_there_is_an_artifact_of_the_right_kind_behind_every_name() -> None:
    for kind, modality in KINDS.items():
        for member in kind:
            assert domain.toolkit.find(member).modality is modality
    assert {member.value for kind in KINDS for member in kind} == {artifact.name for artifact in domain.toolkit}


def test_predictions_by_hand() -> None:
    found = evaluate(LABELS, PROBABILITIES, SPEC).scores["value"]
    precision, recall, f1 = [1 / 3, 2 / 3, 0], [1 / 2, 1, 0], [2 / 5, 4 / 5, 0]
    expected = {
        "ACCURACY": 1 / 2,
        "BALANCED_ACCURACY": np.mean(recall),
        "PRECISION_MACRO": np.mean(precision),
        "RECALL_MACRO": np.mean(recall),
        "F1_MACRO": np.mean(f1),
        "PRECISION_WEIGHTED": np.mean(precision),
        "PRECISION_MICRO": 1 / 2,
        "RECALL_MICRO": 1 / 2,
        "F1_MICRO": 1 / 2,
        "TOP_K_ACCURACY": 1.0,
        "LOG_LOSS": -np.log([0.7, 0.2, 0.6, 0.4, 0.2, 0.2]).mean(),
        "GROUND_TRUTH_PROB_MEAN": np.mean([0.7, 0.2, 0.6, 0.4, 0.2, 0.2]),
        "BRIER_SCORE": np.mean([0.12, 0.94, 0.22, 0.5, 0.94, 0.9]),
        # confidences 0.4 (right and wrong), 0.5 (wrong twice), 0.6, 0.7 (right), each in a bin of its own
        "EXPECTED_CALIBRATION_ERROR": (2 * abs(0.4 - 0.5) + 2 * 0.5 + 0.4 + 0.3) / 6,
    }
    for name, number in expected.items():
        assert found[name] == pytest.approx(number), name


def test_scores_by_class_say_what_is_undefined() -> None:
    precision = value("PRECISION_BY_CLASS")
    assert precision.values == pytest.approx({"a": 1 / 3, "b": 2 / 3, "c": math.nan, "d": math.nan}, nan_ok=True)
    assert precision.reasons == dict.fromkeys("cd", "nothing is predicted to be of this class")
    assert value("RECALL_BY_CLASS").reasons == {"d": "no label is of this class"}
    assert value("F1_BY_CLASS").reasons == {"d": "no label and no prediction is of this class"}
    assert value("ROC_AUC_BY_CLASS").reasons == {"d": "no label is of this class"}
    assert value("PR_AUC_BY_CLASS").reasons == {"d": "no label is of this class"}
    assert value("SUPPORT_BY_CLASS").values == {"a": 2.0, "b": 2.0, "c": 2.0, "d": 0.0}


def test_the_mean_counts_a_class_that_is_never_predicted_as_zero() -> None:
    always_a = ClassificationResults(predicted=["a"] * 6)
    assert value("PRECISION_MACRO", results=always_a).value == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert value("F1_MACRO", results=always_a).value == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert value("MCC", results=always_a).value == 0.0


@pytest.mark.parametrize(("k", "share"), [(1, 1 / 2), (2, 4 / 6), (3, 1.0)])
def test_top_k_breaks_ties_as_predictions_do(k: int, share: float) -> None:
    assert value(ClassificationScoreType.TOP_K_ACCURACY(k=k)).value == pytest.approx(share)
    constant = [[0.25] * 4] * 6
    assert value(ClassificationScoreType.TOP_K_ACCURACY(k=1), results=constant) == value("ACCURACY", results=constant)


def test_top_k_is_undefined_where_it_says_nothing() -> None:
    assert value(ClassificationScoreType.TOP_K_ACCURACY(k=4)).reason == "any class is among the 4 likeliest of 4"
    plan = ClassificationPlan.of(ClassificationScoreType.TOP_K_ACCURACY(k=0))
    with pytest.raises(ConfigurationError, match="k: is too small"):
        raise plan.evaluate(LABELS, PROBABILITIES, SPEC).failures["TOP_K_ACCURACY"]


def test_collections_have_the_keys_that_parameters_choose_by() -> None:
    assert list(value("GROUND_TRUTH_PROB_STATS").values) == [
        "MEAN",
        "STD",
        "VARIANCE",
        "MEDIAN",
        "Q1",
        "Q3",
        "MIN",
        "MAX",
    ]
    chosen = ClassificationScoreCollectionType.GROUND_TRUTH_PROB_STATS(stat_types=["MAX"])
    assert value(chosen).values == {"MAX": 0.7}
    assert list(value("CONFUSION_MATRICES").values) == ["NONE", "TRUE", "PRED", "ALL"]
    rows = value(ClassificationArrayType.CONFUSION_MATRIX(normalization="TRUE")).value
    assert rows[0].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert rows[3].tolist() == [0.0] * 4


ONE_CLASS = "all labels are of one class"


def test_labels_of_one_class_leave_undefined_what_compares_classes() -> None:
    report = evaluate(["a", "a"], [[0.5, 0.2, 0.2, 0.1], [0.1, 0.2, 0.6, 0.1]], SPEC)
    assert report.failures == {}
    undefined = {name: report[name].reason for name in report if math.isnan(report[name].value)}
    areas = ["ROC_AUC_MACRO", "ROC_AUC_WEIGHTED", "PR_AUC_MACRO", "PR_AUC_WEIGHTED"]
    assert undefined == dict.fromkeys(["BALANCED_ACCURACY", "MCC", "COHEN_KAPPA", *areas], ONE_CLASS)
    assert value("ROC_AUC_BY_CLASS", ["a"], [[0.5, 0.2, 0.2, 0.1]]).reasons == dict.fromkeys("abcd", ONE_CLASS)


def test_missing_probabilities_leave_every_score_undefined_and_arrays_and_plots_without_them() -> None:
    broken = [*PROBABILITIES[:5], [0.5, 0.5, float("nan"), 0.0]]
    report = EVERYTHING.evaluate(LABELS, broken, SPEC)
    assert report.failures == {}
    finite = report.scores["value"].dropna().index
    assert [name for name in finite if not name.startswith("SUPPORT_BY_CLASS")] == []
    assert report["ACCURACY"].reason == "1 of 6 predictions are missing"
    assert report["LOG_LOSS"].reason == "1 of 6 probabilities are missing"
    assert report["F1_BY_CLASS"].reasons["a"] == "1 of 6 predictions are missing"
    assert report["CONFUSION_MATRIX"].value.sum() == 5


def test_without_probabilities_what_needs_them_is_undefined() -> None:
    results = ClassificationResults(predicted=["a", "a", "b", "b", "c", "d"])
    assert value("ACCURACY", results=results).value == pytest.approx(5 / 6)
    assert value("ROC_AUC_MACRO", results=results).reason == "6 of 6 probabilities are missing"
    assert value("TOP_K_ACCURACY", results=results).reason == "6 of 6 probabilities are missing"


@pytest.mark.parametrize(
    ("labels", "results", "n_classes"),
    [
        ([1], [[0.0, 1.0]], 2),
        ([0, 1], [[float("nan")] * 3] * 2, 3),
        (list(range(25)) * 2, np.full((50, 25), 0.04), 25),
        (list(range(130)) * 2, np.full((260, 130), 1 / 130), 130),
    ],
    ids=["one row", "no probabilities", "25 classes", "130 classes"],
)
def test_every_plot_draws_whatever_comes(labels: Any, results: Any, n_classes: int) -> None:
    plan = ClassificationPlan.of(*ClassificationPlotType, *ClassificationPlotCollectionType)
    report = plan.evaluate(labels, results, ClassSpec(range(n_classes)))
    assert report.failures == {}
    assert len(report.plots) == 8 + 4
    assert all(png.startswith(b"\x89PNG") for png in report.plots.values())


def test_names_that_matplotlib_would_read_are_shown_as_they_are() -> None:
    names = ["_hidden", "$\\frac{", "x" * 200, "two\nlines", "Größe"]
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(5), 40)
    plan = ClassificationPlan.of(*ClassificationPlotType)
    report = plan.evaluate([names[place] for place in generator.integers(0, 5, 40)], probabilities, ClassSpec(names))
    assert report.failures == {}
    pair = ClassSpec(names[:2])
    report = plan.evaluate(names[:2] * 2, [[0.9, 0.1], [0.4, 0.6]] * 2, pair)
    assert report.failures == {}


def test_a_thousand_classes_are_judged() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 1000, 2000)
    scores = generator.random((2000, 1000))
    scores[np.arange(2000), labels] += 1.0
    report = evaluate(labels, scores / scores.sum(axis=1, keepdims=True), ClassSpec(range(1000)))
    assert report.failures == {}
    assert report["ACCURACY"].value == 1.0
    assert report["ROC_AUC_MACRO"].value > 0.99
    assert report["TOP_K_ACCURACY"].value == 1.0


def test_an_artifact_of_ones_own_joins_every_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.toolkit, "_artifacts", dict(domain.toolkit._artifacts))

    @domain.score("DISTANCE", low=0.0, better="lower")
    def distance(true, predicted, power=1):
        return (np.abs(true - predicted) ** power).mean()

    assert value("DISTANCE").value == pytest.approx((1 + 2 + 2) / 6)
    assert value(distance(power=2)).value == pytest.approx((1 + 4 + 4) / 6)


@pytest.mark.parametrize(
    ("labels", "results", "text"),
    [
        (["e"], [[0.25] * 4], "the labels: has labels that are no class"),
        (["a"], [0.25] * 4, r"probabilities: has another shape\n  expected: \[n, classes\]\n  got: \[4\]"),
        (["a"], [[0.5, 0.5]], r"probabilities: have another number of classes\n  expected: 4\n  got: 2"),
        (["a"], [[0.25] * 4] * 2, "probabilities: are of another length\n  expected: 1, as the labels"),
        (["a"], [[2.0, -1.0, 0.0, 0.0]], "has values that are no probabilities"),
        (["a", "a"], [[0.25] * 4, [0.5] * 4], r"have rows that are no dist(.|\n)*1 of 2 .* sums to 2"),
        (["a"], ClassificationResults(), "the results: hold neither probabilities nor predictions"),
        (["a"], ClassificationResults(predicted=["e"]), "the results' predictions: has labels that are no class"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(labels: Any, results: Any, text: str) -> None:
    with pytest.raises(PredictionError, match=text):
        evaluate(labels, results, SPEC)


def test_names_that_look_alike_are_refused() -> None:
    with pytest.raises(PredictionError, match=r"ClassSpec: has unusable classes\n  expected: .* look different"):
        ClassSpec([1, "1"])


def test_a_spec_may_be_read_from_labels() -> None:
    assert ClassSpec.from_labels(pd.Series(["b", None, "a", "b"], dtype="string")).class_names == ("a", "b")
    labels = torch.tensor([2, 0, 1])
    spec = ClassSpec.from_labels(labels)
    assert [(name, type(name)) for name in spec.class_names] == [(0, int), (1, int), (2, int)]
    assert evaluate(labels, ClassificationResults(predicted=labels), spec)["ACCURACY"].value == 1.0
    assert ClassSpec.from_labels([1, "a"]).class_names == (1, "a")


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([0, 1, 2], dtype="Int64"),
        pd.Series([0, 1, 2]).astype("category"),
        torch.tensor([0, 1, 2]),
        np.array([0.0, 1.0, 2.0]),
        [0, 1, 2],
    ],
    ids=["Int64", "category", "tensor", "float", "list"],
)
def test_labels_and_results_of_any_dtype_are_judged_alike(labels: Any) -> None:
    rows = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]
    for results in (
        torch.tensor(rows),
        torch.tensor(rows, dtype=torch.float16),
        pd.DataFrame(rows, dtype="Float64"),
        rows,
    ):
        report = evaluate(labels, results, ClassSpec(range(3)))
        assert report["ACCURACY"].value == pytest.approx(2 / 3)
        assert report["MCC"].value == pytest.approx(0.612372, abs=1e-6)


def test_a_report_says_what_was_judged() -> None:
    report = evaluate(LABELS, PROBABILITIES, SPEC)
    assert report.about == {"examples": 6, "classes": 4, "classes among the labels": 3}
    assert "among the labels" in report.html()
