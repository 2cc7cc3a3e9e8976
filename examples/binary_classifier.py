"""Train a network to tell malignant from benign tumours, and judge it on cells it has never seen.

    python examples/binary_classifier.py --epochs 60 --run-dir runs/tumours --seed 0

The table, 569 tumours of 30 measurements each, comes with scikit-learn (Wolberg et al., 1995).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from functorch_artifact import CustomTrainer, DataLoader, DataLoaderRoutine, ResidentDataset, keys, optimizers, tracking
from functorch_artifact.binary_classification import (
    BinaryClassificationPlan,
    BinaryClassificationPlotType,
    BinaryClassificationResults,
    BinaryClassificationRoutine,
    BinaryClassificationScoreCollectionType,
    BinaryClassificationScoreType,
    BinaryClassifier,
    BinaryClassSpec,
    ClassificationParams,
)
from functorch_artifact.callbacks import TrainLossCallback
from functorch_artifact.contracts import ModelInput, ModelOutput
from functorch_artifact.model_tracking import ModelTracker, ScoreCriterion, ScoreTracker
from functorch_artifact.records import TrackingClient
from functorch_artifact.stoppers import EarlyStopper, ScoreMinimizationStopper, StopperUpdateData

SPEC = BinaryClassSpec(["malignant", "benign"], positive_class="malignant")

parser = argparse.ArgumentParser(description="Train a network to tell malignant from benign tumours.")
parser.add_argument("--epochs", type=int, default=60, help="epochs at most (default: %(default)s)")
parser.add_argument("--run-dir", type=Path, default=Path("runs") / time.strftime("tumours-%Y%m%d-%H%M%S"))
parser.add_argument("--seed", type=int, default=0)
config = parser.parse_args()


class Tumours(ModelInput):
    """What the network takes."""

    x: Tensor  # float32 [n, 30], standardised
    malignant: Tensor  # float32 [n], 0 or 1


@attrs.frozen
class Caution(ClassificationParams):
    """From which probability on a tumour is called malignant."""

    threshold: float = 0.5


class Network(BinaryClassifier[Tumours, ModelOutput, Caution, Tensor]):
    """One hidden layer."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(30, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 1))

    def forward(self, batch: Tumours) -> ModelOutput:
        logits = self.layers(batch["x"]).squeeze(1)
        return {"loss": nn.functional.binary_cross_entropy_with_logits(logits, batch["malignant"])}

    def classify(self, data: Tensor, params: Caution) -> BinaryClassificationResults:
        probabilities = torch.sigmoid(self.layers(data).squeeze(1))
        return BinaryClassificationResults(probabilities=probabilities, threshold=params.threshold)


class Plan(BinaryClassificationPlan):
    """What is looked at while training; the report at the end shows more."""

    @staticmethod
    def _get_score_types() -> Sequence[BinaryClassificationScoreType]:
        score = BinaryClassificationScoreType
        return [score.LOG_LOSS, score.ROC_AUC, score.RECALL, score.PRECISION, score.EXPECTED_CALIBRATION_ERROR]


class Routine(BinaryClassificationRoutine[Caution, Tensor]):
    """Judge the network on held-out tumours after each epoch."""

    @staticmethod
    def _get_classification_params() -> Caution:
        return Caution(threshold=0.4)  # a tumour that is missed costs more than one looked at in vain

    @staticmethod
    def _get_artifact_plan() -> BinaryClassificationPlan:
        return Plan()


class TrainRoutine(DataLoaderRoutine[Tumours, ModelOutput]):
    """Judge the network on what it was trained on."""

    @staticmethod
    def _get_score_callbacks() -> Sequence[TrainLossCallback]:
        return [TrainLossCallback(period=5)]


class Trainer(CustomTrainer[Network, Tumours, ModelOutput, ScoreCriterion, StopperUpdateData]):
    """Say how; the framework does the rest."""

    def _get_optimizer(self) -> optimizers.GradientTransformation:
        return optimizers.adamw(3e-3, weight_decay=0.1)

    def _get_early_stopper(self) -> EarlyStopper[Any, StopperUpdateData]:
        return ScoreMinimizationStopper("LOG_LOSS", max_n_epochs=config.epochs, patience=10)

    def _get_model_tracker(self) -> ModelTracker[ScoreCriterion]:
        return ScoreTracker("LOG_LOSS", mode="min")

    @staticmethod
    def _get_train_loader_routine(
        data_loader: DataLoader[Tumours], tracking_client: TrackingClient | None
    ) -> DataLoaderRoutine[Tumours, ModelOutput]:
        return TrainRoutine.build(data_loader, tracking_client)


def main() -> None:
    """Train, then write a report on tumours that took no part in it."""
    torch.set_num_threads(1)
    table = load_breast_cancer()
    order = keys.permutation(keys.derive(config.seed, "split"), len(table.data))
    labels = table.target_names[table.target][order.numpy()]
    x = torch.from_numpy(table.data)[order]
    n_train, n_fit = int(0.6 * len(x)), int(0.8 * len(x))
    x = ((x - x[:n_train].mean(0)) / x[:n_train].std(0)).float()

    torch.manual_seed(config.seed)  # the network's initial weights
    malignant = torch.from_numpy(labels == SPEC.positive_class).float()
    dataset = ResidentDataset[Tumours]({"x": x[:n_train], "malignant": malignant[:n_train]})
    trainer = Trainer.build(
        Network(),
        DataLoader(dataset, batch_size=32, shuffle=True),
        artifact_routine=Routine.build(x[n_train:n_fit], labels[n_train:n_fit], SPEC),
        tracking_client=tracking.Filesystem(),
        run=config.run_dir,
        seed=config.seed,
    )
    result = trainer.train()
    print(f"\nstopped after {len(result.scores)} epochs: {result.reason}")

    best = result.best_model
    assert result.best is not None
    assert isinstance(best, Network)
    with torch.no_grad():
        results = best.eval().classify(x[n_fit:], Routine._get_classification_params())
    everything = BinaryClassificationPlan.of(
        *BinaryClassificationScoreType,
        BinaryClassificationScoreCollectionType.NORMALIZED_CONFUSION_COUNTS,
        *BinaryClassificationPlotType,
    )
    report = everything.evaluate(labels[n_fit:], results, SPEC)
    print(f"the model of epoch {int(result.best.epoch)}, on {len(x) - n_fit} tumours it has never seen:")
    print(report.scores["value"].to_string(float_format="{:.4f}".format))
    print(f"\nreport: {report.to_html(config.run_dir / 'report.html')}")


if __name__ == "__main__":
    main()
