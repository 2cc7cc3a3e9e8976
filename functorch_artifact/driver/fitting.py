"""Fitting: what a run needs is opened, its loop runs, and all is closed again.

Belongs here: `fit`. Does not: the order of events within a run (`driver.loop`).
Floor 9.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from functorch_artifact import purity
from functorch_artifact.background import Choice, opened
from functorch_artifact.data import DataLoader, placing
from functorch_artifact.driver.ledger import Ledger
from functorch_artifact.driver.loop import Loop, empty
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.fs import DISK, Fs
from functorch_artifact.program import Program
from functorch_artifact.progress import Progress
from functorch_artifact.records import TrackingClient
from functorch_artifact.runs.directory import Resume, RunDirectory
from functorch_artifact.runs.fingerprint import fingerprint
from functorch_artifact.runs.result import FitResult
from functorch_artifact.runs.signals import Interrupts
from functorch_artifact.runs.store import RunStore, StoragePolicy, identity, run_info
from functorch_artifact.step import TrainState, device_of
from functorch_artifact.tracking import AnyClient, Delivery, Filesystem, as_clients


class ScoreWarning(UserWarning):
    """A score that the stopper or the tracker reads was never logged in the whole run."""


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
    and after the end returns what was stored. SIGINT (Ctrl-C) and SIGTERM end it after the call in
    progress, of one step or several, with a checkpoint; a second one ends it at once.

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
        raise empty()
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
            device = device_of(state)
            placed = program.with_loaders(placing(device))
            if isinstance(placed.train_loader, DataLoader) and placed is not program:
                reporter.say(f"batches are {placed.train_loader.feeding}")
            ledger = Ledger(placed, state, store, delivery, helper)
            state, reason = Loop(placed, device, store, ledger, reporter, interrupts).run(state, finished)
        for name in program.scores_read:
            if len(state.scores) and name not in state.scores.names:
                warnings.warn(f"the score {name!r} was never logged, so it decided nothing", ScoreWarning, stacklevel=2)
        if store is not None:
            store.finish(reason)
        reporter.say(f"stopped: {reason}")
        owed = tuple(delivery.close())
    path = None if store is None else store.path
    return FitResult(program, state, reason, tuple(ledger.failures), path, owed, ledger.late)


def _clients(
    program: Program, given: AnyClient | Sequence[AnyClient] | None, store: RunStore | None
) -> tuple[list[TrackingClient], list[TrackingClient]]:
    """List the clients for everything, and those of routines, which take only what is theirs."""
    routines = (program.batch_routine, *program.loader_routines, *program.artifact_routines)
    own = [each.tracking_client for each in routines if each is not None and each.tracking_client is not None]
    if given is None:
        return [] if store is None else [Filesystem()], own
    return as_clients(given), own
