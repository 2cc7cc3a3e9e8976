"""What the type checkers must reject: each marked line, and no other, is an error in both.

Checked by mypy and pyright; the code is never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pandas as pd
import torch
from accepts import (
    Input,
    Labeller,
    Network,
    Output,
    PredictionMean,
    RichInput,
    RichOutput,
    Routine,
    Synthesizer,
    Tempered,
    Thresholded,
    Timed,
    Trainer,
)
from torch import Tensor

from functorch_artifact import (
    DataLoader,
    DataLoaderRoutine,
    DataLoaderScoreCallback,
    EarlyStopper,
    Model,
    ModelInput,
    ModelOutput,
    ResidentDataset,
    ScoreTracker,
    StopperUpdateData,
    TrainState,
    classification,
    folds,
    optimizers,
    train_step,
)
from functorch_artifact.binary_classification import (
    BinaryClassificationResults,
    BinaryClassificationRoutine,
    BinaryClassifier,
    BinaryClassSpec,
    ClassificationParams,
)
from functorch_artifact.contracts import Loader
from functorch_artifact.folds import Fold
from functorch_artifact.routines import ArtifactRoutine
from functorch_artifact.table_comparison import GenerationParams, TableComparisonRoutine, TableSynthesizer

# A model that needs more than it is offered, or gives less than is asked.
needy: Model[ModelInput, RichOutput] = Network()  # rejected


def models(stingy: Model[Input, Output]) -> None:
    silent: Model[Input, RichOutput] = stingy  # rejected


# A callback that needs an output, or an input, that the model lacks.
without_prediction: DataLoaderScoreCallback[ModelInput, ModelOutput] = PredictionMean()  # rejected


# A callback that reads a contract, where batches are plain dictionaries; a model without a contract.
on_plain: DataLoaderScoreCallback[dict[str, Tensor], Output] = PredictionMean()  # rejected


def without_contract(model: Model[dict[str, Tensor], Output]) -> None:  # rejected
    pass


def on_rich(callback: DataLoaderScoreCallback[RichInput, RichOutput]) -> None:
    on_modest: DataLoaderScoreCallback[Input, RichOutput] = callback  # rejected


# A routine that asks for more than the model gives; a loader that lacks what a routine needs.
def routines(rich: DataLoaderRoutine[RichInput, RichOutput], loader: DataLoader[Input]) -> None:
    modest: DataLoaderRoutine[RichInput, Output] = rich  # rejected
    poor: Loader[RichInput] = loader  # rejected
    Routine.build(data_loader=loader)  # rejected


# A routine of another domain's model, and a synthesizer that needs more than it is asked with.
def domains(routine: TableComparisonRoutine[GenerationParams]) -> None:
    other: ArtifactRoutine[Network] = routine  # rejected
    Trainer.build(Network(), numbers, artifact_routine=routine)  # rejected


class Demanding(TableSynthesizer[Input, Output, Tempered]):
    def forward(self, batch: Input) -> Output:
        return {"loss": batch["x"].mean(), "prediction": batch["x"]}

    def generate(self, generation_params: Tempered) -> pd.DataFrame:
        return pd.DataFrame({"x": [generation_params.temperature]})


demanding: TableSynthesizer[Input, Output, GenerationParams] = Demanding()  # rejected
numbers = DataLoader(ResidentDataset[Input]({"x": torch.zeros(3)}), batch_size=1)


# A classifier that needs more than it is given, in parameters or in data.
class DemandingDetector(BinaryClassifier[Input, Output, Thresholded, list[Tensor]]):
    def forward(self, batch: Input) -> Output:
        return {"loss": batch["x"].mean(), "prediction": batch["x"]}

    def classify(self, data: list[Tensor], params: Thresholded) -> BinaryClassificationResults:
        return BinaryClassificationResults(probabilities=data[0] > params.threshold)


thresholdless: BinaryClassifier[Input, Output, ClassificationParams, list[Tensor]] = DemandingDetector()  # rejected
listless: BinaryClassifier[Input, Output, Thresholded, Sequence[Tensor]] = DemandingDetector()  # rejected


def detection(routine: BinaryClassificationRoutine[ClassificationParams, list[Tensor]]) -> None:
    other: ArtifactRoutine[Synthesizer] = routine  # rejected
    demanding: ArtifactRoutine[DemandingDetector] = routine  # rejected
    richer: BinaryClassificationRoutine[Thresholded, list[Tensor]] = routine  # rejected
    of_several: ArtifactRoutine[Labeller] = routine  # rejected


# A plan, or a specification, of another domain.
def judging(routine: type[BinaryClassificationRoutine[ClassificationParams, Tensor]], params: Thresholded) -> None:
    spec = BinaryClassSpec(["no", "yes"], positive_class="yes")
    routine(torch.zeros(1), ["no"], spec, params, classification.ClassificationPlan())  # rejected
    routine(torch.zeros(1), ["no"], classification.ClassSpec(["no", "yes"]), params)  # rejected


# A stopper that reads more than it is told.
def stoppers(timed: EarlyStopper[Any, Timed]) -> None:
    untimed: EarlyStopper[Any, StopperUpdateData] = timed  # rejected


# Outputs without a loss, immutable states, misspelt policies, wrong arguments.
class Lossless(Model[Input, Output]):
    def forward(self, batch: Input) -> Output:
        return {"prediction": batch["x"]}  # rejected


def assign(state: TrainState) -> None:
    state.step = torch.tensor(1)  # rejected


train_step(torch.nn.Linear(1, 1), optimizers.adam(1e-3), nonfinite="ignore")  # rejected
ScoreTracker("VAL_LOSS", mode="best")  # rejected
train_step(torch.nn.Linear(1, 1), torch.optim.Adam([torch.zeros(1)]))  # rejected
lengths: Fold[int, Any, Tensor] = folds.mean(len)  # rejected
Synthesizer().generate(5)  # rejected


@attrs.frozen
class Rows(GenerationParams):
    rows: str = ""


Rows(n_records="five")  # rejected
