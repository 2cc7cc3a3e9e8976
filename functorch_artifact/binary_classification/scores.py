"""Numbers and arrays about predictions of two classes.

Belongs here: the function behind each score, array, and collection of them. Does not: the
computations that other domains share (`metrics`), pictures (`plots`).
Floor 6.

Keys of collections are the names by which the parameters choose among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np

from functorch_artifact.artifacts import choose
from functorch_artifact.binary_classification.artifacts import toolkit
from functorch_artifact.binary_classification.evaluation import SPLITS, BinaryEvaluation, Split
from functorch_artifact.errors import UndefinedError
from functorch_artifact.metrics import influence
from functorch_artifact.metrics.calibration import Reliability, calibration_noise, log_loss, surprises
from functorch_artifact.metrics.confusion import (
    NORMALIZATIONS,
    Counts,
    Normalization,
    cohen_kappa,
    matthews_correlation,
    normalize,
    ratio,
)
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import SHORT_NAMES, Floats, Ints, statistic
from functorch_artifact.predictions import errors
from functorch_artifact.records import ScoreCollection

PREDICTION_SCORES: Final = (
    "ACCURACY",
    "BALANCED_ACCURACY",
    "PRECISION",
    "NPV",
    "RECALL",
    "TNR",
    "FPR",
    "FNR",
    "F1",
    "MCC",
)
THRESHOLD_SCORES: Final = ("ROC_AUC", "PR_AUC")
CELLS: Final = ("TRUE_POSITIVE", "FALSE_NEGATIVE", "FALSE_POSITIVE", "TRUE_NEGATIVE")
"""The cells of the confusion matrix, row by row."""

_Described: TypeAlias = Callable[[BinaryEvaluation], Mapping[str, float]]
_PLURALS: Final = {
    "MEAN": "MEANS",
    "STD": "STDS",
    "VARIANCE": "VARIANCES",
    "MEDIAN": "MEDIANS",
    "Q1": "FIRST_QUARTILES",
    "Q3": "THIRD_QUARTILES",
    "MIN": "MINIMA",
    "MAX": "MAXIMA",
}


@toolkit.score("ACCURACY", low=0.0, high=1.0, better="higher", error=errors.by_matrix(influence.of_accuracy))
def accuracy(evaluation: BinaryEvaluation) -> float:
    """Share of the examples that are predicted right."""
    tp, fn, fp, tn = evaluation.counts
    return (tp + tn) / (tp + fn + fp + tn)


@errors.by_matrix
def _balanced_error(matrix: Ints) -> Floats:
    recall = Counts.of(matrix).recall
    return influence.averaged(influence.of_classes(matrix, recall, True, False), recall, ~np.isnan(recall))


@toolkit.score("BALANCED_ACCURACY", low=0.0, high=1.0, better="higher", error=_balanced_error)
def balanced_accuracy(evaluation: BinaryEvaluation) -> float:
    """Mean of recall and true negative rate."""
    tp, fn, fp, tn = evaluation.counts
    return (ratio(tp, tp + fn, "no label is positive") + ratio(tn, tn + fp, "no label is negative")) / 2


def _rate(
    name: str,
    part: tuple[int, int, int, int],
    whole: tuple[int, int, int, int],
    undefined: str,
    better: Literal["lower", "higher"] = "higher",
) -> None:
    """Register a ratio of counts: of tp, fn, fp and tn, each taken so many times."""

    def error(evaluation: BinaryEvaluation, **_: Any) -> float:
        counts = np.array(evaluation.counts)
        return influence.standard_error(influence.of_ratio(part, whole, counts), counts)

    @toolkit.score(name, low=0.0, high=1.0, better=better, error=error)
    def rate(evaluation: BinaryEvaluation, zero_division: float = float("nan")) -> float:
        cells = np.array(evaluation.counts)
        try:
            return ratio(int(cells @ part), int(cells @ whole), undefined)
        except UndefinedError:
            if np.isnan(zero_division):
                raise
            return zero_division


_rate("PRECISION", (1, 0, 0, 0), (1, 0, 1, 0), "nothing is predicted positive")
_rate("NPV", (0, 0, 0, 1), (0, 1, 0, 1), "nothing is predicted negative")
_rate("RECALL", (1, 0, 0, 0), (1, 1, 0, 0), "no label is positive")
_rate("TNR", (0, 0, 0, 1), (0, 0, 1, 1), "no label is negative")
_rate("FPR", (0, 0, 1, 0), (0, 0, 1, 1), "no label is negative", "lower")
_rate("FNR", (0, 1, 0, 0), (1, 1, 0, 0), "no label is positive", "lower")
_rate("F1", (2, 0, 0, 0), (2, 1, 1, 0), "no label and no prediction is positive")


@toolkit.score("MCC", low=-1.0, high=1.0, better="higher", error=errors.by_matrix(influence.of_matthews_correlation))
def mcc(evaluation: BinaryEvaluation) -> float:
    """Matthews correlation of true and predicted classes; 0 for a constant prediction."""
    return matthews_correlation(np.array(evaluation.counts).reshape(2, 2))


@toolkit.score("COHEN_KAPPA", low=-1.0, high=1.0, better="higher", error=errors.by_matrix(influence.of_cohen_kappa))
def kappa(evaluation: BinaryEvaluation) -> float:
    """Agreement beyond chance; 0 for a constant prediction."""
    return cohen_kappa(np.array(evaluation.counts).reshape(2, 2))


def _ranked(of_area: Callable[[Ranking], tuple[Floats, Floats]]) -> errors.Error:
    return lambda evaluation, **_: influence.ranked_error(evaluation.ranking, of_area(evaluation.ranking))


@toolkit.score("ROC_AUC", low=0.0, high=1.0, better="higher", error=_ranked(influence.of_roc_auc))
def roc_auc(evaluation: BinaryEvaluation) -> float:
    """How likely a positive example ranks above a negative one."""
    return evaluation.ranking.roc_auc()


@toolkit.score("PR_AUC", low=0.0, high=1.0, better="higher", error=_ranked(influence.of_average_precision))
def pr_auc(evaluation: BinaryEvaluation) -> float:
    """Average precision."""
    return evaluation.ranking.average_precision()


def _surprises(evaluation: BinaryEvaluation) -> Floats:
    return surprises(evaluation.known_truth_probabilities)


@toolkit.score("LOG_LOSS", low=0.0, better="lower", error=errors.by_mean(_surprises))
def logarithmic_loss(evaluation: BinaryEvaluation) -> float:
    """Mean negative logarithm of what the true classes were given, in nats."""
    return log_loss(evaluation.known_truth_probabilities)


def _squares(evaluation: BinaryEvaluation) -> Floats:
    return np.square(1 - evaluation.known_truth_probabilities)


@toolkit.score("BRIER_SCORE", low=0.0, high=1.0, better="lower", error=errors.by_mean(_squares))
def brier_score(evaluation: BinaryEvaluation) -> float:
    """Mean squared difference of probability and outcome (Brier, 1950)."""
    return float(_squares(evaluation).mean())


def _calibration_noise(evaluation: BinaryEvaluation, n_bins: int = 15) -> float:
    return calibration_noise(evaluation.known_probabilities, n_bins)


def _calibration_error(evaluation: BinaryEvaluation, n_bins: int = 15) -> float:
    return errors.of_calibration(evaluation.positive, evaluation.known_probabilities, n_bins)


@toolkit.score(
    "EXPECTED_CALIBRATION_ERROR",
    low=0.0,
    high=1.0,
    better="lower",
    noise=_calibration_noise,
    error=_calibration_error,
)
def expected_calibration_error(evaluation: BinaryEvaluation, n_bins: int = 15) -> float:
    """Mean gap between promise and frequency, over bins of the probability."""
    return Reliability.of(evaluation.positive, evaluation.known_probabilities, n_bins).expected_calibration_error


def _truth_statistic(key: str) -> None:
    better: Literal["higher"] | None = None if key in ("STD", "VARIANCE") else "higher"

    name, error = f"GROUND_TRUTH_PROB_{SHORT_NAMES[key]}", errors.by_statistic(key)

    @toolkit.score(name, low=0.0, high=1.0, better=better, error=error)
    def truth_statistic(evaluation: BinaryEvaluation) -> float:
        return statistic(evaluation.truth_statistics, key)


def _statistic_by_split(key: str) -> None:
    def error(evaluation: BinaryEvaluation, split_types: Sequence[Split] = SPLITS) -> dict[str, float]:
        known = evaluation.known_probabilities
        return errors.each(split_types, lambda split: influence.statistic_error(known[evaluation.of_split(split)], key))

    @toolkit.score_collection(f"SCORE_{_PLURALS[key]}", low=0.0, high=1.0, error=error)
    def statistic_by_split(evaluation: BinaryEvaluation, split_types: Sequence[Split] = SPLITS) -> ScoreCollection:
        splits = choose(split_types, SPLITS, "split_types")
        return ScoreCollection.attempt(splits, lambda split: statistic(evaluation.score_statistics[split], key))


for _key in SHORT_NAMES:
    _truth_statistic(_key)
    _statistic_by_split(_key)


def _statistics(name: str, values: Callable[[BinaryEvaluation], Floats], described: _Described) -> None:
    @toolkit.score_collection(name, low=0.0, high=1.0, error=errors.by_statistics(values))
    def statistics(evaluation: BinaryEvaluation, stat_types: Sequence[str] = tuple(SHORT_NAMES)) -> ScoreCollection:
        keys = choose(stat_types, SHORT_NAMES, "stat_types")
        return ScoreCollection.attempt(keys, lambda key: statistic(described(evaluation), key))


def _statistics_of_split(name: str, split: Split) -> None:
    _statistics(
        name,
        lambda evaluation: evaluation.known_probabilities[evaluation.of_split(split)],
        lambda evaluation: evaluation.score_statistics[split],
    )


_statistics_of_split("SCORE_STATS", "ALL")
_statistics_of_split("POSITIVE_CLASS_SCORE_STATS", "POSITIVE")
_statistics_of_split("NEGATIVE_CLASS_SCORE_STATS", "NEGATIVE")
_statistics(
    "GROUND_TRUTH_PROB_STATS",
    lambda evaluation: evaluation.known_truth_probabilities,
    lambda evaluation: evaluation.truth_statistics,
)


def _errors_of(known: Sequence[str]) -> Callable[..., dict[str, float]]:
    def error(evaluation: BinaryEvaluation, metric_types: Sequence[str] = known) -> dict[str, float]:
        formulas = {key: toolkit.find(key).error for key in metric_types}
        return errors.each(formulas, lambda key: cast(errors.Error, formulas[key])(evaluation))

    return error


@toolkit.score_collection("BINARY_PREDICTION_SCORES", low=-1.0, high=1.0, error=_errors_of(PREDICTION_SCORES))
def prediction_scores(evaluation: BinaryEvaluation, metric_types: Sequence[str] = PREDICTION_SCORES) -> ScoreCollection:
    """Scores of the predictions at the threshold, together."""
    keys = choose(metric_types, PREDICTION_SCORES, "metric_types")
    return ScoreCollection.attempt(keys, lambda key: toolkit.find(key).compute(evaluation))


@toolkit.score_collection(
    "THRESHOLD_VARIATION_SCORES", low=0.0, high=1.0, better="higher", error=_errors_of(THRESHOLD_SCORES)
)
def threshold_variation_scores(
    evaluation: BinaryEvaluation, metric_types: Sequence[str] = THRESHOLD_SCORES
) -> ScoreCollection:
    """Scores over all thresholds, together."""
    keys = choose(metric_types, THRESHOLD_SCORES, "metric_types")
    return ScoreCollection.attempt(keys, lambda key: toolkit.find(key).compute(evaluation))


def _cell_errors(evaluation: BinaryEvaluation, normalization: Normalization = "NONE") -> dict[str, float]:
    return dict(zip(CELLS, errors.of_cells(evaluation.confusion, normalization).ravel().tolist(), strict=True))


@toolkit.score_collection("NORMALIZED_CONFUSION_COUNTS", low=0.0, error=_cell_errors)
def normalized_confusion_counts(
    evaluation: BinaryEvaluation, normalization: Normalization = "NONE"
) -> dict[str, float]:
    """The confusion matrix, cell by cell."""
    return dict(zip(CELLS, normalize(evaluation.confusion, normalization).ravel().tolist(), strict=True))


@toolkit.array("CONFUSION_MATRIX")
def confusion_matrix(evaluation: BinaryEvaluation, normalization: Normalization = "NONE") -> Floats:
    """[[true positives, false negatives], [false positives, true negatives]], float64 [2, 2]."""
    return normalize(evaluation.confusion, normalization)


@toolkit.array_collection("CONFUSION_MATRICES")
def confusion_matrices(
    evaluation: BinaryEvaluation, normalization_types: Sequence[Normalization] = NORMALIZATIONS
) -> dict[str, Floats]:
    """The confusion matrix in several normalizations."""
    return {each: normalize(evaluation.confusion, each) for each in normalization_types}
