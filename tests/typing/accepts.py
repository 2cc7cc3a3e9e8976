"""What the type checkers must accept; every promise of variance has its line here or in rejects.py.

Checked by mypy and pyright; the code is never run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pandas as pd
import torch
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from functorch_artifact import (
    BatchRoutine,
    CustomTrainer,
    DataLoader,
    DataLoaderRoutine,
    DataLoaderScoreCallback,
    Dataset,
    EarlyStopper,
    EpochBoundStopper,
    Model,
    ModelInput,
    ModelOutput,
    ModelTracker,
    ResidentDataset,
    ScoreCriterion,
    ScoreTracker,
    StopperUpdateData,
    TrackingClient,
    TrainLossCallback,
    ValLossCallback,
    classification,
    fit,
    folds,
    functional,
    optimizers,
    tracking,
    train_step,
)
from functorch_artifact.binary_classification import (
    BinaryClassificationResults,
    BinaryClassificationRoutine,
    BinaryClassifier,
    BinaryClassSpec,
    ClassificationParams,
)
from functorch_artifact.contracts import BatchResult, Loader
from functorch_artifact.errors import LawViolation
from functorch_artifact.folds import Fold
from functorch_artifact.program import Program
from functorch_artifact.records import Record
from functorch_artifact.routines import ArtifactRoutine
from functorch_artifact.stoppers import Continue, Stop, Verdict, any_of
from functorch_artifact.table_comparison import GenerationParams, TableComparisonRoutine, TableSynthesizer
from functorch_artifact.testing import Report, check_callback, check_fold, check_stopper, laws
from functorch_artifact.testing import strategies as fas


class Input(ModelInput):
    x: Tensor


class RichInput(Input):
    weight: Tensor


class Output(ModelOutput):
    prediction: Tensor


class RichOutput(Output):
    embedding: Tensor


class Network(Model[Input, RichOutput]):
    def forward(self, batch: Input) -> RichOutput:
        loss = batch["x"].mean()
        return {"loss": loss, "prediction": loss, "embedding": loss}


@attrs.frozen
class Tempered(GenerationParams):
    temperature: float = 1.0


class Synthesizer(TableSynthesizer[Input, Output, GenerationParams]):
    def forward(self, batch: Input) -> Output:
        return {"loss": batch["x"].mean(), "prediction": batch["x"]}

    def generate(self, generation_params: GenerationParams) -> pd.DataFrame:
        return pd.DataFrame({"x": range(generation_params.n_records)})


class PredictionMean(DataLoaderScoreCallback[ModelInput, Output]):
    def _get_name(self) -> str:
        return "PREDICTION_MEAN"

    def _get_fold(self) -> Fold[BatchResult[ModelInput, Output], Any, Tensor]:
        return folds.mean(lambda result: result.output["prediction"].mean())


class Routine(DataLoaderRoutine[RichInput, RichOutput]):
    @staticmethod
    def _get_score_callbacks() -> Sequence[DataLoaderScoreCallback[RichInput, RichOutput]]:
        return [PredictionMean(), TrainLossCallback()]


class Trainer(CustomTrainer[Network, Input, RichOutput, ScoreCriterion, StopperUpdateData]):
    def _get_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters())

    def _get_early_stopper(self) -> EpochBoundStopper:
        return EpochBoundStopper(n_epochs=3)

    def _get_model_tracker(self) -> ScoreTracker:
        return ScoreTracker("VAL_LOSS", mode="min")

    @staticmethod
    def _get_batch_routine(tracking_client: TrackingClient | None) -> BatchRoutine[Input, RichOutput] | None:
        return None


class PureTrainer(Trainer):
    def _get_optimizer(self) -> Any:
        return optimizers.adam(1e-3)


# A model that needs less than it is offered, or gives more than is asked, fits.
model_of_less_input: Model[RichInput, RichOutput] = Network()
model_of_more_output: Model[Input, ModelOutput] = Network()

# A callback that asks for fewer inputs or outputs serves a richer model.
callback_on_richer_input: DataLoaderScoreCallback[RichInput, Output] = PredictionMean()
callback_on_richer_output: DataLoaderScoreCallback[Input, RichOutput] = PredictionMean()
loss_callback_on_anything: DataLoaderScoreCallback[RichInput, RichOutput] = ValLossCallback()

# So does a routine; and a loader of richer batches feeds a modest consumer.
modest_routine: DataLoaderRoutine[RichInput, RichOutput] = DataLoaderRoutine[ModelInput, Output](
    DataLoader(ResidentDataset[Input]({"x": torch.zeros(3)}), batch_size=1), [PredictionMean()]
)
rich_loader: DataLoader[RichInput] = DataLoader(
    ResidentDataset[RichInput]({"x": torch.zeros(3), "weight": torch.ones(3)}), batch_size=1
)
loader_of_richer_batches: Loader[Input] = rich_loader
built: Routine = Routine.build(data_loader=rich_loader, tracking_client=tracking.InMemory())

# Batches need not be a contract where no model is named: plain dictionaries and pairs do as well.
plain_loader: DataLoader[dict[str, Tensor]] = DataLoader(ResidentDataset({"x": torch.zeros(3)}), batch_size=1)
pair_loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
    ResidentDataset((torch.zeros(3), torch.ones(3))), batch_size=1
)
loss_callback_on_plain: DataLoaderScoreCallback[dict[str, Tensor], ModelOutput] = ValLossCallback()
routine_on_plain: DataLoaderRoutine[dict[str, Tensor], ModelOutput] = DataLoaderRoutine(
    plain_loader, [ValLossCallback()]
)
routine_on_pairs: DataLoaderRoutine[tuple[Tensor, Tensor], ModelOutput] = DataLoaderRoutine.build(pair_loader)

# A synthesizer that needs less than the routine's parameters give fits; so does a richer routine.
synthesizer: TableSynthesizer[RichInput, ModelOutput, Tempered] = Synthesizer()
artifact_routine: TableComparisonRoutine[Tempered] = TableComparisonRoutine(pd.DataFrame(), Any, Tempered(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
routine_for_synthesizer: ArtifactRoutine[Synthesizer] = artifact_routine


# A classifier that needs less than the routine gives, in parameters and in data, fits.
@attrs.frozen
class Thresholded(ClassificationParams):
    threshold: float = 0.5


class Detector(BinaryClassifier[Input, Output, ClassificationParams, Sequence[Tensor]]):
    def forward(self, batch: Input) -> Output:
        return {"loss": batch["x"].mean(), "prediction": batch["x"]}

    def classify(self, data: Sequence[Tensor], params: ClassificationParams) -> BinaryClassificationResults:
        return BinaryClassificationResults(probabilities=data[0])


detector: BinaryClassifier[RichInput, ModelOutput, Thresholded, list[Tensor]] = Detector()
detecting: BinaryClassificationRoutine[Thresholded, list[Tensor]] = BinaryClassificationRoutine(
    [torch.zeros(2)], ["no", "yes"], BinaryClassSpec(["no", "yes"], positive_class="yes"), Thresholded()
)
routine_for_detector: ArtifactRoutine[Detector] = detecting
routine_of_more: BinaryClassificationRoutine[ClassificationParams, Sequence[Tensor]] = detecting


class Labeller(classification.Classifier[Input, Output, classification.ClassificationParams, Sequence[Tensor]]):
    def forward(self, batch: Input) -> Output:
        return {"loss": batch["x"].mean(), "prediction": batch["x"]}

    def classify(
        self, data: Sequence[Tensor], params: classification.ClassificationParams
    ) -> classification.ClassificationResults:
        return classification.ClassificationResults(probabilities=data[0])


labelling: classification.ClassificationRoutine[classification.ClassificationParams, list[Tensor]] = (
    classification.ClassificationRoutine(
        [torch.zeros(1, 3)], [2], classification.ClassSpec(range(3)), classification.ClassificationParams()
    )
)
routine_for_labeller: ArtifactRoutine[Labeller] = labelling


# A stopper that reads less serves richer data; a tracker of a broader criterion a narrower one.
@attrs.frozen(kw_only=True)
class Timed(StopperUpdateData):
    seconds: float


class Budget(EarlyStopper[float, Timed]):
    def init(self) -> float:
        return 0.0

    def update(self, state: float, data: Timed) -> float:
        return state + data.seconds

    def verdict(self, state: float) -> Verdict:
        return Stop("out of time") if state > 10 else Continue()


def timed(epoch: int, scores: Mapping[str, float]) -> Timed:
    return Timed(n_epochs_elapsed=epoch, scores=scores, seconds=1.0)


# Checkers take the user's own generics; what they draw is typed.
kept: Report = check_stopper(Budget(), data=timed)
of_callback: Report = check_callback(PredictionMean(), batches=fas.batches(Input, Output), strict=False)
of_fold: Report = check_fold(folds.mean(len), fas.score_histories(["LOSS"]))
broken: dict[str, LawViolation] = kept.broken
histories: SearchStrategy[list[dict[str, float]]] = fas.score_histories(["LOSS"], allow_nan=False)
tensors: SearchStrategy[Tensor] = fas.tensors(shapes=(2, 3), dtypes=torch.float64)
stoppers_drawn: SearchStrategy[EarlyStopper[Any, Any]] = fas.stoppers(scores=["LOSS"], max_n_epochs=3)
for law in laws(Budget(), data=timed):
    name: str = law.__name__
    law()

stopper_of_less: EarlyStopper[Any, Timed] = any_of(EpochBoundStopper(3), EpochBoundStopper(4))
tracker: ModelTracker[ScoreCriterion] = ScoreTracker("VAL_LOSS", mode="max")

# The two faces.
trainer = Trainer.build(Network(), DataLoader(ResidentDataset[Input]({"x": torch.zeros(3)}), batch_size=1))
best: dict[str, Tensor] | None = trainer.best_model_state
result: pd.DataFrame = trainer.train(progress=False).scores
step = train_step(functional(torch.nn.Linear(2, 1)), optimizers.adam(1e-3))
scores: pd.DataFrame = fit(trainer.program(), tracking_client=[tracking.InMemory()]).scores
bound: Network = functional(Network()).bind(functional(Network()).variables)


# Folds and datasets keep their element types.
lengths: Fold[str, Any, Tensor] = folds.mean(len)
mapped: Fold[str, Any, float] = lengths.then(float)


class Numbers(Dataset[Input]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Input:
        return {"x": torch.tensor(float(index))}


numbers: DataLoader[Input] = DataLoader(Numbers(), batch_size=2)


class Printing(TrackingClient):
    def open(self, run: Any) -> None: ...
    def log(self, records: Sequence[Record]) -> None:
        for record in records:
            print(record.name, record.epoch)

    def close(self) -> None: ...


# A program takes a module as it is.
program: Program = Program(
    model=Network(),
    optimizer=optimizers.adam(1e-3),
    train_loader=numbers,
    stopper=EpochBoundStopper(2),
    loader_routines=[DataLoaderRoutine(plain_loader, [ValLossCallback()]), DataLoaderRoutine(pair_loader)],
)
