"""Models that tell classes apart: what the domains of two and of several classes have in common.

Belongs here: the names of the family. Does not: any artifact, any domain (their folders).
Floor 5.
"""

from functorch_artifact.predictions.evaluation import Classes, Predictions, PredictionsT, SpecT
from functorch_artifact.predictions.model import (
    ClassificationDataTContr,
    ClassificationDataTCov,
    ClassificationParams,
    ClassificationParamsTContr,
    ClassificationParamsTCov,
    ClassifyingModel,
    ResultsT,
    ResultsTCov,
)
from functorch_artifact.predictions.plan import PredictionPlan
from functorch_artifact.predictions.routine import PredictionRoutine

__all__ = [
    "Classes",
    "ClassificationDataTContr",
    "ClassificationDataTCov",
    "ClassificationParams",
    "ClassificationParamsTContr",
    "ClassificationParamsTCov",
    "ClassifyingModel",
    "PredictionPlan",
    "PredictionRoutine",
    "Predictions",
    "PredictionsT",
    "ResultsT",
    "ResultsTCov",
    "SpecT",
]
