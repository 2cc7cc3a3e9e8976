"""The driver as a state machine: whatever happens to a run, it comes out as it would have undisturbed.

Belongs here: `ProgramMachine`. Does not: laws of single functions (the families of laws).
Floor 10.
"""

from __future__ import annotations

import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from functorch_artifact import optimizers, tracking, trees
from functorch_artifact.callbacks import BatchLossCallback, CheckpointCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.checkpoint import Checkpoints
from functorch_artifact.contracts import Loader
from functorch_artifact.data import DataLoader, ResidentDataset
from functorch_artifact.driver import fit
from functorch_artifact.errors import StorageError
from functorch_artifact.fs import Fs, Operation
from functorch_artifact.model_tracking import ScoreTracker
from functorch_artifact.program import Program
from functorch_artifact.records import scores
from functorch_artifact.routines import BatchRoutine, DataLoaderRoutine
from functorch_artifact.runs.reader import RunReader
from functorch_artifact.runs.result import FitResult
from functorch_artifact.runs.signals import Terminated
from functorch_artifact.step import TrainState
from functorch_artifact.stoppers import EarlyStopper, ScoreMinimizationStopper, Stop, Verdict
from functorch_artifact.testing.configurations import regression
from functorch_artifact.validation import evaluate, validate

_GROWING = (".scores", ".tracker", ".stopper", ".opt_state")
Place = tuple[str, str | None, int, int]


