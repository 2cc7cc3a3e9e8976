"""Which artifacts there are: the one place to touch for a new one.

Belongs here: the enumerations, and name, scale and function of each member. Does not: the
computations themselves, or which artifacts a run wants (`plan`).
Floor 6.

Parameters bear the names that they have in the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functorch_artifact.artifacts import ArtifactType, Toolkit
from functorch_artifact.table_comparison import columns, learners, overviews, plots, rows
from functorch_artifact.table_comparison.associations import CategoricalMeasure, NumericMeasure
from functorch_artifact.table_comparison.columns import ByColumn
from functorch_artifact.table_comparison.comparison import Comparison, VectorDistance


class TableComparisonScoreType(ArtifactType):
    """Numbers."""

    MEAN_JS_DISTANCE = "MEAN_JS_DISTANCE"
    CORRELATION_DISTANCE = "CORRELATION_DISTANCE"
    MEAN_KS_DISTANCE = "MEAN_KS_DISTANCE"
    MEAN_WASSERSTEIN_DISTANCE = "MEAN_WASSERSTEIN_DISTANCE"
    MEAN_TOTAL_VARIATION = "MEAN_TOTAL_VARIATION"
    MEAN_CATEGORY_COVERAGE = "MEAN_CATEGORY_COVERAGE"
    MEAN_RANGE_COVERAGE = "MEAN_RANGE_COVERAGE"
    MEAN_MISSING_VALUE_AGREEMENT = "MEAN_MISSING_VALUE_AGREEMENT"
    DETECTION_SCORE = "DETECTION_SCORE"


class TableComparisonArrayType(ArtifactType):
    """Arrays: there is none so far."""


class TableComparisonPlotType(ArtifactType):
    """Pictures."""

    PDF = "PDF"
    CDF = "CDF"
    DESCRIPTIVE_STATS_ALIGNMENT = "DESCRIPTIVE_STATS_ALIGNMENT"
    MEAN_ALIGNMENT = "MEAN_ALIGNMENT"
    STD_ALIGNMENT = "STD_ALIGNMENT"
    VARIANCE_ALIGNMENT = "VARIANCE_ALIGNMENT"
    MEDIAN_ALIGNMENT = "MEDIAN_ALIGNMENT"
    FIRST_QUARTILE_ALIGNMENT = "FIRST_QUARTILE_ALIGNMENT"
    THIRD_QUARTILE_ALIGNMENT = "THIRD_QUARTILE_ALIGNMENT"
    MIN_ALIGNMENT = "MIN_ALIGNMENT"
    MAX_ALIGNMENT = "MAX_ALIGNMENT"
    CORRELATION_HEATMAP_JUXTAPOSITION = "CORRELATION_HEATMAP_JUXTAPOSITION"
    PCA_JUXTAPOSITION = "PCA_JUXTAPOSITION"
    TRUNCATED_SVD_JUXTAPOSITION = "TRUNCATED_SVD_JUXTAPOSITION"
    TSNE_JUXTAPOSITION = "TSNE_JUXTAPOSITION"


class TableComparisonScoreCollectionType(ArtifactType):
    """Numbers by column, or several of one kind."""

    JS_DISTANCE = "JS_DISTANCE"
    KS_DISTANCE = "KS_DISTANCE"
    WASSERSTEIN_DISTANCE = "WASSERSTEIN_DISTANCE"
    TOTAL_VARIATION = "TOTAL_VARIATION"
    CATEGORY_COVERAGE = "CATEGORY_COVERAGE"
    RANGE_COVERAGE = "RANGE_COVERAGE"
    MISSING_VALUE_AGREEMENT = "MISSING_VALUE_AGREEMENT"
    NONFINITE_SHARE = "NONFINITE_SHARE"
    DISTANCE_TO_CLOSEST_RECORD = "DISTANCE_TO_CLOSEST_RECORD"
    TRAIN_ON_SYNTHETIC_TEST_ON_REAL = "TRAIN_ON_SYNTHETIC_TEST_ON_REAL"


class TableComparisonArrayCollectionType(ArtifactType):
    """Arrays [real, synthetic] by numeric column."""

    MEAN_JUXTAPOSITION = "MEAN_JUXTAPOSITION"
    STD_JUXTAPOSITION = "STD_JUXTAPOSITION"
    VARIANCE_JUXTAPOSITION = "VARIANCE_JUXTAPOSITION"
    MEDIAN_JUXTAPOSITION = "MEDIAN_JUXTAPOSITION"
    FIRST_QUARTILE_JUXTAPOSITION = "FIRST_QUARTILE_JUXTAPOSITION"
    THIRD_QUARTILE_JUXTAPOSITION = "THIRD_QUARTILE_JUXTAPOSITION"
    MIN_JUXTAPOSITION = "MIN_JUXTAPOSITION"
    MAX_JUXTAPOSITION = "MAX_JUXTAPOSITION"


class TableComparisonPlotCollectionType(ArtifactType):
    """Pictures by name. Two share their names with plots, and one plan may hold both."""

    PDF = "PDF_COLLECTION"
    CDF = "CDF_COLLECTION"
    CORRELATION_HEATMAPS = "CORRELATION_HEATMAPS"


toolkit = Toolkit[Comparison](
    "table_comparison",
    {
        "comparison": lambda comparison: comparison,
        "real": lambda comparison: comparison.real.frame,
        "synthetic": lambda comparison: comparison.synthetic.frame,
        "spec": lambda comparison: comparison.spec,
    },
    resample=Comparison.resample,
)
"""All artifacts of the domain: a function of one's own joins them by `@toolkit.score("NAME")`, and
may ask for `real` and `synthetic` (pandas tables), `spec`, or the whole `comparison`."""


@toolkit.score(TableComparisonScoreType.MEAN_JS_DISTANCE, low=0.0, high=1.0, better="lower", noise="resample")
def mean_js_distance(
    comparison: Comparison, n_bins_cts_histogram: int | None = None, categorical_only: bool = False
) -> Any:
    """Average the columns' Jensen-Shannon distances; see `js_distance`."""
    return columns.mean_of(comparison.js(n_bins_cts_histogram, categorical_only), "categorical")


