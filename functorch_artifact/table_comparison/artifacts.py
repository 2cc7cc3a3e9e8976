"""Which artifacts there are: the one place to touch for a new one.

Belongs here: the enumerations, and the function behind each member. Does not: the computations
themselves, or which artifacts a run wants (`plan`).
Floor 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from functorch_artifact.artifacts import ArtifactType, Toolkit
from functorch_artifact.table_comparison import plots
from functorch_artifact.table_comparison.comparison import Comparison


class TableComparisonScoreType(ArtifactType):
    """Numbers."""

    MEAN_JS_DISTANCE = "MEAN_JS_DISTANCE"
    CORRELATION_DISTANCE = "CORRELATION_DISTANCE"


class TableComparisonArrayType(ArtifactType):
    """Arrays: there is none so far."""


class TableComparisonPlotType(ArtifactType):
    """Pictures."""

    PDF = "PDF"
    CDF = "CDF"
    CORRELATION_HEATMAP_JUXTAPOSITION = "CORRELATION_HEATMAP_JUXTAPOSITION"
    PCA_JUXTAPOSITION = "PCA_JUXTAPOSITION"


class TableComparisonScoreCollectionType(ArtifactType):
    """Numbers by column."""

    JS_DISTANCE = "JS_DISTANCE"


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
    """Pictures by name: there is none so far."""


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
def mean_js_distance(comparison: Comparison) -> float:
    """Average the columns' Jensen-Shannon distances."""
    return float(np.mean(list(comparison.js_distances.values())))


@toolkit.score(TableComparisonScoreType.CORRELATION_DISTANCE, low=0.0, high=2.0, better="lower", noise="resample")
def correlation_distance(comparison: Comparison) -> float:
    """Average how much the associations of each two columns differ."""
    return comparison.correlation_distance


@toolkit.score_collection(
    TableComparisonScoreCollectionType.JS_DISTANCE, low=0.0, high=1.0, better="lower", noise="resample"
)
def js_distance(comparison: Comparison) -> dict[str, float]:
    """Measure each column's Jensen-Shannon distance."""
    return comparison.js_distances


toolkit.plot(TableComparisonPlotType.PDF)(plots.pdf)
toolkit.plot(TableComparisonPlotType.CDF)(plots.cdf)
toolkit.plot(TableComparisonPlotType.CORRELATION_HEATMAP_JUXTAPOSITION)(plots.correlation_heatmaps)
toolkit.plot(TableComparisonPlotType.PCA_JUXTAPOSITION)(plots.pca)


def _juxtapose(statistic: str) -> None:
    @toolkit.array_collection(f"{statistic}_JUXTAPOSITION")
    def juxtaposition(comparison: Comparison) -> dict[str, Any]:
        sides = comparison.real.statistics, comparison.synthetic.statistics
        return {name: np.array([side[name][statistic] for side in sides]) for name in comparison.spec.numeric}


for _each in TableComparisonArrayCollectionType:
    _juxtapose(_each.removesuffix("_JUXTAPOSITION"))
