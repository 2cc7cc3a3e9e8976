"""Pictures of a table as a whole.

Belongs here: associations, statistics of all columns, rows as points in a plane. Does not:
computing them (`sides`, `projection`), single columns (`plots`).
Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from functorch_artifact.figures import (
    GREY,
    Cells,
    Line,
    Mark,
    Names,
    Panel,
    Points,
    Words,
    linear,
    named,
    sheet,
    shorten,
    symmetric_log,
)
from functorch_artifact.metrics.statistics import Floats
from functorch_artifact.table_comparison.associations import CategoricalMeasure, NumericMeasure
from functorch_artifact.table_comparison.drawing import COLOURS, LEGEND, signed
from functorch_artifact.table_comparison.projection import Projection, neighbour_embedding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from functorch_artifact.table_comparison.comparison import Comparison
    from functorch_artifact.table_comparison.sides import Side

STATISTICS: Final = ("MEAN", "STD", "VARIANCE", "MEDIAN", "FIRST_QUARTILE", "THIRD_QUARTILE", "MIN", "MAX")
_MEASURES: Final = {
    "PEARSON": "Pearson", "SPEARMAN": "Spearman", "KENDALL": "Kendall",
    "CRAMERS_V": "Cramer's V", "THEILS_U": "Theil's U",
}  # fmt: skip
_MOST_POINTS: Final = 2000
_MOST_LABELLED: Final = 14
_MOST_NAMED: Final = 40
_PLANE: Final = (6.2, 4.8)  # inches of a cloud of points


def correlation_heatmaps(
    comparison: Comparison,
    categorical_association_type: CategoricalMeasure = "CRAMERS_V",
    continuous_association_type: NumericMeasure = "PEARSON",
) -> Figure:
    """Draw both association matrices and their difference, real first."""
    panels = heatmaps(comparison, categorical_association_type, continuous_association_type)
    # The rows of all three are the same.
    panels[1:] = [attrs.evolve(panel, y=attrs.evolve(panel.y, ticks=())) for panel in panels[1:]]
    measures = _MEASURES[continuous_association_type], _MEASURES[categorical_association_type]
    title = f"Associations: {measures[0]}, correlation ratio, {measures[1]}"
    return sheet(panels, size=_square(comparison), n_columns=3, title=title)


def correlation_heatmaps_one_by_one(
    comparison: Comparison,
    categorical_association_type: CategoricalMeasure = "CRAMERS_V",
    continuous_association_type: NumericMeasure = "PEARSON",
) -> dict[str, Figure]:
    """Draw what `correlation_heatmaps` shows in three pictures."""
    panels = heatmaps(comparison, categorical_association_type, continuous_association_type)
    return {panel.title: sheet([panel], size=_square(comparison)) for panel in panels}


def statistic_alignment(comparison: Comparison, statistic: str) -> Figure:
    """Draw one statistic of each numeric column, real across and synthetic up: on the line they agree."""
    return sheet([alignment(comparison, statistic)], size=(5.0, 4.0), title=f"{_words(statistic)} by column")


def statistics_alignment(comparison: Comparison) -> Figure:
    """Draw `statistic_alignment` of all eight statistics."""
    panels = [attrs.evolve(alignment(comparison, statistic), title=_words(statistic)) for statistic in STATISTICS]
    return sheet(panels, size=(3.0, 2.7), n_columns=4, title="Statistics by column")


def pca(comparison: Comparison, use_categorical: bool = True) -> Figure:
    """Draw both tables on the first two principal components of the real one.

    Numeric columns are standardised, categories are indicators (see `projection.Projection`). At
    most 2,000 rows a side are drawn, the same ones for the same number of rows, in mixed order.
    """
    return _projection_figure(comparison, comparison.reference.project(True, use_categorical), "Principal components")


def truncated_svd(comparison: Comparison, use_categorical: bool = True) -> Figure:
    """Draw both tables on the first two right singular vectors of the real one, not centred.

    As `sklearn.decomposition.TruncatedSVD`; otherwise as `pca`.
    """
    return _projection_figure(comparison, comparison.reference.project(False, use_categorical), "Singular vectors")


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
    projection = comparison.reference.project(True, use_categorical)
    features = [projection.features(side.numbers, side.codes) for side in _thinned(comparison, n_rows)]
    panel = cloud(neighbour_embedding(features, perplexity, learning_rate, max_iter))
    x, y = (attrs.evolve(axis, ticks=(), note="") for axis in (panel.x, panel.y))
    return sheet([attrs.evolve(panel, x=x, y=y, frame=False)], size=_PLANE, title="t-SNE of both tables", legend=LEGEND)


def heatmaps(
    comparison: Comparison,
    categorical_association_type: CategoricalMeasure = "CRAMERS_V",
    continuous_association_type: NumericMeasure = "PEARSON",
) -> list[Panel]:
    """Show the real association matrix, the synthetic one, and their difference."""
    measures = categorical_association_type, continuous_association_type
    real, synthetic = (side.associate(*measures) for side in (comparison.real, comparison.synthetic))
    difference = synthetic - real
    names = [shorten(name) for name in comparison.spec.columns]
    x, y = named(names, slanted=True), named(names, downwards=True)
    greatest = max(0.25, float(np.abs(difference).max()))
    shown = {
        "Real": Cells(real, "RdBu_r", texts=_texts(real)),
        "Synthetic": Cells(synthetic, "RdBu_r", texts=_texts(synthetic)),
        "Synthetic - real": Cells(difference, "PuOr_r", greatest, _texts(difference)),
    }
    return [Panel(x, y, [cells], title, bar=cells, frame=False) for title, cells in shown.items()]


def alignment(comparison: Comparison, statistic: str) -> Panel:
    """Show one statistic of each numeric column."""
    pairs = {
        name: (comparison.real.statistics[name][statistic], comparison.synthetic.statistics[name][statistic])
        for name in comparison.spec.numeric
    }
    shown = {name: pair for name, pair in pairs.items() if all(map(math.isfinite, pair))}
    left_out = len(pairs) - len(shown)
    real, synthetic = np.array(list(shown.values())).reshape(-1, 2).T
    both = np.concatenate([real, synthetic])
    ends = (float(both.min()), float(both.max())) if shown else (0.0, 1.0)
    threshold = _linear_up_to(both)
    x, y = (
        linear(*ends, label, margin=0.05) if threshold is None else symmetric_log(*ends, threshold, label, margin=0.05)
        for label in ("real", "synthetic")
    )
    marks: list[Mark] = []
    if shown:
        marks += [
            Line(np.array(ends), np.array(ends), "#999999", 1.0),
            Points(real, synthetic, COLOURS[1], diameter=5.3),
        ]
    else:
        marks.append(Words((x.low + x.high) / 2, (y.low + y.high) / 2, "no numeric column", colour=GREY, size=10.0))
    if left_out:
        marks.append(Words(x.low, y.high, f"{left_out} undefined", colour=GREY, along=0.0, across=1.2))
    if len(shown) <= _MOST_NAMED:
        corners = (x.low, y.low), (x.high, y.high)
        marks.append(Names(real, synthetic, [shorten(name) for name in shown], corners))
    return Panel(x, y, marks)


def _linear_up_to(values: Floats) -> float | None:
    """Choose where logarithmic axes begin; `None` for linear ones, where values are of one size."""
    sizes = np.abs(values[values != 0.0])
    if sizes.size == 0 or sizes.max() / 50.0 < sizes.min():
        return None
    return float(max(sizes.min(), sizes.max() * 1e-12))


def projected(comparison: Comparison, projection: Projection) -> Panel:
    """Show rows of both tables where a projection puts them."""
    panel = cloud([projection(side.numbers, side.codes) for side in _thinned(comparison, _MOST_POINTS)])
    x, y = (
        attrs.evolve(axis, label=f"component {i} ({share:.0%} of the real variance)")
        for i, axis, share in zip((1, 2), (panel.x, panel.y), projection.explained, strict=True)
    )
    return attrs.evolve(panel, x=x, y=y)


def cloud(placed: Sequence[Floats]) -> Panel:
    """Show points of either side, float64 [n, 2] each."""
    points = np.concatenate(placed)
    colours = np.repeat(COLOURS, [len(each) for each in placed])
    order = np.random.default_rng(0).permutation(len(points))  # so that neither side hides the other
    x, y = points[order].T
    return Panel(
        linear(x.min(), x.max(), margin=0.04, most=7),
        linear(y.min(), y.max(), margin=0.04, most=7),
        [Points(x, y, colours[order].tolist(), diameter=3.5, alpha=0.45)],
    )


def _projection_figure(comparison: Comparison, projection: Projection, what: str) -> Figure:
    return sheet([projected(comparison, projection)], size=_PLANE, title=f"{what} of the real table", legend=LEGEND)


def _thinned(comparison: Comparison, n_rows: int) -> list[Side]:
    random = np.random.default_rng(0)
    sides = comparison.real, comparison.synthetic
    return [side.take(random.permutation(side.n_rows)[:n_rows]) for side in sides]


def _texts(matrix: Floats) -> list[list[str]]:
    return [list(map(signed, row)) for row in matrix.tolist()] if len(matrix) <= _MOST_LABELLED else []


def _square(comparison: Comparison) -> tuple[float, float]:
    side = min(max(0.43 * len(comparison.spec.columns), 2.5), 11.0)
    return side, side


def _words(statistic: str) -> str:
    return {"STD": "Standard deviation"}.get(statistic, statistic.replace("_", " ").capitalize())
