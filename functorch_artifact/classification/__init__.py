"""The domain of several classes: classifiers, and how their predictions are judged.

Belongs here: the front door of the domain. Does not: any behaviour.
Floor 6.
"""

from functorch_artifact.artifacts import Artifact
from functorch_artifact.classification.artifacts import (
    ClassificationArrayCollectionType,
    ClassificationArrayType,
    ClassificationPlotCollectionType,
    ClassificationPlotType,
    ClassificationScoreCollectionType,
    ClassificationScoreType,
    toolkit,
)
from functorch_artifact.classification.evaluation import Evaluation
from functorch_artifact.classification.model import (
    ClassificationResults,
    Classifier,
)
from functorch_artifact.classification.plan import ClassificationPlan, evaluate
from functorch_artifact.classification.routine import ClassificationRoutine
from functorch_artifact.classification.spec import ClassSpec
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
    "ClassSpec",
    "ClassificationArrayCollectionType",
    "ClassificationArrayType",
    "ClassificationDataTContr",
    "ClassificationDataTCov",
    "ClassificationParams",
    "ClassificationParamsTContr",
    "ClassificationParamsTCov",
    "ClassificationPlan",
    "ClassificationPlotCollectionType",
    "ClassificationPlotType",
    "ClassificationResults",
    "ClassificationRoutine",
    "ClassificationScoreCollectionType",
    "ClassificationScoreType",
    "Classifier",
    "Evaluation",
    "array",
    "array_collection",
    "evaluate",
    "plot",
    "plot_collection",
    "score",
    "score_collection",
    "toolkit",
]
