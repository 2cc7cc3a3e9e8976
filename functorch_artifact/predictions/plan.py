"""What to judge predictions by, outside of training too.

Belongs here: `PredictionPlan`, the base of the plans of the domains of classes. Does not: any
artifact, when they are due in training (`routine`).
Floor 5.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic

import attrs

from functorch_artifact.artifacts import ArtifactPlan, Report
from functorch_artifact.predictions.evaluation import Predictions, PredictionsT, SpecT


@attrs.frozen
class PredictionPlan(ArtifactPlan[PredictionsT], Generic[PredictionsT, SpecT]):
    """Say which artifacts of predictions to compute; the base of the domains' plans."""

    resource_type: ClassVar[type[Predictions[Any]]]
    """What the domain's artifacts are functions of."""
    title: ClassVar[str]
    """The headline of its reports."""

    def evaluate(self, labels: Any, results: Any, spec: SpecT, *, noise: bool = True) -> Report:
        """Judge predictions, outside of any training.

        Args:
            labels: n class names, at least one.
            results: what a classifier returns for the same examples, or their probabilities alone:
                of the positive class, [n], or of each class in the specification's order, [n, k].
            spec: the classes.
            noise: whether to tell the scores' noise as well.

        Raises:
            PredictionError: labels or results do not fit the classes or each other.
        """
        kind = self.resource_type
        if not isinstance(results, kind.results_type):
            results = kind.results_type(probabilities=results)
        judged: Any = kind.of(spec, kind.read_labels(labels, spec), results)
        return self.report(judged, noise=noise, title=self.title, about=judged.about)
