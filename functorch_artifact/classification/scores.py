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
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from functorch_artifact.artifacts import choose
from functorch_artifact.classification.artifacts import toolkit
from functorch_artifact.classification.evaluation import Evaluation
from functorch_artifact.errors import ConfigurationError, UndefinedError
from functorch_artifact.metrics import influence
from functorch_artifact.metrics.calibration import Reliability, calibration_noise, log_loss, surprises
from functorch_artifact.metrics.confusion import (
    NORMALIZATIONS,
    Counts,
    Normalization,
    cohen_kappa,
    matthews_correlation,
    normalize,
)
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import SHORT_NAMES, Bools, Floats, Ints, statistic
from functorch_artifact.predictions import errors
from functorch_artifact.records import Score, ScoreCollection

Pair: TypeAlias = tuple[Floats, Floats]
_NO_EXAMPLE: Final = "no label is of this class"


@toolkit.score("ACCURACY", low=0.0, high=1.0, better="higher", error=errors.by_matrix(influence.of_accuracy))
def accuracy(evaluation: Evaluation) -> float:
    """Share of the examples that are predicted right."""
    matrix = evaluation.complete_confusion
    return int(matrix.trace()) / int(matrix.sum())


def _influence_on_recalls(matrix: Ints) -> Pair:
    return influence.of_classes(matrix, Counts.of(matrix).recall, by_true=True, by_predicted=False)


def _influence_on_precisions(matrix: Ints) -> Pair:
    return influence.of_classes(matrix, Counts.of(matrix).precision, by_true=False, by_predicted=True)


def _influence_on_f1s(matrix: Ints) -> Pair:
    return influence.of_classes(matrix, Counts.of(matrix).f1, by_true=True, by_predicted=True)


@errors.by_matrix
def _balanced_error(matrix: Ints) -> Floats:
    counts = Counts.of(matrix)
    return influence.averaged(_influence_on_recalls(matrix), counts.recall, counts.support > 0)


@toolkit.score("BALANCED_ACCURACY", low=0.0, high=1.0, better="higher", error=_balanced_error)
def balanced_accuracy(evaluation: Evaluation) -> float:
    """Mean recall of the classes that the labels show, two at least."""
    if np.count_nonzero(evaluation.counts.support) < 2:
        raise UndefinedError("all labels are of one class")
    return float(np.nanmean(evaluation.counts.recall))


def _top_k_hits(evaluation: Evaluation, k: int | None = None) -> Floats:
    if k is None:
        k = min(5, evaluation.spec.n_classes - 1)
    if k < 1:
        raise ConfigurationError("is too small", where="k", expected="an integer of at least 1", got=k)
    if k >= evaluation.spec.n_classes:
        raise UndefinedError(f"any class is among the {k} likeliest of {evaluation.spec.n_classes}")
    return np.asarray(evaluation.truth_ranks < k, dtype=np.float64)


@toolkit.score("TOP_K_ACCURACY", low=0.0, high=1.0, better="higher", error=errors.by_mean(_top_k_hits))
def top_k_accuracy(evaluation: Evaluation, k: int | None = None) -> float:
    """Share of the examples whose true class is among the k likeliest; ties in the classes' order.

    By default k is 5, or one less than there are classes.
    """
    return float(_top_k_hits(evaluation, k).mean())


@toolkit.score("MCC", low=-1.0, high=1.0, better="higher", error=errors.by_matrix(influence.of_matthews_correlation))
def mcc(evaluation: Evaluation) -> float:
    """Correlation of true and predicted classes; 0 for a constant prediction."""
    return matthews_correlation(evaluation.complete_confusion)


@toolkit.score("COHEN_KAPPA", low=-1.0, high=1.0, better="higher", error=errors.by_matrix(influence.of_cohen_kappa))
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


