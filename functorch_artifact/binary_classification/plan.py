"""What to judge predictions by: a selection of artifacts, and its evaluation outside of training.

Belongs here: `BinaryClassificationPlan`, `evaluate`. Does not: the artifacts (`scores`, `plots`),
when they are due in training (`routine`).
Floor 5.
"""

from __future__ import annotations

from typing import Any

import attrs

from functorch_artifact.artifacts.plan import ArtifactPlan
from functorch_artifact.artifacts.report import Report
from functorch_artifact.binary_classification import plots, scores  # noqa: F401 - they fill the toolkit
from functorch_artifact.binary_classification.artifacts import BinaryClassificationScoreType, toolkit
from functorch_artifact.binary_classification.evaluation import BinaryEvaluation, read_labels
from functorch_artifact.binary_classification.model import BinaryClassificationResults
from functorch_artifact.binary_classification.spec import BinaryClassSpec


@attrs.frozen
class BinaryClassificationPlan(ArtifactPlan[BinaryEvaluation]):
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
    """

    toolkit = toolkit

    def evaluate(self, labels: Any, results: Any, spec: BinaryClassSpec, *, noise: bool = True) -> Report:
        """Judge predictions, outside of any training.

        Args:
            labels: n class names, at least one.
            results: `BinaryClassificationResults` of the same examples, or their probabilities of
                the positive class, [n].
            spec: the classes.
            noise: whether to tell what a perfect model would score.

        Raises:
            PredictionError: labels or results do not fit the classes or each other.

        Example:
            >>> plan = BinaryClassificationPlan.of(BinaryClassificationScoreType.RECALL)
            >>> spec = BinaryClassSpec(["no", "yes"], positive_class="yes")
            >>> plan.evaluate(["yes", "no", "yes"], [0.9, 0.4, 0.2], spec)["RECALL"]
            Score(value=0.5)
        """
        if not isinstance(results, BinaryClassificationResults):
            results = BinaryClassificationResults(probabilities=results)
        evaluation = BinaryEvaluation.of(spec, read_labels(labels, spec), results)
        about = {
            "examples": len(evaluation.positive),
            f"positive: {spec.positive_class}": int(evaluation.positive.sum()),
            f"negative: {spec.negative_class}": int((~evaluation.positive).sum()),
        }
        return self.report(evaluation, noise=noise, title="Predictions of two classes", about=about)


def all_scores() -> BinaryClassificationPlan:
    """Plan every score; the collections repeat these, and tell more of their distribution."""
    return BinaryClassificationPlan.of(*BinaryClassificationScoreType)


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
    return (plan or all_scores()).evaluate(labels, results, spec, noise=noise)
