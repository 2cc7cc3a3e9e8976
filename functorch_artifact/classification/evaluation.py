"""Predictions beside the truth, each thing about them computed once, when asked for.

Belongs here: turning labels and results into arrays, and what every artifact reads: `Evaluation`.
Does not: which artifacts there are (`artifacts`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import attrs
import numpy as np
import pandas as pd

from functorch_artifact.classification.model import ClassificationResults
from functorch_artifact.classification.spec import ClassSpec
from functorch_artifact.errors import PredictionError, UndefinedError
from functorch_artifact.metrics import labels as reading
from functorch_artifact.metrics.confusion import Counts, confusion_matrix
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import Bools, Floats, Ints, describe

_TOLERANCE: Final = 1e-2  # how far 16-bit softmaxes stray from a sum of 1


def read_labels(labels: Any, spec: ClassSpec) -> Ints:
    """Encode n labels as places among the classes: int64 [n].

    Raises:
        PredictionError: there is no label, one is missing, or one is not a class.
    """
    return reading.known(reading.encode(labels, spec.class_names, "the labels"), "the labels")


@attrs.frozen(eq=False, slots=False)
class Evaluation:
    """What every artifact is a pure function of."""

    spec: ClassSpec
    true: Ints  # int64 [n], the labels
    probabilities: Floats  # float64 [n, k], a row of NaN where there are none
    codes: Ints  # int64 [n], predictions, -1 where there is none

    @classmethod
    def of(cls, spec: ClassSpec, true: Ints, results: ClassificationResults) -> Evaluation:
        """Put a classifier's results beside the truth.

        Args:
            spec: the k classes.
            true: the labels, as `read_labels` gives them.
            results: what the classifier says of the same examples.

        Raises:
            PredictionError: the results are of another shape, have neither probabilities nor
                predictions, or hold a value that is no probability or no class.
        """
        if not isinstance(results, ClassificationResults) or (
            results.probabilities is None and results.predicted is None
        ):
            raise PredictionError(
                "hold neither probabilities nor predictions",
                where="the results",
                expected="ClassificationResults(probabilities=...)",
                got=type(results).__name__,
            )
        probabilities, codes = np.full((len(true), spec.n_classes), np.nan), None
        if results.probabilities is not None:
            probabilities = _distributions(results.probabilities, spec)
            missing = np.isnan(probabilities[:, 0])
            codes = np.where(missing, reading.MISSING, np.where(missing[:, None], 0.0, probabilities).argmax(axis=1))
        if results.predicted is not None:
            codes = reading.encode(results.predicted, spec.class_names, "the results' predictions")
        reading.check_lengths(len(true), probabilities=probabilities, predictions=codes)
        return cls(spec, true, probabilities, np.asarray(codes, dtype=np.int64))

    @property
    def labels(self) -> np.ndarray[Any, Any]:
        """True class names, object [n]."""
        return self._names(self.true)

    @property
    def predicted(self) -> np.ndarray[Any, Any]:
        """Predicted class names, object [n], None where there is no prediction."""
        return self._names(self.codes)

    @property
    def known_codes(self) -> Ints:
        """The predictions, none of which is missing.

        Raises:
            UndefinedError: an example has no prediction.
        """
        reading.need_all(self.codes == reading.MISSING, "predictions")
        return self.codes

    @cached_property
    def confusion(self) -> Ints:
        """Examples by true class (row) and predicted class, int64 [k, k]; without those that lack a prediction."""
        return confusion_matrix(self.true, self.codes, self.spec.n_classes)

    @property
    def complete_confusion(self) -> Ints:
        """The same, of all examples.

        Raises:
            UndefinedError: an example has no prediction.
        """
        reading.need_all(self.codes == reading.MISSING, "predictions")
        return self.confusion

    @cached_property
    def counts(self) -> Counts:
        """Each class against the rest.

        Raises:
            UndefinedError: an example has no prediction.
        """
        return Counts.of(self.complete_confusion)

    @property
    def known_probabilities(self) -> Floats:
        """The probabilities, none of which is missing: float64 [n, k].

        Raises:
            UndefinedError: an example has no probabilities.
        """
        reading.need_all(np.isnan(self.probabilities[:, 0]), "probabilities")
        return self.probabilities

    @cached_property
    def truth_probabilities(self) -> Floats:
        """What the true class of each example was given: float64 [n], NaN where nothing was."""
        return self.probabilities[np.arange(len(self.true)), self.true]

    @property
    def known_truth_probabilities(self) -> Floats:
        """The same, none of which is missing.

        Raises:
            UndefinedError: an example has no probabilities.
        """
        reading.need_all(np.isnan(self.truth_probabilities), "probabilities")
        return self.truth_probabilities

    @cached_property
    def truth_statistics(self) -> dict[str, float]:
        """Descriptive statistics of what the true classes were given.

        Raises:
            UndefinedError: an example has no probabilities.
        """
        return describe(self.known_truth_probabilities)

    @cached_property
    def truth_ranks(self) -> Ints:
        """The place of the true class among the likeliest, int64 [n] from 0; ties in the classes' order.

        Raises:
            UndefinedError: an example has no probabilities.
        """
        truth = self.known_truth_probabilities[:, None]
        before = (self.probabilities == truth) & (np.arange(self.spec.n_classes) < self.true[:, None])
        return np.asarray(((self.probabilities > truth) | before).sum(axis=1), dtype=np.int64)

    @property
    def confidence(self) -> tuple[Bools, Floats]:
        """Whether each prediction is right, and what it was given: bool [n], float64 [n].

        Raises:
            UndefinedError: an example has no prediction or no probabilities.
        """
        given = self.known_probabilities[np.arange(len(self.true)), self.known_codes]
        return np.asarray(self.codes == self.true), given

    def rankings(self) -> Iterator[Ranking]:
        """Rank the examples by the probability of each class in turn, against the rest.

        Raises:
            UndefinedError: an example has no probabilities.
        """
        for place, column in enumerate(self.known_probabilities.T):
            yield Ranking.of(self.true == place, column)

    @cached_property
    def areas(self) -> tuple[Floats, Floats]:
        """Areas under the ROC and precision-recall curves of each class against the rest, float64 [k] each.

        NaN for a class without examples, and where all examples are of it.

        Raises:
            UndefinedError: an example has no probabilities, or all are of one class.
        """
        roc, precision_recall = np.full((2, self.spec.n_classes), np.nan)
        for place, ranking in enumerate(self.rankings()):
            if ranking.n_positives:
                precision_recall[place] = ranking.average_precision()
                if ranking.n_negatives:
                    roc[place] = ranking.roc_auc()
        if np.isnan(roc).all():
            raise UndefinedError("all labels are of one class")
        return roc, precision_recall

    @cached_property
    def pooled_ranking(self) -> Ranking:
        """All pairs of example and class in one ranking, positive where the class is the true one.

        Raises:
            UndefinedError: an example has no probabilities.
        """
        indicators = self.true[:, None] == np.arange(self.spec.n_classes)
        return Ranking.of(indicators.ravel(), self.known_probabilities.ravel())

    def frame(self) -> pd.DataFrame:
        """Make a table of it: columns label, predicted, probability (of the predicted class)."""
        given = self.probabilities[np.arange(len(self.true)), self.codes]
        return pd.DataFrame(
            {
                "label": pd.Series(self.labels, dtype=object),
                "predicted": pd.Series(self.predicted, dtype=object),
                "probability": np.where(self.codes == reading.MISSING, np.nan, given),
            }
        )

    def _names(self, codes: Ints) -> np.ndarray[Any, Any]:
        names = np.empty(self.spec.n_classes + 1, dtype=object)
        names[:-1] = self.spec.class_names
        return names[codes]


def _distributions(raw: Any, spec: ClassSpec) -> Floats:
    where = "the results' probabilities"
    values = reading.probabilities(raw, where, n_dimensions=2)
    if values.shape[1] != spec.n_classes:
        raise PredictionError(
            "have another number of classes", where=where, expected=spec.n_classes, got=values.shape[1]
        )
    values[np.isnan(values).any(axis=1)] = np.nan
    totals = values.sum(axis=1)
    stray = np.abs(totals - 1) > _TOLERANCE
    if stray.any():
        raise PredictionError(
            "have rows that are no distribution",
            where=where,
            expected="a sum of 1",
            got=f"{np.count_nonzero(stray)} of {len(values)} rows, the first sums to {totals[stray][0]:.4g}",
            fix="pass the logits through a softmax",
        )
    return values
