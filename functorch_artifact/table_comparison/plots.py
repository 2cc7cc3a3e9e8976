"""Pictures of columns, one by one or side by side.

Belongs here: distributions of columns. Does not: computing them (`sides`), pictures of the table
as a whole (`overviews`).
Floor 6.

A picture of all columns is one figure, drawn once; a collection is a figure for each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from functorch_artifact.figures import (
    Boxes,
    Line,
    Mark,
    Panel,
    Steps,
    linear,
    named,
    sheet,
    shorten,
)
from functorch_artifact.metrics.statistics import Floats
from functorch_artifact.table_comparison.drawing import COLOURS, LEGEND

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from functorch_artifact.table_comparison.comparison import Comparison

_WIDTHS: Final = (3.2, 1.4)  # the real line shows below the synthetic one
_MOST_BARS: Final = 12
_MOST_BINS: Final = 40
_INTEGERS_BELOW: Final = 2.0**52  # beyond it every float is one
_N_POINTS: Final = 512
_MOST_ROWS: Final = 200  # of panels: matplotlib draws no picture of more than 65,535 pixels
_TOGETHER: Final = (2.9, 1.9)  # inches of a panel among others
_ALONE: Final = (5.2, 2.9)


def pdf(comparison: Comparison) -> Figure:
    """Draw each column's distribution: a histogram, or bars for its 12 commonest categories.

    Histograms span all but the outermost 0.1 % of either side; shares are of all rows that are known.
    """
    return _together(comparison, "Distribution by column", density)


def cdf(comparison: Comparison) -> Figure:
    """Draw each column's cumulative distribution, categories from the commonest on."""
    return _together(comparison, "Cumulative distribution by column", cumulation)


def pdf_by_column(comparison: Comparison) -> dict[str, Figure]:
    """Draw what `pdf` shows in a picture for each column."""
    return _one_by_one(comparison, density)


def cdf_by_column(comparison: Comparison) -> dict[str, Figure]:
    """Draw what `cdf` shows in a picture for each column."""
    return _one_by_one(comparison, cumulation)


def density(comparison: Comparison, name: str) -> Panel:
    """Show a column's distribution."""
    if name not in comparison.spec.numeric:
        return _bars(comparison, name)
    sides = comparison.real.numbers[name], comparison.synthetic.numbers[name]
    edges = _histogram_edges(*sides)
    shares = [_histogram(values, edges) for values in sides]
    return Panel(
        linear(edges[0], edges[-1], margin=0.02),
        linear(0.0, _above(shares), "share of rows"),
        [Steps(edges, share, colour, fill=0.3) for share, colour in zip(shares, COLOURS, strict=True)],
        _title(comparison, name),
    )


def cumulation(comparison: Comparison, name: str) -> Panel:
    """Show a column's cumulative distribution."""
    marks: list[Mark] = []
    if name in comparison.spec.numeric:
        low, *_, high = _histogram_edges(comparison.real.numbers[name], comparison.synthetic.numbers[name]).tolist()
        x = linear(low, high)
        points = _evenly(low, high, _N_POINTS)
        for side, colour, width in zip((comparison.real, comparison.synthetic), COLOURS, _WIDTHS, strict=True):
            shares = np.searchsorted(side.sorted[name], points, side="right") / max(len(side.sorted[name]), 1)
            marks.append(Line(*_staircase(points, shares), colour, width))
    else:
        labels, categories = _category_shares(comparison, name)
        x = named(labels, slanted=True)
        edges = np.linspace(-0.5, len(labels) - 0.5, len(labels) + 1)
        marks += [
            Steps(edges, share.cumsum(), colour, width, closed=False)
            for share, colour, width in zip(categories, COLOURS, _WIDTHS, strict=True)
        ]
    return Panel(x, linear(0.0, 1.03, "cumulative share"), marks, _title(comparison, name))


def _bars(comparison: Comparison, name: str) -> Panel:
    labels, shares = _category_shares(comparison, name)
    places = np.arange(len(labels))
    return Panel(
        linear(0.0, _above(shares), "share of rows"),
        named(labels, downwards=True, grid=False),
        [
            Boxes(0.0, share, places + offset - 0.2, places + offset + 0.2, colour)
            for share, offset, colour in zip(shares, (-0.2, 0.2), COLOURS, strict=True)
        ],
        _title(comparison, name),
    )


