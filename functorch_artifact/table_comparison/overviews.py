"""Pictures of a table as a whole.

Belongs here: associations, statistics of all columns, rows as points in a plane. Does not:
computing them (`sides`, `projection`), single columns (`plots`).
Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from functorch_artifact.figures import new_figure, shorten, style
from functorch_artifact.metrics.statistics import Floats
from functorch_artifact.table_comparison.associations import CategoricalMeasure, NumericMeasure
from functorch_artifact.table_comparison.drawing import SIDES, legend, signed
from functorch_artifact.table_comparison.projection import Projection, neighbour_embedding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from functorch_artifact.table_comparison.comparison import Comparison

STATISTICS: Final = ("MEAN", "STD", "VARIANCE", "MEDIAN", "FIRST_QUARTILE", "THIRD_QUARTILE", "MIN", "MAX")
_MEASURES: Final = {
    "PEARSON": "Pearson", "SPEARMAN": "Spearman", "KENDALL": "Kendall",
    "CRAMERS_V": "Cramer's V", "THEILS_U": "Theil's U",
}  # fmt: skip
_MOST_POINTS: Final = 2000
_MOST_LABELLED: Final = 14
_MOST_NAMED: Final = 12


def correlation_heatmaps(
    comparison: Comparison,
    categorical_association_type: CategoricalMeasure = "CRAMERS_V",
    continuous_association_type: NumericMeasure = "PEARSON",
) -> Figure:
    """Draw both association matrices and their difference, real first."""
    matrices = _matrices(comparison, categorical_association_type, continuous_association_type)
    n = len(comparison.spec.columns)
    side = min(max(0.5 * n, 3.0), 12.0)
    measures = _MEASURES[continuous_association_type], _MEASURES[categorical_association_type]
    title = f"Associations: {measures[0]}, correlation ratio, {measures[1]}"
    figure = new_figure(3 * side + 3.0, side + 1.5, title)
    panels = figure.subplots(1, 3, sharey=True, squeeze=False)[0]
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        _heatmap(figure, axes, name, matrix, comparison.spec.columns)
    return figure


def correlation_heatmaps_one_by_one(
    comparison: Comparison,
    categorical_association_type: CategoricalMeasure = "CRAMERS_V",
    continuous_association_type: NumericMeasure = "PEARSON",
) -> dict[str, Figure]:
    """Draw what `correlation_heatmaps` shows in three pictures."""
    figures = {}
    for name, matrix in _matrices(comparison, categorical_association_type, continuous_association_type).items():
        side = min(max(0.5 * len(matrix), 3.0), 12.0)
        figures[name] = new_figure(side + 2.0, side + 1.2, "")
        _heatmap(figures[name], figures[name].subplots(), name, matrix, comparison.spec.columns)
    return figures


def statistic_alignment(comparison: Comparison, statistic: str) -> Figure:
    """Draw one statistic of each numeric column, real across and synthetic up: on the line they agree."""
    figure = new_figure(6.0, 5.2, f"{_words(statistic)} by column")
    _alignment(figure.subplots(), comparison, statistic)
    return figure


def statistics_alignment(comparison: Comparison) -> Figure:
    """Draw `statistic_alignment` of all eight statistics."""
    figure = new_figure(15.0, 7.6, "Statistics by column")
    for axes, statistic in zip(figure.subplots(2, 4).flat, STATISTICS, strict=True):
        _alignment(axes, comparison, statistic)
        axes.set_title(_words(statistic), fontsize=10)
    return figure


def pca(comparison: Comparison, use_categorical: bool = True) -> Figure:
    """Draw both tables on the first two principal components of the real one.

    Numeric columns are standardised, categories are indicators (see `projection.Projection`). At
    most 2,000 rows a side are drawn, the same ones for the same number of rows, in mixed order.
    """
    return _projected(comparison, comparison.reference.project(True, use_categorical), "Principal components")


def truncated_svd(comparison: Comparison, use_categorical: bool = True) -> Figure:
    """Draw both tables on the first two right singular vectors of the real one, not centred.

    As `sklearn.decomposition.TruncatedSVD`; otherwise as `pca`.
    """
    return _projected(comparison, comparison.reference.project(False, use_categorical), "Singular vectors")


def tsne(
    comparison: Comparison,
    use_categorical: bool = True,
    perplexity: float = 30.0,
    learning_rate: float | str = "auto",
    max_iter: int = 1000,
    n_rows: int = 1000,
) -> Figure:
    """Draw a joint t-SNE embedding (van der Maaten and Hinton, 2008) of rows of both tables.

    It takes seconds, and needs scikit-learn. Distances between clusters mean nothing; whether
    either side has places of its own does.

    Args:
        comparison: the two tables.
        use_categorical: whether categories count.
        perplexity: about how many neighbours a row has; less where there are few rows.
        learning_rate: as for `sklearn.manifold.TSNE`.
        max_iter: as for `sklearn.manifold.TSNE`.
        n_rows: rows of a side at most.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    features = comparison.reference.project(True, use_categorical)
    random = np.random.default_rng(0)
    sides = [side.take(random.permutation(side.n_rows)[:n_rows]) for side in (comparison.real, comparison.synthetic)]
    placed = neighbour_embedding(
        [features.features(side.numbers, side.codes) for side in sides], perplexity, learning_rate, max_iter
    )
    figure = new_figure(7.0, 6.0, "t-SNE of both tables")
    axes = figure.subplots()
    _points(figure, axes, placed, random)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


