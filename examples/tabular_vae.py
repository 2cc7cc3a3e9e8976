"""Train a tabular VAE on the diamonds table, and judge what it generates against held-out rows.

    python examples/tabular_vae.py --epochs 20 --run-dir runs/diamonds --seed 0

`--rows 5000 --epochs 4` makes a quick run. The model itself is in `tabular_vae_model.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tabular_vae_model import TableCodec, TabularVAE, VAEInput, VAEOutput

from functorch_artifact import (
    CustomTrainer,
    DataLoader,
    DataLoaderRoutine,
    ResidentDataset,
    RunReader,
    keys,
    optimizers,
    tracking,
)
from functorch_artifact.callbacks import CheckpointCallback, DataLoaderScoreCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.contracts import BatchResult
from functorch_artifact.folds import Fold, mean
from functorch_artifact.model_tracking import ModelTracker, ScoreCriterion, ScoreTracker
from functorch_artifact.records import TrackingClient
from functorch_artifact.stoppers import EarlyStopper, ScoreMinimizationStopper, StopperUpdateData
from functorch_artifact.table_comparison import (
    GenerationParams,
    TableComparisonPlan,
    TableComparisonPlotType,
    TableComparisonRoutine,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    TabularSpec,
)

DATA = Path(__file__).parent / "data" / "diamonds.csv.gz"
BATCH_SIZE = 512

parser = argparse.ArgumentParser(description="Train a tabular VAE on the diamonds table.")
parser.add_argument("--epochs", type=int, default=20, help="epochs at most (default: %(default)s)")
parser.add_argument("--run-dir", type=Path, default=Path("runs") / time.strftime("diamonds-%Y%m%d-%H%M%S"))
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--rows", type=int, help="use only so many rows")
config = parser.parse_args()


class KLCallback(DataLoaderScoreCallback[VAEInput, VAEOutput]):
    """Log `VAL_KL`: how much each row's latent tells, in nats."""

    def _get_name(self) -> str:
        return "VAL_KL"

    def _get_fold(self) -> Fold[BatchResult[VAEInput, VAEOutput], Any, Any]:
        return mean(lambda batch: batch.output["kl"])


class TrainRoutine(DataLoaderRoutine[VAEInput, VAEOutput]):
    """Judge the rows that are trained on; seldom, for it costs a pass over all of them."""

    @staticmethod
    def _get_score_callbacks() -> Sequence[DataLoaderScoreCallback[VAEInput, VAEOutput]]:
        return [TrainLossCallback(period=5)]


class ValidationRoutine(DataLoaderRoutine[VAEInput, VAEOutput]):
    """Judge the held-out rows after each epoch."""

    @staticmethod
    def _get_score_callbacks() -> Sequence[DataLoaderScoreCallback[VAEInput, VAEOutput]]:
        return [ValLossCallback(), KLCallback()]


class ComparisonPlan(TableComparisonPlan):
    """Compare generated with held-out rows by these scores and pictures."""

    @staticmethod
    def _get_score_types() -> Sequence[TableComparisonScoreType]:
        return [TableComparisonScoreType.MEAN_JS_DISTANCE, TableComparisonScoreType.CORRELATION_DISTANCE]

    @staticmethod
    def _get_score_collection_types() -> Sequence[TableComparisonScoreCollectionType]:
        return [TableComparisonScoreCollectionType.JS_DISTANCE]

    @staticmethod
    def _get_plot_types() -> Sequence[TableComparisonPlotType]:
        return [
            TableComparisonPlotType.PDF,
            TableComparisonPlotType.CDF,
            TableComparisonPlotType.CORRELATION_HEATMAP_JUXTAPOSITION,
            TableComparisonPlotType.PCA_JUXTAPOSITION,
        ]


# What takes longer is for the end: can a classifier tell, are rows copies, is the price learnt?
FINAL_PLAN = TableComparisonPlan.of(
    *ComparisonPlan().artifacts,
    TableComparisonScoreType.DETECTION_SCORE,
    TableComparisonScoreCollectionType.DISTANCE_TO_CLOSEST_RECORD,
    TableComparisonScoreCollectionType.TRAIN_ON_SYNTHETIC_TEST_ON_REAL(target="price"),
    TableComparisonPlotType.DESCRIPTIVE_STATS_ALIGNMENT,
)