def _means(
    name: str,
    of_classes: Callable[[Evaluation], tuple[Floats, Bools]],
    micro: Callable[[Evaluation], float],
    *,
    error: Callable[[Evaluation, bool], float],
    micro_error: errors.Error,
) -> None:
    @toolkit.score(
        f"{name}_MACRO", low=0.0, high=1.0, better="higher", error=lambda evaluation: error(evaluation, False)
    )
    def macro(evaluation: Evaluation) -> float:
        values, counted = of_classes(evaluation)
        return float(values[counted].mean())

    @toolkit.score(
        f"{name}_WEIGHTED", low=0.0, high=1.0, better="higher", error=lambda evaluation: error(evaluation, True)
    )
    def weighted(evaluation: Evaluation) -> float:
        values, counted = of_classes(evaluation)
        support = np.bincount(evaluation.true, minlength=len(values))
        return float(np.average(values[counted], weights=support[counted]))

    toolkit.score(f"{name}_MICRO", low=0.0, high=1.0, better="higher", error=micro_error)(micro)


def _means_of_rates(
    name: str, of_classes: Callable[[Evaluation], tuple[Floats, Bools]], influences: Callable[[Ints], Pair]
) -> None:
    def error(evaluation: Evaluation, weighted: bool) -> float:
        matrix = evaluation.complete_confusion
        support = evaluation.counts.support if weighted else None
        found = influence.averaged(influences(matrix), *of_classes(evaluation), support)
        return influence.standard_error(found, matrix)

    def micro(evaluation: Evaluation) -> float:
        return float(accuracy.function(evaluation))

    _means(name, of_classes, micro, error=error, micro_error=errors.by_matrix(influence.of_accuracy))


def _means_of_areas(
    name: str,
    place: int,
    micro: Callable[[Ranking], float],
    of_area: Callable[[Ranking], Pair],
) -> None:
    def of_classes(evaluation: Evaluation) -> tuple[Floats, Bools]:
        areas = evaluation.areas[place]
        return areas, ~np.isnan(areas)

    def micro_error(evaluation: Evaluation) -> float:
        return influence.standard_error(evaluation.pooled_influence(of_area))

    _means(
        name,
        of_classes,
        lambda evaluation: micro(evaluation.pooled_ranking),
        error=lambda evaluation, weighted: evaluation.area_errors[place].of_mean(weighted),
        micro_error=micro_error,
    )


_means_of_rates("PRECISION", _precision, _influence_on_precisions)
_means_of_rates("RECALL", _recall, _influence_on_recalls)
_means_of_rates("F1", _f1, _influence_on_f1s)
_means_of_areas("ROC_AUC", 0, Ranking.roc_auc, influence.of_roc_auc)
_means_of_areas("PR_AUC", 1, Ranking.average_precision, influence.of_average_precision)


def _surprises(evaluation: Evaluation) -> Floats:
    return surprises(evaluation.known_truth_probabilities)


@toolkit.score("LOG_LOSS", low=0.0, better="lower", error=errors.by_mean(_surprises))
def logarithmic_loss(evaluation: Evaluation) -> float:
    """Mean negative logarithm of what the true classes were given, in nats."""
    return log_loss(evaluation.known_truth_probabilities)


def _distances(evaluation: Evaluation) -> Floats:
    squares: Floats = np.square(evaluation.known_probabilities).sum(axis=1)
    return squares - 2 * evaluation.truth_probabilities + 1


@toolkit.score("BRIER_SCORE", low=0.0, high=2.0, better="lower", error=errors.by_mean(_distances))
def brier_score(evaluation: Evaluation) -> float:
    """Mean squared distance of probabilities from the truth, summed over classes (Brier, 1950)."""
    return float(_distances(evaluation).mean())


def _calibration_noise(evaluation: Evaluation, n_bins: int = 15) -> float:
    return calibration_noise(evaluation.confidence[1], n_bins)


def _calibration_error(evaluation: Evaluation, n_bins: int = 15) -> float:
    return errors.of_calibration(*evaluation.confidence, n_bins)


