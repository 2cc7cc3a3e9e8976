"""Validation of a classifier in training.

Belongs here: `ClassificationRoutine`. Does not: what it has in common with other classifiers'
(`predictions`), what it computes (`plan`), when the driver asks for it (`routines`).
Floor 6.
"""

from __future__ import annotations

from typing import Generic

from functorch_artifact.classification.evaluation import Evaluation
from functorch_artifact.classification.model import ClassificationResults
from functorch_artifact.classification.plan import ClassificationPlan
from functorch_artifact.classification.spec import ClassSpec
from functorch_artifact.predictions import ClassificationDataTCov, ClassificationParamsTCov, PredictionRoutine


class ClassificationRoutine(
    PredictionRoutine[ClassificationParamsTCov, ClassificationDataTCov, ClassSpec, ClassificationResults, Evaluation],
    Generic[ClassificationParamsTCov, ClassificationDataTCov],
):
    """Judge a classifier of several classes in training; see `predictions.PredictionRoutine` for the arguments.

    Example:
        >>> import torch
        >>> from functorch_artifact.predictions import ClassificationParams
        >>> spec, labels = ClassSpec(["a", "b", "c"]), ["a", "c"]
        >>> routine = ClassificationRoutine(torch.zeros(2, 3), labels, spec, ClassificationParams(), period=5)
        >>> routine.due(5), routine.score_names[:2]
        (True, ('ACCURACY', 'BALANCED_ACCURACY'))
    """

    plan_type = ClassificationPlan
