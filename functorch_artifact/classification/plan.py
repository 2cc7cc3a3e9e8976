"""What to judge predictions by: a selection of artifacts, and its evaluation outside of training.

Belongs here: `ClassificationPlan`, `evaluate`. Does not: the artifacts (`scores`, `plots`),
when they are due in training (`routine`).
Floor 6.
"""

from __future__ import annotations

from typing import Any

import attrs

from functorch_artifact.artifacts import Report
from functorch_artifact.classification import plots, scores  # noqa: F401 - they fill the toolkit
from functorch_artifact.classification.artifacts import ClassificationScoreType, toolkit
from functorch_artifact.classification.evaluation import Evaluation
from functorch_artifact.classification.spec import ClassSpec
from functorch_artifact.predictions import PredictionPlan


@attrs.frozen
class ClassificationPlan(PredictionPlan[Evaluation, ClassSpec]):
    """Say which artifacts to compute: by the hooks of a subclass, or by value with `of`.

    Raises:
        ConfigurationError: an artifact is there twice, or a hook returns another hook's kind.

    Example:
        >>> class Brief(ClassificationPlan):
        ...     @staticmethod
        ...     def _get_score_types() -> list[ClassificationScoreType]:
        ...         return [ClassificationScoreType.F1_MACRO]
        >>> Brief().score_names
        ('F1_MACRO',)
        >>> plan = ClassificationPlan.of(ClassificationScoreType.ACCURACY)
        >>> spec = ClassSpec(["red", "green", "blue"])
        >>> plan.evaluate(["red", "blue"], [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]], spec)["ACCURACY"]
        Score(value=0.5)
    """

    toolkit = toolkit
    standard = (ClassificationScoreType,)
    resource_type = Evaluation
    title = "Predictions of several classes"


def evaluate(
    labels: Any,
    results: Any,
    spec: ClassSpec,
    plan: ClassificationPlan | None = None,
    *,
    noise: bool = True,
) -> Report:
    """Judge predictions by a plan, by default all scores; see `ClassificationPlan.evaluate`.

    Raises:
        PredictionError: labels or results do not fit the classes or each other.

    Example:
        >>> spec = ClassSpec([0, 1, 2])
        >>> evaluate([0, 1], [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]], spec)["MCC"]
        Score(value=1.0)
    """
    return (plan or ClassificationPlan.all_scores()).evaluate(labels, results, spec, noise=noise)
