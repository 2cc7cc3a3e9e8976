"""The declarative face: a trainer's hooks say what to do, and become one `Program`.

Belongs here: `CustomTrainer`. Does not: anything the functional face could not do; a hook only
chooses values for `Program` and `fit`.
Floor 10.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, cast, final

import attrs
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from functorch_artifact.background import Choice
from functorch_artifact.callbacks import CheckpointCallback
from functorch_artifact.compiling import Mode
from functorch_artifact.contracts import ModelInputT, ModelOutputT, ModelT
from functorch_artifact.data import DataLoader
from functorch_artifact.driver import fit
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.model_tracking import CriterionT, ModelTracker, ScoreTracker
from functorch_artifact.optimizers import GradientTransformation, LearningRate, from_torch
from functorch_artifact.precision import Precision
from functorch_artifact.program import Program
from functorch_artifact.records import TrackingClient
from functorch_artifact.routines import ArtifactRoutine, BatchRoutine, DataLoaderRoutine
from functorch_artifact.runs.directory import Resume
from functorch_artifact.runs.result import FitResult, LateScores, joined
from functorch_artifact.step import NonfinitePolicy, TrainState
from functorch_artifact.stoppers import EarlyStopper, StopperUpdateData, StopperUpdateDataT
from functorch_artifact.tracking import AnyClient

if TYPE_CHECKING:
    import pandas as pd


class CustomTrainer(ABC, Generic[ModelT, ModelInputT, ModelOutputT, CriterionT, StopperUpdateDataT]):
    """Train a model as declared by hooks; subclass it, then `build(...)` and `train()`.

    Only `_get_optimizer` and `_get_early_stopper` must be given. The model that is passed in is
    moved to the device and otherwise left as it is: the trained weights are in `state`, in the
    result's `best_model` and `latest_model`, and in `best_model_state` and `latest_model_state`.

    Attributes:
        model: the model as it was passed in.
        optimizer: what `_get_optimizer` returned.
    """

    model: ModelT
    optimizer: Optimizer | GradientTransformation

    @final
    @classmethod
    def build(
        cls,
        model: ModelT,
        train_loader: DataLoader[ModelInputT],
        artifact_routine: ArtifactRoutine[ModelT] | Sequence[ArtifactRoutine[ModelT]] = (),
        val_loader_routine: DataLoaderRoutine[ModelInputT, ModelOutputT] | None = None,
        tracking_client: AnyClient | Sequence[AnyClient] | None = None,
        *,
        run: str | Path | None = None,
        resume: Resume = "auto",
        seed: int = 0,
        nonfinite: NonfinitePolicy = "raise",
        nonfinite_scores: NonfinitePolicy = "record",
        on_callback_error: Literal["raise", "warn"] = "raise",
        evaluate: Literal["latest", "ema"] = "latest",
        mode: Mode = "captured",
        steps_per_call: int | Literal["auto"] = "auto",
        precision: Precision = "fp32",
    ) -> Self:
        """Build the trainer of a model.

        Args:
            model: what to train.
            train_loader: the batches to train on, which are made on the device from now on.
            artifact_routine: validation of the whole model, one routine or several.
            val_loader_routine: callbacks over a validation loader.
            tracking_client: who takes the records, one or several. The hooks are given one; of
                several they are given none, for a routine's records go to all of them by default.
            run: the run's directory; see `fit`.
            resume: `auto` to start the run or continue it; `never`, or `must`; see `fit`.
            seed: the source of all randomness of the run.
            nonfinite: what happens at a loss or a gradient that is not finite; see `Program`.
            nonfinite_scores: what happens at a score that is not finite; see `Program`.
            on_callback_error: whether a callback that raises ends the run or is a warning.
            evaluate: the model that is validated, tracked and returned; see `Program`.
            mode: how steps run; see `Program`.
            steps_per_call: how many steps a call takes at most; see `Program`.
            precision: what the model is computed in; see `train_step`.

        Raises:
            ConfigurationError: the hooks' values do not fit one another.
            OptimizerError: the optimizer is over parameters that are not the model's, or the
                scheduler is tied to another optimizer.
            ScoreError: the stopper or the tracker reads a score that nothing logs.
        """
        trainer = cls.__new__(cls)
        train_loader = train_loader.on(trainer._set_up(model))
        client = tracking_client if isinstance(tracking_client, TrackingClient) else None
        routine = cls._get_train_loader_routine(train_loader, client)
        loader_routines = [
            each if each.split else attrs.evolve(each, split=split)
            for each, split in ((routine, "TRAIN"), (val_loader_routine, "VALIDATION"))
            if each is not None
        ]
        trainer._tracking_client, trainer._run, trainer._resume = tracking_client, run, resume
        trainer._program = Program(
            model=model,
            optimizer=trainer._transformation(),
            train_loader=train_loader,
            stopper=trainer._get_early_stopper(),
            seed=seed,
            tracker=trainer._get_model_tracker(),
            batch_routine=cls._get_batch_routine(client),
            loader_routines=loader_routines,
            artifact_routines=(artifact_routine,)
            if isinstance(artifact_routine, ArtifactRoutine)
            else artifact_routine,
            checkpoint=cls._get_checkpoint_callback(client),
            nonfinite=nonfinite,
            nonfinite_scores=nonfinite_scores,
            on_callback_error=on_callback_error,
            evaluate=evaluate,
            mode=mode,
            steps_per_call=steps_per_call,
            precision=precision,
            stopper_data=trainer._ask_stopper_update_data if trainer._overrides("_get_stopper_update_data") else None,
            criterion=trainer._ask_criterion if trainer._overrides("_get_model_tracking_criterion") else None,
        )
        trainer._state, trainer._late = trainer._program.init(), {}
        return trainer

    @final
    def train(self, *, progress: bool = True, background: Choice = "process") -> FitResult:
        """Run until the stopper says stop; see `fit` for the arguments and errors."""
        result = fit(
            self._program,
            run=self._run,
            tracking_client=self._tracking_client,
            state=self._state,
            resume=self._resume,
            progress=progress,
            background=background,
        )
        self._state = result.state
        self._late = {**self._late, **result.late}
        return result

    @final
    def program(self) -> Program:
        """The program that the hooks declare."""
        return self._program

    @final
    @property
    def state(self) -> TrainState:
        """The state: that of the epoch just ended while training, else the latest."""
        return self._state

    @final
    @property
    def n_epochs_elapsed(self) -> int:
        """The epochs completed."""
        return int(self._state.epoch)

    @final
    @property
    def epoch_scores(self) -> pd.DataFrame:
        """The scores of all epochs, indexed by epoch; those that came late once training has ended."""
        return joined(self._state.scores, self._late)

    @final
    @property
    def best_model_state(self) -> dict[str, Tensor] | None:
        """The best model's `state_dict`; `None` without a tracker or before a finite score."""
        tracker = self._program.tracker
        best = None if tracker is None else tracker.best(self._state.tracker)
        return None if best is None else dict(self._program.model.bind(best.model).state_dict())

    @final
    @property
    def latest_model_state(self) -> dict[str, Tensor]:
        """The latest model's `state_dict`, as it is evaluated."""
        return dict(self._program.model.bind(self._program.evaluated(self._state)).state_dict())

    @abstractmethod
    def _get_optimizer(self) -> Optimizer | GradientTransformation:
        """Make the optimizer: one of torch's over `self.model.parameters()`, or one of ours."""

    @abstractmethod
    def _get_early_stopper(self) -> EarlyStopper[Any, StopperUpdateDataT]:
        """Say when to stop."""

    def _get_scheduler(self) -> LRScheduler | LearningRate | None:
        """Make the schedule: one of torch's over `self.optimizer`, or one of ours; none by default.

        A torch scheduler is stepped once an epoch, `OneCycleLR` and `CyclicLR` once a step; lift
        it with `optimizers.from_torch_schedule(scheduler, per=...)` to say otherwise.
        """
        return None

    def _get_stopper_update_data(self) -> StopperUpdateDataT:
        """Say what the stopper is told; by default the epochs elapsed and the epoch's scores."""
        data = StopperUpdateData(n_epochs_elapsed=self.n_epochs_elapsed, scores=self._state.scores.latest())
        return cast(StopperUpdateDataT, data)

    def _get_model_tracker(self) -> ModelTracker[CriterionT] | None:
        """Say how the best model is chosen; no model is tracked by default."""
        return None

    def _get_model_tracking_criterion(self) -> CriterionT | None:
        """Say what the tracker is told; by default what a `ScoreTracker` reads."""
        tracker = self._program.tracker
        if not isinstance(tracker, ScoreTracker):
            return None
        return cast(CriterionT | None, tracker.criterion(self._state.scores.latest()))

    def _get_device(self) -> torch.device:
        """Choose the device; by default CUDA if there is one, else the CPU."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @staticmethod
    def _get_checkpoint_callback(tracking_client: TrackingClient | None) -> CheckpointCallback | None:
        """Say when checkpoints are written, if the run has a directory; every epoch by default."""
        return CheckpointCallback()

    @staticmethod
    def _get_batch_routine(tracking_client: TrackingClient | None) -> BatchRoutine[ModelInputT, ModelOutputT] | None:
        """Make the callbacks on the batches trained on; none by default."""
        return None

    @staticmethod
    def _get_train_loader_routine(
        data_loader: DataLoader[ModelInputT], tracking_client: TrackingClient | None
    ) -> DataLoaderRoutine[ModelInputT, ModelOutputT] | None:
        """Make the callbacks over the training loader at the end of an epoch; none by default."""
        return None

    _program: Program
    _state: TrainState
    _late: LateScores
    _run: str | Path | None
    _resume: Resume
    _tracking_client: AnyClient | Sequence[AnyClient] | None

    def _set_up(self, model: ModelT) -> torch.device:
        self.model = model
        device = self._get_device()
        model.to(device)  # before the optimizer is made over its parameters
        self.optimizer = self._get_optimizer()
        return device

    def _transformation(self) -> GradientTransformation:
        scheduler = self._get_scheduler()
        if isinstance(self.optimizer, Optimizer):
            return from_torch(self.optimizer, schedule=scheduler)
        if scheduler is not None:
            raise ConfigurationError(
                "returns a schedule that nothing would read",
                where=f"{type(self).__name__}._get_scheduler",
                got=type(scheduler).__name__,
                fix="pass the schedule as the optimizer's learning_rate in _get_optimizer",
            )
        return self.optimizer

    def _overrides(self, hook: str) -> bool:
        return getattr(type(self), hook) is not getattr(CustomTrainer, hook)

    def _ask_stopper_update_data(self, state: TrainState) -> StopperUpdateDataT:
        self._state = state  # what the hook sees through epoch_scores and n_epochs_elapsed
        return self._get_stopper_update_data()

    def _ask_criterion(self, state: TrainState) -> CriterionT | None:
        self._state = state
        return self._get_model_tracking_criterion()
