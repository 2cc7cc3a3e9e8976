"""Predictions beside the truth, each thing about them computed once, when asked for.

Belongs here: turning labels and results into arrays, and what every artifact reads:
`BinaryEvaluation`. Does not: which artifacts there are (`artifacts`).
Floor 5.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs
import numpy as np
import pandas as pd

from functorch_artifact.binary_classification.model import BinaryClassificationResults
from functorch_artifact.binary_classification.spec import BinaryClassSpec
from functorch_artifact.errors import PredictionError
from functorch_artifact.metrics import labels as reading
from functorch_artifact.metrics.confusion import confusion_matrix
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import Bools, Floats, Ints, describe

Split: TypeAlias = Literal["ALL", "POSITIVE", "NEGATIVE"]
"""All examples, or those of one true class."""

SPLITS: Final[tuple[Split, ...]] = get_args(Split)

_POSITIVE: Final = 0  # the positive class comes first in the confusion matrix


def read_labels(labels: Any, spec: BinaryClassSpec) -> Bools:
    """Tell which of n labels are the positive class: bool [n].

    Raises:
        PredictionError: there is no label, one is missing, or one is not a class.
    """
    codes = reading.known(
        reading.encode(labels, (spec.positive_class, spec.negative_class), "the labels"), "the labels"
    )
    return np.asarray(codes == _POSITIVE)


@attrs.frozen(eq=False, slots=False)
class BinaryEvaluation:
    """What every artifact is a pure function of."""

    spec: BinaryClassSpec
    positive: Bools  # bool [n], the labels
    probabilities: Floats  # float64 [n], of the positive class, NaN where there is none
    codes: Ints  # int64 [n], predictions: 0 positive, 1 negative, -1 none

    @classmethod
    def of(cls, spec: BinaryClassSpec, positive: Bools, results: BinaryClassificationResults) -> BinaryEvaluation:
        """Put a classifier's results beside the truth.

        Args:
            spec: the classes.
            positive: the labels, as `read_labels` gives them.
            results: what the classifier says of the same examples.

        Raises:
            PredictionError: the results are of another length, have neither probabilities nor
                predictions, or hold a value that is no probability or no class.
        """
        if not isinstance(results, BinaryClassificationResults) or (
            results.probabilities is None and results.predicted is None
        ):
            raise PredictionError(
                "hold neither probabilities nor predictions",
                where="the results",
                expected="BinaryClassificationResults(probabilities=...)",
                got=type(results).__name__,
            )
        probabilities, codes = np.full(len(positive), np.nan), None
        if results.probabilities is not None:
            probabilities = reading.probabilities(results.probabilities, "the results' probabilities")
            codes = np.where(probabilities >= results.threshold, 0, 1)
            codes[np.isnan(probabilities)] = reading.MISSING
        if results.predicted is not None:
            classes = spec.positive_class, spec.negative_class
            codes = reading.encode(results.predicted, classes, "the results' predictions")
        reading.check_lengths(len(positive), probabilities=probabilities, predictions=codes)
        return cls(spec, positive, probabilities, np.asarray(codes, dtype=np.int64))

    @property
    def labels(self) -> np.ndarray[Any, Any]:
        """True class names, object [n]."""
        return self._names(np.where(self.positive, 0, 1))

    @property
    def predicted(self) -> np.ndarray[Any, Any]:
        """Predicted class names, object [n], None where there is no prediction."""
        return self._names(self.codes)

    @cached_property
    def confusion(self) -> Ints:
        """[[true positives, false negatives], [false positives, true negatives]], int64 [2, 2].

        Examples without a prediction are left out.
        """
        return confusion_matrix(np.where(self.positive, 0, 1), self.codes, 2)

    @cached_property
    def counts(self) -> tuple[int, int, int, int]:
        """True positives, false negatives, false positives, true negatives.

        Raises:
            UndefinedError: an example has no prediction.
        """
        reading.need_all(self.codes == reading.MISSING, "predictions")
        tp, fn, fp, tn = map(int, self.confusion.flat)
        return tp, fn, fp, tn

    @cached_property
    def ranking(self) -> Ranking:
        """The examples, ranked by probability.

        Raises:
            UndefinedError: an example has no probability.
        """
        return Ranking.of(self.positive, self.known_probabilities)

    @cached_property
    def known_probabilities(self) -> Floats:
        """The probabilities, none of which is missing: float64 [n].

        Raises:
            UndefinedError: an example has no probability.
        """
        reading.need_all(np.isnan(self.probabilities), "probabilities")
        return self.probabilities

    @cached_property
    def truth_probabilities(self) -> Floats:
        """What the true class of each example was given: float64 [n], NaN where nothing was."""
        return np.where(self.positive, self.probabilities, 1 - self.probabilities)

    @property
    def known_truth_probabilities(self) -> Floats:
        """The same, none of which is missing.

        Raises:
            UndefinedError: an example has no probability.
        """
        reading.need_all(np.isnan(self.probabilities), "probabilities")
        return self.truth_probabilities

    @property
    def predicted_positive(self) -> Bools:
        """Which examples are predicted positive: bool [n].

        Raises:
            UndefinedError: an example has no prediction.
        """
        reading.need_all(self.codes == reading.MISSING, "predictions")
        return np.asarray(self.codes == _POSITIVE)

    @cached_property
    def score_statistics(self) -> dict[Split, dict[str, float]]:
        """Descriptive statistics of the probabilities, by true class.

        Raises:
            UndefinedError: an example has no probability.
        """
        return {split: describe(self.known_probabilities[self.of_split(split)]) for split in SPLITS}

    @cached_property
    def truth_statistics(self) -> dict[str, float]:
        """Descriptive statistics of what the true classes were given.

        Raises:
            UndefinedError: an example has no probability.
        """
        return describe(self.known_truth_probabilities)

    def of_split(self, split: Split) -> Bools:
        """Tell which examples are of a split: bool [n]."""
        return {"ALL": np.ones_like(self.positive), "POSITIVE": self.positive, "NEGATIVE": ~self.positive}[split]

    def frame(self) -> pd.DataFrame:
        """Make a table of it: columns label, predicted, probability."""
        return pd.DataFrame(
            {
                "label": pd.Series(self.labels, dtype=object),
                "predicted": pd.Series(self.predicted, dtype=object),
                "probability": self.probabilities,
            }
        )

    def _names(self, codes: Ints) -> np.ndarray[Any, Any]:
        names = np.empty(3, dtype=object)
        names[:] = self.spec.positive_class, self.spec.negative_class, None
        return names[codes]
