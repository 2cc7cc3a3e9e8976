"""What a model that tells classes apart is.

Belongs here: its interface, its parameters and their TypeVars. Does not: what its results look like
(the domains), how they are judged.
Floor 5.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

import attrs

from functorch_artifact.contracts import Model, ModelInputTContr, ModelOutputTCov


@attrs.frozen
class ClassificationParams:
    """What a classifier is asked for: nothing; extend it (with `@attrs.frozen`) by what yours can be asked for.

    Example:
        >>> import attrs
        >>> @attrs.frozen
        ... class Tempered(ClassificationParams):
        ...     temperature: float = 1.0
        >>> Tempered(2.0).temperature
        2.0
    """


ClassificationParamsTContr = TypeVar("ClassificationParamsTContr", bound=ClassificationParams, contravariant=True)
ClassificationParamsTCov = TypeVar("ClassificationParamsTCov", bound=ClassificationParams, covariant=True)
ClassificationDataTContr = TypeVar("ClassificationDataTContr", contravariant=True)
ClassificationDataTCov = TypeVar("ClassificationDataTCov", covariant=True)
ResultsT = TypeVar("ResultsT")
ResultsTCov = TypeVar("ResultsTCov", covariant=True)


class ClassifyingModel(
    Model[ModelInputTContr, ModelOutputTCov],
    Generic[ModelInputTContr, ModelOutputTCov, ClassificationParamsTContr, ClassificationDataTContr, ResultsTCov],
):
    """A model that tells classes apart, and says so in a domain's form of results.

    It is contravariant in its parameters and in the data that it classifies: a classifier that
    needs less than a routine offers fits that routine.
    """

    @abstractmethod
    def classify(self, data: ClassificationDataTContr, params: ClassificationParamsTContr) -> ResultsTCov:
        """Classify examples, in their order; in eval mode, without gradients."""
