"""Labels of every dtype become codes, probabilities float64; undefined scores say why."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from functorch_artifact.errors import ConfigurationError, PredictionError, UndefinedError
from functorch_artifact.metrics import calibration, confusion, labels, ranking

WORDS = ["no", "yes", "no"]
NULLABLE = ["no", None, "yes"]


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (WORDS, ("no", "yes")),
        (tuple(WORDS), ("no", "yes")),
        (np.array(WORDS), ("no", "yes")),
        (np.array(WORDS, dtype=object), ("no", "yes")),
        (pd.Series(WORDS), ("no", "yes")),
        (pd.Series(WORDS, index=[7, 7, 3]), ("no", "yes")),
        (pd.Series(WORDS, dtype="string"), ("no", "yes")),
        (pd.Series(WORDS, dtype="category"), ("no", "yes")),
        (pd.Categorical(WORDS, categories=["other", "yes", "no"]), ("no", "yes")),
        (pd.Index(WORDS), ("no", "yes")),
        ([False, True, False], (False, True)),
        (np.array([0, 1, 0]), (False, True)),
        (np.array([0.0, 1.0, 0.0]), (0, 1)),
        (torch.tensor([0, 1, 0]), (0, 1)),
        (torch.tensor([False, True, False]), (0, 1)),
        (pd.Series([0, 1, 0], dtype="Int64"), (0, 1)),
        (pd.Series([False, True, False], dtype="boolean"), (False, True)),
        (pd.Series([False, True, False]).astype("category"), (0, 1)),
        ([0, True, 0.0], (0, 1)),
    ],
    ids=lambda each: f"{type(each).__name__}-{getattr(each, 'dtype', '')}",
)
def test_labels_of_any_dtype_are_places_among_the_classes(given: Any, classes: tuple[Any, ...]) -> None:
    codes = labels.encode(given, classes, "labels")
    assert codes.dtype == np.int64
    assert codes.tolist() == [0, 1, 0]
    assert labels.known(codes, "labels") is codes


@pytest.mark.parametrize(
    "given", [NULLABLE, pd.Series(NULLABLE), pd.Series(NULLABLE, dtype="string"), pd.Series(NULLABLE, dtype="category")]
)
def test_a_missing_label_has_a_code_of_its_own(given: Any) -> None:
    codes = labels.encode(given, ("no", "yes"), "labels")
    assert codes.tolist() == [0, labels.MISSING, 1]
    with pytest.raises(PredictionError, match=r"labels: has missing labels(.|\n)*got: 1 of 3 missing"):
        labels.known(codes, "labels")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["no", "maybe"], r"y: has labels that are no class\n  expected: 'no', 'yes'\n  got: 'maybe'\n  do this: name"),
        (range(9), r"got: 0, 1, 2, 3, 4, ... \(9 in all\)"),
        ([["no"], ["yes"]], "y: has labels that cannot be names"),
        (np.zeros((2, 1)), r"y: has another shape\n  expected: \[n\]\n  got: \[2, 1\]"),
        ("yes", "y: is no list of labels"),
        (3, "y: is no list of labels"),
    ],
)
def test_what_are_no_labels_is_refused(given: Any, text: str) -> None:
    with pytest.raises(PredictionError, match=text):
        labels.encode(given, ("no", "yes"), "y")


def test_no_labels_at_all_are_refused() -> None:
    with pytest.raises(PredictionError, match="y: is empty"):
        labels.known(labels.encode([], ("no", "yes"), "y"), "y")


@pytest.mark.parametrize("names", [("a",), ("a", "a"), (), ("a", None), ("a", math.nan), ("a", ["b"]), "ab"])
def test_what_cannot_be_classes_is_refused(names: Any) -> None:
    with pytest.raises(PredictionError, match=r"^spec: "):
        labels.check_classes(names, "spec")


def test_classes_may_come_from_an_array() -> None:
    assert labels.check_classes(np.array(["b", "a"]), "spec") == ("b", "a")
    assert labels.check_classes(torch.arange(3), "spec") == (0, 1, 2)


@pytest.mark.parametrize(
    "given",
    [
        [0.0, 0.25, 1.0],
        np.array([0, 0.25, 1], dtype=np.float32),
        torch.tensor([0, 0.25, 1], dtype=torch.bfloat16),
        torch.tensor([0, 0.25, 1], requires_grad=True),
        pd.Series([0, 0.25, 1]),
        pd.Series([0, 0.25, 1], dtype="Float64"),
        [-1e-7, 0.25, 1 + 1e-7],
    ],
)
def test_probabilities_of_any_dtype_are_float64(given: Any) -> None:
    taken = labels.probabilities(given, "p")
    assert taken.dtype == np.float64
    assert taken.tolist() == [0.0, 0.25, 1.0]


def test_a_missing_probability_stays_missing_and_the_source_stays_as_it_was() -> None:
    assert np.isnan(labels.probabilities(pd.Series([None, 0.5], dtype="Float64"), "p")).tolist() == [True, False]
    source = np.array([-1e-9, 0.5])
    labels.probabilities(source, "p")
    assert source[0] == -1e-9


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([0.5, 1.2], r"p: has values that are no probabilities\n  expected: 0 to 1\n  got: 1.2\n  do this: if these"),
        ([-math.inf], "got: -inf"),
        ([[0.5]], r"p: has another shape\n  expected: \[n\]\n  got: \[1, 1\]"),
        (["a"], "p: is not an array of numbers"),
        (None, "p: "),
    ],
)
def test_what_are_no_probabilities_is_refused(given: Any, text: str) -> None:
    with pytest.raises(PredictionError, match=text):
        labels.probabilities(given, "p")


def test_an_unknown_normalization_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"normalization: is no.*\n  expected: NONE, TRUE, PRED, ALL"):
        confusion.normalize(np.eye(2, dtype=np.int64), "ROWS")  # type: ignore[arg-type]


@pytest.mark.parametrize("normalization", confusion.NORMALIZATIONS)
def test_a_class_without_examples_has_a_share_of_nothing(normalization: confusion.Normalization) -> None:
    shares = confusion.normalize(np.array([[3, 0], [0, 0]]), normalization)
    assert np.isfinite(shares).all()
    assert shares[1].tolist() == [0.0, 0.0]


ONE_CLASS = np.array([True, True])
SCORES = np.array([0.2, 0.8])


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda: ranking.Ranking.of(ONE_CLASS, SCORES).roc_auc(), "no label is negative"),
        (lambda: ranking.Ranking.of(~ONE_CLASS, SCORES).roc_auc(), "no label is positive"),
        (lambda: ranking.Ranking.of(~ONE_CLASS, SCORES).average_precision(), "no label is positive"),
        (lambda: ranking.Ranking.of(ONE_CLASS[:0], SCORES[:0]).roc_curve(), "no label is positive"),
        (lambda: confusion.matthews_correlation(np.array([[2, 1], [0, 0]])), "all labels are of one class"),
        (lambda: confusion.cohen_kappa(np.array([[2, 1], [0, 0]])), "all labels are of one class"),
        (lambda: confusion.ratio(0, 0, "nothing is there"), "nothing is there"),
    ],
)
def test_an_undefined_score_says_why(compute: Any, reason: str) -> None:
    with pytest.raises(UndefinedError, match=f"^{reason}$"):
        compute()


def test_a_constant_prediction_agrees_no_better_than_chance() -> None:
    matrix = np.array([[3, 0], [5, 0]])
    assert confusion.matthews_correlation(matrix) == 0.0
    assert confusion.cohen_kappa(matrix) == 0.0


def test_counts_of_billions_do_not_overflow() -> None:
    matrix = np.array([[2**40, 1], [1, 2**40]])
    assert confusion.matthews_correlation(matrix) == pytest.approx(1.0)
    assert confusion.cohen_kappa(matrix) == pytest.approx(1.0)


def test_bins_of_reliability_take_their_upper_edge() -> None:
    found = calibration.Reliability.of(np.array([True, False, True]), np.array([0.0, 0.5, 1.0]), n_bins=2)
    assert found.counts.tolist() == [2, 1]
    assert found.gaps.tolist() == [-0.25, 0.0]
    empty = calibration.Reliability.of(ONE_CLASS, np.array([0.9, 0.9]), n_bins=4)
    assert np.isnan(empty.confidence).tolist() == [True, True, True, False]
    assert empty.expected_calibration_error == pytest.approx(0.1)
    with pytest.raises(ConfigurationError, match=r"n_bins: is too small\n  expected: an integer of at least 1"):
        calibration.Reliability.of(ONE_CLASS, SCORES, n_bins=0)


def test_an_impossible_truth_costs_much_but_not_infinitely_much() -> None:
    assert calibration.log_loss(np.array([0.0])) == pytest.approx(36.04, abs=0.01)
