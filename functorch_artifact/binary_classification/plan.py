"""What to judge predictions by: a selection of artifacts, and its evaluation outside of training.

Belongs here: `BinaryClassificationPlan`, `evaluate`. Does not: the artifacts (`scores`, `plots`),
when they are due in training (`routine`).
Floor 6.
"""

from __future__ import annotations

from typing import Any

import attrs

from functorch_artifact.artifacts import Report
from functorch_artifact.binary_classification import plots, scores  # noqa: F401 - they fill the toolkit
from functorch_artifact.binary_classification.artifacts import BinaryClassificationScoreType, toolkit
from functorch_artifact.binary_classification.evaluation import BinaryEvaluation
from functorch_artifact.binary_classification.spec import BinaryClassSpec
from functorch_artifact.predictions import PredictionPlan


@attrs.frozen
class BinaryClassificationPlan(PredictionPlan[BinaryEvaluation, BinaryClassSpec]):
    """Say which artifacts to compute: by the hooks of a subclass, or by value with `of`.

    Raises:
        ConfigurationError: an artifact is there twice, or a hook returns another hook's kind.

    Example:
        >>> class Brief(BinaryClassificationPlan):
        ...     @staticmethod
        ...     def _get_score_types() -> list[BinaryClassificationScoreType]:
        ...         return [BinaryClassificationScoreType.ROC_AUC]
        >>> Brief().score_names
        ('ROC_AUC',)
        >>> plan = BinaryClassificationPlan.of(BinaryClassificationScoreType.RECALL)
        >>> spec = BinaryClassSpec(["no", "yes"], positive_class="yes")
        >>> plan.evaluate(["yes", "no", "yes"], [0.9, 0.4, 0.2], spec)["RECALL"]
        Score(value=0.5)
    """

    toolkit = toolkit
    standard = (BinaryClassificationScoreType,)
    resource_type = BinaryEvaluation
    title = "Predictions of two classes"


def evaluate(
    labels: Any,
    results: Any,
    spec: BinaryClassSpec,
    plan: BinaryClassificationPlan | None = None,
    *,
    noise: bool = True,
) -> Report:
    """Judge predictions by a plan, by default all scores; see `BinaryClassificationPlan.evaluate`.

    Raises:
        PredictionError: labels or results do not fit the classes or each other.

    Example:
        >>> spec = BinaryClassSpec([0, 1], positive_class=1)
        >>> evaluate([0, 1, 1], [0.1, 0.8, 0.7], spec)["ROC_AUC"]
        Score(value=1.0)
    """
    return (plan or BinaryClassificationPlan.all_scores()).evaluate(labels, results, spec, noise=noise)