def _together(comparison: Comparison, title: str, panel: Callable[[Comparison, str], Panel]) -> Figure:
    names = comparison.spec.columns
    return sheet(
        [panel(comparison, name) for name in names],
        size=_TOGETHER,
        n_columns=3 if len(names) == 5 else min(len(names), max(4, math.ceil(len(names) / _MOST_ROWS))),
        title=title,
        legend=LEGEND,
    )


def _one_by_one(comparison: Comparison, panel: Callable[[Comparison, str], Panel]) -> dict[str, Figure]:
    return {name: sheet([panel(comparison, name)], size=_ALONE, legend=LEGEND) for name in comparison.spec.columns}


def _above(shares: Floats | Sequence[Floats]) -> float:
    """Choose the end of an axis of shares."""
    return 1.05 * max(float(share.max(initial=0.0)) for share in shares) or 1.0


def _staircase(points: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """List the corners of a function that keeps each value until the next point."""
    rises = np.flatnonzero(np.diff(shares)) + 1
    x = np.concatenate([points[:1], np.repeat(points[rises], 2), points[-1:]])
    return x, np.repeat(shares[np.concatenate([[0], rises])], 2)


def _histogram(values: Floats, edges: Floats) -> Floats:
    """Compute the share of known values in each bin."""
    counts, _ = np.histogram(values, edges)
    return np.asarray(counts / max(np.count_nonzero(~np.isnan(values)), 1), dtype=np.float64)


def _histogram_edges(*sides: Floats) -> Floats:
    finite = [values[np.isfinite(values)] for values in sides]
    finite = [values for values in finite if values.size]
    if not finite:
        return np.array([0.0, 1.0])
    # Order statistics themselves: between two very large ones there may be no difference to take.
    low = min(float(np.quantile(values, 0.001, method="nearest")) for values in finite)
    high = max(float(np.quantile(values, 0.999, method="nearest")) for values in finite)
    if max(-low, high) < _INTEGERS_BELOW and all(np.array_equal(values, np.round(values)) for values in finite):
        # Bins of unequal numbers of integers would look like a comb.
        low, high = math.floor(low) - 0.5, math.ceil(high) + 0.5
        width = math.ceil((high - low) / _MOST_BINS)
        return low + width * np.arange(math.ceil((high - low) / width) + 1.0)
    margin = 0.0 if low < high else 0.5 * abs(low) or 0.5
    return _evenly(max(low - margin, -sys.float_info.max), min(high + margin, sys.float_info.max), _MOST_BINS + 1)


def _evenly(low: float, high: float, n: int) -> Floats:
    """Choose numbers as `linspace`, also where the span is beyond what a float can hold."""
    share = np.linspace(0.0, 1.0, n)
    return np.linspace(low, high, n) if math.isfinite(high - low) else low * (1.0 - share) + high * share


def _category_shares(comparison: Comparison, name: str) -> tuple[list[str], Floats]:
    """List what to show of a categorical column, and its shares on either side: [2, labels]."""
    counts = np.zeros((2, len(comparison.synthetic.labels[name]) + 1))
    for row, side in zip(counts, (comparison.real, comparison.synthetic), strict=True):
        row[: len(side.counts[name])] = side.counts[name]
    shares = counts / counts.sum(axis=1, keepdims=True)
    missing, known = shares[:, :1], shares[:, 1:]
    top = np.argsort(-known.max(axis=0, initial=0.0), kind="stable")[:_MOST_BARS]
    top = top[np.lexsort((-known[1, top], -known[0, top]))]
    labels = [shorten(comparison.synthetic.labels[name][place]) for place in top]
    parts = [known[:, top]]
    if len(top) < known.shape[1]:
        labels.append(f"other ({known.shape[1] - len(top)})")
        parts.append(np.delete(known, top, axis=1).sum(axis=1, keepdims=True))
    if missing.any():
        labels.append("missing")
        parts.append(missing)
    return labels, np.concatenate(parts, axis=1)


def _title(comparison: Comparison, name: str) -> str:
    """Name a column, and say how much of it is missing or infinite, if any is; categories have a bar for it."""
    said = shorten(name, 30)
    if name not in comparison.spec.numeric:
        return said
    sides = comparison.real.numbers[name], comparison.synthetic.numbers[name]
    for what, test in (("missing", np.isnan), ("infinite", np.isinf)):
        shares = [float(test(values).mean()) for values in sides]
        said += f"\n{what}: {shares[0]:.1%} real, {shares[1]:.1%} synthetic" if any(shares) else ""
    return said
