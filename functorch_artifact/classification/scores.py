"""Numbers and arrays about predictions of several classes.

Belongs here: the function behind each score, array, and collection of them. Does not: the
computations that other domains share (`metrics`), pictures (`plots`).
Floor 6.

| mean over classes | of precision and F1 | of recall | of areas |
|---|---|---|---|
| `_MACRO`: all alike | those in labels or predictions | those in the labels | those in the labels |
| `_WEIGHTED` | by their examples | by their examples | by their examples |
| `_MICRO` | all examples in one count | all examples in one count | all pairs of example and class in one ranking |

A class that is there but never predicted has precision 0 in a mean: leaving it out would reward a
model that never predicts it. In single-label classification the micro means are the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

from functorch_artifact.artifacts import choose
from functorch_artifact.classification.artifacts import toolkit
from functorch_artifact.classification.evaluation import Evaluation
from functorch_artifact.errors import ConfigurationError, UndefinedError
from functorch_artifact.metrics.calibration import Reliability, calibration_noise, log_loss
from functorch_artifact.metrics.confusion import (
    NORMALIZATIONS,
    Normalization,
    cohen_kappa,
    matthews_correlation,
    normalize,
)
from functorch_artifact.metrics.statistics import SHORT_NAMES, Bools, Floats, statistic
from functorch_artifact.records import Score, ScoreCollection

_NO_EXAMPLE: Final = "no label is of this class"


@toolkit.score("ACCURACY", low=0.0, high=1.0, better="higher")
def accuracy(evaluation: Evaluation) -> float:
    """Share of the examples that are predicted right."""
    matrix = evaluation.complete_confusion
    return int(matrix.trace()) / int(matrix.sum())


@toolkit.score("BALANCED_ACCURACY", low=0.0, high=1.0, better="higher")
def balanced_accuracy(evaluation: Evaluation) -> float:
    """Mean recall of the classes that the labels show, two at least."""
    if np.count_nonzero(evaluation.counts.support) < 2:
        raise UndefinedError("all labels are of one class")
    return float(np.nanmean(evaluation.counts.recall))


@toolkit.score("TOP_K_ACCURACY", low=0.0, high=1.0, better="higher")
def top_k_accuracy(evaluation: Evaluation, k: int | None = None) -> float:
    """Share of the examples whose true class is among the k likeliest; ties in the classes' order.

    By default k is 5, or one less than there are classes.
    """
    if k is None:
        k = min(5, evaluation.spec.n_classes - 1)
    if k < 1:
        raise ConfigurationError("is too small", where="k", expected="an integer of at least 1", got=k)
    if k >= evaluation.spec.n_classes:
        raise UndefinedError(f"any class is among the {k} likeliest of {evaluation.spec.n_classes}")
    return float((evaluation.truth_ranks < k).mean())


@toolkit.score("MCC", low=-1.0, high=1.0, better="higher")
def mcc(evaluation: Evaluation) -> float:
    """Correlation of true and predicted classes; 0 for a constant prediction."""
    return matthews_correlation(evaluation.complete_confusion)


@toolkit.score("COHEN_KAPPA", low=-1.0, high=1.0, better="higher")
def kappa(evaluation: Evaluation) -> float:
    """Agreement beyond chance; 0 for a constant prediction."""
    return cohen_kappa(evaluation.complete_confusion)


def _precision(evaluation: Evaluation) -> tuple[Floats, Bools]:
    counts = evaluation.counts
    occurring = counts.support + counts.false_positives > 0
    return np.nan_to_num(counts.precision), occurring


def _recall(evaluation: Evaluation) -> tuple[Floats, Bools]:
    return evaluation.counts.recall, evaluation.counts.support > 0


def _f1(evaluation: Evaluation) -> tuple[Floats, Bools]:
    return evaluation.counts.f1, ~np.isnan(evaluation.counts.f1)


def _roc_auc(evaluation: Evaluation) -> tuple[Floats, Bools]:
    roc, _ = evaluation.areas
    return roc, ~np.isnan(roc)


def _pr_auc(evaluation: Evaluation) -> tuple[Floats, Bools]:
    _, precision_recall = evaluation.areas
    return precision_recall, ~np.isnan(precision_recall)


def _means(
    name: str, of_classes: Callable[[Evaluation], tuple[Floats, Bools]], micro: Callable[[Evaluation], float]
) -> None:
    @toolkit.score(f"{name}_MACRO", low=0.0, high=1.0, better="higher")
    def macro(evaluation: Evaluation) -> float:
        values, counted = of_classes(evaluation)
        return float(values[counted].mean())

    @toolkit.score(f"{name}_WEIGHTED", low=0.0, high=1.0, better="higher")
    def weighted(evaluation: Evaluation) -> float:
        values, counted = of_classes(evaluation)
        support = np.bincount(evaluation.true, minlength=len(values))
        return float(np.average(values[counted], weights=support[counted]))

    toolkit.score(f"{name}_MICRO", low=0.0, high=1.0, better="higher")(micro)


def _micro(evaluation: Evaluation) -> float:
    return float(accuracy.function(evaluation))


_means("PRECISION", _precision, _micro)
_means("RECALL", _recall, _micro)
_means("F1", _f1, _micro)
_means("ROC_AUC", _roc_auc, lambda evaluation: evaluation.pooled_ranking.roc_auc())
_means("PR_AUC", _pr_auc, lambda evaluation: evaluation.pooled_ranking.average_precision())


@toolkit.score("LOG_LOSS", low=0.0, better="lower")
def logarithmic_loss(evaluation: Evaluation) -> float:
    """Mean negative logarithm of what the true classes were given, in nats."""
    return log_loss(evaluation.known_truth_probabilities)


@toolkit.score("BRIER_SCORE", low=0.0, high=2.0, better="lower")
def brier_score(evaluation: Evaluation) -> float:
    """Mean squared distance of probabilities from the truth, summed over classes (Brier, 1950)."""
    squares = np.square(evaluation.known_probabilities).sum(axis=1)
    return float((squares - 2 * evaluation.truth_probabilities + 1).mean())


def _calibration_noise(evaluation: Evaluation, n_bins: int = 15) -> float:
    return calibration_noise(evaluation.confidence[1], n_bins)


@toolkit.score("EXPECTED_CALIBRATION_ERROR", low=0.0, high=1.0, better="lower", noise=_calibration_noise)
def expected_calibration_error(evaluation: Evaluation, n_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy of the predicted class, over bins of the confidence."""
    return Reliability.of(*evaluation.confidence, n_bins).expected_calibration_error