def _matrices(comparison: Comparison, categorical: CategoricalMeasure, numeric: NumericMeasure) -> dict[str, Floats]:
    real, synthetic = (side.associate(categorical, numeric) for side in (comparison.real, comparison.synthetic))
    return {"Real": real, "Synthetic": synthetic, "Synthetic - real": synthetic - real}


def _heatmap(figure: Figure, axes: Axes, title: str, matrix: Floats, columns: Sequence[str]) -> None:
    difference, n = title not in ("Real", "Synthetic"), len(matrix)
    labels = [shorten(name) for name in columns]
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
            axes.text(column, row, signed(value), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)


def _alignment(axes: Axes, comparison: Comparison, statistic: str) -> None:
    style(axes)
    axes.set_xlabel("real")
    axes.set_ylabel("synthetic")
    pairs = {
        name: (comparison.real.statistics[name][statistic], comparison.synthetic.statistics[name][statistic])
        for name in comparison.spec.numeric
    }
    shown = {name: pair for name, pair in pairs.items() if all(map(math.isfinite, pair))}
    if left_out := len(pairs) - len(shown):
        axes.text(0.02, 0.98, f"{left_out} undefined", transform=axes.transAxes, va="top", fontsize=8, color="#777777")
    if not shown:
        axes.text(0.5, 0.5, "no numeric column", transform=axes.transAxes, ha="center", color="#777777")
        return
    real, synthetic = np.array(list(shown.values())).T
    both = np.concatenate([real, synthetic])
    threshold = _linear_up_to(both)
    if threshold is not None:
        axes.set_xscale("symlog", linthresh=threshold)
        axes.set_yscale("symlog", linthresh=threshold)
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color="#999999", linewidth=1.0)
    axes.scatter(real, synthetic, s=28, color=SIDES[1][1], zorder=3)
    if len(shown) <= _MOST_NAMED:
        for (name, (across, up)), place in zip(shown.items(), range(len(shown)), strict=True):
            right = place % 2 == 0
            axes.annotate(
                shorten(name), (across, up), xytext=(5 if right else -5, -3), textcoords="offset points",
                ha="left" if right else "right", va="top" if right else "bottom", fontsize=7, parse_math=False,
            )  # fmt: skip


def _linear_up_to(values: Floats) -> float | None:
    """Choose where logarithmic axes begin; `None` for linear ones, where values are of one size."""
    sizes = np.abs(values[values != 0.0])
    if sizes.size == 0 or sizes.max() < 50.0 * sizes.min():
        return None
    return float(max(sizes.min(), sizes.max() * 1e-12))


def _projected(comparison: Comparison, projection: Projection, what: str) -> Figure:
    random = np.random.default_rng(0)
    drawn = [
        projection(chosen.numbers, chosen.codes)
        for side in (comparison.real, comparison.synthetic)
        for chosen in [side.take(random.permutation(side.n_rows)[:_MOST_POINTS])]
    ]
    figure = new_figure(7.0, 6.0, f"{what} of the real table")
    axes = figure.subplots()
    _points(figure, axes, drawn, random)
    axes.set_xlabel(f"component 1 ({projection.explained[0]:.0%} of the real variance)")
    axes.set_ylabel(f"component 2 ({projection.explained[1]:.0%} of the real variance)")
    return figure


def _points(figure: Figure, axes: Axes, drawn: Sequence[Floats], random: np.random.Generator) -> None:
    style(axes)
    points = np.concatenate(drawn)
    colours = np.repeat([colour for _, colour in SIDES], [len(each) for each in drawn])
    order = random.permutation(len(points))  # so that neither side hides the other
    axes.scatter(points[order, 0], points[order, 1], c=colours[order].tolist(), s=12, alpha=0.45, linewidths=0)
    legend(figure)


def _words(statistic: str) -> str:
    return {"STD": "Standard deviation"}.get(statistic, statistic.replace("_", " ").capitalize())
