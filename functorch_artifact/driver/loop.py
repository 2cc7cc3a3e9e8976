"""The loop: epochs of steps, validation, and what is written down between them.

Belongs here: the order of events in a run. Does not: what a run needs to be opened (`driver.fitting`),
where records go (`driver.ledger`).
Floor 9.
"""

from __future__ import annotations

from typing import Any, NoReturn

import attrs
import torch

from functorch_artifact import purity
from functorch_artifact.compiling import CompiledStep, explain
from functorch_artifact.driver.ledger import Later, Ledger
from functorch_artifact.driver.pace import calls, steps_per_call
from functorch_artifact.driver.seen import Seen
from functorch_artifact.errors import DataError
from functorch_artifact.program import Program
from functorch_artifact.progress import Progress
from functorch_artifact.records import TrackingClient, scores
from functorch_artifact.routines import Outcome
from functorch_artifact.runs.signals import Interrupts
from functorch_artifact.runs.store import RunStore
from functorch_artifact.step import TrainState, TrainStep
from functorch_artifact.stoppers import Stop
from functorch_artifact.tracking.journal import Part
from functorch_artifact.validation import batches_on


class Loop:
    """One run of a program.

    Args:
        program: what to run, its loaders on the device.
        device: where its state is.
        store: the run's directory, if it has one.
        ledger: where records go.
        reporter: who tells a person.
        interrupts: whether somebody asked for the end.
    """

    def __init__(
        self,
        program: Program,
        device: torch.device,
        store: RunStore | None,
        ledger: Ledger,
        reporter: Progress,
        interrupts: Interrupts,
    ) -> None:
        self._program = program
        self._device = device
        self._most = steps_per_call(program, device)
        self._step: TrainStep | CompiledStep = program.compiled_step(self._most)
        self._store = store
        self._ledger = ledger
        self._reporter = reporter
        self._interrupts = interrupts
        self._saved: tuple[int, int] | None = None  # the position of the latest checkpoint
        self._n_told = 0  # builds of the step

    def run(self, state: TrainState, finished: str | None = None) -> tuple[TrainState, str]:
        """Train from a state until the stopper, or what is not finite, says stop; say why.

        A run that has `finished`, for the reason given, only has its last artifacts completed.
        """
        self._ledger.repeat(state)
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
        self._ledger.collect(wait=True)
        return state, verdict.reason

    def _epoch(self, state: TrainState) -> tuple[TrainState, Stop | None]:
        program, ledger, epoch, start = self._program, self._ledger, int(state.epoch) + 1, int(state.batch)
        seen = Seen(program, epoch, int(state.step))
        batches = batches_on(self._device, program.train_loader, epoch, program.seed, start)
        several = calls(batches, self._most, lambda n: self._look(seen.step + n))
        for few in self._reporter.batches(several, epoch, start, len):
            state, outputs = self._take(state, few)
            for batch, output in zip(few, outputs, strict=True):
                seen.add(batch, output)
            if program.nonfinite == "stop" and self._device.type == "cpu" and bool(seen.held_back[-1]):
                break
            if self._look(seen.step):
                part, stop = seen.settle(state, ledger)
                if stop is not None:
                    return state, stop
                ledger.judge([*seen.failures, *ledger.commit(epoch, seen.step, part)])
                seen = Seen(program, epoch, seen.step)
                if self._interrupts.asked:
                    self._leave(state)
                self._save(state)
        if int(state.batch) == 0:
            raise empty()
        part, stop = seen.settle(state, ledger)
        if stop is not None:
            return state, stop
        return self._end_epoch(state, seen, part)

    def _look(self, step: int) -> bool:
        """Say whether the state after a step is asked for: to be kept, or to leave with."""
        return bool(self._interrupts.asked) or (self._store is not None and self._store.due_step(step))

    def _take(self, state: TrainState, few: list[Any]) -> tuple[TrainState, list[dict[str, Any]]]:
        if isinstance(self._step, CompiledStep):
            return self._step.take(state, few)
        (batch,) = few
        state, output = purity.call("the training step", self._step.__call__, state, batch)
        return state, [output]

    def _end_epoch(self, state: TrainState, seen: Seen, part: Part) -> tuple[TrainState, Stop | None]:
        """Validate, commit the epoch, and advance the state past it; `part` is what its batches gave."""
        program, ledger, epoch, step = self._program, self._ledger, seen.epoch, seen.step
        validated: list[tuple[TrackingClient | None, Outcome]] = []
        later: list[Later] = []
        for client, outcome, pending in ledger.validate(program.evaluated(state), epoch, step):
            validated.append((client, outcome))
            later += pending
            if self._interrupts.asked:  # validation is begun anew; the batches are done
                ledger.commit(epoch, step, part)
                self._leave(state)
        parts = [attrs.evolve(part, complete=True), ledger.part("epoch", step, validated)]
        refused = ledger.commit(epoch, step, *parts, *(Part(each.part, complete=False) for each in later))
        ledger.expect(later)
        ledger.judge([*seen.failures, *(f for _, outcome in validated for f in outcome.failures), *refused])
        found = scores(record for _, outcome in validated for record in outcome.records)
        found, stop = program.judged(found, epoch)
        state = program.advance(state, found)
        self._reporter.epoch(epoch, found)
        self._tell_builds()
        ledger.collect()
        return state, stop

    def _tell_builds(self) -> None:
        explained = explain(self._step)
        several = f"; up to {explained.steps} a call" if explained.steps > 1 else ""
        for build in explained.builds[self._n_told :]:
            if build.mode == self._program.mode and build.seconds < 1:
                continue  # as everybody expects
            told = f"steps on {build.batch} run {build.mode}: {build.why}; built in {build.seconds:.1f} s{several}"
            self._reporter.say(told)
        self._n_told = len(explained.builds)

    def _save(self, state: TrainState) -> None:
        """Write a checkpoint; what an earlier epoch still computes could not be computed again after it."""
        position = (int(state.epoch), int(state.batch))
        if self._store is None or self._saved == position:
            return
        past = int(state.epoch) + (1 if int(state.batch) else 0)
        self._ledger.collect(before=past)
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


def empty() -> DataError:
    """Make the error for a train loader without a batch."""
    return DataError("is empty", where="the train loader", fix="give it at least one batch (check drop_last)")
