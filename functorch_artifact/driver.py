"""The driver: the one loop that touches the world.

Belongs here: `fit`, `evaluate`, and their results. Does not: any decision; those are the
program's, and pure. What is kept on disk and how (`run_store`).
Floor 9.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, cast

import attrs
import torch
from torch import Tensor

from functorch_artifact import purity, trees
from functorch_artifact.background import Choice, opened
from functorch_artifact.compiling import CompiledStep, explain
from functorch_artifact.contracts import BatchResult
from functorch_artifact.errors import CallbackError, ConfigurationError, DataError
from functorch_artifact.fingerprint import fingerprint
from functorch_artifact.fit_result import FitResult
from functorch_artifact.fs import DISK, Fs
from functorch_artifact.program import Program
from functorch_artifact.progress import Progress
from functorch_artifact.records import TrackingClient, scores
from functorch_artifact.routines import Background, Failure, Observation, Outcome, Pending
from functorch_artifact.run_directory import Resume, RunDirectory
from functorch_artifact.run_store import RunStore, StoragePolicy, identity, run_info
from functorch_artifact.signals import Interrupts
from functorch_artifact.step import TrainState, TrainStep, device_of, nonfinite_loss
from functorch_artifact.stoppers import Stop, Verdict
from functorch_artifact.tracking import Delivery, Filesystem
from functorch_artifact.tracking.journal import Part
from functorch_artifact.tracking.journal_reader import FailureRow
from functorch_artifact.validation import batches_from, validate, validate_artifacts


class CallbackWarning(UserWarning):
    """A callback raised, and the program's policy is to go on."""


class ScoreWarning(UserWarning):
    """A score that the stopper or the tracker reads was never logged in the whole run."""


class NonfiniteLossWarning(UserWarning):
    """Batches with a NaN or infinite loss were skipped, as the program's policy is."""


def fit(
    program: Program,
    *,
    run: str | Path | None = None,
    tracking_client: TrackingClient | Sequence[TrackingClient] | None = None,
    state: TrainState | None = None,
    resume: Resume = "auto",
    progress: bool = True,
    background: Choice = "process",
    on_storage_error: StoragePolicy = "raise",
    patience: float = 30.0,
    fs: Fs = DISK,
) -> FitResult:
    """Run a program until its stopper says stop.

    With a `run`, the same call continues after a crash from the newest checkpoint, to the same bits,
    and after the end returns what was stored. SIGINT (Ctrl-C) and SIGTERM end it after the step in
    progress, with a checkpoint; a second one ends it at once.

    Args:
        program: what to run.
        run: the run's directory, for journal, checkpoints and clients that were given no directory
            of their own; nothing is written to disk without it.
        tracking_client: who takes the records, one or several; with a `run` and no client, the
            filesystem does.
        state: where to start, if there is no checkpoint; by default `program.init()`.
        resume: `auto` to start the run or continue it; `never` to insist on a new one; `must` on one
            that is there.
        progress: whether to report to standard error.
        background: who computes plots, and whatever else can wait, while training goes on: a process
            that is started for it with the first of them, an executor of your own (of Dask, of
            Ray), a `background.Background`; `None` to compute them before the next epoch.
        on_storage_error: whether a run's directory that cannot be written to ends the run, or is a
            warning; the records are then held in memory, and no checkpoint is written past them.
        patience: seconds that the run waits, at its beginning and its end, for tracking clients.
        fs: how the run's directory is written to.

    Raises:
        RunDirectoryError: `run` is another program's, in use, or not what `resume` asks for.
        StorageError: the run's directory cannot be written to.
        DataError: the train loader is empty.
        LossError: the loss is missing, not a scalar, or not finite (see `Program.nonfinite`).
        CallbackError: a callback raised (see `Program.on_callback_error`).
        KeyboardInterrupt: SIGINT came; a script that lets it pass ends as SIGINT ends it (130 in a shell).
        Terminated: SIGTERM came; it is a `SystemExit` with status 143.
    """
    if len(program.train_loader) == 0:
        raise _empty()
    if run is None and resume == "must":
        raise ConfigurationError("has nothing to resume", where="fit", fix="pass run=..., the run's directory")
    who = identity(program)
    state = program.init() if state is None else attrs.evolve(state)  # a shell of our own to donate
    reporter = Progress(progress, len(program.train_loader))
    with ExitStack() as stack:
        store = None
        if run is not None:
            directory = stack.enter_context(RunDirectory.claim(run, who, resume=resume, fs=fs))
            found = fingerprint(device_of(state), program.mode)
            store = stack.enter_context(RunStore(directory, program.checkpoint, found, on_storage_error))
            state = store.resume(state)
            if int(state.step):
                reporter.say(f"continues {directory.path} after epoch {int(state.epoch)}, step {int(state.step)}")
        everyones, own = _clients(program, tracking_client, store)
        journal = None if store is None else store.open_journal
        delivery = stack.enter_context(Delivery(everyones, own, journal=journal, patience=patience))
        info = run_info(program, None if store is None else store.path)
        if store is not None:
            store.begin(info)
        delivery.open(info)
        helper = stack.enter_context(opened(background))
        with Interrupts() as interrupts, purity.checking(program.purity == "check"):
            loop = _Loop(program, store, delivery, reporter, interrupts, helper)
            state, reason = loop.run(state)
        for name in program.scores_read:
            if len(state.scores) and name not in state.scores.names:
                warnings.warn(f"the score {name!r} was never logged, so it decided nothing", ScoreWarning, stacklevel=2)
        if store is not None:
            store.finish(reason)
        reporter.say(f"stopped: {reason}")
        owed = tuple(delivery.close())
    return FitResult(program, state, reason, tuple(loop.failures), None if store is None else store.path, owed)


