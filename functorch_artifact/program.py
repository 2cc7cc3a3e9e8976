"""A program: all that the user configures about a run, as one frozen value.

Belongs here: `Program` and its consistency checks. Does not: running it (`driver`), or the
declarative hooks that build one (`trainer`).
Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import attrs
from torch import nn

from functorch_artifact import precision as precisions
from functorch_artifact import purity
from functorch_artifact import step as steps
from functorch_artifact.callbacks import CheckpointCallback
from functorch_artifact.compiling import CompiledStep, Mode, compile
from functorch_artifact.contracts import Loader
from functorch_artifact.errors import ConfigurationError, ScoreError
from functorch_artifact.losses import LossFunction
from functorch_artifact.model import FunctionalModel, Variables, functional
from functorch_artifact.model_tracking import ModelTracker, ScoreTracker
from functorch_artifact.optimizers import GradientTransformation, ema_params
from functorch_artifact.optimizers.transformation import check_transformation
from functorch_artifact.precision import Precision
from functorch_artifact.routines import ArtifactRoutine, BatchRoutine, DataLoaderRoutine, as_tuple
from functorch_artifact.scores import read_by
from functorch_artifact.step import EvalStep, NonfinitePolicy, TrainState, TrainStep
from functorch_artifact.stoppers import EarlyStopper, Stop, StopperUpdateData, Verdict, as_verdict


def _functional(model: nn.Module | FunctionalModel[Any]) -> FunctionalModel[Any]:
    """Convert the model; type checkers make nothing of a converter that is generic."""
    return functional(model)


@attrs.frozen(eq=False, kw_only=True)
class Program:
    """What to train, on what, how to validate it, and when to stop.

    Args:
        model: the module, or what `functional` made of it.
        optimizer: a pure transformation; `optimizers.from_torch` lifts one of torch's.
        train_loader: the batches to train on.
        stopper: when to stop.
        loss: `loss(output, batch)`; by default the output's own `loss`.
        seed: the source of all randomness of the run.
        tracker: how to choose the best model; none by default.
        batch_routine: callbacks on the batches trained on.
        loader_routines: callbacks over loaders, at the end of an epoch.
        artifact_routines: validation of the whole model, at the end of an epoch.
        checkpoint: when to write checkpoints, if the run has a directory.
        nonfinite: what happens at a loss or a gradient that is not finite; see `train_step`. Under
            `raise`, parameters that are no longer finite at the end of an epoch end the run too, so
            that no checkpoint holds any.
        nonfinite_scores: what happens at a score that is not finite: by default it is logged and
            kept as what it is (`record`), and is never the best; `raise`; `skip`: it is logged, but
            optimizer, tracker and stopper do not hear of it; `stop` the run after the epoch.
        on_callback_error: whether a callback that raises ends the run or is a warning.
        evaluate: the model that is validated, tracked and returned: the one of the latest step, or,
            for an optimizer with `optimizers.ema`, the one of its averaged parameters (`ema`).
        mode: how steps run: `eager`, `captured`, `compiled`, `cudagraph` or `auto`; see `compile`. A
            model that cannot be traced runs as it is, with one warning.
        steps_per_call: how many steps a call takes at most; the bits are those of single steps. Fewer where
            a checkpoint is due, a signal came or the epoch ends; one in mode `eager`, under purity
            `check`, and on the CPU where a loss that is not finite is to `stop` the run. The batches of
            a call are made before it begins, so a loader must not reuse their memory. `auto` takes
            several where steps are short and batches are cut from a small table on the model's device.
        purity: `check` watches every step, fold, stopper, tracker and optimizer for effects, at several
            times the cost, and runs steps eagerly; what is not pure is named in a `PurityError`. See
            `functorch_artifact.purity`. `trust` does not look.
        precision: what the model is computed in when it is trained and evaluated; see `train_step`.
            Artifact routines get it as an ordinary module, in the precision of its tensors.
        stopper_data: what the stopper is told at the end of an epoch; by default the epochs
            elapsed and the epoch's scores.
        criterion: what the tracker is told; by default what a `ScoreTracker` reads.

    Raises:
        ConfigurationError: an argument cannot work.
        OptimizerError: an average is to be evaluated and the optimizer has none.
        ScoreError: the stopper or the tracker reads a score that nothing logs.
    """

    model: FunctionalModel[Any] = attrs.field(converter=_functional)
    optimizer: GradientTransformation
    train_loader: Loader[Any]
    stopper: EarlyStopper[Any, Any]
    loss: LossFunction | None = None
    seed: int = 0
    tracker: ModelTracker[Any] | None = None
    batch_routine: BatchRoutine[Any, Any] | None = None
    loader_routines: tuple[DataLoaderRoutine[Any, Any], ...] = attrs.field(converter=as_tuple, default=())
    artifact_routines: tuple[ArtifactRoutine[Any], ...] = attrs.field(converter=as_tuple, default=())
    checkpoint: CheckpointCallback | None = attrs.field(factory=CheckpointCallback)
    nonfinite: NonfinitePolicy = "raise"
    nonfinite_scores: NonfinitePolicy = "record"
    on_callback_error: Literal["raise", "warn"] = "raise"
    evaluate: Literal["latest", "ema"] = "latest"
    mode: Mode = "captured"
    steps_per_call: int | Literal["auto"] = "auto"
    precision: Precision = "fp32"
    purity: Literal["trust", "check"] = "trust"
    stopper_data: Callable[[TrainState], Any] | None = None
    criterion: Callable[[TrainState], Any] | None = None

    def __attrs_post_init__(self) -> None:
        check_transformation(self.optimizer, "Program.optimizer")
        if not isinstance(self.train_loader, Loader):
            raise ConfigurationError(
                "has no batches(epoch, seed)",
                where="Program.train_loader",
                got=type(self.train_loader).__name__,
                fix="wrap the dataset in functorch_artifact.DataLoader",
            )
        for name, choices in (
            ("nonfinite", get_args(NonfinitePolicy)),
            ("nonfinite_scores", get_args(NonfinitePolicy)),
            ("on_callback_error", ("raise", "warn")),
            ("evaluate", ("latest", "ema")),
            ("mode", get_args(Mode)),
            ("purity", ("trust", "check")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigurationError(
                    "is unknown", where=f"Program.{name}", expected=f"one of {choices}", got=repr(getattr(self, name))
                )
        if self.steps_per_call != "auto" and not (type(self.steps_per_call) is int and self.steps_per_call > 0):
            expected = "'auto', or a number of steps, at least 1"
            raise ConfigurationError(
                "cannot be used", where="Program.steps_per_call", expected=expected, got=repr(self.steps_per_call)
            )
        precisions.check(self.precision, "Program.precision")
        if self.evaluate == "ema":
            ema_params(self.optimizer.init(self.model.variables.params))  # refused here, not after an epoch
        if self.tracker is not None and self.criterion is None and not isinstance(self.tracker, ScoreTracker):
            raise ConfigurationError(
                "has nothing to read",
                where=f"Program.tracker ({type(self.tracker).__name__})",
                fix="pass criterion=..., a function of the state at the end of an epoch",
            )
        logged = self.score_names
        if twice := sorted({name for name in logged if logged.count(name) > 1}):
            raise ScoreError(
                "is logged twice in one epoch", where=f"score {twice[0]!r}", fix="rename one of the callbacks"
            )
        for name in self.scores_read:
            if name not in logged and not any(each.endswith("/*") and name.startswith(each[:-1]) for each in logged):
                raise ScoreError(
                    f"reads the score {name!r}, which no routine logs",
                    where="Program.stopper" if name in self.stopper.score_names else "Program.tracker",
                    expected=f"one of {sorted(logged)}" if logged else "a routine that logs it",
                    fix="add the callback or artifact that logs it, or name one that is logged",
                )

    @property
    def step(self) -> TrainStep:
        """The pure training step."""
        return TrainStep(self.model, self.optimizer, self.loss, self.nonfinite, self.precision)

    def compiled_step(self, steps: int = 1) -> TrainStep | CompiledStep:
        """Make the training step that runs in the program's mode, and reuses the memory of states.

        Args:
            steps: how many a call takes at most; see `compile`.
        """
        if self.purity == "check":
            return self.step
        bound = self.stopper.bound
        n_steps = None if bound is None else bound * len(self.train_loader)
        batch_size = getattr(self.train_loader, "batch_size", 0)
        donate = self.mode != "eager"
        return compile(self.step, self.mode, donate=donate, steps=steps, n_steps=n_steps, batch_size=batch_size)

    @property
    def eval_step(self) -> EvalStep:
        """The pure evaluation step."""
        return EvalStep(self.model, self.loss, self.seed, self.precision)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that an epoch can log; a name ending in `/*` stands for a collection's."""
        routines: Iterable[Any] = (*self.loader_routines, *self.artifact_routines)
        return tuple(name for routine in routines for name in routine.score_names)

    @property
    def scores_read(self) -> tuple[str, ...]:
        """The scores by which stopper and tracker decide, unless they are told something else."""
        by_stopper = () if self.stopper_data else self.stopper.score_names
        return by_stopper + (() if self.criterion or self.tracker is None else self.tracker.score_names)

    def with_loaders(self, change: Callable[[Loader[Any]], Loader[Any]]) -> Program:
        """Make the same program over other loaders for the same batches, such as those on another device."""
        train = change(self.train_loader)
        routines = [(each, change(each.data_loader)) for each in self.loader_routines]
        if train is self.train_loader and all(loader is each.data_loader for each, loader in routines):
            return self
        changed = [attrs.evolve(each, data_loader=loader) for each, loader in routines]
        return attrs.evolve(self, train_loader=train, loader_routines=changed)

    def scores_deciding(self, state: TrainState) -> frozenset[str]:
        """Name the scores by which anything is decided at the end of an epoch, in this state.

        All of them, where a function is told the whole state, or a score that is not finite ends
        the run; else those that stopper, tracker and learning rate read.
        """
        told = self.stopper_data is not None or self.criterion is not None
        if told or self.nonfinite_scores in ("raise", "stop"):
            return frozenset(self.score_names)
        by_rate = read_by(lambda scores: self.optimizer.on_epoch(state.opt_state, scores), self.score_names)
        return by_rate.union(self.scores_read)

    def init(self) -> TrainState:
        """Make the state before the first step."""
        return steps.init(
            self.model,
            self.optimizer,
            seed=self.seed,
            stopper=self.stopper,
            tracker=self.tracker,
            precision=self.precision,
        )

    def evaluated(self, state: TrainState) -> Variables:
        """Give the model of a state that is to be validated: see `evaluate`."""
        if self.evaluate == "ema":
            return attrs.evolve(state.variables, params=ema_params(state.opt_state))
        return state.variables

    def advance(self, state: TrainState, scores: dict[str, float]) -> TrainState:
        """End an epoch, purely: cache its scores, then tell optimizer, tracker and stopper."""
        return steps.advance(
            state,
            scores,
            tx=self.optimizer,
            tracker=self.tracker,
            criterion=self.criterion or self._criterion,
            candidate=self.evaluated,
            stopper=self.stopper,
            stopper_data=self.stopper_data or _stopper_data,
        )

    def verdict(self, state: TrainState) -> Verdict:
        """Ask the stopper whether the run goes on.

        Raises:
            ConfigurationError: what it returns is no verdict.
        """
        stopper = self.stopper
        return as_verdict(stopper, purity.call(f"{type(stopper).__name__}.verdict", stopper.verdict, state.stopper))

    def judged(self, scores: dict[str, float], epoch: int) -> tuple[dict[str, float], Stop | None]:
        """Give the scores that count, and whether to stop, by `nonfinite_scores`.

        Raises:
            ScoreError: a score is not finite, and the policy is `raise`.
        """
        bad = [name for name, value in scores.items() if not math.isfinite(value)]
        if not bad or self.nonfinite_scores == "record":
            return scores, None
        where, problem = f"score {bad[0]!r}, epoch {epoch}", f"is {scores[bad[0]]}"
        if self.nonfinite_scores == "raise":
            raise ScoreError(problem, where=where, expected="a finite number", fix="pass nonfinite_scores='record'")
        if self.nonfinite_scores == "stop":
            return scores, Stop(f"{where}: {problem}")
        return {name: value for name, value in scores.items() if name not in bad}, None

    def _criterion(self, state: TrainState) -> Any:
        return self.tracker.criterion(state.scores.latest()) if isinstance(self.tracker, ScoreTracker) else None


def _stopper_data(state: TrainState) -> StopperUpdateData:
    return StopperUpdateData(n_epochs_elapsed=int(state.epoch), scores=state.scores.latest())
