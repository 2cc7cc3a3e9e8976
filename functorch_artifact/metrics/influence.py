"""Standard errors of scores: how much a score would differ on other examples of the same population.

Belongs here: the influence of one example on each score, and what follows from it. Does not: the
scores themselves (`confusion`, `ranking`, `calibration`, `statistics`).
Floor 2.

The influence of an example is the derivative of a score by its weight; the standard error is the
root of the sum of squares of all of them, the infinitesimal jackknife (Efron, 1982, ch. 6). Of a
proportion p of n examples it is sqrt(p (1 - p) / n), of an area under a ROC curve DeLong's. It is
one pass over the examples, or over the cells of a confusion matrix, and draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from functorch_artifact.errors import UndefinedError
from functorch_artifact.metrics.confusion import Counts
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import Bools, Floats, Ints

_EXTREMES: Final = ("MIN", "MAX")


def standard_error(influence: Floats, counts: Ints | None = None) -> float:
    """Make the standard error of what examples have this influence on, float64 of any shape.

    Args:
        influence: of each example, or of one of each kind.
        counts: how many of each kind there are, of the same shape.

    Raises:
        UndefinedError: one example alone tells no error.

    Example:
        >>> import numpy as np
        >>> hits = np.array([1.0, 1.0, 0.0, 1.0])
        >>> round(standard_error(of_mean(hits)), 6), round(math.sqrt(0.75 * 0.25 / 4), 6)
        (0.216506, 0.216506)
    """
    if (influence.size if counts is None else counts.sum()) < 2:
        raise UndefinedError("one example has no spread")
    squares = np.square(influence)
    return math.sqrt(float(squares.sum() if counts is None else (squares * counts).sum()))


def of_mean(values: Floats) -> Floats:
    """Tell the influence of each value on their mean: float64 [n]."""
    return np.asarray((values - values.mean()) / len(values))


def of_ratio(part: Sequence[float] | Floats, whole: Sequence[float] | Floats, counts: Ints) -> Floats:
    """Tell the influence on `part @ counts / (whole @ counts)` of an example of each kind: float64 [k].

    Args:
        part: what an example of each kind adds to the numerator, [k].
        whole: what it adds to the denominator, [k].
        counts: how many of each kind there are, int64 [k].

    Raises:
        UndefinedError: the denominator is 0.
    """
    added, total = np.asarray(whole, dtype=np.float64), float(counts @ whole)
    if total == 0:
        raise UndefinedError("there is no example")
    ratio = float(counts @ part) / total
    return (np.asarray(part) - ratio * added) / total


# Functions of a confusion matrix, int64 [k, k], true classes by row; influences are float64 [k, k].


def of_accuracy(matrix: Ints) -> Floats:
    """Tell the influence on the share of right predictions."""
    n = matrix.sum()
    return np.asarray((np.eye(len(matrix)) - matrix.trace() / n) / n)


def of_matthews_correlation(matrix: Ints) -> Floats:
    """Tell the influence on `confusion.matthews_correlation`; 0 for a constant prediction."""
    true, predicted, n, hits = _margins(matrix)
    crossed = predicted[:, None] + true  # by how much an example raises true @ predicted
    of_predicted, of_true = n**2 - predicted @ predicted, n**2 - true @ true
    if of_predicted == 0 or of_true == 0:
        return np.zeros(matrix.shape)
    covariance = hits * n - true @ predicted
    raised = n * np.eye(len(matrix)) + hits - crossed
    spreads = (n - predicted) / of_predicted + (n - true[:, None]) / of_true
    return (raised - covariance * spreads) / math.sqrt(of_predicted * of_true)


def of_cohen_kappa(matrix: Ints) -> Floats:
    """Tell the influence on `confusion.cohen_kappa`."""
    true, predicted, n, hits = _margins(matrix)
    crossed = predicted[:, None] + true
    by_chance = true @ predicted
    if n**2 == by_chance:
        return np.zeros(matrix.shape)
    kappa = (hits * n - by_chance) / (n**2 - by_chance)
    return (n * np.eye(len(matrix)) + hits - crossed - kappa * (2 * n - crossed)) / (n**2 - by_chance)


def of_classes(matrix: Ints, rates: Floats, by_true: Bools | bool, by_predicted: Bools | bool) -> tuple[Floats, Floats]:
    """Tell the influence on one rate of each class: recall, precision, or F1.

    Args:
        matrix: the confusion matrix.
        rates: hits of each class by its examples, by what is predicted to be of it, or by half of
            both together, float64 [k].
        by_true: whether its examples are in the denominator.
        by_predicted: whether what is predicted to be of it is.

    Returns:
        The influence of an example on the rate of its true class and on that of its predicted class,
        float64 [k, k] each; 0 where a class has no rate.
    """
    true, predicted, _, _ = _margins(matrix)
    whole = true * by_true + predicted * by_predicted
    each = np.divide(1.0, whole, out=np.zeros(len(matrix)), where=whole > 0)
    known, hit = np.nan_to_num(rates), np.eye(len(matrix))
    on_true = (hit - known[:, None]) * each[:, None] * by_true
    on_predicted = (hit - known) * each * by_predicted
    return on_true, on_predicted


def rate_errors(counts: Counts, *, by_true: bool, by_predicted: bool) -> Floats:
    """Make the standard errors of one rate of each class, as for `of_classes`: float64 [k], NaN without one."""
    double = by_true and by_predicted  # a hit is in the denominator on both sides
    hits = counts.true_positives * (2.0 if double else 1.0)
    misses = counts.false_negatives * by_true + counts.false_positives * by_predicted
    whole = hits + misses
    rates = np.divide(hits, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    squares = counts.true_positives * np.square((2.0 if double else 1.0) * (1 - rates)) + misses * np.square(rates)
    return np.asarray(np.sqrt(squares) / np.where(whole > 0, whole, np.nan))


def averaged(influences: tuple[Floats, Floats], rates: Floats, counted: Bools, support: Ints | None = None) -> Floats:
    """Tell the influence on the mean of the classes' rates, from that on each of them.

    Args:
        influences: as `of_classes` gives them.
        rates: of each class, float64 [k].
        counted: which classes are in the mean, bool [k].
        support: examples of each class, if they weigh the mean.
    """
    weights: Floats = counted / counted.sum() if support is None else counted * support / (counted * support).sum()
    on_true, on_predicted = influences
    found: Floats = weights[:, None] * on_true + weights * on_predicted
    return found if support is None else found + by_support(rates, counted, support)[:, None]


def by_support(rates: Floats, counted: Bools, support: Ints) -> Floats:
    """Tell how an example of each class moves a mean, weighted by examples, by its weight: float64 [k]."""
    known, total = np.where(counted, rates, 0.0), (counted * support).sum()
    return np.asarray(counted * (known - known @ support / total) / total)


def _margins(matrix: Ints) -> tuple[Floats, Floats, float, float]:
    counts = matrix.astype(np.float64)
    return counts.sum(axis=1), counts.sum(axis=0), float(counts.sum()), float(counts.trace())


# Functions of a ranking: the influence of a positive and of a negative example at each of its
# thresholds, float64 [k] each.


def of_roc_auc(ranking: Ranking) -> tuple[Floats, Floats]:
    """Tell the influence on the area under the ROC curve (DeLong et al., 1988)."""
    area, m, n = ranking.roc_auc(), ranking.n_positives, ranking.n_negatives
    positives, negatives = _steps(ranking)
    below = (n - ranking.false_positives + negatives / 2) / n
    above = (ranking.true_positives - positives / 2) / m
    return (below - area) / m, (above - area) / n


def of_average_precision(ranking: Ranking) -> tuple[Floats, Floats]:
    """Tell the influence on the average precision: at its own threshold, and at all below."""
    mean, m = ranking.average_precision(), ranking.n_positives
    positives, _ = _steps(ranking)
    predicted = ranking.true_positives + ranking.false_positives
    weights = positives / np.square(predicted, dtype=np.float64)
    raises = np.cumsum((weights * ranking.false_positives)[::-1])[::-1]
    lowers = np.cumsum((weights * ranking.true_positives)[::-1])[::-1]
    return (ranking.precision() - mean + raises) / m, -lowers / m


def ranked_error(ranking: Ranking, influence: tuple[Floats, Floats]) -> float:
    """Make the standard error of what examples at a ranking's thresholds have this influence on."""
    return standard_error(np.concatenate(influence), np.concatenate(_steps(ranking)))


