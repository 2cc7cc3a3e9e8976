"""Predictions beside the truth, each thing about them computed once, when asked for.

Belongs here: what every artifact reads, `Evaluation`. Does not: what does not depend on the number
of classes (`predictions`), which artifacts there are (`artifacts`).
Floor 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

import attrs
import numpy as np

from functorch_artifact.classification.model import ClassificationResults
from functorch_artifact.classification.spec import ClassSpec
from functorch_artifact.errors import PredictionError, UndefinedError
from functorch_artifact.metrics import influence
from functorch_artifact.metrics import labels as reading
from functorch_artifact.metrics.confusion import Counts
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import Bools, Floats, Ints
from functorch_artifact.predictions import Predictions

_TOLERANCE: Final = 1e-2  # how far 16-bit softmaxes stray from a sum of 1


@attrs.frozen(eq=False, slots=False)
class Evaluation(Predictions[ClassSpec]):
    """What every artifact is a pure function of."""

    results_type = ClassificationResults

    @classmethod
    def _read(cls, spec: ClassSpec, results: ClassificationResults, n: int) -> tuple[Floats, Ints]:
        if results.probabilities is None:
            return np.full((n, spec.n_classes), np.nan), np.full(n, reading.MISSING)
        probabilities = _distributions(results.probabilities, spec)
        missing = np.isnan(probabilities[:, 0])
        likeliest = np.where(missing[:, None], 0.0, probabilities).argmax(axis=1)
        return probabilities, np.where(missing, reading.MISSING, likeliest)

    @property
    def truth_probabilities(self) -> Floats:
        """What the true class of each example was given: float64 [n], NaN where nothing was."""
        return self.probabilities[np.arange(len(self.true)), self.true]

    @property
    def shown_probabilities(self) -> Floats:
        """Those of the predicted classes."""
        given = self.probabilities[np.arange(len(self.true)), self.codes]
        return np.where(self.codes == reading.MISSING, np.nan, given)

    @property
    def about(self) -> dict[str, int]:
        """Examples and classes."""
        present = int(np.count_nonzero(np.bincount(self.true)))
        return {"examples": len(self.true), "classes": self.spec.n_classes, "classes among the labels": present}

    @cached_property
    def counts(self) -> Counts:
        """Each class against the rest.

        Raises:
            UndefinedError: an example has no prediction.
        """
        return Counts.of(self.complete_confusion)

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
    def area_errors(self) -> tuple[AreaErrors, AreaErrors]:
        """Standard errors of `areas`, and of their means.

        Raises:
            UndefinedError: an example has no probabilities, or all are of one class.
        """
        support = np.bincount(self.true, minlength=self.spec.n_classes)
        found = tuple(AreaErrors.of(each, support, self.true) for each in self.areas)
        for place, ranking in enumerate(self.rankings()):
            positive = self.true == place
            if ranking.n_positives and ranking.n_negatives:
                found[0].add(place, influence.by_example(ranking, influence.of_roc_auc(ranking), positive))
            if ranking.n_positives:
                found[1].add(place, influence.by_example(ranking, influence.of_average_precision(ranking), positive))
        return found[0], found[1]

    @cached_property
    def pooled_ranking(self) -> Ranking:
        """All pairs of example and class in one ranking, positive where the class is the true one.

        Raises:
            UndefinedError: an example has no probabilities.
        """
        indicators = self.true[:, None] == np.arange(self.spec.n_classes)
        return Ranking.of(indicators.ravel(), self.known_probabilities.ravel())

    def pooled_influence(self, of_area: Callable[[Ranking], tuple[Floats, Floats]]) -> Floats:
        """Tell the influence of each example, with all its pairs, on an area of `pooled_ranking`: float64 [n].

        Raises:
            UndefinedError: an example has no probabilities.
        """
        ranking, indicators = self.pooled_ranking, self.true[:, None] == np.arange(self.spec.n_classes)
        of_pairs = influence.by_example(ranking, of_area(ranking), indicators.ravel())
        return np.asarray(of_pairs.reshape(indicators.shape).sum(axis=1))


@attrs.define(eq=False)
class AreaErrors:
    """Standard errors of an area of each class against the rest, and of its means, class by class."""

    areas: Floats  # float64 [k], NaN where there is none
    support: Ints  # int64 [k]
    true: Ints  # int64 [n]
    by_class: Floats  # float64 [k], NaN where there is none
    on_macro: Floats  # float64 [n], influence on the mean
    on_weighted: Floats  # float64 [n], on the one weighted by examples

    @classmethod
    def of(cls, areas: Floats, support: Ints, true: Ints) -> AreaErrors:
        """Begin, without any class."""
        moved = influence.by_support(areas, ~np.isnan(areas), support)[true]
        return cls(areas, support, true, np.full(len(areas), np.nan), np.zeros(len(true)), moved)

    def add(self, place: int, moves: Floats) -> None:
        """Take in the influence of each example on the area of one class, float64 [n]."""
        counted = ~np.isnan(self.areas)
        self.by_class[place] = influence.standard_error(moves)
        self.on_macro += moves / counted.sum()
        self.on_weighted += moves * self.support[place] / self.support[counted].sum()

    def of_mean(self, weighted: bool) -> float:
        """Make the standard error of the mean over classes, by examples or not."""
        return influence.standard_error(self.on_weighted if weighted else self.on_macro)


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
