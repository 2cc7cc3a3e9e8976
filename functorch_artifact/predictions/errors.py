"""Standard errors of scores of predictions, as the functions that artifacts state them by.

Belongs here: joining an evaluation with `metrics.influence`. Does not: formulas (there), scores (the
domains).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from functorch_artifact.errors import UndefinedError
from functorch_artifact.metrics.calibration import Reliability
from functorch_artifact.metrics.confusion import Normalization
from functorch_artifact.metrics.influence import of_mean, standard_error, statistic_error
from functorch_artifact.metrics.statistics import SHORT_NAMES, Bools, Floats, Ints

Error: TypeAlias = Callable[..., float]
Key = TypeVar("Key", bound=str)


def by_matrix(influence: Callable[[Ints], Floats]) -> Error:
    """Make the error of a score from its influence by cell of the confusion matrix."""

    def error(evaluation: Any, **_: Any) -> float:
        matrix = evaluation.complete_confusion
        return standard_error(influence(matrix), matrix)

    return error


def by_mean(values: Callable[..., Floats]) -> Error:
    """Make the error of a score that is the mean of a number of each example."""

    def error(evaluation: Any, **parameters: Any) -> float:
        return standard_error(of_mean(values(evaluation, **parameters)))

    return error


def by_statistic(key: str) -> Error:
    """Make the error of a statistic of what the true classes were given, by its short name."""

    def error(evaluation: Any, **_: Any) -> float:
        return statistic_error(evaluation.known_truth_probabilities, key)

    return error


def by_statistics(values: Callable[[Any], Floats]) -> Callable[..., dict[str, float]]:
    """Make the errors of statistics of some values, by their short names."""

    def errors(evaluation: Any, stat_types: Sequence[str] = tuple(SHORT_NAMES)) -> dict[str, float]:
        known = values(evaluation)
        return each(stat_types, lambda key: statistic_error(known, key))

    return errors


def each(keys: Iterable[Key], error: Callable[[Key], Any]) -> dict[str, float]:
    """Give the errors by key, NaN where there is none."""

    def attempt(key: Key) -> float:
        try:
            return float(error(key))
        except UndefinedError:
            return float("nan")

    return {key: attempt(key) for key in keys}


def of_calibration(happened: Bools, probability: Floats, n_bins: int) -> float:
    """Make the error of an expected calibration error; see `Reliability.of`."""
    found = Reliability.of(happened, probability, n_bins)
    signs = np.sign(np.nan_to_num(found.gaps))[np.searchsorted(found.edges[1:-1], probability)]
    return standard_error(of_mean(signs * (probability - happened)))


def of_cells(matrix: Ints, normalization: Normalization) -> Floats:
    """Make the errors of the cells of a confusion matrix in a normalization: float64 [k, k]."""
    counts, n = matrix.astype(np.float64), matrix.sum()
    axis = {"TRUE": 1, "PRED": 0}.get(normalization)
    whole = np.broadcast_to(counts.sum(axis=axis, keepdims=True), counts.shape)
    share = np.divide(counts, whole, out=np.full(counts.shape, np.nan), where=whole > 0)
    return np.asarray(np.sqrt(share * (1 - share) * (n if normalization == "NONE" else 1 / np.maximum(whole, 1))))
