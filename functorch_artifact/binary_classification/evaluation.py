"""Predictions beside the truth, each thing about them computed once, when asked for.

Belongs here: what every artifact reads, `BinaryEvaluation`. Does not: what does not depend on the
number of classes (`predictions`), which artifacts there are (`artifacts`).
Floor 6.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, Literal, TypeAlias, get_args

import attrs
import numpy as np

from functorch_artifact.binary_classification.model import BinaryClassificationResults
from functorch_artifact.binary_classification.spec import BinaryClassSpec
from functorch_artifact.metrics import labels as reading
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import Bools, Floats, Ints, describe
from functorch_artifact.predictions import Predictions

Split: TypeAlias = Literal["ALL", "POSITIVE", "NEGATIVE"]
"""All examples, or those of one true class."""

SPLITS: Final[tuple[Split, ...]] = get_args(Split)


@attrs.frozen(eq=False, slots=False)
class BinaryEvaluation(Predictions[BinaryClassSpec]):
    """What every artifact is a pure function of: code 0 is the positive class, and comes first."""

    results_type = BinaryClassificationResults

    @classmethod
    def _read(cls, spec: BinaryClassSpec, results: BinaryClassificationResults, n: int) -> tuple[Floats, Ints]:
        if results.probabilities is None:
            return np.full(n, np.nan), np.full(n, reading.MISSING)
        probabilities = reading.probabilities(results.probabilities, "the results' probabilities")
        codes = np.where(probabilities >= results.threshold, 0, 1)
        codes[np.isnan(probabilities)] = reading.MISSING
        return probabilities, codes

    @cached_property
    def positive(self) -> Bools:
        """Which examples are of the positive class: bool [n]."""
        return np.asarray(self.true == 0)

    @property
    def predicted_positive(self) -> Bools:
        """Which examples are predicted positive: bool [n].

        Raises:
            UndefinedError: an example has no prediction.
        """
        return np.asarray(self.known_codes == 0)

    @property
    def truth_probabilities(self) -> Floats:
        """What the true class of each example was given: float64 [n], NaN where nothing was."""
        return np.where(self.positive, self.probabilities, 1 - self.probabilities)

    @property
    def shown_probabilities(self) -> Floats:
        """Those of the positive class."""
        return self.probabilities

    @property
    def about(self) -> dict[str, int]:
        """Examples, of either class."""
        n_positive = int(self.positive.sum())
        return {
            "examples": len(self.true),
            f"positive: {self.spec.positive_class}": n_positive,
            f"negative: {self.spec.negative_class}": len(self.true) - n_positive,
        }

    @cached_property
    def counts(self) -> tuple[int, int, int, int]:
        """True positives, false negatives, false positives, true negatives.

        Raises:
            UndefinedError: an example has no prediction.
        """
        tp, fn, fp, tn = map(int, self.complete_confusion.flat)
        return tp, fn, fp, tn

    @cached_property
    def ranking(self) -> Ranking:
        """The examples, ranked by probability.

        Raises:
            UndefinedError: an example has no probability.
        """
        return Ranking.of(self.positive, self.known_probabilities)

    @cached_property
    def score_statistics(self) -> dict[Split, dict[str, float]]:
        """Descriptive statistics of the probabilities, by true class.

        Raises:
            UndefinedError: an example has no probability.
        """
        return {split: describe(self.known_probabilities[self.of_split(split)]) for split in SPLITS}

    def of_split(self, split: Split) -> Bools:
        """Tell which examples are of a split: bool [n]."""
        return {"ALL": np.ones_like(self.positive), "POSITIVE": self.positive, "NEGATIVE": ~self.positive}[split]
