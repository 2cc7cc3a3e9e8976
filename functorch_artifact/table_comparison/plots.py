"""Pictures of a comparison.

Belongs here: drawing what a `Comparison` knows. Does not: computing it.
Floor 5.

Every function gives one `matplotlib.figure.Figure`, made without pyplot. Blue is real, orange is
synthetic, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

import numpy as np

from functorch_artifact.errors import MissingExtraError
from functorch_artifact.table_comparison.statistics import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from functorch_artifact.table_comparison.comparison import Comparison

_REAL: Final = "#1f6fb2"
_SYNTHETIC: Final = "#e8743b"
_SIDES: Final = (("Real", _REAL), ("Synthetic", _SYNTHETIC))
_WIDTHS: Final = (3.2, 1.4)  # the real line shows below the synthetic one
_MOST_BARS: Final = 12
_MOST_BINS: Final = 40
_MOST_POINTS: Final = 2000
_MOST_LABELLED: Final = 14
_LONGEST_LABEL: Final = 15


def pdf(comparison: Comparison) -> Figure:
    """Draw each column's distribution: a histogram, or bars for its 12 commonest categories.

    Histograms span all but the outermost 0.1 % of either side; shares are of all rows that are known.
    """

    def numeric(axes: Axes, name: str) -> None:
        sides = comparison.real.numbers[name], comparison.synthetic.numbers[name]
        edges = _histogram_edges(*sides)
        for values, (_, colour) in zip(sides, _SIDES, strict=True):
            counts, _ = np.histogram(values, edges)
            shares = counts / max(np.count_nonzero(~np.isnan(values)), 1)
            axes.stairs(shares, edges, color=colour, fill=True, alpha=0.3)
            axes.stairs(shares, edges, color=colour, linewidth=1.4)
        axes.set_ylabel("share of rows")

    def categorical(axes: Axes, name: str) -> None:
        labels, shares = _category_shares(comparison, name)
        places = np.arange(len(labels))
        for share, offset, (_, colour) in zip(shares, (-0.2, 0.2), _SIDES, strict=True):
            axes.barh(places + offset, share, height=0.4, color=colour, alpha=0.85)
        axes.set_yticks(places, labels, parse_math=False)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlabel("share of rows")
        axes.grid(axis="y", visible=False)

    return _panels(comparison, "Distribution by column", numeric, categorical)


def cdf(comparison: Comparison) -> Figure:
    """Draw each column's cumulative distribution, categories from the commonest on."""

    def numeric(axes: Axes, name: str) -> None:
        sides = comparison.real.numbers[name], comparison.synthetic.numbers[name]
        low, *_, high = _histogram_edges(*sides)
        points = np.linspace(low, high, 512)
        for values, (_, colour), width in zip(sides, _SIDES, _WIDTHS, strict=True):
            ordered = np.sort(values[~np.isnan(values)])
            shares = np.searchsorted(ordered, points, side="right") / max(len(ordered), 1)
            axes.step(points, shares, where="post", color=colour, linewidth=width)
        axes.set_xlim(low, high)

    def categorical(axes: Axes, name: str) -> None:
        labels, shares = _category_shares(comparison, name)
        edges = np.arange(len(labels) + 1) - 0.5
        for share, (_, colour), width in zip(shares, _SIDES, _WIDTHS, strict=True):
            axes.stairs(np.cumsum(share), edges, color=colour, linewidth=width, baseline=None)
        axes.set_xticks(np.arange(len(labels)), labels, rotation=45, ha="right", parse_math=False)

    def panel(draw: Callable[[Axes, str], None]) -> Callable[[Axes, str], None]:
        def drawn(axes: Axes, name: str) -> None:
            draw(axes, name)
            axes.set_ylim(0, 1.03)
            axes.set_ylabel("cumulative share")

        return drawn

    return _panels(comparison, "Cumulative distribution by column", panel(numeric), panel(categorical))


