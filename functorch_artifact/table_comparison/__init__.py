"""The tabular domain: synthesizers, and how their tables compare with real ones.

Belongs here: the front door of the domain. Does not: any behaviour.
Floor 5.
"""

from functorch_artifact.table_comparison.artifacts import (
    Artifact,
    TableComparisonArrayCollectionType,
    TableComparisonArrayType,
    TableComparisonPlotCollectionType,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
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
    "evaluate",
]