@toolkit.score_collection(
    TableComparisonScoreCollectionType.JS_DISTANCE, low=0.0, high=1.0, better="lower", noise="resample"
)
def js_distance(
    comparison: Comparison, n_bins_cts_histogram: int | None = None, categorical_only: bool = False
) -> dict[str, float]:
    """Measure each column's Jensen-Shannon distance, over bins of equal real mass (the specification's `n_bins`)."""
    return comparison.js(n_bins_cts_histogram, categorical_only)


@toolkit.score(TableComparisonScoreType.CORRELATION_DISTANCE, low=0.0, high=2.0, better="lower", noise="resample")
def correlation_distance(
    comparison: Comparison,
    categorical_association_type: CategoricalMeasure = "CRAMERS_V",
    continuous_association_type: NumericMeasure = "PEARSON",
    vector_distance_metric: VectorDistance = "MAE",
) -> float:
    """Measure how much the associations of each two columns differ."""
    return comparison.association_distance(
        categorical_association_type, continuous_association_type, vector_distance_metric
    )


def _by_column(
    name: str,
    mean: str | None,
    kind: str,
    compute: Callable[..., ByColumn],
    high: float = 1.0,
    better: Any = "lower",
) -> None:
    """Register numbers by column, and their mean."""
    toolkit.score_collection(name, low=0.0, high=high, better=better, noise="resample")(compute)
    if mean is None:
        return

    @toolkit.score(mean, low=0.0, high=high, better=better, noise="resample")
    def mean_over_columns(comparison: Comparison) -> Any:
        return columns.mean_of(compute(comparison), kind)


