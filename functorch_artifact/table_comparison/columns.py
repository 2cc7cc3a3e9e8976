"""Scores of one column at a time.

Belongs here: distances, coverage and agreement by column, each a function of a comparison to
numbers by column. Does not: their names and scales (`artifacts`), pairs of columns
(`associations`), whole rows (`learners`, `closest`).
Floor 6.

A number that is undefined is NaN and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from functorch_artifact.metrics.statistics import Floats
from functorch_artifact.records import Score
from functorch_artifact.table_comparison.comparison import Comparison
from functorch_artifact.table_comparison.distances import kolmogorov_smirnov, total_variation, wasserstein

ByColumn: TypeAlias = Mapping[str, float | Score]


def kolmogorov_smirnov_distances(comparison: Comparison) -> ByColumn:
    """Measure the largest difference of the distribution functions of each numeric column.

    Over known values, infinities among them, as `scipy.stats.ks_2samp`.
    """
    return _of_samples(comparison, kolmogorov_smirnov)


def wasserstein_distances(comparison: Comparison, standardised: bool = True) -> ByColumn:
    """Measure the earth mover's distance of each numeric column.

    Over finite values, as `scipy.stats.wasserstein_distance`.

    Args:
        comparison: the two tables.
        standardised: whether to divide by the real column's standard deviation, so that columns
            can be compared with each other; a constant column has none, and keeps its unit.
    """

    def distance(real: Floats, synthetic: Floats) -> float:
        scale = float(real.std()) if standardised else 1.0
        return wasserstein(real, synthetic) / (scale or 1.0)

    return _of_samples(comparison, distance, finite=True)


def total_variations(comparison: Comparison) -> ByColumn:
    """Measure the total variation distance of each categorical column; missing is a category."""
    real, synthetic = comparison.real.counts, comparison.synthetic.counts
    return {name: total_variation(real[name], synthetic[name]) for name in comparison.spec.categorical}


def category_coverages(comparison: Comparison) -> ByColumn:
    """Compute the share of each column's real categories that the synthetic table has."""

    def covered(name: str) -> float | Score:
        real, synthetic = (side.counts[name][1:] > 0 for side in (comparison.real, comparison.synthetic))
        if not real.any():
            return Score(float("nan"), "no real category is known")
        return float(synthetic[: len(real)][real].mean())

    return {name: covered(name) for name in comparison.spec.categorical}


def range_coverages(comparison: Comparison) -> ByColumn:
    """Compute the share of each column's real range that the synthetic values span.

    Over finite values; a real constant is covered (1) if it lies in the synthetic range, else not (0).
    """

    def covered(real: Floats, synthetic: Floats) -> float:
        low, high = max(real[0], synthetic[0]), min(real[-1], synthetic[-1])
        if real[0] == real[-1]:
            return float(low <= high)
        # Halves, for the difference of two huge numbers may overflow.
        return float(np.clip((high / 2 - low / 2) / (real[-1] / 2 - real[0] / 2), 0.0, 1.0))

    return _of_samples(comparison, covered, finite=True)


def missing_value_agreements(comparison: Comparison) -> ByColumn:
    """Compute 1 less the difference of the shares of missing values, for each column."""
    real, synthetic = comparison.real.missing, comparison.synthetic.missing
    return {name: 1.0 - abs(real[name] - synthetic[name]) for name in comparison.spec.columns}


def nonfinite_shares(comparison: Comparison) -> ByColumn:
    """Compute the share of synthetic values that are NaN or infinite, for each numeric column."""
    numbers = comparison.synthetic.numbers
    return {name: 1.0 - float(np.isfinite(values).mean()) for name, values in numbers.items()}


def mean_of(by_column: ByColumn, kind: str) -> Score:
    """Average numbers over the columns where they are defined."""
    values = [each.value if isinstance(each, Score) else each for each in by_column.values()]
    defined = [value for value in values if not np.isnan(value)]
    if not defined:
        return Score(float("nan"), f"defined for no {kind} column" if values else f"there is no {kind} column")
    return Score(float(np.mean(defined)))


def _of_samples(
    comparison: Comparison, measure: Callable[[Floats, Floats], float], *, finite: bool = False
) -> ByColumn:
    found: dict[str, float | Score] = {}
    for name in comparison.spec.numeric:
        real, synthetic = comparison.real.sorted[name], comparison.synthetic.sorted[name]
        if finite:
            real, synthetic = _finite(real), _finite(synthetic)
        if real.size and synthetic.size:
            found[name] = measure(real, synthetic)
        else:
            which = "real" if not real.size else "synthetic"
            found[name] = Score(float("nan"), f"no {which} value is {'finite' if finite else 'known'}")
    return found


def _finite(ordered: Floats) -> Floats:
    return ordered[np.searchsorted(ordered, -np.inf, "right") : np.searchsorted(ordered, np.inf, "left")]
