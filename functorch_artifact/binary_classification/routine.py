"""Validation of a binary classifier in training.

Belongs here: `BinaryClassificationRoutine`. Does not: what it has in common with other classifiers'
(`predictions`), what it computes (`plan`), when the driver asks for it (`routines`).
Floor 6.
"""

from __future__ import annotations

from typing import Generic

from functorch_artifact.binary_classification.evaluation import BinaryEvaluation
from functorch_artifact.binary_classification.model import BinaryClassificationResults
from functorch_artifact.binary_classification.plan import BinaryClassificationPlan
from functorch_artifact.binary_classification.spec import BinaryClassSpec
from functorch_artifact.predictions import ClassificationDataTCov, ClassificationParamsTCov, PredictionRoutine


class BinaryClassificationRoutine(
    PredictionRoutine[
        ClassificationParamsTCov,
        ClassificationDataTCov,
        BinaryClassSpec,
        BinaryClassificationResults,
        BinaryEvaluation,
    ],
    Generic[ClassificationParamsTCov, ClassificationDataTCov],
):
    """Judge a binary classifier in training; see `predictions.PredictionRoutine` for the arguments.

    Example:
        >>> import torch
        >>> from functorch_artifact.predictions import ClassificationParams
        >>> spec, labels = BinaryClassSpec(["no", "yes"], positive_class="yes"), ["no", "yes"]
        >>> routine = BinaryClassificationRoutine(torch.zeros(2, 3), labels, spec, ClassificationParams(), period=5)
        >>> routine.due(5), routine.score_names[:2]
        (True, ('ACCURACY', 'BALANCED_ACCURACY'))
    """

    plan_type = BinaryClassificationPlan
