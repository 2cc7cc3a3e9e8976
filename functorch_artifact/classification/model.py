"""What a classifier is.

Belongs here: the domain's model interface, what it gives, its parameters and their TypeVars. Does
not: how predictions are judged.
Floor 5.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

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


@attrs.frozen(eq=False, kw_only=True)
class ClassificationResults:
    """What a classifier says of n examples, in their order.

    Args:
        probabilities: of each class, in the specification's order: [n, k], rows sum to 1 and are NaN
            where there are none; a tensor, an array or a pandas table.
        predicted: class names, [n], missing where there is none; by default the likeliest class,
            the first of several.

    Either may be left out, not both. Without probabilities, scores that need them are undefined.
    """

    probabilities: Any = None
    predicted: Any = None


ClassificationParamsTContr = TypeVar("ClassificationParamsTContr", bound=ClassificationParams, contravariant=True)
ClassificationParamsTCov = TypeVar("ClassificationParamsTCov", bound=ClassificationParams, covariant=True)
ClassificationDataTContr = TypeVar("ClassificationDataTContr", contravariant=True)
ClassificationDataTCov = TypeVar("ClassificationDataTCov", covariant=True)


class Classifier(
    Model[ModelInputTContr, ModelOutputTCov],
    Generic[ModelInputTContr, ModelOutputTCov, ClassificationParamsTContr, ClassificationDataTContr],
):
    """A model that tells classes apart.

    It is contravariant in its parameters and in the data that it classifies: a classifier that
    needs less than a routine offers fits that routine.
    """

    @abstractmethod
    def classify(self, data: ClassificationDataTContr, params: ClassificationParamsTContr) -> ClassificationResults:
        """Classify examples, in their order; in eval mode, without gradients."""
