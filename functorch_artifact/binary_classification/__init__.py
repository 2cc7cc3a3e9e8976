"""The domain of two classes: classifiers, and how their predictions are judged.

Belongs here: the front door of the domain. Does not: any behaviour.
Floor 6.
"""

from functorch_artifact.artifacts import Artifact
from functorch_artifact.binary_classification.artifacts import (
    BinaryClassificationArrayCollectionType,
    BinaryClassificationArrayType,
    BinaryClassificationPlotCollectionType,
    BinaryClassificationPlotType,
    BinaryClassificationScoreCollectionType,
    BinaryClassificationScoreType,
    toolkit,
)
from functorch_artifact.binary_classification.evaluation import BinaryEvaluation
from functorch_artifact.binary_classification.model import (
    BinaryClassificationResults,
    BinaryClassifier,
)
from functorch_artifact.binary_classification.plan import BinaryClassificationPlan, evaluate
from functorch_artifact.binary_classification.routine import BinaryClassificationRoutine
from functorch_artifact.binary_classification.spec import BinaryClassSpec
from functorch_artifact.predictions import (
    ClassificationDataTContr,
    ClassificationDataTCov,
    ClassificationParams,
    ClassificationParamsTContr,
    ClassificationParamsTCov,
)

score = toolkit.score
score_collection = toolkit.score_collection
array = toolkit.array
array_collection = toolkit.array_collection
plot = toolkit.plot
plot_collection = toolkit.plot_collection

__all__ = [
    "Artifact",
    "BinaryClassSpec",
    "BinaryClassificationArrayCollectionType",
    "BinaryClassificationArrayType",
    "BinaryClassificationPlan",
    "BinaryClassificationPlotCollectionType",
    "BinaryClassificationPlotType",
    "BinaryClassificationResults",
    "BinaryClassificationRoutine",
    "BinaryClassificationScoreCollectionType",
    "BinaryClassificationScoreType",
    "BinaryClassifier",
    "BinaryEvaluation",
    "ClassificationDataTContr",
    "ClassificationDataTCov",
    "ClassificationParams",
    "ClassificationParamsTContr",
    "ClassificationParamsTCov",
    "array",
    "array_collection",
    "evaluate",
    "plot",
    "plot_collection",
    "score",
    "score_collection",
    "toolkit",
]
