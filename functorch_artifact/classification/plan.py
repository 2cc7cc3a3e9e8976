"""What to judge predictions by: a selection of artifacts, and its evaluation outside of training.

Belongs here: `ClassificationPlan`, `evaluate`. Does not: the artifacts (`scores`, `plots`),
when they are due in training (`routine`).
Floor 5.
"""

from __future__ import annotations

from typing import Any

import attrs

from functorch_artifact.artifacts.plan import ArtifactPlan
from functorch_artifact.artifacts.report import Report
from functorch_artifact.classification import plots, scores  # noqa: F401 - they fill the toolkit
from functorch_artifact.classification.artifacts import ClassificationScoreType, toolkit
from functorch_artifact.classification.evaluation import Evaluation, read_labels
from functorch_artifact.classification.model import ClassificationResults
from functorch_artifact.classification.spec import ClassSpec


@attrs.frozen
class ClassificationPlan(ArtifactPlan[Evaluation]):
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
    """

    toolkit = toolkit

    def evaluate(self, labels: Any, results: Any, spec: ClassSpec, *, noise: bool = True) -> Report:
        """Judge predictions, outside of any training.

        Args:
            labels: n class names, at least one.
            results: `ClassificationResults` of the same examples, or their probabilities,
                [n, k], in the order of the specification's classes.
            spec: the classes.
            noise: whether to tell what a perfect model would score.

        Raises:
            PredictionError: labels or results do not fit the classes or each other.

        Example:
            >>> plan = ClassificationPlan.of(ClassificationScoreType.ACCURACY)
            >>> spec = ClassSpec(["red", "green", "blue"])
            >>> plan.evaluate(["red", "blue"], [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]], spec)["ACCURACY"]
            Score(value=0.5)
        """
        if not isinstance(results, ClassificationResults):
            results = ClassificationResults(probabilities=results)
        evaluation = Evaluation.of(spec, read_labels(labels, spec), results)
        present = len(set(evaluation.true.tolist()))
        about = {"examples": len(evaluation.true), "classes": spec.n_classes, "classes among the labels": present}
        return self.report(evaluation, noise=noise, title="Predictions of several classes", about=about)


def all_scores() -> ClassificationPlan:
    """Plan every score; the collections tell of the classes one by one."""
    return ClassificationPlan.of(*ClassificationScoreType)


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
    return (plan or all_scores()).evaluate(labels, results, spec, noise=noise)
