"""How strongly each two columns of a table go together.

Belongs here: `association_matrix` and its three measures. Does not: comparing two matrices.
Floor 5.

| columns | measure | range |
|---|---|---|
| numeric, numeric | Pearson's correlation | -1 to 1 |
| numeric, categorical | correlation ratio, eta | 0 to 1 |
| categorical, categorical | Cramer's V, without bias correction | 0 to 1 |

Each pair uses the rows where both columns are known (infinities count as unknown). Where one of
the columns is constant over those rows the measure is undefined, and 0 stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from functorch_artifact.table_comparison.statistics import Floats, Ints

# Variances below this share of the second moment are rounding noise.
_NOISE: Final = 1e-12


def association_matrix(numbers: Sequence[Floats], codes: Sequence[Ints]) -> Floats:
    """Measure the association of every two columns: float64 [p + q, p + q], 1 on the diagonal.

    Args:
        numbers: p numeric columns, float64 [n] each, NaN where missing.
        codes: q categorical columns, int64 [n] each, 0 where missing.

    The measures equal `pandas.DataFrame.corr`, a group-by computation of eta, and
    `scipy.stats.contingency.association(..., method="cramer")` within 1e-9 for columns of
    ordinary range.
    """
    p = len(numbers)
    matrix = np.eye(p + len(codes))
    values, known = _standardise(numbers)
    matrix[:p, :p] = _pearson(values, known)
    for i, left in enumerate(codes):
        for j in range(p):
            matrix[j, p + i] = matrix[p + i, j] = _correlation_ratio(values[j], known[j], left)
        for k, right in enumerate(codes[:i]):
            matrix[p + i, p + k] = matrix[p + k, p + i] = _cramers_v(left, right)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _standardise(numbers: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Centre and scale each column, 0 where unknown: (values, 1.0 where known), both [p, n].

    No measure depends on location and scale, and the sums below lose no digits on such columns.
    """
    columns, indicators = [], []
    for column in numbers:
        known = np.isfinite(column)
        values = np.where(known, column, 0.0)
        if known.any() and column[known].min() < column[known].max():
            values /= np.abs(values).max()  # squares of huge values would overflow
            values = np.where(known, values - values.sum() / known.sum(), 0.0)
            values /= np.sqrt(values @ values / known.sum())
        else:
            values = np.zeros_like(values)
        columns.append(values)
        indicators.append(known.astype(np.float64))
    return np.asarray(columns), np.asarray(indicators)


def _pearson(values: Floats, known: Floats) -> Floats:
    if len(values) == 0:
        return np.empty((0, 0))
    # Entry (i, j) of each is over the rows where both columns are known.
    counts = np.maximum(known @ known.T, 1.0)
    means = values @ known.T / counts
    seconds = (values * values) @ known.T / counts
    variances = seconds - means**2
    constant = variances <= _NOISE * seconds
    covariances = values @ values.T / counts - means * means.T
    scale = np.where(constant | constant.T, np.inf, variances * variances.T)
    return np.clip(covariances / np.sqrt(scale), -1.0, 1.0)


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


def _cramers_v(left: Ints, right: Ints) -> float:
    both = (left > 0) & (right > 0)
    left, right = left[both], right[both]
    rows, columns = np.bincount(left), np.bincount(right)
    smaller = min(np.count_nonzero(rows), np.count_nonzero(columns))
    if smaller < 2:
        return 0.0
    # Only the cells that occur: a table of two columns of names would not fit into memory.
    places, cells = pd.factorize(left * len(columns) + right)
    observed = np.bincount(places)
    chi2_share = np.sum(observed**2 / (rows[cells // len(columns)] * columns[cells % len(columns)])) - 1.0
    return float(np.sqrt(np.clip(chi2_share / (smaller - 1), 0.0, 1.0)))