class VAETrainer(
    CustomTrainer[
        TabularVAE,  # the model
        VAEInput,  # what it takes
        VAEOutput,  # what it gives
        ScoreCriterion,  # what the best model is chosen by
        StopperUpdateData,  # what the stopper is told
    ]
):
    """Say how; the framework does the rest."""

    def _get_optimizer(self) -> optimizers.GradientTransformation:
        # One of torch.optim's with a torch scheduler in `_get_scheduler` would do as well.
        return optimizers.adam(optimizers.one_cycle(2e-3, total=config.epochs, rising=0.1, div_factor=5.0, per="epoch"))

    def _get_early_stopper(self) -> EarlyStopper[Any, StopperUpdateData]:
        return ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=config.epochs, patience=5)

    def _get_model_tracker(self) -> ModelTracker[ScoreCriterion]:
        # Not MEAN_JS_DISTANCE: it looks at one column at a time, so columns that are right one by
        # one but unrelated to each other would win.
        return ScoreTracker("VAL_LOSS", mode="min")

    @staticmethod
    def _get_checkpoint_callback(tracking_client: TrackingClient | None) -> CheckpointCallback:
        return CheckpointCallback(period=5, keep_last=2)

    @staticmethod
    def _get_train_loader_routine(
        data_loader: DataLoader[VAEInput], tracking_client: TrackingClient | None
    ) -> DataLoaderRoutine[VAEInput, VAEOutput]:
        return TrainRoutine.build(data_loader, tracking_client)


def main() -> None:
    """Train, then print what came of it."""
    started = time.perf_counter()
    torch.set_num_threads(1)  # kernels this small lose more by waiting for a second thread than they gain
    table = pd.read_csv(DATA)
    table = table.iloc[keys.permutation(keys.derive(config.seed, "split"), len(table))[: config.rows].numpy()]
    train, held_out = table[: int(0.8 * len(table))], table[int(0.8 * len(table)) :]

    codec, spec = TableCodec.fit(train), TabularSpec.from_frame(table)
    torch.manual_seed(config.seed)  # the model's initial weights
    trainer = VAETrainer.build(
        TabularVAE(codec),
        loader(codec, train, shuffle=True),
        artifact_routine=TableComparisonRoutine(
            held_out, spec, GenerationParams(len(held_out)), ComparisonPlan(), period=5
        ),
        val_loader_routine=ValidationRoutine.build(loader(codec, held_out)),
        tracking_client=[tracking.Filesystem(), tracking.TensorBoard()],
        run=config.run_dir,
        seed=config.seed,
    )
    result = trainer.train()  # plots are drawn beside it, by a process of their own

    scores = result.scores.ffill().iloc[-1]
    print(f"\nstopped after {len(result.scores)} epochs, {time.perf_counter() - started:.0f} s: {result.reason}")
    print(scores.to_string(float_format="{:.4f}".format))
    if result.best is not None and isinstance(result.best_model, TabularVAE):
        synthetic = result.best_model.generate(GenerationParams(len(held_out)))
        print(f"\nfive rows of the best model (epoch {int(result.best.epoch)}):")
        print(synthetic.head().to_string(index=False))
        report = FINAL_PLAN.evaluate(held_out, synthetic, spec)
        print(f"\nreport on it:     {report.to_html(config.run_dir / 'best_model.html')}")
    print(f"scores and plots: {config.run_dir}")
    print(f"curves:           tensorboard --logdir {config.run_dir}")
    with RunReader(config.run_dir) as run:
        print(f"report:           {run.to_html(config.run_dir / 'report.html').absolute()} (open it in a browser)")


def loader(codec: TableCodec, table: pd.DataFrame, *, shuffle: bool = False) -> DataLoader[VAEInput]:
    """Hold a table's codes in memory and serve them in batches."""
    return DataLoader(ResidentDataset[VAEInput]({"codes": codec.encode(table)}), batch_size=BATCH_SIZE, shuffle=shuffle)


if __name__ == "__main__":
    main()
