"""The specification's page, as written there, with its ellipses filled in."""

from types import SimpleNamespace
from typing import Any, List, Optional  # noqa: UP035 - as on the page

import attrs
import pandas as pd
import pytest
import torch

from functorch_artifact import (
    CustomTrainer,
    DataLoader,
    DataLoaderRoutine,
    DataLoaderScoreCallback,
    EarlyStopper,
    EpochBoundStopper,
    ModelInputT,
    ModelOutputT,
    ModelTrackingCriterion,
    ResidentDataset,
    StopperUpdateData,
    TrackingClient,
    TrainLossCallback,
    contracts,
    tracking,
)
from functorch_artifact.table_comparison import (
    GenerationParams,
    TableComparisonPlan,
    TableComparisonRoutine,
    TableComparisonScoreType,
    TableSynthesizer,
    TabularSpec,
)

config = SimpleNamespace(lr=1e-2, step_size=2, num_epochs=4, validation_frequency=1)


class ModelInput(contracts.ModelInput):
    values: torch.Tensor  # float32 [batch, 2]


class ModelOutput(contracts.ModelOutput):
    reconstruction: torch.Tensor  # float32 [batch, 2]


@attrs.frozen
class MyGenerationParams(GenerationParams):
    temperature: float = 1.0


# User Implementation Layer


class MyModel(TableSynthesizer[ModelInput, ModelOutput, MyGenerationParams]):
    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(2))
        self.log_scale = torch.nn.Parameter(torch.zeros(2))

    def forward(self, batch: ModelInput) -> ModelOutput:
        distance = (batch["values"] - self.mean) / self.log_scale.exp()
        return {
            "loss": (distance.square() / 2 + self.log_scale).sum(1).mean(),
            "reconstruction": self.mean.expand_as(batch["values"]),
        }

    def generate(self, generation_params: MyGenerationParams) -> pd.DataFrame:
        noise = torch.randn(generation_params.n_records, 2) * generation_params.temperature
        return pd.DataFrame((self.mean + self.log_scale.exp() * noise).numpy(force=True), columns=["a", "b"])


# User Configuration Layer


class MyTrainer(
    CustomTrainer[
        TableSynthesizer[ModelInput, ModelOutput, Any],  # Expected model type.
        ModelInput,  # Expected forward pass input.
        ModelOutput,  # Expected forward pass output.
        ModelTrackingCriterion,  # See artifact-torch docs.
        StopperUpdateData,  # See artifact-torch docs.
    ]
):
    def _get_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=config.lr)

    def _get_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=config.step_size)

    def _get_early_stopper(self) -> EarlyStopper:
        return EpochBoundStopper(n_epochs=config.num_epochs)

    @staticmethod
    def _get_train_loader_routine(
        data_loader: DataLoader[ModelInputT],
        tracking_client: Optional[TrackingClient],  # noqa: UP045
    ) -> Optional[DataLoaderRoutine[ModelInputT, ModelOutputT]]:  # noqa: UP045
        return MyDataLoaderRoutine.build(
            data_loader=data_loader,  # Artifact-ML type-aware wrapper
            tracking_client=tracking_client,
        )


class MyDataLoaderRoutine(DataLoaderRoutine[ModelInput, ModelOutput]):  # Expected IO profile.
    @staticmethod
    def _get_score_callbacks() -> List[DataLoaderScoreCallback[ModelInput, ModelOutput]]:  # noqa: UP006
        return [TrainLossCallback(period=config.validation_frequency)]


# External Integration Layer


class MyPlan(TableComparisonPlan):
    @staticmethod
    def _get_score_types() -> List[TableComparisonScoreType]:  # noqa: UP006
        return [TableComparisonScoreType.MEAN_JS_DISTANCE]


class MyArtifactRoutine(TableComparisonRoutine[MyGenerationParams]):
    @staticmethod
    def _get_period() -> int:
        return 2

    @staticmethod
    def _get_generation_params() -> MyGenerationParams:
        return MyGenerationParams(n_records=500)

    @staticmethod
    def _get_artifact_plan() -> TableComparisonPlan:
        return MyPlan()


@pytest.fixture
def table() -> torch.Tensor:
    return torch.randn(512, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0]) + 2


def loader(table: torch.Tensor) -> DataLoader[ModelInput]:
    return DataLoader(ResidentDataset({"values": table}), batch_size=32, shuffle=True)


def test_the_page_runs_and_trains(table):
    client = tracking.InMemory()
    real = pd.DataFrame(table.numpy(), columns=["a", "b"])
    torch.manual_seed(0)
    trainer = MyTrainer.build(
        MyModel(),
        loader(table),
        artifact_routine=MyArtifactRoutine.build(real, TabularSpec.from_frame(real)),
        tracking_client=client,
    )
    result = trainer.train(progress=False)
    assert result.reason == "the run has reached its bound of 4 epochs"
    scores = trainer.epoch_scores
    assert scores.index.tolist() == [1, 2, 3, 4]
    assert scores["TRAIN_LOSS"].is_monotonic_decreasing
    assert scores["MEAN_JS_DISTANCE"].notna().tolist() == [False, True, False, True]
    logged = {(r.name, r.split, r.epoch, r.step) for r in client.records}
    assert {("TRAIN_LOSS", "TRAIN", e, 16 * e) for e in range(1, 5)} <= logged
    assert {("MEAN_JS_DISTANCE", "VALIDATION", e, 16 * e) for e in (2, 4)} <= logged
    assert trainer.n_epochs_elapsed == 4
    assert trainer.best_model_state is None
    latest = trainer.latest_model_state
    assert all(torch.equal(latest[name], tensor) for name, tensor in trainer.state.params.items())


def test_the_page_trains_as_a_loop_written_by_hand_would(table):
    """The scheduler is stepped once an epoch, as `StepLR`'s own documentation has it."""
    trainer = MyTrainer.build(MyModel(), loader(table), seed=7)
    trainer.train(progress=False)
    model = MyModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=config.step_size)
    for epoch in range(1, 5):
        for batch in loader(table).batches(epoch, seed=7):
            optimizer.zero_grad()
            model(batch)["loss"].backward()
            optimizer.step()
        scheduler.step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(trainer.latest_model_state[name], tensor)