@attrs.define(eq=False)
class _Batches:
    """What the batches of an epoch gave that is not committed yet."""

    since: int  # the step up to which it is
    observations: list[Observation] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    losses: list[Tensor] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Later:
    """An artifact that is computed beside the training; `part` is its name in the journal."""

    part: str
    client: TrackingClient | None
    pending: Pending


class _Loop:
    """One run of a program."""

    def __init__(
        self,
        program: Program,
        store: RunStore | None,
        delivery: Delivery,
        reporter: Progress,
        interrupts: Interrupts,
        background: Background | None,
    ) -> None:
        self.failures: list[Failure] = []
        self._program = program
        self._step: TrainStep | CompiledStep = program.compiled_step()
        self._store = store
        self._delivery = delivery
        self._reporter = reporter
        self._interrupts = interrupts
        self._background = background
        self._later: list[_Later] = []
        self._n_told = 0  # builds of the step

    def run(self, state: TrainState) -> tuple[TrainState, str]:
        """Train from a state until the stopper, or a loss that is not finite, says stop; say why."""
        self._repeat_artifacts(state)
        verdict = self._verdict(state)
        while not isinstance(verdict, Stop):
            if self._interrupts.asked:
                self._leave(state)
            state, stop = self._epoch(state)
            if stop is not None:  # within the epoch, which is begun anew if the run is continued
                self._collect(wait=True)
                return state, stop.reason
            verdict = self._verdict(state)
            if self._store is not None and (isinstance(verdict, Stop) or self._store.due(int(state.epoch))):
                self._save(state)
        self._collect(wait=True)
        return state, verdict.reason

    def _verdict(self, state: TrainState) -> Verdict:
        stopper = self._program.stopper
        return purity.call(f"{type(stopper).__name__}.verdict", stopper.verdict, state.stopper)

    def _epoch(self, state: TrainState) -> tuple[TrainState, Stop | None]:
        program, epoch, start, device = self._program, int(state.epoch) + 1, int(state.batch), device_of(state)
        step, seen = int(state.step), _Batches(int(state.step))
        batches = batches_from(program.train_loader, epoch, program.seed, start)
        for batch in self._reporter.batches(batches, epoch, start):
            batch = trees.to_device(batch, device, non_blocking=True)
            state, output = purity.call("the training step", self._step.__call__, state, batch)
            step += 1
            seen.losses.append(output["loss"])
            if program.batch_routine is not None:
                result: BatchResult[Any, Any] = BatchResult(batch, cast(Any, output), trees.n_examples(batch))
                observed, failed = program.batch_routine.observe(result, epoch, step)
                seen.observations += observed
                seen.failures += failed
            if program.nonfinite == "stop" and device.type == "cpu" and not math.isfinite(seen.losses[-1].item()):
                break
            if self._interrupts.asked or (self._store is not None and self._store.due_step(step)):
                part = self._batches_part(seen, epoch)
                if (stop := self._judge_losses(seen, epoch, state, part)) is not None:
                    return state, stop
                self._judge_failures([*seen.failures, *self._commit(epoch, step, part)])
                seen = _Batches(step)
                self._save(state)
                if self._interrupts.asked:
                    self._leave(state)
        if step == int(state.step) - int(state.batch) and start == 0:
            raise _empty()
        part = self._batches_part(seen, epoch)
        if (stop := self._judge_losses(seen, epoch, state, part)) is not None:
            return state, stop
        validated: list[tuple[TrackingClient | None, Outcome]] = []
        later: list[_Later] = []
        for name, client, outcome in validate(
            program, program.evaluated(state), epoch, step, executor=self._background
        ):
            validated.append((client, outcome))
            later += [_Later(f"{name}:{number}", client, pending) for number, pending in enumerate(outcome.pending)]
            if self._interrupts.asked:  # validation is begun anew; the batches are done
                self._commit(epoch, step, part)
                self._save(state)
                self._leave(state)
        parts = [attrs.evolve(part, complete=True), self._part("epoch", validated)]
        refused = self._commit(epoch, step, *parts, *(Part(each.part, complete=False) for each in later))
        self._later += later
        self._judge_failures([*seen.failures, *(f for _, outcome in validated for f in outcome.failures), *refused])
        found = scores(record for _, outcome in validated for record in outcome.records)
        state = program.advance(state, found)
        self._reporter.epoch(epoch, found)
        self._tell_builds()
        self._collect()
        return state, None

    def _tell_builds(self) -> None:
        builds = explain(self._step).builds
        for build in builds[self._n_told :]:
            told = f"steps on {build.batch} run {build.mode}: {build.why}; built in {build.seconds:.1f} s"
            self._reporter.say(told)
        self._n_told = len(builds)

    def _batches_part(self, seen: _Batches, epoch: int) -> Part:
        """Read what was observed, once; failures to read are added to those seen."""
        routine = self._program.batch_routine
        if routine is None:
            return Part("batches", since=seen.since, complete=False)
        outcome = routine.finish(seen.observations, epoch)
        seen.failures += outcome.failures
        part = self._part("batches", [(routine.tracking_client, Outcome(outcome.records, tuple(seen.failures)))])
        return attrs.evolve(part, since=seen.since, complete=False)

    def _part(self, name: str, outcomes: Iterable[tuple[TrackingClient | None, Outcome]]) -> Part:
        held = [(self._delivery.addressee(client), outcome) for client, outcome in outcomes]
        return Part(
            name,
            [(record, addressee) for addressee, outcome in held for record in outcome.records],
            [
                FailureRow(each.epoch, int(each.epoch), each.callback, each.split, each.what)
                for _, outcome in held
                for each in outcome.failures
            ],
        )

    def _commit(self, epoch: int, step: int, *parts: Part) -> list[Failure]:
        """Commit parts of an epoch and hand them over; a record that cannot be stored is a failure."""
        refused = [] if self._store is None else self._store.commit(epoch, step, *parts)
        self._delivery.offer([each for part in parts for each in part.records])
        return [Failure(record.name, epoch, record.split, error) for record, error in refused]

    def _save(self, state: TrainState) -> None:
        """Write a checkpoint; what an earlier epoch still computes could not be computed again after it."""
        if self._store is None:
            return
        past = int(state.epoch) + (1 if int(state.batch) else 0)
        self._collect(before=past)
        tracker = self._program.tracker
        best = None if tracker is None else tracker.best(state.tracker)
        self._store.checkpoint(state, best=() if best is None else (int(best.epoch),))

    def _leave(self, state: TrainState) -> NoReturn:
        where = f"after epoch {int(state.epoch)}, batch {int(state.batch)} (step {int(state.step)})"
        if self._store is None:
            raise self._interrupts.interruption(f"interrupted {where}; nothing is kept, for the run has no directory")
        message = f"interrupted {where}; the same command continues the run in {self._store.path}"
        self._reporter.say(message)
        raise self._interrupts.interruption(message)

    def _collect(self, *, before: int = 0, wait: bool = False) -> None:
        """Commit what was computed beside the training: what is done, and what is waited for."""
        left: list[_Later] = []
        failures: list[Failure] = []
        for each in self._later:
            epoch, step = each.pending.epoch, each.pending.step
            if wait or epoch < before or each.pending.done():
                outcome = each.pending.result()
                failures += outcome.failures
                failures += self._commit(epoch, step, self._part(each.part, [(each.client, outcome)]))
            else:
                left.append(each)
        self._later = left
        self._judge_failures(failures)

    def _repeat_artifacts(self, state: TrainState) -> None:
        """Compute again the artifacts of the epoch just resumed from that were still being computed."""
        epoch, step = int(state.epoch), int(state.step)
        parts = [] if self._store is None or int(state.batch) else self._store.unfinished(epoch)
        for name in sorted({part.rpartition(":")[0] for part in parts if part.startswith("artifacts:")}):
            index = int(name.partition(":")[2])
            for _, client, outcome in validate_artifacts(
                self._program, self._program.evaluated(state), epoch, step, [index], executor=self._background
            ):
                self._later += [_Later(f"{name}:{n}", client, each) for n, each in enumerate(outcome.pending)]
                if not outcome.pending:
                    self._commit(epoch, step, self._part(f"{name}:0", [(client, outcome)]))

    def _judge_losses(self, seen: _Batches, epoch: int, state: TrainState, part: Part) -> Stop | None:
        """Do as the policy says at a loss that is not finite; before it ends the run, commit the batches."""
        if not seen.losses or not (bad := (~torch.isfinite(torch.stack(seen.losses))).nonzero().flatten().tolist()):
            return None
        program, step = self._program, seen.since + bad[0] + 1
        batch = int(state.batch) - len(seen.losses) + bad[0] + 1
        error = nonfinite_loss(step, epoch, batch, seen.losses[bad[0]].item())
        if program.nonfinite in ("raise", "stop"):
            self._commit(epoch, int(state.step), part)
        if program.nonfinite == "raise":
            raise error
        if program.nonfinite == "stop":
            return Stop(str(error).splitlines()[0])
        what = f"{len(bad)} of {len(seen.losses)} batches; the first: {error}"
        verb = "skipped" if program.nonfinite == "skip" else "went on after"
        warnings.warn(f"{verb} {what}", NonfiniteLossWarning, stacklevel=2)
        return None

    def _judge_failures(self, failures: list[Failure]) -> None:
        """Do as the policy says where callbacks raised; each is named once."""
        first = {failure.callback: failure for failure in reversed(failures)}
        for failure in reversed(first.values()):
            if self._program.on_callback_error == "raise":
                raise CallbackError(
                    "raised",
                    where=failure.where,
                    got=failure.what,
                    fix="mend it, or pass on_callback_error='warn' to go on",
                ) from failure.error
            warnings.warn(f"{failure.where}: raised {failure.what}", CallbackWarning, stacklevel=3)
        self.failures += failures


def _clients(
    program: Program, given: TrackingClient | Sequence[TrackingClient] | None, store: RunStore | None
) -> tuple[list[TrackingClient], list[TrackingClient]]:
    """List the clients for everything, and those of routines, which take only what is theirs."""
    routines = (program.batch_routine, *program.loader_routines, *program.artifact_routines)
    own = [each.tracking_client for each in routines if each is not None and each.tracking_client is not None]
    if given is None:
        return [] if store is None else [Filesystem()], own
    return [given] if isinstance(given, TrackingClient) else list(given), own


def _empty() -> DataError:
    return DataError("is empty", where="the train loader", fix="give it at least one batch (check drop_last)")
