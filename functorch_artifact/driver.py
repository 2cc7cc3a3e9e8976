"""The driver: the one loop that touches the world.

Belongs here: `fit`, `evaluate`, and their results. Does not: any decision; those are the
program's, and pure.
Floor 8.
"""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import torch
from torch import Tensor, nn

from functorch_artifact import keys, trees
from functorch_artifact.checkpoint import Checkpoints
from functorch_artifact.compiling import CompiledStep, explain
from functorch_artifact.contracts import BatchResult, Loader
from functorch_artifact.errors import CallbackError, DataError
from functorch_artifact.model import Variables
from functorch_artifact.model_tracking import ModelSnapshot
from functorch_artifact.program import Program
from functorch_artifact.progress import Progress
from functorch_artifact.records import Record, RunInfo, TrackingClient, scores
from functorch_artifact.routines import Failure, Observation, Outcome
from functorch_artifact.run_directory import RunDirectory
from functorch_artifact.step import HasVariables, TrainState, TrainStep, device_of, nonfinite_loss
from functorch_artifact.stoppers import Stop
from functorch_artifact.tracking import Filesystem
from functorch_artifact.tracking.delivery import Delivery

if TYPE_CHECKING:
    import pandas as pd


_GROWING = (".scores", ".tracker", ".stopper", ".opt_state")  # whose structure may change as a run goes on


class CallbackWarning(UserWarning):
    """A callback raised, and the program's policy is to go on."""


class ScoreWarning(UserWarning):
    """A score that the stopper or the tracker reads was never logged in the whole run."""


class NonfiniteLossWarning(UserWarning):
    """Batches with a NaN or infinite loss were skipped, as the program's policy is."""


@attrs.frozen(eq=False)
class FitResult:
    """What a run ended with."""

    program: Program = attrs.field(repr=False)
    state: TrainState
    reason: str
    failures: tuple[Failure, ...] = ()
    directory: Path | None = None

    @property
    def scores(self) -> pd.DataFrame:
        """The scores of all epochs, indexed by epoch."""
        return self.state.scores.to_frame()

    @property
    def best(self) -> ModelSnapshot | None:
        """The best model's variables and epoch; `None` without a tracker, or if no score was finite."""
        tracker = self.program.tracker
        return None if tracker is None else tracker.best(self.state.tracker)

    @property
    def best_model(self) -> nn.Module | None:
        """The best model as an ordinary module in eval mode."""
        best = self.best
        return None if best is None else cast(nn.Module, self.program.model.bind(best.model))

    @property
    def latest_model(self) -> nn.Module:
        """The final model, as it is evaluated, as an ordinary module in eval mode."""
        return cast(nn.Module, self.program.model.bind(self.program.evaluated(self.state)))


