"""The nouns of the front door: what `import functorch_artifact as fa` offers besides its rooms.

Belongs here: imports, and `__all__`. Does not: anything else.
Floor 11.

Families are modules, so that adding a member needs no edit here.
"""

from functorch_artifact import (
    background,
    callbacks,
    checkpoint,
    contracts,
    data,
    errors,
    folds,
    keys,
    model_tracking,
    optimizers,
    records,
    routines,
    scores,
    stoppers,
    tracking,
    trees,
)
from functorch_artifact.callbacks import (
    BatchArrayCallback,
    BatchArrayCollectionCallback,
    BatchLossCallback,
    BatchPlotCallback,
    BatchPlotCollectionCallback,
    BatchScoreCallback,
    BatchScoreCollectionCallback,
    CheckpointCallback,
    DataLoaderArrayCallback,
    DataLoaderArrayCollectionCallback,
    DataLoaderPlotCallback,
    DataLoaderPlotCollectionCallback,
    DataLoaderScoreCallback,
    DataLoaderScoreCollectionCallback,
    TrainLossCallback,
    ValLossCallback,
    every,
)
from functorch_artifact.compiling import CompiledStep, compile, explain
from functorch_artifact.contracts import BatchResult, Model, ModelInput, ModelInputT, ModelOutput, ModelOutputT
from functorch_artifact.data import DataLoader, Dataset, IterableDataset, ResidentDataset
from functorch_artifact.driver import fit
from functorch_artifact.ensembles import Ensemble, EnsembleResult, ensemble
from functorch_artifact.model import FunctionalModel, Variables, functional
from functorch_artifact.model_tracking import ModelTracker, ModelTrackingCriterion, ScoreCriterion, ScoreTracker
from functorch_artifact.program import Program
from functorch_artifact.records import Record, TrackingClient
from functorch_artifact.routines import ArtifactRoutine, BatchRoutine, DataLoaderRoutine
from functorch_artifact.runs.reader import RunReader
from functorch_artifact.runs.result import FitResult
from functorch_artifact.step import EvalStep, TrainState, TrainStep, advance, eval_step, init, train_step
from functorch_artifact.stoppers import (
    EarlyStopper,
    EpochBoundStopper,
    ScoreMaximizationStopper,
    ScoreMinimizationStopper,
    StopperUpdateData,
)
from functorch_artifact.tracking import sync
from functorch_artifact.trainer import CustomTrainer
from functorch_artifact.validation import evaluate

__all__ = [
    "ArtifactRoutine",
    "BatchArrayCallback",
    "BatchArrayCollectionCallback",
    "BatchLossCallback",
    "BatchPlotCallback",
    "BatchPlotCollectionCallback",
    "BatchResult",
    "BatchRoutine",
    "BatchScoreCallback",
    "BatchScoreCollectionCallback",
    "CheckpointCallback",
    "CompiledStep",
    "CustomTrainer",
    "DataLoader",
    "DataLoaderArrayCallback",
    "DataLoaderArrayCollectionCallback",
    "DataLoaderPlotCallback",
    "DataLoaderPlotCollectionCallback",
    "DataLoaderRoutine",
    "DataLoaderScoreCallback",
    "DataLoaderScoreCollectionCallback",
    "Dataset",
    "EarlyStopper",
    "Ensemble",
    "EnsembleResult",
    "EpochBoundStopper",
    "EvalStep",
    "FitResult",
    "FunctionalModel",
    "IterableDataset",
    "Model",
    "ModelInput",
    "ModelInputT",
    "ModelOutput",
    "ModelOutputT",
    "ModelTracker",
    "ModelTrackingCriterion",
    "Program",
    "Record",
    "ResidentDataset",
    "RunReader",
    "ScoreCriterion",
    "ScoreMaximizationStopper",
    "ScoreMinimizationStopper",
    "ScoreTracker",
    "StopperUpdateData",
    "TrackingClient",
    "TrainLossCallback",
    "TrainState",
    "TrainStep",
    "ValLossCallback",
    "Variables",
    "advance",
    "background",
    "callbacks",
    "checkpoint",
    "compile",
    "contracts",
    "data",
    "ensemble",
    "errors",
    "eval_step",
    "evaluate",
    "every",
    "explain",
    "fit",
    "folds",
    "functional",
    "init",
    "keys",
    "model_tracking",
    "optimizers",
    "records",
    "routines",
    "scores",
    "stoppers",
    "sync",
    "tracking",
    "train_step",
    "trees",
]
