"""Which artifacts there are: the one place to touch for a new one.

Belongs here: the enumerations, and the function behind each member. Does not: the computations
themselves, or which artifacts a run wants (`plan`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import attrs
import numpy as np

from functorch_artifact import records
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.table_comparison import plots
from functorch_artifact.table_comparison.comparison import Comparison


class TableComparisonScoreType(StrEnum):
    """Numbers."""

    MEAN_JS_DISTANCE = "MEAN_JS_DISTANCE"
    CORRELATION_DISTANCE = "CORRELATION_DISTANCE"


class TableComparisonArrayType(StrEnum):
    """Arrays: there is none so far."""


class TableComparisonPlotType(StrEnum):
    """Pictures."""

    PDF = "PDF"
    CDF = "CDF"
    CORRELATION_HEATMAP_JUXTAPOSITION = "CORRELATION_HEATMAP_JUXTAPOSITION"
    PCA_JUXTAPOSITION = "PCA_JUXTAPOSITION"


class TableComparisonScoreCollectionType(StrEnum):
    """Numbers by column."""

    JS_DISTANCE = "JS_DISTANCE"


class TableComparisonArrayCollectionType(StrEnum):
    """Arrays [real, synthetic] by numeric column."""

    MEAN_JUXTAPOSITION = "MEAN_JUXTAPOSITION"
    STD_JUXTAPOSITION = "STD_JUXTAPOSITION"
    VARIANCE_JUXTAPOSITION = "VARIANCE_JUXTAPOSITION"
    MEDIAN_JUXTAPOSITION = "MEDIAN_JUXTAPOSITION"
    FIRST_QUARTILE_JUXTAPOSITION = "FIRST_QUARTILE_JUXTAPOSITION"
    THIRD_QUARTILE_JUXTAPOSITION = "THIRD_QUARTILE_JUXTAPOSITION"
    MIN_JUXTAPOSITION = "MIN_JUXTAPOSITION"
    MAX_JUXTAPOSITION = "MAX_JUXTAPOSITION"


class TableComparisonPlotCollectionType(StrEnum):
    """Pictures by name: there is none so far."""


ArtifactType: TypeAlias = (
    TableComparisonScoreType
    | TableComparisonArrayType
    | TableComparisonPlotType
    | TableComparisonScoreCollectionType
    | TableComparisonArrayCollectionType
    | TableComparisonPlotCollectionType
)


def _juxtaposition(statistic: str) -> Callable[[Comparison], dict[str, Any]]:
    return lambda comparison: {
        name: np.array([comparison.real.statistics[name][statistic], comparison.synthetic.statistics[name][statistic]])
        for name in comparison.spec.numeric
    }


_COMPUTE: Final[Mapping[ArtifactType, Callable[[Comparison], Any]]] = {
    TableComparisonScoreType.MEAN_JS_DISTANCE: lambda comparison: np.mean(list(comparison.js_distances.values())),
    TableComparisonScoreType.CORRELATION_DISTANCE: lambda comparison: comparison.correlation_distance,
    TableComparisonScoreCollectionType.JS_DISTANCE: lambda comparison: comparison.js_distances,
    TableComparisonPlotType.PDF: plots.pdf,
    TableComparisonPlotType.CDF: plots.cdf,
    TableComparisonPlotType.CORRELATION_HEATMAP_JUXTAPOSITION: plots.correlation_heatmaps,
    TableComparisonPlotType.PCA_JUXTAPOSITION: plots.pca,
    **{each: _juxtaposition(each.removesuffix("_JUXTAPOSITION")) for each in TableComparisonArrayCollectionType},
}

_MODALITIES: Final[Mapping[type[StrEnum], Any]] = {
    TableComparisonScoreType: records.Score,
    TableComparisonArrayType: records.Array,
    TableComparisonPlotType: records.Plot,
    TableComparisonScoreCollectionType: records.ScoreCollection,
    TableComparisonArrayCollectionType: records.ArrayCollection,
    TableComparisonPlotCollectionType: records.PlotCollection,
}


@attrs.frozen
class Artifact:
    """One named function of a comparison; call it for the record's value.

    Args:
        name: the record's name.
        modality: the class of value that it computes, one of `Score`, `Array`, `Plot` and their
            collections in `functorch_artifact.records`.
        compute: a pure function to what `modality.of` takes, e.g. a number or a figure.

    Example:
        >>> from functorch_artifact.records import Score
        >>> worst = Artifact("WORST_JS_DISTANCE", Score, lambda each: max(each.js_distances.values()))
    """

    name: str
    modality: Any
    compute: Callable[[Comparison], Any]

    def __attrs_post_init__(self) -> None:
        if self.modality not in _MODALITIES.values():
            raise ConfigurationError(
                "computes an unknown kind of value",
                where=f"artifact {self.name!r}",
                expected=[each.__name__ for each in _MODALITIES.values()],
                got=self.modality,
            )

    @classmethod
    def of(cls, member: ArtifactType) -> Artifact:
        """Look up the artifact of an enumeration's member."""
        return cls(member.value, _MODALITIES[type(member)], _COMPUTE[member])

    @property
    def score_name(self) -> str | None:
        """The name of the scores it logs (`NAME/*` for a collection), `None` if it logs none."""
        return {records.Score: self.name, records.ScoreCollection: f"{self.name}/*"}.get(self.modality)

    def __call__(self, comparison: Comparison) -> records.Value:
        """Compute the value.

        Raises:
            RecordError: `compute` returned something else.
        """
        value: records.Value = self.modality.of(self.compute(comparison), self.name)
        return value
