"""Examples ranked by score: one sort, then everything about all thresholds from running counts.

Belongs here: `Ranking`, its curves and areas. Does not: drawing them, one fixed threshold
(`confusion`).
Floor 2.

An example is predicted positive at a threshold if its score is at or above it; examples of equal
score are never told apart.
"""

from __future__ import annotations

import attrs
import numpy as np

from functorch_artifact.errors import UndefinedError
from functorch_artifact.metrics.statistics import Bools, Floats, Ints


@attrs.frozen(eq=False)
class Ranking:
    """Count positives and negatives at or above each of the k different scores.

    Example:
        >>> import numpy as np
        >>> ranking = Ranking.of(np.array([True, True, False]), np.array([0.9, 0.4, 0.4]))
        >>> ranking.thresholds, ranking.true_positives, ranking.false_positives
        (array([0.9, 0.4]), array([1, 2]), array([0, 1]))
        >>> ranking.roc_auc()
        0.75
    """

    thresholds: Floats  # float64 [k], falling
    true_positives: Ints  # int64 [k], rising
    false_positives: Ints  # int64 [k], rising
    order: Ints | None = None  # int64 [n], the examples by falling score

    @classmethod
    def of(cls, positive: Bools, scores: Floats) -> Ranking:
        """Rank n examples.

        Args:
            positive: which examples are of the positive class, bool [n].
            scores: the higher, the likelier positive; float64 [n], without NaN.
        """
        order = np.argsort(scores)[::-1]
        falling = scores[order]
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), np.arange(len(scores))[-1:])
        true_positives = np.cumsum(positive[order], dtype=np.int64)[ends]
        return cls(falling[ends], true_positives, ends + 1 - true_positives, order)

    @property
    def n_positives(self) -> int:
        """Positive examples."""
        return int(self.true_positives[-1]) if len(self.true_positives) else 0

    @property
    def n_negatives(self) -> int:
        """Negative examples."""
        return int(self.false_positives[-1]) if len(self.false_positives) else 0

    def corners(self) -> Ranking:
        """Leave out thresholds between two negatives: the curves stay the same lines, of fewer points."""
        rises = np.diff(self.true_positives, prepend=0) > 0
        kept = rises | np.append(rises[1:], True)
        return Ranking(self.thresholds[kept], self.true_positives[kept], self.false_positives[kept])

    def places(self) -> Ints:
        """Tell which threshold each of the n examples is at: int64 [n]."""
        assert self.order is not None, "corners do not know their examples"
        found = np.empty(len(self.order), dtype=np.int64)
        counts = np.diff(self.true_positives + self.false_positives, prepend=0)
        found[self.order] = np.repeat(np.arange(len(counts)), counts)
        return found

    def roc_auc(self) -> float:
        """Compute the probability that a positive ranks above a negative, ties counting half.

        Equal to `sklearn.metrics.roc_auc_score` within 1e-12, and to the Mann-Whitney statistic
        of `scipy.stats.mannwhitneyu` divided by the number of pairs.

        Raises:
            UndefinedError: there is no positive or no negative example.
        """
        self._need_both()
        steps = np.diff(self.false_positives, prepend=0)
        heights = 2 * self.true_positives - np.diff(self.true_positives, prepend=0)  # left plus right
        # In integers up to the division: the order of examples does not change a bit of it.
        return int(steps @ heights) / (2 * self.n_positives * self.n_negatives)

    def average_precision(self) -> float:
        """Compute the area under the precision-recall curve as a step function.

        The mean precision over the positives, each taken at its own score; equal to
        `sklearn.metrics.average_precision_score` within 1e-12.

        Raises:
            UndefinedError: there is no positive example.
        """
        self._need_positives()
        return float(np.diff(self.true_positives, prepend=0) @ self.precision()) / self.n_positives

    def precision(self) -> Floats:
        """Compute the share of positives at or above each threshold: float64 [k]."""
        return self.true_positives / (self.true_positives + self.false_positives)

    def recall(self) -> Floats:
        """Compute the share of the positives at or above each threshold: float64 [k].

        Raises:
            UndefinedError: there is no positive example.
        """
        self._need_positives()
        return self.true_positives / self.n_positives

    def roc_curve(self) -> tuple[Floats, Floats]:
        """Compute false and true positive rates, both rising from 0 to 1: float64 [k + 1] each.

        Equal to `sklearn.metrics.roc_curve(..., drop_intermediate=False)` within 1e-12.

        Raises:
            UndefinedError: there is no positive or no negative example.
        """
        self._need_both()
        return (
            np.insert(self.false_positives / self.n_negatives, 0, 0.0),
            np.insert(self.true_positives / self.n_positives, 0, 0.0),
        )

    def precision_recall_curve(self) -> tuple[Floats, Floats]:
        """Compute recall, rising from 0, and the precision there: float64 [k + 1] each.

        The first point, where nothing is predicted positive, has precision 1 by convention.
        Equal to `sklearn.metrics.precision_recall_curve`, in the opposite order, within 1e-12.

        Raises:
            UndefinedError: there is no positive example.
        """
        return np.insert(self.recall(), 0, 0.0), np.insert(self.precision(), 0, 1.0)

    def _need_positives(self) -> None:
        if self.n_positives == 0:
            raise UndefinedError("no label is positive")

    def _need_both(self) -> None:
        self._need_positives()
        if self.n_negatives == 0:
            raise UndefinedError("no label is negative")