@toolkit.score(
    "EXPECTED_CALIBRATION_ERROR",
    low=0.0,
    high=1.0,
    better="lower",
    noise=_calibration_noise,
    error=_calibration_error,
)
def expected_calibration_error(evaluation: Evaluation, n_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy of the predicted class, over bins of the confidence."""
    return Reliability.of(*evaluation.confidence, n_bins).expected_calibration_error


def _truth_statistic(key: str) -> None:
    better: Literal["higher"] | None = None if key in ("STD", "VARIANCE") else "higher"

    name, error = f"GROUND_TRUTH_PROB_{SHORT_NAMES[key]}", errors.by_statistic(key)

    @toolkit.score(name, low=0.0, high=1.0, better=better, error=error)
    def truth_statistic(evaluation: Evaluation) -> float:
        return statistic(evaluation.truth_statistics, key)


for _key in SHORT_NAMES:
    _truth_statistic(_key)


@toolkit.score_collection(
    "GROUND_TRUTH_PROB_STATS",
    low=0.0,
    high=1.0,
    error=errors.by_statistics(lambda evaluation: evaluation.known_truth_probabilities),
)
def truth_statistics(evaluation: Evaluation, stat_types: Sequence[str] = tuple(SHORT_NAMES)) -> ScoreCollection:
    """Describe what the true classes were given."""
    keys = choose(stat_types, SHORT_NAMES, "stat_types")
    return ScoreCollection.attempt(keys, lambda key: statistic(evaluation.truth_statistics, key))


def _named(evaluation: Evaluation, values: Floats | Ints) -> dict[str, Any]:
    return {str(name): value for name, value in zip(evaluation.spec.class_names, values.tolist(), strict=True)}


def _support(evaluation: Evaluation) -> Ints:
    return np.bincount(evaluation.true, minlength=evaluation.spec.n_classes)


def _support_errors(evaluation: Evaluation) -> dict[str, float]:
    counts = _support(evaluation)
    return _named(evaluation, np.sqrt(counts * (1 - counts / counts.sum())))


@toolkit.score_collection("SUPPORT_BY_CLASS", low=0.0, error=_support_errors)
def support(evaluation: Evaluation) -> dict[str, int]:
    """Count the examples of each class."""
    return _named(evaluation, _support(evaluation))


def _by_class(
    name: str,
    values: Callable[[Evaluation], Floats],
    error: Callable[[Evaluation], Floats],
    undefined: str = _NO_EXAMPLE,
) -> None:
    def errors_by_class(evaluation: Evaluation) -> dict[str, float]:
        return _named(evaluation, error(evaluation))

    @toolkit.score_collection(f"{name}_BY_CLASS", low=0.0, high=1.0, better="higher", error=errors_by_class)
    def by_class(evaluation: Evaluation) -> ScoreCollection:
        names = [str(each) for each in evaluation.spec.class_names]
        try:
            found = values(evaluation).tolist()
        except UndefinedError as error:
            return ScoreCollection.of(dict.fromkeys(names, Score(float("nan"), str(error))))
        reasons = {True: undefined, False: ""}
        return ScoreCollection.of({n: Score(v, reasons[np.isnan(v)]) for n, v in zip(names, found, strict=True)})


_by_class(
    "PRECISION",
    lambda evaluation: evaluation.counts.precision,
    lambda evaluation: influence.rate_errors(evaluation.counts, by_true=False, by_predicted=True),
    "nothing is predicted to be of this class",
)
_by_class(
    "RECALL",
    lambda evaluation: evaluation.counts.recall,
    lambda evaluation: influence.rate_errors(evaluation.counts, by_true=True, by_predicted=False),
)
_by_class(
    "F1",
    lambda evaluation: evaluation.counts.f1,
    lambda evaluation: influence.rate_errors(evaluation.counts, by_true=True, by_predicted=True),
    "no label and no prediction is of this class",
)
_by_class("ROC_AUC", lambda evaluation: evaluation.areas[0], lambda evaluation: evaluation.area_errors[0].by_class)
_by_class("PR_AUC", lambda evaluation: evaluation.areas[1], lambda evaluation: evaluation.area_errors[1].by_class)


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
