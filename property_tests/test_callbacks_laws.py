"""Laws of the callbacks, of each family and modality."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch
from torch import Tensor

import functorch_artifact as fa
from functorch_artifact import callbacks, folds
from functorch_artifact.testing import laws
from functorch_artifact.testing import strategies as fas
from functorch_artifact.testing.law import BoundLaw


class Input(fa.ModelInput):
    x: Annotated[Tensor, "n 2"]


class Output(fa.ModelOutput):
    prediction: Annotated[Tensor, "n"]


class AbsoluteError(fa.DataLoaderScoreCallback[Input, Output]):
    def _get_name(self):
        return "ABSOLUTE_ERROR"

    def _get_fold(self):
        return folds.mean(lambda batch: (batch.output["prediction"] - batch.input["x"].sum(1)).abs(), each=True)


def x(batch):
    return batch.input["x"]


def prediction(batch):
    return batch.output["prediction"]


MEMBERS = {
    "validation loss": fa.ValLossCallback(period=2),
    "training loss": fa.TrainLossCallback(),
    "batch loss": fa.BatchLossCallback(period=3),
    "by class": AbsoluteError(period=5),
    "array": callbacks.array("COLUMN_MEANS", folds.mean(x, each=True)),
    "scores": callbacks.score_collection(
        "RANGE",
        folds.product({"low": folds.min(prediction, each=True), "high": folds.max(prediction, each=True)}),
    ),
    "arrays": callbacks.array_collection("ROWS", folds.product({"first": folds.concatenate(x, bound=3)})),
    "examples": callbacks.score("EXAMPLES", folds.count()),
    "variance": callbacks.score("VARIANCE", folds.variance(prediction, each=True)),
    "extreme": callbacks.score("EXTREME", folds.max(lambda batch: x(batch).amax(1), each=True).then(torch.Tensor.abs)),
}
LAWS = [
    pytest.param(law, id=f"{name}-{law.__name__}")
    for name, each in MEMBERS.items()
    for law in laws(each, batches=fas.batches(Input, Output))
]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()