def correlation_heatmaps(comparison: Comparison) -> Figure:
    """Draw both association matrices and their difference, real first."""
    matrices = {
        "Real": comparison.real.associations,
        "Synthetic": comparison.synthetic.associations,
        "Synthetic - real": comparison.synthetic.associations - comparison.real.associations,
    }
    n = len(comparison.spec.columns)
    side = min(max(0.5 * n, 3.0), 12.0)
    figure = _figure(3 * side + 3.0, side + 1.5, "Associations: Pearson, correlation ratio, Cramer's V")
    panels = figure.subplots(1, 3, sharey=True, squeeze=False)[0]
    labels = [_shorten(name) for name in comparison.spec.columns]
    for axes, (title, matrix) in zip(panels, matrices.items(), strict=True):
        difference = title not in ("Real", "Synthetic")
        limit = max(0.25, float(np.abs(matrix).max())) if difference else 1.0
        image = axes.imshow(matrix, cmap="PuOr_r" if difference else "RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(title)
        axes.set_xticks(range(n), labels, rotation=45, ha="right", parse_math=False, fontsize=8)
        axes.set_yticks(range(n), labels, parse_math=False, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if n <= _MOST_LABELLED:
            for (row, column), value in np.ndenumerate(matrix):
                colour = "white" if abs(value) > 0.6 * limit else "#333333"
                axes.text(column, row, _signed(value), ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)
    return figure


def pca(comparison: Comparison) -> Figure:
    """Draw both tables on the first two principal components of the real one.

    Numeric columns are standardised, categories are indicators (see `projection.Projection`). At
    most 2,000 rows a side are drawn, the same ones for the same number of rows, in mixed order.
    """
    projection = comparison.reference.projection
    random = np.random.default_rng(0)
    drawn = [_sample(projection(side.numbers, side.codes), random) for side in (comparison.real, comparison.synthetic)]
    points = np.concatenate(drawn)
    colours = np.repeat([colour for _, colour in _SIDES], [len(each) for each in drawn])
    order = random.permutation(len(points))  # so that neither side hides the other

    figure = _figure(7.0, 6.0, "Principal components of the real table")
    axes = figure.subplots()
    axes.scatter(points[order, 0], points[order, 1], c=colours[order].tolist(), s=12, alpha=0.45, linewidths=0)
    axes.set_xlabel(f"component 1 ({projection.explained[0]:.0%} of the real variance)")
    axes.set_ylabel(f"component 2 ({projection.explained[1]:.0%} of the real variance)")
    _style(axes)
    _legend(figure)
    return figure


def _panels(
    comparison: Comparison,
    title: str,
    numeric: Callable[[Axes, str], None],
    categorical: Callable[[Axes, str], None],
) -> Figure:
    names = comparison.spec.columns
    n_columns = min(len(names), 4) if len(names) != 5 else 3
    n_rows = math.ceil(len(names) / n_columns)
    figure = _figure(max(3.6 * n_columns, 4.5), 2.7 * n_rows + 0.9, title)
    panels: list[Axes] = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        _style(axes)
        axes.locator_params(axis="x", nbins=5)
        if name in comparison.spec.numeric:
            axes.ticklabel_format(axis="x", scilimits=(-3, 4))
            numeric(axes, name)
        else:
            categorical(axes, name)
        axes.set_title(_shorten(name, 30) + _missing(comparison, name), fontsize=10, parse_math=False)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    _legend(figure)
    return figure


def _figure(width: float, height: float, title: str) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="plots", purpose="drawing a comparison") from error
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return figure


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for label, colour in _SIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


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
    labels = [_shorten(comparison.synthetic.labels[name][place]) for place in top]
    parts = [known[:, top]]
    if len(top) < known.shape[1]:
        labels.append(f"other ({known.shape[1] - len(top)})")
        parts.append(np.delete(known, top, axis=1).sum(axis=1, keepdims=True))
    if missing.any():
        labels.append("missing")
        parts.append(missing)
    return labels, np.concatenate(parts, axis=1)


def _missing(comparison: Comparison, name: str) -> str:
    """Say how much of a numeric column is missing, if any is; categories have a bar for it."""
    if name not in comparison.spec.numeric:
        return ""
    shares = [float(np.isnan(side.numbers[name]).mean()) for side in (comparison.real, comparison.synthetic)]
    return f"\nmissing: {shares[0]:.1%} real, {shares[1]:.1%} synthetic" if any(shares) else ""


def _shorten(label: Hashable, longest: int = _LONGEST_LABEL) -> str:
    text = str(label)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _signed(value: float) -> str:
    return "0" if abs(value) < 0.005 else f"{value:.2f}".replace("0.", ".")


def _sample(points: Floats, random: np.random.Generator) -> Floats:
    chosen = random.choice(len(points), min(len(points), _MOST_POINTS), replace=False)
    return points[chosen]
