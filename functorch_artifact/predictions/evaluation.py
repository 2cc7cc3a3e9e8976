"""Predictions beside the truth: what does not depend on how many classes there are.

Belongs here: `Predictions`, the base of what the domains' artifacts read. Does not: reading a
domain's probabilities, and what only one of them computes (the domains).
Floor 5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import attrs
import numpy as np
import pandas as pd

from functorch_artifact.errors import PredictionError
from functorch_artifact.metrics import labels as reading
from functorch_artifact.metrics.confusion import confusion_matrix
from functorch_artifact.metrics.statistics import Bools, Floats, Ints, describe


class Classes(Protocol):
    """Which classes there are."""

    @property
    def by_code(self) -> tuple[Hashable, ...]:
        """Their names; the place of one is its code."""
        ...


SpecT = TypeVar("SpecT", bound=Classes)
PredictionsT = TypeVar("PredictionsT", bound="Predictions[Any]")


@attrs.frozen(eq=False, slots=False)
class Predictions(ABC, Generic[SpecT]):
    """What every artifact about predictions is a pure function of.

    A domain sets `results_type` and says how to read such results.
    """

    results_type: ClassVar[type[Any]]
    """What the domain's classifiers return; it has `probabilities` and `predicted`."""

    spec: SpecT
    true: Ints  # int64 [n], the labels, as codes of their classes
    probabilities: Floats  # float64 [n] or [n, k], NaN where there are none
    codes: Ints  # int64 [n], predictions, -1 where there is none

    @staticmethod
    def read_labels(labels: Any, spec: Classes) -> Ints:
        """Encode n labels: int64 [n].

        Raises:
            PredictionError: there is no label, one is missing, or one is not a class.
        """
        return reading.known(reading.encode(labels, spec.by_code, "the labels"), "the labels")

    @classmethod
    def of(cls, spec: SpecT, true: Ints, results: Any) -> Self:
        """Put a classifier's results beside the truth.

        Args:
            spec: the classes.
            true: the labels, as `read_labels` gives them.
            results: what the classifier says of the same examples.

        Raises:
            PredictionError: the results are of another shape, have neither probabilities nor
                predictions, or hold a value that is no probability or no class.
        """
        if not isinstance(results, cls.results_type) or (results.probabilities is None and results.predicted is None):
            raise PredictionError(
                "hold neither probabilities nor predictions",
                where="the results",
                expected=f"{cls.results_type.__name__}(probabilities=...)",
                got=type(results).__name__,
            )
        probabilities, codes = cls._read(spec, results, len(true))
        if results.predicted is not None:
            codes = reading.encode(results.predicted, spec.by_code, "the results' predictions")
        reading.check_lengths(len(true), probabilities=probabilities, predictions=codes)
        return cls(spec, true, probabilities, codes.astype(np.int64, copy=False))

    @classmethod
    @abstractmethod
    def _read(cls, spec: SpecT, results: Any, n: int) -> tuple[Floats, Ints]:
        """Read the probabilities, NaN for n examples if there are none, and what is predicted by them."""

    @property
    @abstractmethod
    def truth_probabilities(self) -> Floats:
        """What the true class of each example was given: float64 [n], NaN where nothing was."""

    @property
    @abstractmethod
    def shown_probabilities(self) -> Floats:
        """The probability of each example that a table shows: float64 [n], NaN where there is none."""

    @property
    @abstractmethod
    def about(self) -> Mapping[str, Any]:
        """Facts for a report, by name."""

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
        """The predictions, none of which is missing: int64 [n].

        Raises:
            UndefinedError: an example has no prediction.
        """
        reading.need_all(self.codes == reading.MISSING, "predictions")
        return self.codes

    @cached_property
    def confusion(self) -> Ints:
        """Examples by true class (row) and predicted class, int64 [k, k]; without those that lack a prediction."""
        return confusion_matrix(self.true, self.codes, len(self.spec.by_code))

    @property
    def complete_confusion(self) -> Ints:
        """The same, of all examples.

        Raises:
            UndefinedError: an example has no prediction.
        """
        reading.need_all(self.codes == reading.MISSING, "predictions")
        return self.confusion

    @cached_property
    def known_probabilities(self) -> Floats:
        """The probabilities, none of which is missing: float64 [n] or [n, k].

        Raises:
            UndefinedError: an example has no probability.
        """
        reading.need_all(self._unknown, "probabilities")
        return self.probabilities

    @property
    def known_truth_probabilities(self) -> Floats:
        """What the true class of each example was given, none of which is missing: float64 [n].

        Raises:
            UndefinedError: an example has no probability.
        """
        reading.need_all(self._unknown, "probabilities")
        return self.truth_probabilities

    @cached_property
    def truth_statistics(self) -> dict[str, float]:
        """Descriptive statistics of what the true classes were given.

        Raises:
            UndefinedError: an example has no probability.
        """
        return describe(self.known_truth_probabilities)

    def frame(self) -> pd.DataFrame:
        """Make a table of it: columns label, predicted, probability."""
        return pd.DataFrame(
            {
                "label": pd.Series(self.labels, dtype=object),
                "predicted": pd.Series(self.predicted, dtype=object),
                "probability": self.shown_probabilities,
            }
        )

    def bootstrap(self, seed: int) -> Self:
        """Draw as many examples with replacement: another sample of what they are a sample of."""
        drawn = np.random.default_rng(seed).integers(0, len(self.true), len(self.true))
        return attrs.evolve(
            self, true=self.true[drawn], probabilities=self.probabilities[drawn], codes=self.codes[drawn]
        )

    @property
    def _unknown(self) -> Bools:
        return np.isnan(self.probabilities.reshape(len(self.true), -1)[:, 0])

    def _names(self, codes: Ints) -> np.ndarray[Any, Any]:
        names = np.empty(len(self.spec.by_code) + 1, dtype=object)  # the last for what is missing
        names[:-1] = self.spec.by_code
        return names[codes]
