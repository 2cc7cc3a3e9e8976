"""Scores of several classes are those of scikit-learn on whatever is drawn."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import binary_classification
from functorch_artifact.classification import (
    ClassificationPlan,
    ClassificationResults,
    ClassificationScoreCollectionType,
    ClassificationScoreType,
    ClassSpec,
    evaluate,
)

BY_CLASS = ClassificationPlan.of(*ClassificationScoreCollectionType)


@st.composite
def judged(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Codes, possibly all the same, and distributions with ties; some classes may be absent."""
    k, n = draw(st.integers(2, 6)), draw(st.integers(least, 40))
    true = np.array(draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))
    levels = draw(st.sampled_from([1, 3, 10**6]))
    weights = draw(st.lists(st.integers(1, levels), min_size=n * k, max_size=n * k))
    scores = np.array(weights, dtype=float).reshape(n, k)
    return true, scores / scores.sum(axis=1, keepdims=True)


def spec_of(probabilities: np.ndarray[Any, Any]) -> ClassSpec:
    return ClassSpec(range(probabilities.shape[1]))


def by_scikit_learn(true: np.ndarray[Any, Any], p: np.ndarray[Any, Any]) -> dict[str, float]:
    k, z, several = p.shape[1], p.argmax(axis=1), len(set(true)) > 1
    present = sorted(set(true))
    indicators = np.eye(k)[true]
    truth = pd.Series(p[np.arange(len(true)), true])
    nan = float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        means = {
            f"{name}_{average.upper()}": score(true, z, average=average, zero_division=0.0)
            for name, score in (("PRECISION", reference.precision_score), ("F1", reference.f1_score))
            for average in ("macro", "micro", "weighted")
        }
        recalls = {
            "RECALL_MACRO": reference.recall_score(true, z, labels=present, average="macro"),
            "RECALL_MICRO": reference.recall_score(true, z, average="micro"),
            "RECALL_WEIGHTED": reference.recall_score(true, z, average="weighted"),
        }
        roc = [reference.roc_auc_score(indicators[:, c], p[:, c]) for c in present] if several else [nan]
        pr = [reference.average_precision_score(indicators[:, c], p[:, c]) for c in present] if several else [nan]
        support = [np.count_nonzero(true == c) for c in present] if several else [1]
        return {
            "ACCURACY": reference.accuracy_score(true, z),
            "BALANCED_ACCURACY": reference.balanced_accuracy_score(true, z) if several else nan,
            "MCC": reference.matthews_corrcoef(true, z) if several else nan,
            "COHEN_KAPPA": reference.cohen_kappa_score(true, z) if several else nan,
            **means,
            **recalls,
            "ROC_AUC_MACRO": np.mean(roc),
            "ROC_AUC_WEIGHTED": np.average(roc, weights=support),
            "ROC_AUC_MICRO": reference.roc_auc_score(indicators.ravel(), p.ravel()),
            "PR_AUC_MACRO": np.mean(pr),
            "PR_AUC_WEIGHTED": np.average(pr, weights=support),
            "PR_AUC_MICRO": reference.average_precision_score(indicators.ravel(), p.ravel()),
            "LOG_LOSS": reference.log_loss(true, p, labels=range(k)),
            "BRIER_SCORE": float(((p - indicators) ** 2).sum(axis=1).mean()),
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
    true, p = drawn
    report = evaluate(true, p, spec_of(p))
    assert report.failures == {}
    found = report.scores["value"]
    for name, expected in by_scikit_learn(true, p).items():
        assert found[name] == pytest.approx(expected, abs=1e-12, nan_ok=True), name
        assert math.isnan(expected) == bool(report[name].reason), name
    assert 0 <= found["EXPECTED_CALIBRATION_ERROR"] <= 1
    assert set(report.values) == set(ClassificationScoreType)


@given(judged(), st.data())
def test_top_k_counts_those_that_come_before(drawn: Any, data: st.DataObject) -> None:
    true, p = drawn
    k = data.draw(st.integers(1, p.shape[1] - 1))
    plan = ClassificationPlan.of(ClassificationScoreType.TOP_K_ACCURACY(k=k))
    best = np.argsort(-p, axis=1, kind="stable")[:, :k]
    found = plan.evaluate(true, p, spec_of(p)).scores.loc["TOP_K_ACCURACY", "value"]
    assert found == pytest.approx(np.mean([t in row for t, row in zip(true, best, strict=True)]))
    if all(len(set(row)) == len(row) for row in p):
        expected = reference.top_k_accuracy_score(true, p, k=k, labels=range(p.shape[1])) if p.shape[1] > 2 else found
        assert found == pytest.approx(expected)


@given(judged())
def test_scores_by_class_are_those_of_each_class_against_the_rest(drawn: Any) -> None:
    true, p = drawn
    report = BY_CLASS.evaluate(true, p, spec_of(p))
    assert report.failures == {}
    pair = binary_classification.BinaryClassSpec([False, True], positive_class=True)
    several = len(set(true)) > 1
    for place in range(p.shape[1]):
        results = binary_classification.BinaryClassificationResults(
            probabilities=p[:, place], predicted=p.argmax(axis=1) == place
        )
        alone = binary_classification.evaluate(true == place, results, pair).scores["value"]
        for name in ("PRECISION", "RECALL", "F1", *(("ROC_AUC", "PR_AUC") if several else ())):
            found = report[f"{name}_BY_CLASS"].values[str(place)]
            assert found == pytest.approx(alone[name], abs=1e-12, nan_ok=True), name
    assert sum(report["SUPPORT_BY_CLASS"].values.values()) == len(true)


@given(judged(), st.data())
def test_scores_do_not_depend_on_names_and_dtypes(drawn: Any, data: st.DataObject) -> None:
    true, p = drawn
    names = [f"class {place}" for place in range(p.shape[1])]
    dtype = data.draw(st.sampled_from(["category", "string", "object"]))
    labels = pd.Series([names[place] for place in true], dtype=dtype)
    ours, theirs = evaluate(labels, pd.DataFrame(p), ClassSpec(names)), evaluate(true, p, spec_of(p))
    pd.testing.assert_series_equal(ours.scores["value"], theirs.scores["value"], check_exact=True)


@given(judged(), st.data())
def test_scores_do_not_depend_on_the_order_of_classes_or_examples(drawn: Any, data: st.DataObject) -> None:
    true, p = drawn
    classes = np.array(data.draw(st.permutations(range(p.shape[1]))))
    rows = np.array(data.draw(st.permutations(range(len(true)))))
    predicted = p.argmax(axis=1)
    one = evaluate(true, ClassificationResults(probabilities=p, predicted=predicted), spec_of(p))
    moved = ClassificationResults(probabilities=p[rows][:, classes], predicted=predicted[rows])
    other = evaluate(true[rows], moved, ClassSpec(classes))
    for name in set(ClassificationScoreType) - {"TOP_K_ACCURACY"}:  # its ties are in the classes' order
        assert other[name].value == pytest.approx(one[name].value, abs=1e-9, nan_ok=True), name


@given(judged(), st.data())
def test_missing_probabilities_never_crash_and_never_flatter(drawn: Any, data: st.DataObject) -> None:
    true, p = drawn
    missing = np.array(data.draw(st.lists(st.booleans(), min_size=len(true), max_size=len(true))))
    broken = np.where(missing[:, None] & (np.arange(p.shape[1]) == 1), np.nan, p)
    report = evaluate(true, broken, spec_of(p))
    assert report.failures == {}
    if missing.any():
        assert report.scores["value"].isna().all()
        assert all(report[name].reason.startswith(f"{missing.sum()} of {len(missing)}") for name in report)