_COLLECTION, _SCORE = TableComparisonScoreCollectionType, TableComparisonScoreType
_by_column(_COLLECTION.KS_DISTANCE, _SCORE.MEAN_KS_DISTANCE, "numeric", columns.kolmogorov_smirnov_distances)
_by_column(
    _COLLECTION.WASSERSTEIN_DISTANCE,
    _SCORE.MEAN_WASSERSTEIN_DISTANCE,
    "numeric",
    columns.wasserstein_distances,
    high=float("inf"),
)
_by_column(_COLLECTION.TOTAL_VARIATION, _SCORE.MEAN_TOTAL_VARIATION, "categorical", columns.total_variations)
_by_column(
    _COLLECTION.CATEGORY_COVERAGE,
    _SCORE.MEAN_CATEGORY_COVERAGE,
    "categorical",
    columns.category_coverages,
    better="higher",
)
_by_column(_COLLECTION.RANGE_COVERAGE, _SCORE.MEAN_RANGE_COVERAGE, "numeric", columns.range_coverages, better="higher")
_by_column(
    _COLLECTION.MISSING_VALUE_AGREEMENT,
    _SCORE.MEAN_MISSING_VALUE_AGREEMENT,
    "",
    columns.missing_value_agreements,
    better="higher",
)
_by_column(_COLLECTION.NONFINITE_SHARE, None, "numeric", columns.nonfinite_shares)

toolkit.score(_SCORE.DETECTION_SCORE, low=0.0, high=1.0, better="lower", noise=lambda comparison, **_: 0.5, heavy=True)(
    learners.detection_score
)
toolkit.score_collection(
    _COLLECTION.DISTANCE_TO_CLOSEST_RECORD,
    low=0.0,
    noise=lambda comparison, **_: {"median_ratio": 1.0, "too_close": rows.TOO_CLOSE},
    heavy=True,
)(rows.closest_record)
toolkit.score_collection(_COLLECTION.TRAIN_ON_SYNTHETIC_TEST_ON_REAL, high=1.0, heavy=True)(learners.utility)

toolkit.plot(TableComparisonPlotType.PDF)(plots.pdf)
toolkit.plot(TableComparisonPlotType.CDF)(plots.cdf)
toolkit.plot(TableComparisonPlotType.DESCRIPTIVE_STATS_ALIGNMENT)(overviews.statistics_alignment)
toolkit.plot(TableComparisonPlotType.CORRELATION_HEATMAP_JUXTAPOSITION)(overviews.correlation_heatmaps)
toolkit.plot(TableComparisonPlotType.PCA_JUXTAPOSITION)(overviews.pca)
toolkit.plot(TableComparisonPlotType.TRUNCATED_SVD_JUXTAPOSITION)(overviews.truncated_svd)
toolkit.plot(TableComparisonPlotType.TSNE_JUXTAPOSITION)(overviews.tsne)
toolkit.plot_collection(TableComparisonPlotCollectionType.PDF)(plots.pdf_by_column)
toolkit.plot_collection(TableComparisonPlotCollectionType.CDF)(plots.cdf_by_column)
toolkit.plot_collection(TableComparisonPlotCollectionType.CORRELATION_HEATMAPS)(
    overviews.correlation_heatmaps_one_by_one
)


def _of_statistic(statistic: str) -> None:
    @toolkit.array_collection(f"{statistic}_JUXTAPOSITION")
    def juxtaposition(comparison: Comparison) -> dict[str, Any]:
        sides = comparison.real.statistics, comparison.synthetic.statistics
        return {name: np.array([side[name][statistic] for side in sides]) for name in comparison.spec.numeric}

    @toolkit.plot(f"{statistic}_ALIGNMENT")
    def alignment(comparison: Comparison) -> Any:
        return overviews.statistic_alignment(comparison, statistic)


for _statistic in overviews.STATISTICS:
    _of_statistic(_statistic)
