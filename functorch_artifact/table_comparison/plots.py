"""Pictures of columns, one by one or side by side.

Belongs here: distributions of columns. Does not: computing them (`sides`), pictures of the table
as a whole (`overviews`).
Floor 6.

A picture of all columns is one figure, drawn once; a collection is a figure for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from functorch_artifact.figures import new_figure, shorten, style
from functorch_artifact.metrics.statistics import Floats
from functorch_artifact.table_comparison.drawing import SIDES, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from functorch_artifact.table_comparison.comparison import Comparison

_WIDTHS: Final = (3.2, 1.4)  # the real line shows below the synthetic one
_MOST_BARS: Final = 12
_MOST_BINS: Final = 40


def pdf(comparison: Comparison) -> Figure:
    """Draw each column's distribution: a histogram, or bars for its 12 commonest categories.

    Histograms span all but the outermost 0.1 % of either side; shares are of all rows that are known.
    """
    return _panels(comparison, "Distribution by column", _density)


def cdf(comparison: Comparison) -> Figure:
    """Draw each column's cumulative distribution, categories from the commonest on."""
    return _panels(comparison, "Cumulative distribution by column", _cumulation)


def pdf_by_column(comparison: Comparison) -> dict[str, Figure]:
    """Draw what `pdf` shows in a picture for each column."""
    return {name: _alone(comparison, name, _density) for name in comparison.spec.columns}


def cdf_by_column(comparison: Comparison) -> dict[str, Figure]:
    """Draw what `cdf` shows in a picture for each column."""
    return {name: _alone(comparison, name, _cumulation) for name in comparison.spec.columns}


def _density(axes: Axes, comparison: Comparison, name: str) -> None:
    if name not in comparison.spec.numeric:
        return _bars(axes, comparison, name)
    sides = comparison.real.numbers[name], comparison.synthetic.numbers[name]
    edges = _histogram_edges(*sides)
    for values, (_, colour) in zip(sides, SIDES, strict=True):
        counts, _ = np.histogram(values, edges)
        shares = counts / max(np.count_nonzero(~np.isnan(values)), 1)
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.3)
        axes.stairs(shares, edges, color=colour, linewidth=1.4)
    axes.set_ylabel("share of rows")
    return None


def _bars(axes: Axes, comparison: Comparison, name: str) -> None:
    labels, shares = _category_shares(comparison, name)
    places = np.arange(len(labels))
    for share, offset, (_, colour) in zip(shares, (-0.2, 0.2), SIDES, strict=True):
        axes.barh(places + offset, share, height=0.4, color=colour, alpha=0.85)
    axes.set_yticks(places, labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel("share of rows")
    axes.grid(axis="y", visible=False)


def _cumulation(axes: Axes, comparison: Comparison, name: str) -> None:
    if name in comparison.spec.numeric:
        low, *_, high = _histogram_edges(comparison.real.numbers[name], comparison.synthetic.numbers[name])
        points = np.linspace(low, high, 512)
        for side, (_, colour), width in zip((comparison.real, comparison.synthetic), SIDES, _WIDTHS, strict=True):
            shares = np.searchsorted(side.sorted[name], points, side="right") / max(len(side.sorted[name]), 1)
            axes.step(points, shares, where="post", color=colour, linewidth=width)
        axes.set_xlim(low, high)
    else:
        labels, shares = _category_shares(comparison, name)
        edges = np.arange(len(labels) + 1) - 0.5
        for share, (_, colour), width in zip(shares, SIDES, _WIDTHS, strict=True):
            axes.stairs(np.cumsum(share), edges, color=colour, linewidth=width, baseline=None)
        axes.set_xticks(np.arange(len(labels)), labels, rotation=45, ha="right", parse_math=False)
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("cumulative share")


def _panels(comparison: Comparison, title: str, draw: Callable[[Axes, Comparison, str], None]) -> Figure:
    names = comparison.spec.columns
    n_columns = min(len(names), 4) if len(names) != 5 else 3
    n_rows = math.ceil(len(names) / n_columns)
    figure = new_figure(max(3.6 * n_columns, 4.5), 2.7 * n_rows + 0.9, title)
    panels: list[Axes] = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, comparison, name, draw)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    legend(figure)
    return figure


def _alone(comparison: Comparison, name: str, draw: Callable[[Axes, Comparison, str], None]) -> Figure:
    figure = new_figure(6.0, 4.0, "")
    _panel(figure.subplots(), comparison, name, draw)
    legend(figure)
    return figure


def _panel(axes: Axes, comparison: Comparison, name: str, draw: Callable[[Axes, Comparison, str], None]) -> None:
    style(axes)
    axes.locator_params(axis="x", nbins=5)
    if name in comparison.spec.numeric:
        axes.ticklabel_format(axis="x", scilimits=(-3, 4))
    draw(axes, comparison, name)
    axes.set_title(shorten(name, 30) + _missing(comparison, name), fontsize=10, parse_math=False)


def _histogram_edges(*sides: Floats) -> Floats:
    finite = [values[np.isfinite(values)] for values in sides]
    finite = [values for values in finite if values.size]
    if not finite:
        return np.array([0.0, 1.0])
    low = min(float(np.quantile(values, 0.001)) for values in finite)
    high = max(float(np.quantile(values, 0.999)) for values in finite)
    if all(np.array_equal(values, np.round(values)) for values in finite):
        # Bins of unequal numbers of integers would look like a comb.
        low, high = math.floor(low) - 0.5, math.ceil(high) + 0.5
        width = math.ceil((high - low) / _MOST_BINS)
        return low + width * np.arange(math.ceil((high - low) / width) + 1.0)
    margin = 0.0 if low < high else 0.5 * abs(low) or 0.5
    return np.linspace(low - margin, high + margin, _MOST_BINS + 1)


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


def _missing(comparison: Comparison, name: str) -> str:
    """Say how much of a numeric column is missing or infinite, if any is; categories have a bar for it."""
    if name not in comparison.spec.numeric:
        return ""
    sides = comparison.real.numbers[name], comparison.synthetic.numbers[name]
    said = ""
    for what, test in (("missing", np.isnan), ("infinite", np.isinf)):
        shares = [float(test(values).mean()) for values in sides]
        said += f"\n{what}: {shares[0]:.1%} real, {shares[1]:.1%} synthetic" if any(shares) else ""
    return said
