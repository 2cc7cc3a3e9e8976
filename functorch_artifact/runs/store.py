"""What a run keeps on disk, as the driver sees it: journal and checkpoints, or neither.

Belongs here: `RunStore`, which joins a run's directory, its journal and its checkpoints, and what a
disk that fails means for the run. Does not: when anything is written (`driver`).
Floor 8.

The order of writing is the promise: the records of an epoch are committed before the checkpoint
that is past them, so whatever checkpoint a run continues from, no record is missing before it, and
what comes after it is made again and replaces itself.
"""

from __future__ import annotations

import functools
import platform
import sqlite3
import subprocess
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

import numpy as np
import torch

from functorch_artifact import trees
from functorch_artifact.callbacks import CheckpointCallback
from functorch_artifact.checkpoint import Checkpoints, notes
from functorch_artifact.errors import RunDirectoryError, StorageError, TrackingError
from functorch_artifact.model_tracking import ScoreTracker
from functorch_artifact.program import Program
from functorch_artifact.records import Record, RunInfo
from functorch_artifact.runs.directory import RunDirectory, storage
from functorch_artifact.runs.fingerprint import Fingerprint, FingerprintWarning, differences
from functorch_artifact.step import TrainState, device_of
from functorch_artifact.tracking.journal import Journal, Part

StoragePolicy: TypeAlias = Literal["raise", "warn"]
"""What happens when the run's directory cannot be written to."""

_GROWING: Final = (".scores", ".tracker", ".stopper", ".opt_state")  # whose structure may change as a run goes on


class StorageWarning(UserWarning):
    """The run's directory cannot be written to, and the run goes on."""


