"""How strongly each two columns of a table go together.

Belongs here: `association_matrix` and its measures. Does not: comparing two matrices.
Floor 6.

| columns | measure | range |
|---|---|---|
| numeric, numeric | Pearson's correlation, or Spearman's or Kendall's rank correlation | -1 to 1 |
| numeric, categorical | correlation ratio, eta | 0 to 1 |
| categorical, categorical | Cramer's V, without bias correction, or Theil's U | 0 to 1 |

Each pair uses the rows where both columns are known (infinities count as unknown). Where one of
the columns is constant over those rows the measure is undefined, and 0 stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from functorch_artifact.metrics.statistics import Floats, Ints

CategoricalMeasure: TypeAlias = Literal["CRAMERS_V", "THEILS_U"]
NumericMeasure: TypeAlias = Literal["PEARSON", "SPEARMAN", "KENDALL"]

# Variances below this share of the second moment are rounding noise.
_NOISE: Final = 1e-12
_BLOCK: Final = 65_536  # rows at a time: sums of products need no copy of the table


def association_matrix(
    numbers: Sequence[Floats],
    codes: Sequence[Ints],
    categorical: CategoricalMeasure = "CRAMERS_V",
    numeric: NumericMeasure = "PEARSON",
) -> Floats:
    """Measure the association of every two columns: float64 [p + q, p + q], 1 on the diagonal.

    Args:
        numbers: p numeric columns, float64 [n] each, NaN where missing.
        codes: q categorical columns, int64 [n] each, 0 where missing.
        categorical: the measure of two categorical columns. Theil's U is not symmetric: entry
            (i, j) is how much of column i is known from column j.
        numeric: the measure of two numeric columns.

    The measures equal `pandas.DataFrame.corr`, a group-by computation of eta, and
    `scipy.stats.contingency.association(..., method="cramer")` within 1e-9 for columns of
    ordinary range. Kendall's needs scipy, which comes with scikit-learn.
    """
    p = len(numbers)
    matrix = np.eye(p + len(codes))
    scales = [_scale(column) for column in numbers]
    matrix[:p, :p] = _pearson(numbers, scales) if numeric == "PEARSON" else _by_rank(numbers, numeric)
    for j, column in enumerate(numbers):
        values, known = _standardise(column, *scales[j])
        for i, coded in enumerate(codes):
            matrix[j, p + i] = matrix[p + i, j] = _correlation_ratio(values, known, coded)
    for i, left in enumerate(codes):
        for k, right in enumerate(codes[:i]):
            matrix[p + i, p + k], matrix[p + k, p + i] = _of_categories(left, right, categorical)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _scale(column: Floats) -> tuple[float, float, float]:
    """Find what to divide by, to subtract, and to divide by again; the last is 0 for a constant.

    No measure depends on location and scale, and sums lose no digits on columns without them.
    """
    known = column[np.isfinite(column)]
    if known.size == 0 or known.min() == known.max():
        return 1.0, 0.0, 0.0
    largest = float(np.abs(known).max())  # squares of huge values would overflow
    known = known / largest
    centre = float(known.mean())
    known -= centre
    return largest, centre, float(np.sqrt(known @ known / known.size))


def _standardise(column: Floats, largest: float, centre: float, spread: float) -> tuple[Floats, Floats]:
    """Centre and scale a column, 0 where unknown: (values, 1.0 where known), both float64 [n]."""
    known = np.isfinite(column)
    if spread == 0.0:
        return np.zeros_like(column), known.astype(np.float64)
    return np.where(known, (np.where(known, column, 0.0) / largest - centre) / spread, 0.0), known.astype(np.float64)


def _blocks(numbers: Sequence[Floats], scales: Sequence[tuple[float, float, float]]) -> Iterator[tuple[Floats, Floats]]:
    for start in range(0, len(numbers[0]), _BLOCK):
        parts = [
            _standardise(column[start : start + _BLOCK], *scale) for column, scale in zip(numbers, scales, strict=True)
        ]
        yield np.stack([values for values, _ in parts]), np.stack([known for _, known in parts])


def _pearson(numbers: Sequence[Floats], scales: Sequence[tuple[float, float, float]]) -> Floats:
    if not numbers:
        return np.empty((0, 0))
    # Entry (i, j) of each is over the rows where both columns are known.
    counts, sums, squares, products = np.zeros((4, len(numbers), len(numbers)))
    for values, known in _blocks(numbers, scales):
        counts += known @ known.T
        sums += values @ known.T
        squares += (values * values) @ known.T
        products += values @ values.T
    counts = np.maximum(counts, 1.0)
    means, seconds = sums / counts, squares / counts
    variances = seconds - means**2
    constant = variances <= _NOISE * seconds
    scale = np.where(constant | constant.T, np.inf, variances * variances.T)
    correlations: Floats = np.clip((products / counts - means * means.T) / np.sqrt(scale), -1.0, 1.0)
    return correlations


def _by_rank(numbers: Sequence[Floats], measure: NumericMeasure) -> Floats:
    if not numbers:
        return np.empty((0, 0))
    frame = pd.DataFrame({i: np.where(np.isfinite(column), column, np.nan) for i, column in enumerate(numbers)})
    method: Literal["spearman", "kendall"] = "spearman" if measure == "SPEARMAN" else "kendall"
    correlations = frame.corr(method=method).to_numpy(dtype=np.float64)
    return np.where(np.isnan(correlations), 0.0, correlations)


def _correlation_ratio(values: Floats, known: Floats, codes: Ints) -> float:
    counts = np.bincount(codes, weights=known)[1:]
    sums = np.bincount(codes, weights=values)[1:]
    seen = counts > 0
    if not seen.any():
        return 0.0
    offset = sums.sum() ** 2 / counts.sum()
    second = float((values * values) @ (codes > 0))
    total = second - offset
    if total <= _NOISE * second:
        return 0.0
    between = float(np.sum(sums[seen] ** 2 / counts[seen])) - offset
    return float(np.sqrt(np.clip(between / total, 0.0, 1.0)))


def _of_categories(left: Ints, right: Ints, measure: CategoricalMeasure) -> tuple[float, float]:
    both = (left > 0) & (right > 0)
    if not both.all():
        left, right = left[both], right[both]
    rows, columns = np.bincount(left), np.bincount(right)
    if min(np.count_nonzero(rows), np.count_nonzero(columns)) < 2:
        return 0.0, 0.0
    observed, cells = _cells(left, right, len(rows), len(columns))
    expected = rows[cells // len(columns)] * columns[cells % len(columns)] / len(left)
    if measure == "CRAMERS_V":
        chi2_share = np.sum(observed**2 / (expected * len(left))) - 1.0
        smaller = min(np.count_nonzero(rows), np.count_nonzero(columns))
        v = float(np.sqrt(np.clip(chi2_share / (smaller - 1), 0.0, 1.0)))
        return v, v
    mutual = float(np.sum(observed * np.log(observed / expected)))
    return float(np.clip(mutual / _entropy(rows), 0.0, 1.0)), float(np.clip(mutual / _entropy(columns), 0.0, 1.0))


def _cells(left: Ints, right: Ints, n_rows: int, n_columns: int) -> tuple[Ints, Ints]:
    """Count the cells of a contingency table that occur: (counts, flat places)."""
    places = left * n_columns + right
    if n_rows * n_columns <= max(len(left), 1024):
        counts = np.bincount(places)
        cells = np.flatnonzero(counts)
        return counts[cells], cells
    # A table of two columns of names would not fit into memory.
    found, cells = pd.factorize(places)
    return np.bincount(found), np.asarray(cells)


def _entropy(counts: Ints) -> float:
    """Compute n times the entropy of n rows, in nats."""
    counts = counts[counts > 0]
    return float(-np.sum(counts * np.log(counts / counts.sum())))