class ProgramMachine(RuleBasedStateMachine):
    """Step, end epochs, evaluate, checkpoint, crash, resume, swap clients and edit what must not matter.

    After each rule, every checkpoint on disk is a state of the undisturbed run and every number in
    the journal is one of its numbers; at the end, state, scores, reason and journal are its own, to
    the bit. Subclass it, override `make_program`, and run it as hypothesis runs state machines:

        class TestMyProgram(ProgramMachine.TestCase): ...

    Example:
        >>> from hypothesis import settings
        >>> from hypothesis.stateful import run_state_machine_as_test
        >>> from functorch_artifact.testing import ProgramMachine
        >>> run_state_machine_as_test(
        ...     ProgramMachine, settings=settings(max_examples=1, stateful_step_count=3, deadline=None)
        ... )
    """

    def make_program(self) -> Program:
        """Make the program, the same each time; one of your own takes milliseconds an epoch, too."""
        return small_program()

    @initialize()
    def begin(self) -> None:
        """Compute the undisturbed run by pure functions, without the driver."""
        self._holder = tempfile.TemporaryDirectory()
        self._path = Path(self._holder.name) / "run"
        self._policy: CheckpointCallback = CheckpointCallback()
        self._mode: Any = "eager"
        self._steps_per_call: Any = "auto"
        self._client: Any = None
        self._positions, self._final, self._reason = _trajectory(self.make_program())
        self._numbers = self._expected_numbers()

    @rule(n=st.integers(1, 5))
    def step(self, n: int) -> None:
        """Take some steps; then SIGTERM ends the process, which leaves a checkpoint."""
        self._run(halt=n, kind="signal")

    @rule()
    def end_epoch(self) -> None:
        """Run to the end of the epoch and end the process in order."""
        self._run(pause=True)

    @rule(n=st.integers(0, 5))
    def crash(self, n: int) -> None:
        """Take some steps; then the process dies with all it has not written."""
        self._run(halt=n, kind="crash")

    @rule(n=st.integers(0, 40))
    def crash_while_writing(self, n: int) -> None:
        """Run until the disk fails at its n-th operation."""
        self._run(n_operations=n)

    @rule()
    def resume(self) -> None:
        """Run to the end."""
        result = self._run()
        assert result is not None
        self._expect_whole(result)

    @rule(period=st.integers(1, 3), unit=st.sampled_from(["epochs", "steps"]), keep_last=st.sampled_from([None, 1, 2]))
    def checkpoint(self, period: int, unit: Any, keep_last: int | None) -> None:
        """Write checkpoints by another policy from now on."""
        self._policy = CheckpointCallback(period=period, unit=unit, keep_last=keep_last)

    @rule(mode=st.sampled_from(["eager", "captured"]), steps=st.sampled_from([1, 2, "auto"]))
    def edit_config(self, mode: Any, steps: Any) -> None:
        """Run steps in another mode, and so many of them a call, from now on."""
        self._mode, self._steps_per_call = mode, steps

    @rule(kind=st.sampled_from(["none", "memory", "files", "both"]))
    def swap_tracking_client(self, kind: str) -> None:
        """Hand the records to others from now on."""
        memory, files = tracking.InMemory(), tracking.Filesystem()
        self._client = {"none": None, "memory": memory, "files": files, "both": [memory, files]}[kind]

    @rule()
    def evaluate(self) -> None:
        """Evaluate the model of the newest checkpoint: the scores are those it was validated with."""
        state = self._newest()
        if state is None or int(state.batch) or not int(state.epoch):
            return
        program = self.make_program()
        found = evaluate(program, program.evaluated(state)).scores
        for name, value in state.scores.row(int(state.epoch)).items():
            assert trees.digest(found[name]) == trees.digest(value), f"{name}: expected {value}, got {found[name]}"

    @invariant()
    def checkpoints_are_states_of_the_undisturbed_run(self) -> None:
        """The newest checkpoint is a state of the undisturbed run, at its place."""
        state = self._newest()
        if state is not None:
            place = (int(state.epoch), int(state.batch))
            assert place in self._positions, f"a checkpoint after epoch {place[0]}, batch {place[1]}"
            assert trees.digest(state) == self._positions[place], f"other bits after epoch {place[0]}, batch {place[1]}"

    @invariant()
    def the_journal_holds_numbers_of_the_undisturbed_run(self) -> None:
        """Every number in the journal is that of the undisturbed run, and there once."""
        for place, value in self._journaled().items():
            assert place in self._numbers, f"the undisturbed run has no number at {place}"
            assert trees.digest(value) == trees.digest(self._numbers[place]), f"another number at {place}"

    def teardown(self) -> None:
        """Run to the end, which is that of the undisturbed run."""
        if hasattr(self, "_holder"):
            try:
                result = self._run()
                assert result is not None
                self._expect_whole(result)
            finally:
                self._holder.cleanup()

    def _program(self) -> Program:
        changes = {"checkpoint": self._policy, "mode": self._mode, "steps_per_call": self._steps_per_call}
        return attrs.evolve(self.make_program(), **changes)

    def _run(
        self, *, halt: int | None = None, kind: str = "", pause: bool = False, n_operations: int | None = None
    ) -> FitResult | None:
        program, disk, newest = self._program(), _Disk(n_operations), self._newest()
        begun = 0 if newest is None else int(newest.step)
        if halt is not None:
            loader = _Halting(program.train_loader, begun + halt, kind, disk)
            program = attrs.evolve(program, train_loader=loader)
        if pause:
            epoch = 0 if newest is None else int(newest.epoch)
            program = attrs.evolve(program, stopper=_Pausing(program.stopper, epoch + 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a disk that fails, of other modes
            try:
                return fit(program, run=self._path, tracking_client=self._client, progress=False, fs=disk)
            except (Terminated, _Crash, StorageError, OSError):
                return None

    def _newest(self) -> TrainState | None:
        if not (self._path / "checkpoints").is_dir():
            return None
        found = Checkpoints(self._path / "checkpoints").latest(self.make_program().init(), free=_GROWING)
        return None if found is None else found[1]

    def _journaled(self) -> dict[Place, float]:
        if not (self._path / "journal.sqlite").exists():
            return {}
        with RunReader(self._path) as reader:
            table = reader.numbers
        places = [_place(*row[:4]) for row in table.itertuples(index=False)]
        assert len(places) == len(set(places)), "a number is in the journal twice"
        return dict(zip(places, table["value"].tolist(), strict=True))

    def _expected_numbers(self) -> dict[Place, float]:
        client = tracking.InMemory()
        fit(self.make_program(), tracking_client=client, progress=False)
        return {_place(*row[:4]): float(row[4]) for row in client.scores().itertuples(index=False)}

    def _expect_whole(self, result: FitResult) -> None:
        assert trees.digest(result.state) == self._final, "the final state has other bits"
        assert result.reason == self._reason, f"expected to stop because {self._reason}, got {result.reason}"
        missing = self._numbers.keys() - self._journaled().keys()
        assert not missing, f"the journal lacks {sorted(missing, key=repr)}"


def small_program() -> Program:
    """Make a program that runs in milliseconds: norm, dropout, a schedule by epoch, a patience."""
    rows = {name: torch.randn(shape, generator=torch.Generator().manual_seed(0)) for name, shape in _SHAPES.items()}
    loader: DataLoader[Any] = DataLoader(ResidentDataset(rows), batch_size=4, shuffle=True)
    return Program(
        model=cast(Any, regression(["norm", "dropout"], seed=0)),
        optimizer=optimizers.adam(optimizers.exponential(0.3, gamma=0.7, per="epoch")),
        train_loader=loader,
        stopper=ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=4, patience=2),
        tracker=ScoreTracker("TRAIN_LOSS", "min"),
        batch_routine=BatchRoutine([BatchLossCallback(period=2)]),
        loader_routines=[
            DataLoaderRoutine(loader, [TrainLossCallback()], split="TRAIN"),
            DataLoaderRoutine(loader, [ValLossCallback()], split="VALIDATION"),
        ],
        mode="eager",
    )


_SHAPES = {"x": (12, 3), "y": (12,)}


def _trajectory(program: Program) -> tuple[dict[tuple[int, int], str], str, str]:
    """Walk the run by its pure functions: digests by (epoch, batch), the last one, and the reason to stop."""
    state, verdict, found = program.init(), cast(Verdict, None), {}
    while not isinstance(verdict, Stop):
        epoch = int(state.epoch) + 1
        for batch in program.train_loader.batches(epoch, program.seed):
            state, _ = program.step(state, batch)
            found[int(state.epoch), int(state.batch)] = trees.digest(state)
        outcomes = validate(program, program.evaluated(state), epoch, int(state.step))
        state = program.advance(state, scores(record for _, _, outcome in outcomes for record in outcome.records))
        found[int(state.epoch), 0] = trees.digest(state)
        verdict = program.stopper.verdict(state.stopper)
    return found, trees.digest(state), verdict.reason


def _place(name: str, split: Any, epoch: int, step: int) -> Place:
    return name, split if isinstance(split, str) and split else None, int(epoch), int(step)


class _Crash(BaseException):
    """The process dies."""


class _Disk(Fs):
    """A disk that fails at its n-th operation and from then on."""

    def __init__(self, n_operations: int | None) -> None:
        self.left = n_operations

    def perform(self, operation: Operation) -> None:
        if self.left is not None:
            if self.left <= 0:
                raise OSError("the disk has failed")
            self.left -= 1
        super().perform(operation)


@attrs.frozen(eq=False)
class _Halting(Loader[Any]):
    """A loader whose process is ended while a certain step is taken."""

    loader: Loader[Any]
    at: int
    kind: str
    disk: _Disk

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, epoch: int, seed: int) -> Iterator[Any]:
        for index, batch in enumerate(self.loader.batches(epoch, seed), start=1):
            if (epoch - 1) * len(self) + index == self.at:
                if self.kind == "signal":
                    signal.raise_signal(signal.SIGTERM)
                else:
                    self.disk.left = 0
                    raise _Crash
            yield batch


class _Pausing(EarlyStopper[Any, Any]):
    """A stopper that stops after a certain epoch, with the state of the one it stands for."""

    def __init__(self, stopper: EarlyStopper[Any, Any], at: int) -> None:
        self._stopper, self._at, self._epoch = stopper, at, 0

    @property
    def score_names(self) -> tuple[str, ...]:
        return self._stopper.score_names

    def init(self) -> Any:
        return self._stopper.init()

    def update(self, state: Any, data: Any) -> Any:
        self._epoch = data.n_epochs_elapsed
        return self._stopper.update(state, data)

    def verdict(self, state: Any) -> Verdict:
        return Stop("paused") if self._epoch >= self._at else self._stopper.verdict(state)
