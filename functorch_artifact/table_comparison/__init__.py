"""The tabular domain: synthesizers, and how their tables compare with real ones.

Belongs here: the front door of the domain. Does not: any behaviour.
Floor 6.
"""

from functorch_artifact.artifacts import Artifact
from functorch_artifact.table_comparison.artifacts import (
    TableComparisonArrayCollectionType,
    TableComparisonArrayType,
    TableComparisonPlotCollectionType,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    toolkit,
)
from functorch_artifact.table_comparison.comparison import Comparison, Reference
from functorch_artifact.table_comparison.model import (
    GenerationParams,
    GenerationParamsTContr,
    GenerationParamsTCov,
    TableSynthesizer,
)
from functorch_artifact.table_comparison.plan import TableComparisonPlan, evaluate
from functorch_artifact.table_comparison.routine import TableComparisonRoutine
from functorch_artifact.table_comparison.spec import TabularSpec

score = toolkit.score
score_collection = toolkit.score_collection
array = toolkit.array
array_collection = toolkit.array_collection
plot = toolkit.plot
plot_collection = toolkit.plot_collection

__all__ = [
    "Artifact",
    "Comparison",
    "GenerationParams",
    "GenerationParamsTContr",
    "GenerationParamsTCov",
    "Reference",
    "TableComparisonArrayCollectionType",
    "TableComparisonArrayType",
    "TableComparisonPlan",
    "TableComparisonPlotCollectionType",
    "TableComparisonPlotType",
    "TableComparisonRoutine",
    "TableComparisonScoreCollectionType",
    "TableComparisonScoreType",
    "TableSynthesizer",
    "TabularSpec",
    "array",
    "array_collection",
    "evaluate",
    "plot",
    "plot_collection",
    "score",
    "score_collection",
    "toolkit",
]
