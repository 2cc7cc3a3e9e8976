"""Predictions of two classes, judged: every artifact by name, and what happens where it is undefined."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from functorch_artifact import binary_classification as domain
from functorch_artifact import records
from functorch_artifact.binary_classification import (
    BinaryClassificationArrayCollectionType,
    BinaryClassificationArrayType,
    BinaryClassificationPlan,
    BinaryClassificationPlotCollectionType,
    BinaryClassificationPlotType,
    BinaryClassificationResults,
    BinaryClassificationScoreCollectionType,
    BinaryClassificationScoreType,
    BinaryClassSpec,
    evaluate,
)
from functorch_artifact.errors import ConfigurationError, PredictionError

KINDS = {
    BinaryClassificationScoreType: records.Score,
    BinaryClassificationArrayType: records.Array,
    BinaryClassificationPlotType: records.Plot,
    BinaryClassificationScoreCollectionType: records.ScoreCollection,
    BinaryClassificationArrayCollectionType: records.ArrayCollection,
    BinaryClassificationPlotCollectionType: records.PlotCollection,
}
SPEC = BinaryClassSpec(["sick", "well"], positive_class="sick")
LABELS = ["sick", "sick", "sick", "well", "well", "well", "well", "sick"]
PROBABILITIES = [0.9, 0.6, 0.5, 0.5, 0.4, 0.2, 0.1, 0.3]  # predicted: 3 of 4 sick, 1 of 4 well
EVERYTHING = BinaryClassificationPlan.of(*domain.toolkit)


def values(*chosen: Any, labels: Any = LABELS, results: Any = PROBABILITIES) -> dict[str, Any]:
    report = BinaryClassificationPlan.of(*chosen).evaluate(labels, results, SPEC)
    assert report.failures == {}
    return dict(report.values)


def value(chosen: Any, labels: Any = LABELS, results: Any = PROBABILITIES) -> Any:
    (found,) = values(chosen, labels=labels, results=results).values()
    return found


def test_there_is_an_artifact_of_the_right_kind_behind_every_name() -> None:
    for kind, modality in KINDS.items():
        for member in kind:
            assert domain.toolkit.find(member).modality is modality
    named = {member.value for kind in KINDS for member in kind}
    assert named == {artifact.name for artifact in domain.toolkit}


def test_scores_by_hand() -> None:
    found = {name: score.value for name, score in values(*BinaryClassificationScoreType).items()}
    assert {name: round(value, 6) for name, value in found.items()} == {
        "ACCURACY": 0.75, "BALANCED_ACCURACY": 0.75, "PRECISION": 0.75, "NPV": 0.75, "RECALL": 0.75, "TNR": 0.75,
        "FPR": 0.25, "FNR": 0.25, "F1": 0.75, "MCC": 0.5, "COHEN_KAPPA": 0.5,
        # 16 pairs: 13 in order, one tie
        "ROC_AUC": 0.84375, "PR_AUC": round((1 + 1 + 0.75 + 4 / 6) / 4, 6),
        "LOG_LOSS": round(float(-np.log([0.9, 0.6, 0.5, 0.5, 0.6, 0.8, 0.9, 0.3]).mean()), 6),
        "BRIER_SCORE": round((0.01 + 0.16 + 0.25 + 0.25 + 0.16 + 0.04 + 0.01 + 0.49) / 8, 6),
        "EXPECTED_CALIBRATION_ERROR": round((0.1 + 0.4 + 0.0 + 0.4 + 0.2 + 0.1 + 0.7) / 8, 6),
        "GROUND_TRUTH_PROB_MEAN": 0.6375,
        "GROUND_TRUTH_PROB_STD": round(np.std([9, 6, 5, 5, 6, 8, 9, 3], ddof=1) / 10, 6),
        "GROUND_TRUTH_PROB_VARIANCE": round(np.var([9, 6, 5, 5, 6, 8, 9, 3], ddof=1) / 100, 6),
        "GROUND_TRUTH_PROB_MEDIAN": 0.6, "GROUND_TRUTH_PROB_FIRST_QUARTILE": 0.5,
        "GROUND_TRUTH_PROB_THIRD_QUARTILE": 0.825, "GROUND_TRUTH_PROB_MIN": 0.3, "GROUND_TRUTH_PROB_MAX": 0.9,
    }  # fmt: skip


def test_collections_have_the_keys_that_parameters_choose_by() -> None:
    found = values(*BinaryClassificationScoreCollectionType, *BinaryClassificationArrayCollectionType)
    keys = {name: list(collection.values) for name, collection in found.items()}
    statistics = ["MEAN", "STD", "VARIANCE", "MEDIAN", "Q1", "Q3", "MIN", "MAX"]
    cells = ["TRUE_POSITIVE", "FALSE_NEGATIVE", "FALSE_POSITIVE", "TRUE_NEGATIVE"]
    metrics = ["ACCURACY", "BALANCED_ACCURACY", "PRECISION", "NPV", "RECALL", "TNR", "FPR", "FNR", "F1", "MCC"]
    assert keys.pop("NORMALIZED_CONFUSION_COUNTS") == cells
    assert keys.pop("BINARY_PREDICTION_SCORES") == metrics
    assert keys.pop("THRESHOLD_VARIATION_SCORES") == ["ROC_AUC", "PR_AUC"]
    assert keys.pop("CONFUSION_MATRICES") == ["NONE", "TRUE", "PRED", "ALL"]
    for name in ("SCORE_STATS", "POSITIVE_CLASS_SCORE_STATS", "NEGATIVE_CLASS_SCORE_STATS", "GROUND_TRUTH_PROB_STATS"):
        assert keys.pop(name) == statistics
    assert len(keys) == 8
    assert all(each == ["ALL", "POSITIVE", "NEGATIVE"] for each in keys.values())
    assert found["NORMALIZED_CONFUSION_COUNTS"].values == dict(zip(cells, [3.0, 1.0, 1.0, 3.0], strict=True))
    assert found["SCORE_MAXIMA"].values == {"ALL": 0.9, "POSITIVE": 0.9, "NEGATIVE": 0.5}
    assert found["SCORE_STATS"].values["Q1"] == found["SCORE_FIRST_QUARTILES"].values["ALL"]


def test_the_confusion_matrix_has_the_positive_class_first() -> None:
    assert value("CONFUSION_MATRIX", labels=["sick", "sick", "well"], results=[0.9, 0.1, 0.7]).value.tolist() == [
        [1.0, 1.0],
        [1.0, 0.0],
    ]


def test_parameters_choose() -> None:
    chosen = value(BinaryClassificationScoreCollectionType.SCORE_STATS(stat_types=["Q3", "MEAN"]))
    assert list(chosen.values) == ["Q3", "MEAN"]
    chosen = value(BinaryClassificationScoreCollectionType.BINARY_PREDICTION_SCORES(metric_types=["F1"]))
    assert chosen.values == {"F1": 0.75}
    assert value(BinaryClassificationArrayType.CONFUSION_MATRIX(normalization="ALL")).value.sum() == 1.0
    assert list(value(domain.toolkit.find("CONFUSION_MATRICES")(normalization_types=["PRED"])).values) == ["PRED"]
    assert list(value(domain.toolkit.find("THRESHOLD_VARIATION_CURVES")(curve_types=["DET"])).values) == ["DET"]
    assert list(value(domain.toolkit.find("SCORE_PDF_PLOTS")(split_types=["ALL"])).values) == ["ALL"]
    one_bin = value(BinaryClassificationScoreType.EXPECTED_CALIBRATION_ERROR(n_bins=1)).value
    assert one_bin == pytest.approx(abs(np.mean(PROBABILITIES) - 0.5))


def test_settings_of_the_reference_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "arrays": {"CONFUSION_MATRIX": {"normalization": "ALL"}},
        "score_collections": {
            "NORMALIZED_CONFUSION_COUNTS": {"normalization": "TRUE"},
            "BINARY_PREDICTION_SCORES": {"metric_types": ["ACCURACY", "MCC"]},
            "SCORE_STATS": {"stat_types": ["MEAN", "Q1"]},
            "SCORE_MEANS": {"split_types": ["POSITIVE"]},
        },
        "array_collections": {"CONFUSION_MATRICES": {"normalization_types": ["NONE", "PRED"]}},
        "plot_collections": {"THRESHOLD_VARIATION_CURVES": {"curve_types": ["ROC"]}},
    }
    (tmp_path / ".artifact-ml").mkdir()
    (tmp_path / ".artifact-ml" / "binary_classification.json").write_text(json.dumps(settings))
    monkeypatch.chdir(tmp_path)
    names = [name for kind in settings.values() for name in kind]
    found = values(*names)
    assert found["CONFUSION_MATRIX"].value.sum() == 1.0
    assert found["NORMALIZED_CONFUSION_COUNTS"].values["TRUE_POSITIVE"] == 0.75
    assert {name: list(found[name].values) for name in names[2:]} == {
        "BINARY_PREDICTION_SCORES": ["ACCURACY", "MCC"],
        "SCORE_STATS": ["MEAN", "Q1"],
        "SCORE_MEANS": ["POSITIVE"],
        "CONFUSION_MATRICES": ["NONE", "PRED"],
        "THRESHOLD_VARIATION_CURVES": ["ROC"],
    }


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("SCORE_STATS", {"stat_types": ["MODE"]}, r"is no choice\n  expected: some of \['ME.*\n  got: \['MODE'\]"),
        ("SCORE_MEANS", {"split_types": ["BOTH"]}, "split_types: is no choice"),
        ("BINARY_PREDICTION_SCORES", {"metric_types": ["ROC_AUC"]}, "metric_types: is no choice"),
        ("THRESHOLD_VARIATION_SCORES", {"metric_types": ["F1"]}, "metric_types: is no choice"),
        ("THRESHOLD_VARIATION_CURVES", {"curve_types": ["F1"]}, "curve_types: is no choice"),
        ("CONFUSION_MATRIX", {"normalization": "ROWS"}, "normalization: is no normalization"),
        ("EXPECTED_CALIBRATION_ERROR", {"n_bins": 0}, "n_bins: is too small"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_no_choice_is_a_failure_that_says_so(name: str, parameters: Any, text: str) -> None:
    plan = BinaryClassificationPlan.of(domain.toolkit.find(name)(**parameters))
    with pytest.raises(ConfigurationError, match=text):
        raise plan.evaluate(LABELS, PROBABILITIES, SPEC).failures[name]


def test_a_probability_at_the_threshold_is_predicted_positive() -> None:
    assert value("RECALL", ["sick"], [0.5]).value == 1.0
    assert value("RECALL", ["sick"], BinaryClassificationResults(probabilities=[0.7], threshold=0.7)).value == 1.0
    assert value("RECALL", ["sick"], BinaryClassificationResults(probabilities=[0.69], threshold=0.7)).value == 0.0


def test_predictions_that_are_given_come_before_the_threshold() -> None:
    results = BinaryClassificationResults(probabilities=[0.9, 0.2], predicted=["well", "sick"])
    assert value("ACCURACY", ["sick", "well"], results).value == 0.0
    assert value("ROC_AUC", ["sick", "well"], results).value == 1.0


def test_without_probabilities_what_needs_them_is_undefined() -> None:
    found = values(
        "ACCURACY", "ROC_AUC", labels=["sick", "well"], results=BinaryClassificationResults(predicted=["sick", "sick"])
    )
    assert found["ACCURACY"].value == 0.5
    assert found["ROC_AUC"].reason == "2 of 2 probabilities are missing"


@pytest.mark.parametrize(
    ("labels", "results", "undefined"),
    [
        (
            ["well", "well"], [0.7, 0.2],
            {
                "BALANCED_ACCURACY": "no label is positive", "RECALL": "no label is positive",
                "FNR": "no label is positive", "ROC_AUC": "no label is positive", "PR_AUC": "no label is positive",
                "MCC": "all labels are of one class", "COHEN_KAPPA": "all labels are of one class",
            },
        ),
        (
            ["sick", "sick"], [0.7, 0.8],
            {
                "BALANCED_ACCURACY": "no label is negative", "NPV": "nothing is predicted negative",
                "TNR": "no label is negative", "FPR": "no label is negative", "ROC_AUC": "no label is negative",
                "MCC": "all labels are of one class", "COHEN_KAPPA": "all labels are of one class",
            },
        ),
        (
            ["well"], [0.1],
            {
                "BALANCED_ACCURACY": "no label is positive", "PRECISION": "nothing is predicted positive",
                "RECALL": "no label is positive", "FNR": "no label is positive", "ROC_AUC": "no label is positive",
                "F1": "no label and no prediction is positive", "PR_AUC": "no label is positive",
                "MCC": "all labels are of one class", "COHEN_KAPPA": "all labels are of one class",
                "GROUND_TRUTH_PROB_STD": "one example has no spread",
                "GROUND_TRUTH_PROB_VARIANCE": "one example has no spread",
            },
        ),
        (["sick", "well"], [0.1, 0.2], {"PRECISION": "nothing is predicted positive"}),
    ],
    ids=["no positive", "no negative", "one row", "nothing predicted"],
)  # fmt: skip
def test_what_is_undefined_is_nan_and_says_why(labels: Any, results: Any, undefined: dict[str, str]) -> None:
    found = values(*BinaryClassificationScoreType, labels=labels, results=results)
    assert {name: score.reason for name, score in found.items() if math.isnan(score.value)} == undefined
    collected = value("BINARY_PREDICTION_SCORES", labels, results)
    assert collected.reasons == {name: reason for name, reason in undefined.items() if name in collected.values}


def test_a_missing_probability_leaves_every_score_undefined_and_arrays_and_plots_without_it() -> None:
    report = EVERYTHING.evaluate(["sick", "well", "well"], [0.9, None, 0.2], SPEC)
    assert report.failures == {}
    finite = report.scores["value"].dropna()
    assert [name for name in finite.index if not name.startswith("NORMALIZED_CONFUSION_COUNTS")] == []
    assert report["ACCURACY"].reason == "1 of 3 predictions are missing"
    assert report["ROC_AUC"].reason == "1 of 3 probabilities are missing"
    assert report["SCORE_STATS"].reasons["MEAN"] == "1 of 3 probabilities are missing"
    assert report["CONFUSION_MATRIX"].value.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_zero_division_may_be_given_a_value() -> None:
    assert value(BinaryClassificationScoreType.PRECISION(zero_division=0.0), ["sick"], [0.1]).value == 0.0
    assert value(BinaryClassificationScoreType.RECALL(zero_division=1.0), ["well"], [0.1]).value == 1.0
    assert value(BinaryClassificationScoreType.RECALL(zero_division=1.0)).value == 0.75


@pytest.mark.parametrize(
    ("labels", "results"),
    [
        (LABELS, PROBABILITIES),
        (["well"] * 3, [0.1, 0.5, 1.0]),
        (["sick"], [1.0]),
        (["sick", "well"], [float("nan")] * 2),
        (["sick", "well"], [0.5, 0.5]),
    ],
    ids=["both", "no positive", "one row", "no probabilities", "constant"],
)
def test_every_plot_draws_whatever_comes(labels: Any, results: Any) -> None:
    plots = [*BinaryClassificationPlotType, *BinaryClassificationPlotCollectionType]
    report = BinaryClassificationPlan.of(*plots).evaluate(labels, results, SPEC)
    assert report.failures == {}
    assert len(report.plots) == 9 + 4 + 5 + 3
    assert all(png.startswith(b"\x89PNG") for png in report.plots.values())


def test_a_curve_that_is_undefined_is_another_picture() -> None:
    def drawn(labels: list[str]) -> bytes:
        return bytes(value("ROC_CURVE", labels, [0.2, 0.8]).png)

    assert drawn(["sick", "sick"]) != drawn(["well", "well"]) != drawn(["well", "sick"])
    assert drawn(["sick", "sick"]) == drawn(["sick", "sick"])


def test_an_artifact_of_ones_own_joins_every_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.toolkit, "_artifacts", dict(domain.toolkit._artifacts))

    @domain.score("COST", low=0.0, better="lower")
    def cost(true, predicted, price=5.0):
        return float((true & ~predicted).sum() * price + (~true & predicted).sum())

    @domain.score("SHARPNESS")
    def sharpness(probabilities):
        return np.abs(probabilities - 0.5).mean()

    assert value("COST").value == 6.0
    assert value(cost(price=1.0)).value == 2.0
    found = values("COST", "SHARPNESS", results=[float("nan")] * 8)
    assert found["COST"].reason == "8 of 8 predictions are missing"
    assert found["SHARPNESS"].reason == "8 of 8 probabilities are missing"


@pytest.mark.parametrize(
    ("labels", "results", "text"),
    [
        (["sick", "ill"], [0.5, 0.5], "the labels: has labels that are no class"),
        (["sick", None], [0.5, 0.5], "the labels: has missing labels"),
        ([], [], "the labels: is empty"),
        (["sick"], [0.5, 0.5], r"probabilities: are of another length\n  expected: 1, as the labels\n  got: 2"),
        (["sick"], BinaryClassificationResults(predicted=["sick", "well"]), "the results' predictions: are of another"),
        (["sick"], BinaryClassificationResults(predicted=["ill"]), "the results' predictions: has labels that are no"),
        (["sick"], [3.0], "the results' probabilities: has values that are no probabilities"),
        (["sick"], BinaryClassificationResults(), "the results: hold neither probabilities nor predictions"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(labels: Any, results: Any, text: str) -> None:
    with pytest.raises(PredictionError, match=text):
        evaluate(labels, results, SPEC)


@pytest.mark.parametrize(
    ("names", "positive", "text"),
    [
        (["a", "b", "c"], "a", "BinaryClassSpec: has more than two classes"),
        (["a"], "a", "BinaryClassSpec: has unusable classes"),
        (["a", "b"], "c", r"positive class that is no class\n  expected: one of \('a', 'b'\)\n  got: 'c'"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(names: Any, positive: Any, text: str) -> None:
    with pytest.raises(PredictionError, match=text):
        BinaryClassSpec(names, positive)


def test_a_spec_may_be_read_from_labels() -> None:
    spec = BinaryClassSpec.from_labels(pd.Series(["b", None, "a", "b"], dtype="category"), positive_class="a")
    assert (spec.class_names, spec.negative_class) == (("b", "a"), "b")
    spec = BinaryClassSpec.from_labels(torch.tensor([1, 0]), positive_class=True)
    assert (type(spec.negative_class), spec.negative_class) == (int, 0)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([1, 0, 1], dtype="Int64"),
        pd.Series([True, False, True], dtype="boolean"),
        pd.Series([1.0, 0.0, 1.0]),
        torch.tensor([1, 0, 1]),
    ],
    ids=["Int64", "boolean", "float", "tensor"],
)
def test_labels_and_results_of_any_dtype_are_judged_alike(labels: Any) -> None:
    spec = BinaryClassSpec([0, 1], positive_class=1)
    for results in (torch.tensor([0.9, 0.2, 0.4]), pd.Series([0.9, 0.2, 0.4], dtype="Float64"), [0.9, 0.2, 0.4]):
        report = evaluate(labels, results, spec)
        assert report["ROC_AUC"] == records.Score(1.0)
        assert report["RECALL"] == records.Score(0.5)
    as_predicted = BinaryClassificationResults(predicted=labels)
    assert evaluate(labels, as_predicted, spec)["F1"] == records.Score(1.0)


def test_a_report_says_what_was_judged() -> None:
    report = evaluate(LABELS, PROBABILITIES, SPEC)
    assert report.about == {"examples": 8, "positive: sick": 4, "negative: well": 4}
    assert report.scores.loc["FPR", "better"] == "lower"
    assert "no label is positive" in evaluate(["well"], [0.1], SPEC).html()