def fit(
    program: Program,
    *,
    run: str | Path | None = None,
    tracking_client: TrackingClient | Sequence[TrackingClient] | None = None,
    state: TrainState | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Run a program until its stopper says stop.

    Args:
        program: what to run.
        run: the run's directory, for checkpoints and for clients that were given no directory
            of their own; nothing is written to disk without it.
        tracking_client: who takes the records, one or several; with a `run` and no client, the
            filesystem does.
        state: where to start; by default `program.init()`.
        resume: continue the run that `run` holds from its newest checkpoint.
        progress: whether to report to standard error.

    Raises:
        RunDirectoryError: `run` already holds a run (or, with `resume`, another program's).
        DataError: the train loader is empty.
        LossError: the loss is missing, not a scalar, or not finite (see `Program.nonfinite`).
        CallbackError: a callback raised (see `Program.on_callback_error`).
    """
    if len(program.train_loader) == 0:
        raise _empty()
    state = program.init() if state is None else attrs.evolve(state)  # a shell of our own to donate
    directory = None if run is None else RunDirectory.claim(run, _identity(program), resume=resume)
    checkpoints = None
    if directory is not None and program.checkpoint is not None:
        checkpoints = Checkpoints(directory.path / "checkpoints", keep_last=program.checkpoint.keep_last)
        if resume and (found := checkpoints.latest(state, free=_GROWING)) is not None:
            state = found[1]
    reporter = Progress(progress, len(program.train_loader))
    step = program.compiled_step()
    failures: tuple[Failure, ...] = ()
    n_told = 0  # builds of the step
    with Delivery(_clients(tracking_client, directory)) as delivery:
        delivery.open(_run_info(program, directory))
        verdict = program.stopper.verdict(state.stopper)
        while not isinstance(verdict, Stop):
            epoch = _epoch(program, step, state, delivery, reporter)
            state, failures = epoch.state, failures + epoch.failures
            for build in explain(step).builds[n_told:]:
                reporter.say(f"steps on {build.batch} run {build.mode}: {build.why}; built in {build.seconds:.1f} s")
            n_told = len(explain(step).builds)
            if epoch.stop is not None:  # within the epoch, which a resumed run has to begin anew
                verdict = epoch.stop
                break
            if program.checkpoint is not None and checkpoints is not None and program.checkpoint.due(int(state.epoch)):
                checkpoints.save(int(state.epoch), state)
            verdict = program.stopper.verdict(state.stopper)
    for name in program.scores_read:
        if len(state.scores) and name not in state.scores.names:
            warnings.warn(f"the score {name!r} was never logged, so it decided nothing", ScoreWarning, stacklevel=2)
    reporter.say(f"stopped: {verdict.reason}")
    return FitResult(program, state, verdict.reason, failures, None if directory is None else directory.path)


def evaluate(program: Program, variables: HasVariables) -> Outcome:
    """Run all of a program's validation on a model, whatever is due.

    Loaders, order and randomness are those of training, so a model that was tracked as the best
    gets the very score it was tracked for: `evaluate(program, result.best.model).scores`. Records
    are marked as of epoch and step 0.
    """
    held = Variables(variables.params, variables.frozen, variables.buffers)
    outcomes = [outcome for _, outcome in _validate(program, held, 0, 0, only_due=False)]
    return Outcome(
        tuple(record for outcome in outcomes for record in outcome.records),
        tuple(failure for outcome in outcomes for failure in outcome.failures),
    )


@attrs.frozen(eq=False)
class _Epoch:
    """What one epoch came to."""

    state: TrainState
    failures: tuple[Failure, ...] = ()
    stop: Stop | None = None


def _epoch(
    program: Program, step: TrainStep | CompiledStep, state: TrainState, delivery: Delivery, reporter: Progress
) -> _Epoch:
    epoch, before, device = int(state.epoch) + 1, int(state.step), device_of(state)
    observations: list[Observation] = []
    failures: list[Failure] = []
    losses: list[Tensor] = []
    for batch in reporter.batches(program.train_loader.batches(epoch, program.seed), epoch):
        batch = trees.to_device(batch, device, non_blocking=True)
        state, output = step(state, batch)
        losses.append(output["loss"])
        if program.batch_routine is not None:
            result: BatchResult[Any, Any] = BatchResult(batch, cast(Any, output), trees.n_examples(batch))
            seen, failed = program.batch_routine.observe(result, epoch, int(state.step))
            observations += seen
            failures += failed
        if program.nonfinite == "stop" and device.type == "cpu" and not math.isfinite(losses[-1].item()):
            break
    if not losses:
        raise _empty()
    if program.batch_routine is not None:
        outcome = program.batch_routine.finish(observations, epoch)
        delivery.offer(program.batch_routine.tracking_client, outcome.records)
        failures += outcome.failures
    stop = _judge_losses(program, losses, epoch, before)
    if stop is None:
        validated: list[Record] = []
        for client, outcome in _validate(program, program.evaluated(state), epoch, int(state.step)):
            delivery.offer(client, outcome.records)
            validated += outcome.records
            failures += outcome.failures
        found = scores(validated)
        state = program.advance(state, found)
        reporter.epoch(epoch, found)
    return _Epoch(state, _judge_failures(program, failures), stop)


def _validate(
    program: Program, variables: Variables, epoch: int, step: int, *, only_due: bool = True
) -> Iterator[tuple[TrackingClient | None, Outcome]]:
    for routine in program.loader_routines:
        if not only_due or routine.due(epoch):
            results = _evaluated(program, variables, routine.data_loader)
            yield routine.tracking_client, routine.run(results, epoch, step, only_due=only_due)
    due = [routine for routine in program.artifact_routines if not only_due or routine.due(epoch)]
    if due:
        model = program.model.bind(variables)
        for artifact_routine in due:
            # The same key at every epoch: scores of different epochs differ by the model alone.
            with torch.no_grad(), keys.seeded(keys.derive(program.seed, "generate"), device_of(variables)):
                yield artifact_routine.tracking_client, artifact_routine.run(model, epoch, step)


def _evaluated(program: Program, variables: Variables, loader: Loader[Any]) -> Iterator[BatchResult[Any, Any]]:
    device, evaluated = device_of(variables), program.eval_step
    # Always the order of epoch 1: a score must not depend on when it is computed.
    for batch in loader.batches(1, program.seed):
        batch = trees.to_device(batch, device, non_blocking=True)
        yield BatchResult(batch, cast(Any, evaluated(variables, batch)), trees.n_examples(batch))


def _judge_losses(program: Program, losses: list[Tensor], epoch: int, before: int) -> Stop | None:
    bad = (~torch.isfinite(torch.stack(losses))).nonzero().flatten().tolist()
    if not bad:
        return None
    error = nonfinite_loss(before + bad[0] + 1, epoch, bad[0] + 1, losses[bad[0]].item())
    if program.nonfinite == "raise":
        raise error
    if program.nonfinite == "stop":
        return Stop(str(error).splitlines()[0])
    warnings.warn(
        f"skipped {len(bad)} of {len(losses)} batches; the first: {error}", NonfiniteLossWarning, stacklevel=2
    )
    return None


def _judge_failures(program: Program, failures: list[Failure]) -> tuple[Failure, ...]:
    first = {failure.callback: failure for failure in reversed(failures)}
    for failure in reversed(first.values()):
        if program.on_callback_error == "raise":
            raise CallbackError(
                "raised",
                where=failure.where,
                got=failure.what,
                fix="mend it, or pass on_callback_error='warn' to go on",
            ) from failure.error
        warnings.warn(f"{failure.where}: raised {failure.what}", CallbackWarning, stacklevel=2)
    return tuple(failures)


def _clients(
    given: TrackingClient | Sequence[TrackingClient] | None, directory: RunDirectory | None
) -> tuple[TrackingClient, ...]:
    if given is None:
        return () if directory is None else (Filesystem(),)
    return (given,) if isinstance(given, TrackingClient) else tuple(given)


def _identity(program: Program) -> dict[str, str | int]:
    """Tell apart programs whose states cannot take each other's place."""
    shapes = {path: trees.describe(leaf) for path, leaf in trees.named_leaves(program.init()).items()}
    return {"seed": program.seed, "state": trees.digest(shapes)}


def _run_info(program: Program, directory: RunDirectory | None) -> RunInfo:
    variables = program.model.variables
    return RunInfo(
        name="run" if directory is None else directory.path.name,
        directory=None if directory is None else str(directory.path),
        parameters={
            "seed": program.seed,
            "model": program.model.name,
            "n_parameters": sum(tensor.numel() for tensor in variables.params.values()),
            "stopper": repr(program.stopper),
            "tracker": repr(program.tracker),
            "nonfinite": program.nonfinite,
            "device": str(device_of(variables)),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _empty() -> DataError:
    return DataError("is empty", where="the train loader", fix="give it at least one batch (check drop_last)")
