"""What a binary classifier is.

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
class BinaryClassificationResults:
    """What a classifier says of n examples, in their order.

    Args:
        probabilities: of the positive class, [n], NaN where there is none: a tensor, an array or a
            pandas column.
        predicted: class names, [n], missing where there is none; by default the positive class
            where the probability is at or above the threshold.
        threshold: the least probability that is predicted positive.

    Either may be left out, not both. Without probabilities, scores that need them are undefined.
    """

    probabilities: Any = None
    predicted: Any = None
    threshold: float = 0.5


class BinaryClassifier(
    ClassifyingModel[
        ModelInputTContr,
        ModelOutputTCov,
        ClassificationParamsTContr,
        ClassificationDataTContr,
        BinaryClassificationResults,
    ],
    Generic[ModelInputTContr, ModelOutputTCov, ClassificationParamsTContr, ClassificationDataTContr],
):
    """A model that tells two classes apart.

    It is contravariant in its parameters and in the data that it classifies: a classifier that
    needs less than a routine offers fits that routine.
    """
