"""The driver: the one loop that touches the world.

Belongs here: `fit`, `evaluate`, and their results. Does not: any decision; those are the
program's, and pure. What is kept on disk and how (`runs.store`).
Floor 9.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
from functorch_artifact.data import DataLoader, placing
from functorch_artifact.errors import CallbackError, ConfigurationError, DataError
from functorch_artifact.finiteness import nonfinite_loss, nonfinite_parameter
from functorch_artifact.fs import DISK, Fs
from functorch_artifact.program import Program
from functorch_artifact.progress import Progress
from functorch_artifact.records import TrackingClient, scores
from functorch_artifact.routines import Background, Failure, Observation, Outcome, Pending
from functorch_artifact.runs.directory import Resume, RunDirectory
from functorch_artifact.runs.fingerprint import fingerprint
from functorch_artifact.runs.result import FitResult
from functorch_artifact.runs.signals import Interrupts
from functorch_artifact.runs.store import RunStore, StoragePolicy, identity, run_info
from functorch_artifact.step import TrainState, TrainStep, device_of
from functorch_artifact.stoppers import Stop
from functorch_artifact.tracking import AnyClient, Delivery, Filesystem, as_clients
from functorch_artifact.tracking.journal import Part
from functorch_artifact.tracking.journal_reader import FailureRow
from functorch_artifact.validation import batches_on, validate, validate_artifacts


class CallbackWarning(UserWarning):
    """A callback raised, and the program's policy is to go on."""


class ScoreWarning(UserWarning):
    """A score that the stopper or the tracker reads was never logged in the whole run."""


class NonfiniteLossWarning(UserWarning):
    """Batches with a NaN or infinite loss or gradient, over which the program's policy is to go on."""


