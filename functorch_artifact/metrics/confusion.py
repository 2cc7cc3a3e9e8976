"""True against predicted classes: counts, and what follows from them.

Belongs here: the confusion matrix, rates of it, agreement beyond chance. Does not: scores over
all thresholds (`ranking`), which of them a toolkit offers and under which name.
Floor 2.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, get_args

import attrs
import numpy as np

from functorch_artifact.errors import ConfigurationError, UndefinedError
from functorch_artifact.metrics.statistics import Floats, Ints

Normalization: TypeAlias = Literal["NONE", "TRUE", "PRED", "ALL"]
"""Counts, shares of each true class (row), of each predicted class (column), or of everything."""

NORMALIZATIONS: Final[tuple[Normalization, ...]] = get_args(Normalization)


def confusion_matrix(true: Ints, predicted: Ints, n_classes: int) -> Ints:
    """Count examples by true class (row) and predicted class (column): int64 [k, k].

    Equal to `sklearn.metrics.confusion_matrix`, exactly.

    Args:
        true: codes from 0 to k - 1, int64 [n].
        predicted: likewise; examples with a negative code, which have no prediction, are left out.
        n_classes: k.
    """
    if predicted.size and predicted.min() < 0:
        true, predicted = true[predicted >= 0], predicted[predicted >= 0]
    return np.bincount(true * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def normalize(matrix: Ints, normalization: Normalization) -> Floats:
    """Divide a confusion matrix by what `normalization` says: float64 [k, k]; 0 / 0 is 0.

    Raises:
        ConfigurationError: there is no such normalization.
    """
    counts = matrix.astype(np.float64)
    if normalization == "NONE":
        return counts
    if normalization == "TRUE":
        total = counts.sum(axis=1, keepdims=True)
    elif normalization == "PRED":
        total = counts.sum(axis=0, keepdims=True)
    elif normalization == "ALL":
        total = counts.sum(keepdims=True)
    else:
        raise ConfigurationError(
            "is no normalization", where="normalization", expected=", ".join(NORMALIZATIONS), got=repr(normalization)
        )
    np.divide(counts, total, out=counts, where=total > 0)
    return counts


@attrs.frozen(eq=False)
class Counts:
    """Each class against the rest, int64 [k] each."""

    true_positives: Ints
    false_positives: Ints
    false_negatives: Ints
    true_negatives: Ints

    @classmethod
    def of(cls, matrix: Ints) -> Counts:
        """Read them from a confusion matrix, int64 [k, k]."""
        hits = matrix.diagonal()
        false_positives, false_negatives = matrix.sum(axis=0) - hits, matrix.sum(axis=1) - hits
        return cls(hits, false_positives, false_negatives, matrix.sum() - hits - false_positives - false_negatives)

    @property
    def support(self) -> Ints:
        """Examples of each class."""
        return self.true_positives + self.false_negatives

    @property
    def precision(self) -> Floats:
        """Share of the predictions of each class that are right, NaN where there is none."""
        return _ratios(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Floats:
        """Share of each class that is found, NaN where it has no example."""
        return _ratios(self.true_positives, self.support)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of the two, NaN for a class that is neither there nor predicted."""
        twice = 2 * self.true_positives
        return _ratios(twice, twice + self.false_positives + self.false_negatives)


def ratio(part: float, whole: float, otherwise: str) -> float:
    """Divide two counts.

    Raises:
        UndefinedError: `whole` is 0; `otherwise` says why that is so.
    """
    if whole == 0:
        raise UndefinedError(otherwise)
    return float(part / whole)


def matthews_correlation(matrix: Ints) -> float:
    """Correlate true and predicted classes: -1 to 1, 0 for a constant prediction.

    The R_k of Gorodkin (2004), for two classes the coefficient of Matthews (1975); equal to
    `sklearn.metrics.matthews_corrcoef` within 1e-12.

    Raises:
        UndefinedError: all labels are of one class.

    Example:
        >>> import numpy as np
        >>> matthews_correlation(np.array([[5, 0], [0, 5]]))
        1.0
    """
    true, predicted, n = matrix.sum(axis=1), matrix.sum(axis=0), int(matrix.sum())
    _need_two_classes(true)
    # Python's integers do not overflow.
    covariance = int(matrix.trace()) * n - _dot(true, predicted)
    spread = n * n - _dot(predicted, predicted)
    return covariance / math.sqrt(spread * (n * n - _dot(true, true))) if spread else 0.0


def cohen_kappa(matrix: Ints) -> float:
    """Measure agreement beyond chance (Cohen, 1960): at most 1, 0 for a constant prediction.

    Equal to `sklearn.metrics.cohen_kappa_score` within 1e-12.

    Raises:
        UndefinedError: all labels are of one class.
    """
    true, predicted, n = matrix.sum(axis=1), matrix.sum(axis=0), int(matrix.sum())
    _need_two_classes(true)
    by_chance = _dot(true, predicted)
    return (int(matrix.trace()) * n - by_chance) / (n * n - by_chance)


def _need_two_classes(true: Ints) -> None:
    if np.count_nonzero(true) < 2:
        raise UndefinedError("all labels are of one class")


def _ratios(part: Ints, whole: Ints) -> Floats:
    quotient = np.full(part.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _dot(left: Ints, right: Ints) -> int:
    return int(left.astype(object) @ right.astype(object)) if left.sum() > 2**31 else int(left @ right)