def _truth_statistic(key: str) -> None:
    better: Literal["higher"] | None = None if key in ("STD", "VARIANCE") else "higher"

    @toolkit.score(f"GROUND_TRUTH_PROB_{SHORT_NAMES[key]}", low=0.0, high=1.0, better=better)
    def truth_statistic(evaluation: Evaluation) -> float:
        return statistic(evaluation.truth_statistics, key)


for _key in SHORT_NAMES:
    _truth_statistic(_key)


@toolkit.score_collection("GROUND_TRUTH_PROB_STATS", low=0.0, high=1.0)
def truth_statistics(evaluation: Evaluation, stat_types: Sequence[str] = tuple(SHORT_NAMES)) -> ScoreCollection:
    """Describe what the true classes were given."""
    keys = choose(stat_types, SHORT_NAMES, "stat_types")
    return ScoreCollection.attempt(keys, lambda key: statistic(evaluation.truth_statistics, key))


@toolkit.score_collection("SUPPORT_BY_CLASS", low=0.0)
def support(evaluation: Evaluation) -> dict[str, int]:
    """Count the examples of each class."""
    counts = np.bincount(evaluation.true, minlength=evaluation.spec.n_classes).tolist()
    return {str(name): count for name, count in zip(evaluation.spec.class_names, counts, strict=True)}


def _by_class(name: str, values: Callable[[Evaluation], Floats], undefined: str = _NO_EXAMPLE) -> None:
    @toolkit.score_collection(f"{name}_BY_CLASS", low=0.0, high=1.0, better="higher")
    def by_class(evaluation: Evaluation) -> ScoreCollection:
        names = [str(each) for each in evaluation.spec.class_names]
        try:
            found = values(evaluation).tolist()
        except UndefinedError as error:
            return ScoreCollection.of(dict.fromkeys(names, Score(float("nan"), str(error))))
        reasons = {True: undefined, False: ""}
        return ScoreCollection.of({n: Score(v, reasons[np.isnan(v)]) for n, v in zip(names, found, strict=True)})


_by_class("PRECISION", lambda evaluation: evaluation.counts.precision, "nothing is predicted to be of this class")
_by_class("RECALL", lambda evaluation: evaluation.counts.recall)
_by_class("F1", lambda evaluation: evaluation.counts.f1, "no label and no prediction is of this class")
_by_class("ROC_AUC", lambda evaluation: evaluation.areas[0])
_by_class("PR_AUC", lambda evaluation: evaluation.areas[1])


@toolkit.array("CONFUSION_MATRIX")
def confusion_matrix(evaluation: Evaluation, normalization: Normalization = "NONE") -> Floats:
    """Examples by true class (row) and predicted class, float64 [k, k]."""
    return normalize(evaluation.confusion, normalization)


@toolkit.array_collection("CONFUSION_MATRICES")
def confusion_matrices(
    evaluation: Evaluation, normalization_types: Sequence[Normalization] = NORMALIZATIONS
) -> dict[str, Floats]:
    """The confusion matrix in several normalizations."""
    return {each: normalize(evaluation.confusion, each) for each in normalization_types}