def fit(
    program: Program,
    *,
    run: str | Path | None = None,
    tracking_client: AnyClient | Sequence[AnyClient] | None = None,
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
                reporter.say(f"found {directory.path} after epoch {int(state.epoch)}, step {int(state.step)}")
        everyones, own = _clients(program, tracking_client, store)
        journal = None if store is None else store.open_journal
        delivery = stack.enter_context(Delivery(everyones, own, journal=journal, patience=patience))
        info = run_info(program, None if store is None else store.path)
        finished = None
        if store is not None:
            finished = store.finished(state, info)
            store.begin(info)
        delivery.open(info)
        helper = stack.enter_context(opened(background))
        with Interrupts() as interrupts, purity.checking(program.purity == "check"):
            placed = program.with_loaders(placing(device_of(state)))
            if isinstance(placed.train_loader, DataLoader) and placed is not program:
                reporter.say(f"batches are {placed.train_loader.feeding}")
            loop = _Loop(placed, store, delivery, reporter, interrupts, helper)
            state, reason = loop.run(state, finished)
        for name in program.scores_read:
            if len(state.scores) and name not in state.scores.names:
                warnings.warn(f"the score {name!r} was never logged, so it decided nothing", ScoreWarning, stacklevel=2)
        if store is not None:
            store.finish(reason)
        reporter.say(f"stopped: {reason}")
        owed = tuple(delivery.close())
    path = None if store is None else store.path
    return FitResult(program, state, reason, tuple(loop.failures), path, owed, loop.late)


@attrs.define(eq=False)
class _Batches:
    """What the batches of an epoch gave that is not committed yet."""

    since: int  # the step up to which it is
    observations: list[Observation] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    losses: list[Tensor] = attrs.field(factory=list)
    held_back: list[Tensor] = attrs.field(factory=list)  # bool [], under the policies that hold steps back

    def bad(self) -> list[int]:
        """List the batches with a loss or a gradient that is not finite, from 0 on."""
        if not self.losses:
            return []
        found: Tensor = torch.stack(self.held_back) if self.held_back else ~torch.isfinite(torch.stack(self.losses))
        return [int(index) for index in found.nonzero().flatten()]


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
        background: Background,
    ) -> None:
        self.failures: list[Failure] = []
        self.late: dict[tuple[int, str], Mapping[str, float]] = {}
        self._program = program
        self._step: TrainStep | CompiledStep = program.compiled_step()
        self._store = store
        self._delivery = delivery
        self._reporter = reporter
        self._interrupts = interrupts
        self._background = background
        self._later: list[_Later] = []
        self._deciding: frozenset[str] = frozenset()  # scores that cannot wait
        self._saved: tuple[int, int] | None = None  # the position of the latest checkpoint
        self._n_told = 0  # builds of the step

    def run(self, state: TrainState, finished: str | None = None) -> tuple[TrainState, str]:
        """Train from a state until the stopper, or what is not finite, says stop; say why.

        A run that has `finished`, for the reason given, only has its last artifacts completed.
        """
        self._deciding = self._program.scores_deciding(state)
        if self._store is not None:
            for (epoch, part), found in self._store.late_scores(int(state.epoch)).items():
                self._came_late(epoch, part, found)
        self._repeat_artifacts(state)
        verdict = self._program.verdict(state) if finished is None else Stop(finished)
        while not isinstance(verdict, Stop):
            if self._interrupts.asked:
                self._leave(state)
            state, stop = self._epoch(state)
            if stop is not None and int(state.batch):  # within the epoch, which is begun anew if the run goes on
                verdict = stop
                break
            verdict = stop or self._program.verdict(state)
            if isinstance(verdict, Stop) or (self._store is not None and self._store.due(int(state.epoch))):
                self._save(state)
        self._collect(wait=True)
        return state, verdict.reason

    def _epoch(self, state: TrainState) -> tuple[TrainState, Stop | None]:
        program, epoch, start, device = self._program, int(state.epoch) + 1, int(state.batch), device_of(state)
        step, seen = int(state.step), _Batches(int(state.step))
        batches = batches_on(device, program.train_loader, epoch, program.seed, start)
        for batch in self._reporter.batches(batches, epoch, start):
            state, output = purity.call("the training step", self._step.__call__, state, batch)
            step += 1
            seen.losses.append(output["loss"])
            if "held_back" in output:
                seen.held_back.append(output["held_back"])
            if program.batch_routine is not None:
                result: BatchResult[Any, Any] = BatchResult(batch, cast(Any, output), trees.n_examples(batch))
                observed, failed = program.batch_routine.observe(result, epoch, step)
                seen.observations += observed
                seen.failures += failed
            if program.nonfinite == "stop" and device.type == "cpu" and bool(seen.held_back[-1]):
                break
            if self._interrupts.asked or (self._store is not None and self._store.due_step(step)):
                part, stop = self._settle(seen, state)
                if stop is not None:
                    return state, stop
                self._judge_failures([*seen.failures, *self._commit(epoch, step, part)])
                seen = _Batches(step)
                if self._interrupts.asked:
                    self._leave(state)
                self._save(state)
        if int(state.batch) == 0:
            raise _empty()
        part, stop = self._settle(seen, state)
        if stop is not None:
            return state, stop
        validated: list[tuple[TrackingClient | None, Outcome]] = []
        later: list[_Later] = []
        for name, client, outcome in validate(
            program, program.evaluated(state), epoch, step, executor=self._background, needed=self._deciding
        ):
            validated.append((client, outcome))
            later += [_Later(f"{name}:{number}", client, pending) for number, pending in enumerate(outcome.pending)]
            if self._interrupts.asked:  # validation is begun anew; the batches are done
                self._commit(epoch, step, part)
                self._leave(state)
        parts = [attrs.evolve(part, complete=True), self._part("epoch", step, validated)]
        refused = self._commit(epoch, step, *parts, *(Part(each.part, complete=False) for each in later))
        self._later += later
        self._judge_failures([*seen.failures, *(f for _, outcome in validated for f in outcome.failures), *refused])
        found = scores(record for _, outcome in validated for record in outcome.records)
        found, stop = program.judged(found, epoch)
        state = program.advance(state, found)
        self._reporter.epoch(epoch, found)
        self._tell_builds()
        self._collect()
        return state, stop

    def _tell_builds(self) -> None:
        builds = explain(self._step).builds
        asked = self._program.mode
        for build in builds[self._n_told :]:
            if build.mode == asked and build.seconds < 1:
                continue  # as everybody expects
            told = f"steps on {build.batch} run {build.mode}: {build.why}; built in {build.seconds:.1f} s"
            self._reporter.say(told)
        self._n_told = len(builds)

    def _settle(self, seen: _Batches, state: TrainState) -> tuple[Part, Stop | None]:
        """Read what was seen of the batches, once, and do as the policy says where it is not finite.

        Where that ends the run, what was seen is committed first.
        """
        program, epoch, step = self._program, int(state.epoch) + 1, int(state.step)
        client, outcome = None, Outcome()
        if program.batch_routine is not None:
            client, outcome = (
                program.batch_routine.tracking_client,
                program.batch_routine.finish(seen.observations, epoch),
            )
            seen.failures += outcome.failures
        error, bad = None, seen.bad()
        if bad:
            first = seen.since + bad[0] + 1
            batch = int(state.batch) - (step - first)
            error = nonfinite_loss(first, epoch, batch, seen.losses[bad[0]].item())
        elif program.nonfinite == "raise":
            error = nonfinite_parameter(state.params, step, epoch)
        failures = seen.failures if error is None else [*seen.failures, Failure("loss", epoch, None, error)]
        part = self._part("batches", step, [(client, Outcome(outcome.records, tuple(failures)))])
        part = attrs.evolve(part, since=seen.since, complete=False)
        if error is None:
            return part, None
        if program.nonfinite in ("raise", "stop"):
            self._commit(epoch, step, part)
            if program.nonfinite == "raise":
                raise error
            return part, Stop(str(error).splitlines()[0])
        verb = "skipped" if program.nonfinite == "skip" else "went on after"
        what = f"{verb} {len(bad)} of {len(seen.losses)} batches; the first: {error}"
        warnings.warn(what, NonfiniteLossWarning, stacklevel=2)
        return part, None

    def _part(self, name: str, step: int, outcomes: Iterable[tuple[TrackingClient | None, Outcome]]) -> Part:
        held = [(self._delivery.addressee(client), outcome) for client, outcome in outcomes]
        return Part(
            name,
            [(record, addressee) for addressee, outcome in held for record in outcome.records],
            [
                FailureRow(each.epoch, step, each.callback, each.split, each.what)
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
        position = (int(state.epoch), int(state.batch))
        if self._store is None or self._saved == position:
            return
        past = int(state.epoch) + (1 if int(state.batch) else 0)
        self._collect(before=past)
        tracker = self._program.tracker
        best = None if tracker is None else tracker.best(state.tracker)
        self._store.checkpoint(state, best=() if best is None else (int(best.epoch),))
        self._saved = position

    def _leave(self, state: TrainState) -> NoReturn:
        """Leave because a signal asked for it, with a checkpoint of the state."""
        self._save(state)
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
                failures += self._commit(epoch, step, self._part(each.part, step, [(each.client, outcome)]))
                self._came_late(epoch, each.part, outcome.scores)
            else:
                left.append(each)
        self._later = left
        self._judge_failures(failures)

    def _came_late(self, epoch: int, part: str, found: Mapping[str, float]) -> None:
        skips = self._program.nonfinite_scores == "skip"
        self.late[epoch, part] = {name: value for name, value in found.items() if not skips or math.isfinite(value)}

    def _repeat_artifacts(self, state: TrainState) -> None:
        """Compute again the artifacts of the epoch just resumed from that were still being computed."""
        epoch, step = int(state.epoch), int(state.step)
        parts = [] if self._store is None or int(state.batch) else self._store.unfinished(epoch)
        for name in sorted({part.rpartition(":")[0] for part in parts if part.startswith("artifacts:")}):
            index = int(name.partition(":")[2])
            for _, client, outcome in validate_artifacts(
                self._program,
                self._program.evaluated(state),
                epoch,
                step,
                [index],
                executor=self._background,
                needed=self._deciding,
            ):
                self._later += [_Later(f"{name}:{n}", client, each) for n, each in enumerate(outcome.pending)]
                if not outcome.pending:
                    self._commit(epoch, step, self._part(f"{name}:0", step, [(client, outcome)]))

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
    program: Program, given: AnyClient | Sequence[AnyClient] | None, store: RunStore | None
) -> tuple[list[TrackingClient], list[TrackingClient]]:
    """List the clients for everything, and those of routines, which take only what is theirs."""
    routines = (program.batch_routine, *program.loader_routines, *program.artifact_routines)
    own = [each.tracking_client for each in routines if each is not None and each.tracking_client is not None]
    if given is None:
        return [] if store is None else [Filesystem()], own
    return as_clients(given), own


def _empty() -> DataError:
    return DataError("is empty", where="the train loader", fix="give it at least one batch (check drop_last)")
