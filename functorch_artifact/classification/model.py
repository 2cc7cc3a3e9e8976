"""What a classifier is.

Belongs here: the domain's model interface, and what it gives. Does not: its parameters
(`predictions`), how predictions are judged.
Floor 6.
"""

from __future__ import annotations

from typing import Any, Generic

import attrs

from functorch_artifact.contracts import ModelInputTContr, ModelOutputTCov
from functorch_artifact.predictions import ClassificationDataTContr, ClassificationParamsTContr, ClassifyingModel


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


class Classifier(
    ClassifyingModel[
        ModelInputTContr,
        ModelOutputTCov,
        ClassificationParamsTContr,
        ClassificationDataTContr,
        ClassificationResults,
    ],
    Generic[ModelInputTContr, ModelOutputTCov, ClassificationParamsTContr, ClassificationDataTContr],
):
    """A model that tells classes apart.

    It is contravariant in its parameters and in the data that it classifies: a classifier that
    needs less than a routine offers fits that routine.
    """
