"""Numbers about predictions are those of scikit-learn and scipy, and keep their symmetries."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.calibration
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact.metrics import calibration, confusion, labels, ranking

close = pytest.approx


@st.composite
def ranked(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """At least one positive and one negative, scores with many ties."""
    n = draw(st.integers(2, 60))
    positive = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    positive[:2] = True, False
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    scores = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels
    return positive, scores


@st.composite
def classified(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]:
    """True and predicted codes; some classes may be absent on either side."""
    k, n = draw(st.integers(2, 7)), draw(st.integers(2, 60))
    codes = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    true, predicted = np.array(draw(codes)), np.array(draw(codes))
    true[:2] = 0, 1
    return true, predicted, k


@given(ranked())
def test_areas_are_scikit_learns(drawn: Any) -> None:
    found = ranking.Ranking.of(*drawn)
    positive, scores = drawn
    assert found.roc_auc() == close(sklearn.metrics.roc_auc_score(positive, scores), abs=1e-12)
    assert found.average_precision() == close(sklearn.metrics.average_precision_score(positive, scores), abs=1e-12)
    pairs = positive.sum() * (~positive).sum()
    u = scipy.stats.mannwhitneyu(scores[positive], scores[~positive]).statistic if len(set(scores)) > 1 else pairs / 2
    assert found.roc_auc() == close(u / pairs, abs=1e-12)


@given(ranked())
def test_curves_are_scikit_learns(drawn: Any) -> None:
    positive, scores = drawn
    found = ranking.Ranking.of(positive, scores)
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.roc_curve(), (fpr, tpr), atol=1e-12)
    np.testing.assert_array_equal(found.thresholds, thresholds[1:])
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(found.precision_recall_curve(), (recall[::-1], precision[::-1]), atol=1e-12)
    np.testing.assert_array_equal(found.thresholds, thresholds[::-1])


@given(ranked(), st.randoms(use_true_random=False))
def test_areas_depend_on_the_order_of_scores_alone(drawn: Any, random: Any) -> None:
    positive, scores = drawn
    order = np.array(random.sample(range(len(scores)), len(scores)))
    found, moved = ranking.Ranking.of(positive, scores), ranking.Ranking.of(positive[order], np.exp(scores[order]))
    assert moved.roc_auc() == found.roc_auc()
    assert moved.average_precision() == found.average_precision()
    assert ranking.Ranking.of(positive, -scores).roc_auc() == close(1 - found.roc_auc(), abs=1e-12)
    assert ranking.Ranking.of(~positive, -scores).roc_auc() == found.roc_auc()


@given(classified())
def test_confusion_is_scikit_learns(drawn: Any) -> None:
    true, predicted, k = drawn
    matrix = confusion.confusion_matrix(true, predicted, k)
    of = {"NONE": None, "TRUE": "true", "PRED": "pred", "ALL": "all"}
    for ours, theirs in of.items():
        expected = sklearn.metrics.confusion_matrix(true, predicted, labels=range(k), normalize=theirs)
        np.testing.assert_allclose(confusion.normalize(matrix, ours), expected, atol=1e-12)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
            true, predicted, labels=range(k), zero_division=np.nan
        )
    counts = confusion.Counts.of(matrix)
    np.testing.assert_allclose(counts.precision, precision, atol=1e-12)
    np.testing.assert_allclose(counts.recall, recall, atol=1e-12)
    np.testing.assert_allclose(counts.f1, f1, atol=1e-12)
    np.testing.assert_array_equal(counts.support, support)
    totals = counts.true_positives + counts.false_positives + counts.false_negatives + counts.true_negatives
    assert set(totals) == {len(true)}


@given(classified())
def test_agreement_beyond_chance_is_scikit_learns_and_symmetric(drawn: Any) -> None:
    true, predicted, k = drawn
    matrix = confusion.confusion_matrix(true, predicted, k)
    correlation, kappa = confusion.matthews_correlation(matrix), confusion.cohen_kappa(matrix)
    assert correlation == close(sklearn.metrics.matthews_corrcoef(true, predicted), abs=1e-12)
    assert kappa == close(sklearn.metrics.cohen_kappa_score(true, predicted), abs=1e-12)
    if len(set(predicted)) > 1:
        assert confusion.matthews_correlation(matrix.T) == close(correlation, abs=1e-12)
    order = np.random.default_rng(k).permutation(k)
    assert confusion.matthews_correlation(matrix[order][:, order]) == close(correlation, abs=1e-12)


@given(classified(), st.data())
def test_examples_without_a_prediction_are_left_out(drawn: Any, data: st.DataObject) -> None:
    true, predicted, k = drawn
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(true), max_size=len(true))))
    whole = confusion.confusion_matrix(true, np.where(kept, predicted, labels.MISSING), k)
    np.testing.assert_array_equal(whole, confusion.confusion_matrix(true[kept], predicted[kept], k))


@given(ranked(), st.integers(1, 20))
def test_reliability_is_scikit_learns(drawn: Any, n_bins: int) -> None:
    happened, probability = drawn
    found = calibration.Reliability.of(happened, probability, n_bins)
    frequency, confidence = sklearn.calibration.calibration_curve(happened, probability, n_bins=n_bins)
    filled = found.counts > 0
    np.testing.assert_allclose(found.frequency[filled], frequency, atol=1e-12)
    np.testing.assert_allclose(found.confidence[filled], confidence, atol=1e-12)
    assert found.counts.sum() == len(happened)
    by_hand = np.average(np.abs(frequency - confidence), weights=found.counts[filled])
    assert found.expected_calibration_error == close(by_hand, abs=1e-12)
    assert 0 <= found.expected_calibration_error <= 1


@given(ranked())
def test_log_loss_is_scikit_learns(drawn: Any) -> None:
    happened, probability = drawn
    expected = sklearn.metrics.log_loss(happened, probability, labels=[False, True])
    assert calibration.log_loss(np.where(happened, probability, 1 - probability)) == close(expected, abs=1e-12)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30), st.permutations(["a", "b", "c"]))
def test_encoding_is_a_dictionary_lookup(names: list[str | None], classes: list[str]) -> None:
    expected = [labels.MISSING if name is None else classes.index(name) for name in names]
    for given_as in (names, pd.Series(names, dtype="string"), pd.Categorical(names)):
        assert labels.encode(given_as, classes, "labels").tolist() == expected


@given(ranked())
def test_corners_leave_the_areas_as_they_are(drawn: Any) -> None:
    found = ranking.Ranking.of(*drawn)
    corners = found.corners()
    assert corners.roc_auc() == close(found.roc_auc(), abs=1e-12)
    assert corners.average_precision() == close(found.average_precision(), abs=1e-12)
    assert len(corners.thresholds) <= 2 * drawn[0].sum() + 1
    assert set(corners.thresholds) <= set(found.thresholds)
