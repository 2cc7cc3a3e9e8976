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
    sizes = [np.bincount(column) for column in codes]
    for j, column in enumerate(numbers):
        values, known = _standardise(column, *scales[j])
        for i, (coded, counts) in enumerate(zip(codes, sizes, strict=True)):
            matrix[j, p + i] = matrix[p + i, j] = _correlation_ratio(values, known, coded, counts)
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
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if low == high:
        return 1.0, 0.0, 0.0
    largest = max(-low, high)  # squares of huge values would overflow
    known /= largest
    centre = float(known.mean())
    known -= centre
    return largest, centre, float(np.sqrt(known @ known / known.size))


def _standardise(column: Floats, largest: float, centre: float, spread: float) -> tuple[Floats, Floats | None]:
    """Centre and scale a column, 0 where unknown; 1.0 where known, `None` if that is everywhere: float64 [n] each."""
    known = np.isfinite(column)
    complete = bool(known.all())
    if spread == 0.0:
        values = np.zeros_like(column)
    else:
        values = column / largest
        values -= centre
        values /= spread
        if not complete:
            values[~known] = 0.0
    return values, None if complete else known.astype(np.float64)


def _blocks(
    numbers: Sequence[Floats], scales: Sequence[tuple[float, float, float]]
) -> Iterator[tuple[Floats, Floats | None]]:
    for start in range(0, len(numbers[0]), _BLOCK):
        parts = [
            _standardise(column[start : start + _BLOCK], *scale) for column, scale in zip(numbers, scales, strict=True)
        ]
        values = np.stack([values for values, _ in parts])
        if all(known is None for _, known in parts):
            yield values, None
        else:
            yield values, np.stack([np.ones(values.shape[1]) if known is None else known for _, known in parts])


def _pearson(numbers: Sequence[Floats], scales: Sequence[tuple[float, float, float]]) -> Floats:
    if not numbers:
        return np.empty((0, 0))
    # Entry (i, j) of each is over the rows where both columns are known.
    counts, sums, squares, products = np.zeros((4, len(numbers), len(numbers)))
    for values, known in _blocks(numbers, scales):
        if known is None:
            counts += values.shape[1]
            sums += values.sum(axis=1, keepdims=True)
            squares += (values * values).sum(axis=1, keepdims=True)
        else:
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


def _correlation_ratio(values: Floats, known: Floats | None, codes: Ints, rows: Ints) -> float:
    """Measure eta of a standardised column and a categorical one, with so many rows of each code."""
    counts = (rows if known is None else np.bincount(codes, weights=known))[1:]
    sums = np.bincount(codes, weights=values)[1:]
    seen = counts > 0
    if not seen.any():
        return 0.0
    offset = sums.sum() ** 2 / counts.sum()
    coded = values[codes > 0] if rows[0] else values
    second = float(coded @ coded)
    total = second - offset
    if total <= _NOISE * second:
        return 0.0
    between = float(np.sum(sums[seen] ** 2 / counts[seen])) - offset
    return float(np.sqrt(np.clip(between / total, 0.0, 1.0)))


def _of_categories(left: Ints, right: Ints, measure: CategoricalMeasure) -> tuple[float, float]:
    observed, row, column = _cells(left, right)
    rows, columns = np.bincount(row, observed), np.bincount(column, observed)
    if min(np.count_nonzero(rows), np.count_nonzero(columns)) < 2:
        return 0.0, 0.0
    n = observed.sum()
    expected = rows[row] * columns[column] / n
    if measure == "CRAMERS_V":
        chi2_share = np.sum(observed**2 / (expected * n)) - 1.0
        smaller = min(np.count_nonzero(rows), np.count_nonzero(columns))
        v = float(np.sqrt(np.clip(chi2_share / (smaller - 1), 0.0, 1.0)))
        return v, v
    mutual = float(np.sum(observed * np.log(observed / expected)))
    return float(np.clip(mutual / _entropy(rows), 0.0, 1.0)), float(np.clip(mutual / _entropy(columns), 0.0, 1.0))


def _cells(left: Ints, right: Ints) -> tuple[Ints, Ints, Ints]:
    """Count the cells of a contingency table that occur, where both are known: (counts, rows, columns)."""
    n_columns = int(right.max()) + 1
    places = left * n_columns + right
    if (int(left.max()) + 1) * n_columns <= max(len(left), 1024):
        counts = np.bincount(places)
        cells = np.flatnonzero(counts)
        counts = counts[cells]
    else:  # a table of two columns of names would not fit into memory
        found, cells = pd.factorize(places)
        counts = np.bincount(found)
    rows, columns = np.divmod(np.asarray(cells), n_columns)
    known = (rows > 0) & (columns > 0)
    return counts[known], rows[known], columns[known]


def _entropy(counts: Ints) -> float:
    """Compute n times the entropy of n rows, in nats."""
    counts = counts[counts > 0]
    return float(-np.sum(counts * np.log(counts / counts.sum())))
