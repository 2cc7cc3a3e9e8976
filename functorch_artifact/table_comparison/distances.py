"""Distances between two columns.

Belongs here: distances of counts over the same bins, of sorted samples, and the bins of numeric
columns. Does not: where the columns come from (`sides`).
Floor 6.
"""

from __future__ import annotations

import numpy as np

from functorch_artifact.metrics.statistics import Floats, Ints


def js_distance(left: Ints, right: Ints) -> float:
    """Measure the Jensen-Shannon distance, base 2, of two tables of counts: 0 to 1.

    The square root of the divergence (Endres and Schindelin, 2003), equal to
    `scipy.spatial.distance.jensenshannon(left, right, base=2)` within 1e-7. The shorter table is
    taken to go on with zeros.

    Args:
        left: counts, int64 [k], not all of them zero.
        right: counts, int64 [l], not all of them zero.

    Example:
        >>> import numpy as np
        >>> js_distance(np.array([3, 3]), np.array([0, 0, 5]))
        1.0
    """
    p, q = _shares(left, right)
    middle = (p + q) / 2
    divergence = sum(float(np.sum(each[each > 0] * np.log2(each[each > 0] / middle[each > 0]))) for each in (p, q)) / 2
    return float(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def total_variation(left: Ints, right: Ints) -> float:
    """Measure the total variation distance of two tables of counts: 0 to 1.

    Half the sum of absolute differences of shares; the shorter table goes on with zeros.

    Example:
        >>> import numpy as np
        >>> total_variation(np.array([1, 1]), np.array([3, 1]))
        0.25
    """
    p, q = _shares(left, right)
    return float(np.abs(p - q).sum() / 2)


def kolmogorov_smirnov(left: Floats, right: Floats) -> float:
    """Measure the largest difference of two empirical distribution functions: 0 to 1.

    Equal to `scipy.stats.ks_2samp(left, right).statistic`.

    Args:
        left: float64 [n], sorted, n > 0.
        right: float64 [m], sorted, m > 0.

    Example:
        >>> import numpy as np
        >>> kolmogorov_smirnov(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.5
    """
    points = np.concatenate([left, right])
    gap = np.searchsorted(left, points, "right") / len(left) - np.searchsorted(right, points, "right") / len(right)
    return float(np.abs(gap).max())


def wasserstein(left: Floats, right: Floats) -> float:
    """Measure the earth mover's distance of two samples, in their unit.

    Equal to `scipy.stats.wasserstein_distance(left, right)`.

    Args:
        left: float64 [n], sorted and finite, n > 0.
        right: float64 [m], sorted and finite, m > 0.

    Example:
        >>> import numpy as np
        >>> wasserstein(np.array([0.0, 1.0]), np.array([5.0, 6.0]))
        5.0
    """
    points = np.sort(np.concatenate([left, right]), kind="stable")
    places = points[:-1]
    gap = np.searchsorted(left, places, "right") / len(left) - np.searchsorted(right, places, "right") / len(right)
    with np.errstate(over="ignore"):
        return float(np.sum(np.abs(gap) * np.diff(points)))


def quantile_edges(values: Floats, n_bins: int) -> Floats:
    """Cut the range of a real column into `n_bins` bins of equal mass, [k] edges, k <= n_bins + 1.

    Equal edges are merged. The last one lies just above the maximum, so that below the first and
    from the last edge on lies what the real column never showed. Infinities and missing values
    are left out; a column without any other value has no edges.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.empty(0)
    with np.errstate(over="ignore", invalid="ignore"):
        # Sorting is far faster than what `quantile` does to values in disorder.
        edges = np.quantile(np.sort(finite), np.linspace(0, 1, n_bins + 1))
        edges[-1] = np.nextafter(edges[-1], np.inf)
    return np.unique(edges)


def bin_counts(values: Floats, edges: Floats) -> Ints:
    """Count values by bin, int64 [len(edges) + 2]: missing, below the first edge, ..., from the last on."""
    known = np.sort(values[~np.isnan(values)])  # far faster than to look each of them up
    ends = np.concatenate([[0], np.searchsorted(known, edges), [len(known)]])
    return np.concatenate([[len(values) - len(known)], np.diff(ends)])


def _shares(left: Ints, right: Ints) -> tuple[Floats, Floats]:
    p, q = np.zeros((2, max(len(left), len(right))))
    p[: len(left)] = left / left.sum()
    q[: len(right)] = right / right.sum()
    return p, q
