"""Scores of two classes are those of scikit-learn and pandas on whatever is drawn, in any dtype."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import binary_classification as domain
from functorch_artifact.binary_classification import (
    BinaryClassificationPlan,
    BinaryClassificationResults,
    BinaryClassificationScoreType,
    BinaryClassSpec,
    evaluate,
)

COLLECTIONS = BinaryClassificationPlan.of(*domain.BinaryClassificationScoreCollectionType)


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels, possibly of one class, and probabilities with ties; one row at least."""
    n = draw(st.integers(1, 50))
    positive = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    levels = draw(st.sampled_from([1, 2, 4, 10**6]))
    return positive, np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels


SPEC = BinaryClassSpec([False, True], positive_class=True)
NAN = float("nan")


def by_scikit_learn(y: np.ndarray[Any, Any], p: np.ndarray[Any, Any]) -> dict[str, float]:
    """NaN where ours is undefined by convention: with labels of one class, and for 0 / 0."""
    z, both = p >= 0.5, len(set(y)) == 2
    truth = pd.Series(np.where(y, p, 1 - p))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recall = reference.recall_score(y, z, zero_division=np.nan)
        tnr = reference.recall_score(y, z, pos_label=False, zero_division=np.nan)
        return {
            "ACCURACY": reference.accuracy_score(y, z),
            "BALANCED_ACCURACY": reference.balanced_accuracy_score(y, z) if both else NAN,
            "PRECISION": reference.precision_score(y, z, zero_division=np.nan),
            "NPV": reference.precision_score(y, z, pos_label=False, zero_division=np.nan),
            "RECALL": recall,
            "TNR": tnr,
            "FPR": 1 - tnr,
            "FNR": 1 - recall,
            "F1": reference.f1_score(y, z, zero_division=np.nan),
            "MCC": reference.matthews_corrcoef(y, z) if both else NAN,
            "COHEN_KAPPA": reference.cohen_kappa_score(y, z) if both else NAN,
            "ROC_AUC": reference.roc_auc_score(y, p) if both else NAN,
            "PR_AUC": reference.average_precision_score(y, p) if y.any() else NAN,
            "LOG_LOSS": reference.log_loss(y, p, labels=[False, True]),
            "BRIER_SCORE": reference.brier_score_loss(y, p, pos_label=True) if both else float(((y - p) ** 2).mean()),
            "GROUND_TRUTH_PROB_MEAN": truth.mean(),
            "GROUND_TRUTH_PROB_STD": truth.std(),
            "GROUND_TRUTH_PROB_VARIANCE": truth.var(),
            "GROUND_TRUTH_PROB_MEDIAN": truth.median(),
            "GROUND_TRUTH_PROB_FIRST_QUARTILE": truth.quantile(0.25),
            "GROUND_TRUTH_PROB_THIRD_QUARTILE": truth.quantile(0.75),
            "GROUND_TRUTH_PROB_MIN": truth.min(),
            "GROUND_TRUTH_PROB_MAX": truth.max(),
        }


@given(judged())
def test_scores_are_scikit_learns(drawn: Any) -> None:
    report = evaluate(*drawn, SPEC)
    assert report.failures == {}
    found = report.scores["value"]
    for name, expected in by_scikit_learn(*drawn).items():
        assert found[name] == pytest.approx(expected, abs=1e-12, nan_ok=True), name
        assert math.isnan(expected) == bool(report[name].reason), name
    assert 0 <= found["EXPECTED_CALIBRATION_ERROR"] <= 1
    assert set(report.values) == set(BinaryClassificationScoreType)


@given(judged())
def test_collections_are_pandas_statistics_and_the_single_scores(drawn: Any) -> None:
    positive, probabilities = drawn
    report = COLLECTIONS.evaluate(*drawn, SPEC)
    assert report.failures == {}
    described = {
        "ALL": pd.Series(probabilities),
        "POSITIVE": pd.Series(probabilities[positive]),
        "NEGATIVE": pd.Series(probabilities[~positive]),
    }
    found, single = report.scores["value"], evaluate(*drawn, SPEC).scores["value"]
    for split, series in described.items():
        expected = {
            "MEANS": series.mean(), "STDS": series.std(), "VARIANCES": series.var(), "MEDIANS": series.median(),
            "FIRST_QUARTILES": series.quantile(0.25), "THIRD_QUARTILES": series.quantile(0.75),
            "MINIMA": series.min(), "MAXIMA": series.max(),
        }  # fmt: skip
        for name, value in expected.items():
            assert found[f"SCORE_{name}/{split}"] == pytest.approx(value, abs=1e-12, nan_ok=True)
    for name in found.index:
        collection, key = name.split("/")
        if collection in ("BINARY_PREDICTION_SCORES", "THRESHOLD_VARIATION_SCORES"):
            assert found[name] == single[key] or math.isnan(single[key])
    assert sum(report["NORMALIZED_CONFUSION_COUNTS"].values.values()) == len(positive)


@given(judged(), st.sampled_from(["category", "boolean", "Int64", "object", "string", "tensor"]))
def test_scores_do_not_depend_on_dtypes_or_the_order_of_class_names(drawn: Any, dtype: str) -> None:
    positive, probabilities = drawn
    spec = BinaryClassSpec([True, False], positive_class=True)
    if dtype == "tensor":
        labels: Any = torch.from_numpy(positive)
    elif dtype == "string":
        labels = pd.Series(np.where(positive, "yes", "no"), dtype="string")
        spec = BinaryClassSpec(["yes", "no"], positive_class="yes")
    else:
        labels = pd.Series(positive).astype(dtype)
    ours, theirs = evaluate(labels, pd.Series(probabilities, dtype="Float64"), spec), evaluate(*drawn, SPEC)
    pd.testing.assert_series_equal(ours.scores["value"], theirs.scores["value"], check_exact=True)


@given(judged(), st.data())
def test_swapping_the_classes_swaps_the_rates(drawn: Any, data: st.DataObject) -> None:
    positive, probabilities = drawn
    predicted = np.array(data.draw(st.lists(st.booleans(), min_size=len(positive), max_size=len(positive))))
    results = BinaryClassificationResults(probabilities=probabilities, predicted=predicted)
    mirrored = BinaryClassificationResults(probabilities=1 - probabilities, predicted=predicted)
    one = evaluate(positive, results, SPEC).scores["value"]
    other = evaluate(positive, mirrored, BinaryClassSpec([False, True], positive_class=False)).scores["value"]
    pairs = {
        "PRECISION": "NPV",
        "RECALL": "TNR",
        "FPR": "FNR",
        "ACCURACY": "ACCURACY",
        "MCC": "MCC",
        "ROC_AUC": "ROC_AUC",
    }
    for name, mirror in pairs.items():
        assert other[mirror] == pytest.approx(one[name], abs=1e-12, nan_ok=True)


@given(judged(), st.data())
def test_missing_probabilities_never_crash_and_never_flatter(drawn: Any, data: st.DataObject) -> None:
    positive, probabilities = drawn
    missing = np.array(data.draw(st.lists(st.booleans(), min_size=len(positive), max_size=len(positive))))
    results = np.where(missing, np.nan, probabilities)
    report = evaluate(positive, results, SPEC)
    assert report.failures == {}
    if missing.any():
        assert report.scores["value"].isna().all()
        assert all(report[name].reason.startswith(f"{missing.sum()} of {len(missing)}") for name in report)