class RunStore:
    """The journal and the checkpoints of one run; a context manager that closes them and unlocks.

    Args:
        directory: the run's directory, claimed.
        policy: when checkpoints are written and how many are kept; none are without.
        fingerprint: what bit-identity depends on.
        on_error: `raise` a `StorageError` when the disk fails; or `warn`, hold the records in memory
            and try again with the next commit.
    """

    def __init__(
        self,
        directory: RunDirectory,
        policy: CheckpointCallback | None,
        fingerprint: Fingerprint,
        on_error: StoragePolicy = "raise",
    ) -> None:
        self.directory = directory
        self._policy = policy
        self._fingerprint = fingerprint
        self._on_error = on_error
        keep_last = None if policy is None else policy.keep_last
        self._checkpoints = Checkpoints(directory.path / "checkpoints", keep_last, directory.fs)
        with storage(self.path, "the journal"):
            self._journal = self.open_journal()
        self._late: list[tuple[int, int, tuple[Part, ...]]] = []  # what could not be committed yet
        self._ended = False

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.directory.path

    def open_journal(self) -> Journal:
        """Open the journal once more, for another thread."""
        return Journal(self.directory.path, self.directory.fs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        try:
            if error is not None and not self._ended:
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                reason = str(error) or type(error).__name__
                with suppress(OSError, sqlite3.Error):  # an error that ends the run must not be hidden by another
                    self._journal.end("interrupted" if stopped else "failed", reason)
        finally:
            self._journal.close()
            self.directory.release()

    def resume(self, like: TrainState) -> TrainState:
        """Read the newest state that is whole, or give back the one to begin with.

        Raises:
            RunDirectoryError: the run has finished and there is no state of it.
            CheckpointError: the newest state is of another program.
        """
        found = self._checkpoints.latest(like, free=_GROWING)
        if found is None:
            sessions = self._journal.sessions()
            if sessions and sessions[-1].outcome == "finished":
                raise RunDirectoryError(
                    "has finished, and keeps no checkpoint to return",
                    where=str(self.directory.path),
                    fix="read it with RunReader, or choose another directory",
                )
            return like
        position, state = found
        if changed := differences(notes(self._checkpoints.path(position)), self._fingerprint):
            warnings.warn(
                "the run continues where its bits may come out otherwise: " + "; ".join(changed),
                FingerprintWarning,
                stacklevel=3,
            )
        return state

    def finished(self, state: TrainState, info: RunInfo) -> str | None:
        """Say why the run of this very program has finished in this state; `None` if it goes on.

        With another stopper, for one, it may go on from there.
        """
        sessions = self._journal.sessions()
        same = _told(self._journal.info()) == _told(info)
        last = self._journal.last_epoch()
        if not sessions or sessions[-1].outcome != "finished" or not same or last != int(state.epoch):
            return None
        return sessions[-1].reason

    def begin(self, info: RunInfo) -> None:
        """Note in the journal that this process works on the run."""
        with self._guarded("the journal"):
            self.directory.check()
            self._journal.begin(info, self._fingerprint)

    def commit(self, epoch: int, step: int, *parts: Part) -> list[tuple[Record, TrackingError]]:
        """Commit parts of an epoch to the journal; see `Journal.commit`."""
        self._late.append((epoch, step, parts))
        return self._flush()

    def _flush(self) -> list[tuple[Record, TrackingError]]:
        refused: list[tuple[Record, TrackingError]] = []
        with self._guarded("the journal"):
            self.directory.check()
            while self._late:
                epoch, step, parts = self._late[0]
                refused += self._journal.commit(epoch, step, *parts)
                del self._late[0]
        return refused

    def unfinished(self, epoch: int) -> list[str]:
        """Name the parts of an epoch that were begun and are not complete."""
        return [part for part, complete in self._journal.committed(epoch).items() if not complete]

    def late_scores(self, epoch: int) -> dict[tuple[int, str], dict[str, float]]:
        """Read the scores up to an epoch that were committed in parts of their own, by epoch and part."""
        found: dict[tuple[int, str], dict[str, float]] = {}
        for name, _, of_epoch, _, part, value in self._journal.scores():
            if of_epoch <= epoch and part.startswith("artifacts:"):
                found.setdefault((of_epoch, part), {})[name] = value
        return found

    def due(self, epoch: int) -> bool:
        """Say whether a checkpoint is due at the end of an epoch."""
        return self._policy is not None and self._policy.due(epoch)

    def due_step(self, step: int) -> bool:
        """Say whether a checkpoint is due after a step."""
        return self._policy is not None and self._policy.due_step(step)

    def checkpoint(self, state: TrainState, *, best: Collection[int] = ()) -> None:
        """Write a checkpoint, if the program keeps any; those of the `best` epochs are kept too."""
        if self._late:
            self._flush()
        if self._policy is None or self._late:  # a checkpoint past records that are nowhere would lose them
            return
        with self._guarded("a checkpoint"):
            self.directory.check()
            self._checkpoints.save(int(state.epoch), state, batch=int(state.batch), notes=self._fingerprint, keep=best)

    def finish(self, reason: str) -> None:
        """Note in the journal that the run has finished, and why, unless records of it are still not there."""
        self._ended = True
        if self._late:
            self._flush()
        if self._late:
            return
        with self._guarded("the journal"):
            self.directory.check()
            self._journal.end("finished", reason)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            with storage(self.path, what):
                yield
        except StorageError as error:
            if self._on_error == "raise":
                raise
            warnings.warn(str(error), StorageWarning, stacklevel=4)


def identity(program: Program) -> dict[str, str | int]:
    """Tell apart programs whose states cannot take each other's place."""
    shapes = {path: trees.describe(leaf) for path, leaf in trees.named_leaves(program.init()).items()}
    return {"seed": program.seed, "state": trees.digest(shapes)}


def run_info(program: Program, directory: Path | None) -> RunInfo:
    """Say what a run is, for the journal and the clients."""
    variables = program.model.variables
    return RunInfo(
        name="run" if directory is None else directory.name,
        directory=None if directory is None else str(directory),
        parameters={
            "seed": program.seed,
            "model": program.model.name,
            "n_parameters": sum(tensor.numel() for tensor in variables.params.values()),
            "optimizer": program.optimizer.description,
            "stopper": repr(program.stopper),
            "tracker": repr(program.tracker),
            **_chosen_by(program),
            "nonfinite": program.nonfinite,
            "device": str(device_of(variables)),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "numpy": np.__version__,
            **_commit(),
        },
    )


@functools.cache
def _commit() -> dict[str, str]:
    """Ask git for the commit that the process works in, if there is one."""
    with suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "HEAD"]
        return {"commit": subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()}
    return {}


def _told(info: RunInfo) -> dict[str, str | int | float | bool]:
    """List the parameters that make a run another one; code that is committed need not."""
    return {name: value for name, value in info.parameters.items() if name != "commit"}


def _chosen_by(program: Program) -> dict[str, str]:
    """Name the score that the best model is chosen by, if it is one."""
    tracker = program.tracker
    if not isinstance(tracker, ScoreTracker) or program.criterion is not None:
        return {}
    return {"best_by": tracker.score, "best_is": tracker.mode}