def by_example(ranking: Ranking, influence: tuple[Floats, Floats], positive: Bools) -> Floats:
    """Tell the influence of each of the n examples that a ranking was made of, as it was told: float64 [n]."""
    places, (of_positive, of_negative) = ranking.places(), influence
    return np.where(positive, of_positive[places], of_negative[places])


def _steps(ranking: Ranking) -> tuple[Ints, Ints]:
    return np.diff(ranking.true_positives, prepend=0), np.diff(ranking.false_positives, prepend=0)


def statistic_error(values: Floats, short_name: str) -> float:
    """Make the standard error of a descriptive statistic of n values, by its short name.

    Quantiles have Woodruff's (1952): half the distance of the quantiles one standard error of their
    rank to either side.

    Raises:
        UndefinedError: there are fewer than two values; or it is an extreme, which has none.
    """
    known = values[~np.isnan(values)]
    if short_name in _EXTREMES:
        raise UndefinedError("a sample does not tell how far its extremes are from others'")
    if known.size < 2:
        raise UndefinedError("one example has no spread")
    gaps = known - known.mean()
    if short_name == "MEAN":
        return standard_error(gaps / len(known))
    if short_name in ("STD", "VARIANCE"):
        of_variance = standard_error((np.square(gaps) - np.square(gaps).mean()) / (len(known) - 1))
        deviation = float(known.std(ddof=1))
        return of_variance if short_name == "VARIANCE" or deviation == 0 else of_variance / (2 * deviation)
    rank = {"Q1": 0.25, "MEDIAN": 0.5, "Q3": 0.75}[short_name]
    half = math.sqrt(rank * (1 - rank) / len(known))
    low, high = np.quantile(known, [max(rank - half, 0.0), min(rank + half, 1.0)])
    return float(high - low) / 2
