"""Distances between two distributions over the same bins.

Belongs here: the Jensen-Shannon distance and the bins of numeric columns. Does not: what the
bins are of.
Floor 5.
"""

from __future__ import annotations

import numpy as np

from functorch_artifact.table_comparison.statistics import Floats, Ints


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
    p, q = np.zeros((2, max(len(left), len(right))))
    p[: len(left)] = left / left.sum()
    q[: len(right)] = right / right.sum()
    middle = (p + q) / 2
    divergence = sum(float(np.sum(each[each > 0] * np.log2(each[each > 0] / middle[each > 0]))) for each in (p, q)) / 2
    return float(np.sqrt(np.clip(divergence, 0.0, 1.0)))


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
        edges = np.quantile(finite, np.linspace(0, 1, n_bins + 1))
        edges[-1] = np.nextafter(edges[-1], np.inf)
    return np.unique(edges)


def bin_counts(values: Floats, edges: Floats) -> Ints:
    """Count values by bin, int64 [len(edges) + 2]: missing, below the first edge, ..., from the last on."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values, side="right") + 1
    return np.bincount(np.where(missing, 0, bins), minlength=len(edges) + 2)
