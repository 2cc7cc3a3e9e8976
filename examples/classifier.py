"""Train a network to read digits, by the functional face, and judge it on digits it has never seen.

    python examples/classifier.py --epochs 30 --run-dir runs/digits --seed 0

The table, 1,797 digits of 8 by 8 pixels, comes with scikit-learn (Alpaydin and Kaynak, 1998).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import functorch_artifact as fa
from functorch_artifact import keys, optimizers, tracking
from functorch_artifact.classification import (
    ClassificationParams,
    ClassificationPlan,
    ClassificationPlotType,
    ClassificationResults,
    ClassificationRoutine,
    ClassificationScoreCollectionType,
    ClassificationScoreType,
    Classifier,
    ClassSpec,
)
from functorch_artifact.contracts import ModelInput, ModelOutput

SPEC = ClassSpec(range(10))

parser = argparse.ArgumentParser(description="Train a network to read digits.")
parser.add_argument("--epochs", type=int, default=30, help="epochs at most (default: %(default)s)")
parser.add_argument("--run-dir", type=Path, default=Path("runs") / time.strftime("digits-%Y%m%d-%H%M%S"))
parser.add_argument("--seed", type=int, default=0)
config = parser.parse_args()


class Digits(ModelInput):
    """What the network takes."""

    x: Tensor  # float32 [n, 64], 0 to 1
    y: Tensor  # int64 [n]


class Network(Classifier[Digits, ModelOutput, ClassificationParams, Tensor]):
    """One hidden layer."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10))

    def forward(self, batch: Digits) -> ModelOutput:
        return {"loss": nn.functional.cross_entropy(self.layers(batch["x"]), batch["y"])}

    def classify(self, data: Tensor, params: ClassificationParams) -> ClassificationResults:
        return ClassificationResults(probabilities=torch.softmax(self.layers(data), dim=1))


def main() -> None:
    """Train, then write a report on digits that took no part in it."""
    torch.set_num_threads(1)
    table = load_digits()
    order = keys.permutation(keys.derive(config.seed, "split"), len(table.data))
    x, y = torch.from_numpy(table.data)[order].float() / 16, torch.from_numpy(table.target)[order]
    n_train, n_fit = int(0.6 * len(x)), int(0.8 * len(x))

    torch.manual_seed(config.seed)  # the network's initial weights
    scores = ClassificationScoreType
    routine = ClassificationRoutine(
        x[n_train:n_fit],
        y[n_train:n_fit],
        SPEC,
        ClassificationParams(),
        ClassificationPlan.of(scores.LOG_LOSS, scores.ACCURACY, scores.F1_MACRO, scores.TOP_K_ACCURACY(k=2)),
    )
    dataset = fa.ResidentDataset[Digits]({"x": x[:n_train], "y": y[:n_train]})
    program = fa.Program(
        model=Network(),
        optimizer=optimizers.adamw(3e-3, weight_decay=0.01),
        train_loader=fa.DataLoader(dataset, batch_size=32, shuffle=True),
        artifact_routines=[routine],
        stopper=fa.ScoreMinimizationStopper("LOG_LOSS", max_n_epochs=config.epochs, patience=5),
        tracker=fa.ScoreTracker("LOG_LOSS", mode="min"),
        seed=config.seed,
    )
    result = fa.fit(program, run=config.run_dir, tracking_client=tracking.Filesystem())
    print(f"\nstopped after {len(result.scores)} epochs: {result.reason}")

    best = result.best_model
    assert result.best is not None
    assert isinstance(best, Network)
    with torch.no_grad():
        results = best.eval().classify(x[n_fit:], ClassificationParams())
    by_class = ClassificationScoreCollectionType.F1_BY_CLASS
    everything = ClassificationPlan.of(*ClassificationScoreType, by_class, *ClassificationPlotType)
    report = everything.evaluate(y[n_fit:], results, SPEC)
    print(f"the model of epoch {int(result.best.epoch)}, on {len(x) - n_fit} digits it has never seen:")
    print(report.scores["value"].to_string(float_format="{:.4f}".format))
    print(f"\nreport: {report.to_html(config.run_dir / 'report.html')}")


if __name__ == "__main__":
    main()
