"""Training the members of an ensemble together, until each has stopped.

Belongs here: epochs of the joint step, and what becomes of each member at the end of one. Does not:
who the members are (`members`), the joint step itself (`ensembles.vectorized`).
Floor 10.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.background import AtOnce
from functorch_artifact.compiling import Mode
from functorch_artifact.contracts import BatchResult, Loader
from functorch_artifact.data import DataLoader, ResidentDataset, placing
from functorch_artifact.driver import CallbackWarning, NonfiniteLossWarning
from functorch_artifact.ensembles.vectorized import JointStep, moving, stack, unstack
from functorch_artifact.errors import CallbackError, DataError
from functorch_artifact.finiteness import nonfinite_loss, nonfinite_parameter
from functorch_artifact.program import Program
from functorch_artifact.progress import Progress
from functorch_artifact.records import Record, RunInfo, TrackingClient, scores
from functorch_artifact.routines import Failure, Observation
from functorch_artifact.runs.result import FitResult
from functorch_artifact.step import TrainState, TrainStep, device_of
from functorch_artifact.stoppers import Stop
from functorch_artifact.validation import validate

Clients: TypeAlias = Callable[[int], TrackingClient | Sequence[TrackingClient]]
"""From the number of a member to who takes its records."""


def train(
    programs: Sequence[Program],
    hyperparameters: Mapping[str, Sequence[float]],
    make: Callable[[dict[str, Tensor]], TrainStep],
    *,
    mode: Mode,
    chunk_size: int,
    tracking_client: Clients | None,
    progress: bool,
) -> tuple[FitResult, ...]:
    """Run programs that differ in seed and numbers until each one's stopper says stop; see `Ensemble.fit`."""
    first = programs[0]
    whole = first.batch_routine is not None
    joint = JointStep(make, mode=mode, whole=whole, precision=first.precision)
    return _Run(programs, hyperparameters, joint, chunk_size, tracking_client, progress).results()


@attrs.define(eq=False)
class _Member:
    """A run that goes on, or has ended for a reason."""

    index: int
    program: Program
    state: TrainState
    clients: tuple[TrackingClient, ...]
    reason: str | None = None
    failures: list[Failure] = attrs.field(factory=list)
    late: dict[tuple[int, str], Mapping[str, float]] = attrs.field(factory=dict)

    def log(self, client: TrackingClient | None, records: Sequence[Record]) -> None:
        for each in self.clients if client is None else (client,):
            if records:
                each.log(records)

    def judge(self) -> None:
        verdict = self.program.verdict(self.state)
        if isinstance(verdict, Stop):
            self.reason = verdict.reason


@attrs.frozen(eq=False)
class _Trained:
    """What an epoch's steps came to for one member."""

    state: TrainState
    losses: Tensor  # [steps]
    bad: Tensor  # bool [steps]: its loss, or where the policy looks at it its gradient, is not finite
    observations: list[Observation]
    failures: list[Failure]


class _Run:
    """An ensemble on its way to its end."""

    def __init__(
        self,
        programs: Sequence[Program],
        hyperparameters: Mapping[str, Sequence[float]],
        joint: JointStep,
        chunk_size: int,
        tracking_client: Clients | None,
        progress: bool,
    ) -> None:
        first = programs[0]
        self.hyperparameters, self.joint, self.chunk_size = hyperparameters, joint, chunk_size
        self.reporter = Progress(progress, len(first.train_loader))
        self.members = []
        place = placing(device_of(first.model.variables))
        for index, program in enumerate(each.with_loaders(place) for each in programs):
            found = () if tracking_client is None else tracking_client(index)
            clients = (found,) if isinstance(found, TrackingClient) else tuple(found)
            self.members.append(_Member(index, program, program.init(), clients))

    def results(self) -> tuple[FitResult, ...]:
        for member in self.members:
            own = {name: values[member.index] for name, values in self.hyperparameters.items()}
            info = RunInfo(f"member {member.index}", parameters={"seed": member.program.seed, **own})
            for client in member.clients:
                client.open(info)
            member.judge()
        try:
            while going := [member for member in self.members if member.reason is None]:
                for member, trained in zip(going, self._train(going), strict=True):
                    self._end_epoch(member, trained)
        finally:
            for member in self.members:
                for client in member.clients:
                    client.close()
        return tuple(FitResult(m.program, m.state, str(m.reason), tuple(m.failures), late=m.late) for m in self.members)

    def _train(self, going: list[_Member]) -> Iterator[_Trained]:
        size = self.chunk_size
        for start in range(0, len(going), size):
            yield from self._train_chunk(going[start : start + size])

    def _train_chunk(self, chunk: list[_Member]) -> list[_Trained]:
        width = self.chunk_size
        while width // 2 >= len(chunk):
            width //= 2
        filled = [*chunk, *[chunk[0]] * (width - len(chunk))]  # who fills the kernel up is thrown away
        device, epoch = device_of(chunk[0].state), int(chunk[0].state.epoch) + 1
        seeds, step = [m.program.seed for m in filled], int(chunk[0].state.step)
        alone = [m.program.step for m in filled]
        own = {
            name: torch.tensor([values[m.index] for m in filled], dtype=torch.float64, device=device)
            for name, values in self.hyperparameters.items()
        }
        states = attrs.evolve(chunk[0].state, **stack([moving(m.state) for m in filled]))
        losses: list[Tensor] = []
        bad: list[Tensor] = []
        seen = [_Trained(m.state, torch.empty(0), torch.empty(0), [], []) for m in chunk]
        batches = _batches([m.program.train_loader for m in filled], epoch, seeds, device)
        for batch in self.reporter.batches(batches, epoch):
            states, output = self.joint(alone, states, batch, own, seeds, step)
            step += 1
            losses.append(output["loss"])
            bad.append(output["held_back"] if "held_back" in output else ~torch.isfinite(output["loss"]))
            if chunk[0].program.batch_routine is not None:
                _observe(chunk, seen, batch, output, epoch, step)
        if not losses:
            raise DataError("is empty", where="the train loader", fix="give it at least one batch (check drop_last)")
        parts = unstack((moving(states), torch.stack(losses, 1), torch.stack(bad, 1)))
        return [
            attrs.evolve(found, state=attrs.evolve(member.state, **moved), losses=own_losses, bad=own_bad)
            for member, found, (moved, own_losses, own_bad) in zip(chunk, seen, parts, strict=False)
        ]

    def _end_epoch(self, member: _Member, trained: _Trained) -> None:
        program, before = member.program, member.state
        epoch, step = int(before.epoch) + 1, int(trained.state.step)
        failures = list(trained.failures)
        if program.batch_routine is not None:
            outcome = program.batch_routine.finish(trained.observations, epoch)
            member.log(program.batch_routine.tracking_client, outcome.records)
            failures += outcome.failures
        if self._diverged(member, trained):
            return
        validated: list[Record] = []
        needed = program.scores_deciding(trained.state)
        for name, client, outcome in validate(
            program, program.evaluated(trained.state), epoch, step, executor=AtOnce(), needed=needed
        ):
            validated += outcome.records
            late = [pending.result() for pending in outcome.pending]
            for number, each in enumerate(late):
                member.late[epoch, f"{name}:{number}"] = program.judged(each.scores, epoch)[0]
            for each in (outcome, *late):
                member.log(client, each.records)
                failures += each.failures
        _judge_failures(program, failures, member.index)
        member.failures += failures
        found = scores(validated)
        member.state = program.advance(trained.state, found)
        self.reporter.epoch(epoch, {f"{name} of {member.index}": value for name, value in found.items()})
        member.judge()

    def _diverged(self, member: _Member, trained: _Trained) -> bool:
        program, before = member.program, member.state
        bad = trained.bad.nonzero().flatten().tolist()
        error = None
        if bad:
            first, value = bad[0] + 1, trained.losses[bad[0]].item()
            error = nonfinite_loss(int(before.step) + first, int(before.epoch) + 1, first, value)
        elif program.nonfinite == "raise":
            error = nonfinite_parameter(trained.state.params, int(trained.state.step), int(before.epoch) + 1)
        if error is None:
            return False
        if program.nonfinite in ("skip", "record"):
            verb = "skipped" if program.nonfinite == "skip" else "went on after"
            what = f"member {member.index}: {verb} {len(bad)} of {len(trained.losses)} batches; the first: {error}"
            warnings.warn(what, NonfiniteLossWarning, stacklevel=2)
            return False
        member.reason = str(error).splitlines()[0]
        if program.nonfinite == "stop":  # as it is alone, after the step at fault
            for number, batch in enumerate(program.train_loader.batches(int(before.epoch) + 1, program.seed)):
                if number > bad[0]:
                    break
                member.state, _ = program.step(member.state, trees.to_device(batch, device_of(before)))
        return True


def _batches(loaders: list[Loader[Any]], epoch: int, seeds: list[int], device: torch.device) -> Iterator[Any]:
    """Iterate over the members' batches of an epoch, stacked: each in the order of its own seed."""
    first = loaders[0]
    if (
        isinstance(first, DataLoader)
        and isinstance(first.dataset, ResidentDataset)
        and all(each is first for each in loaders)
    ):
        held = first.dataset if first.dataset.device == device else first.dataset.on(device)
        orders = torch.stack([first.order(epoch, seed) for seed in seeds]).to(device)
        for chosen in torch.split(orders, first.batch_size, 1)[: len(first)]:
            rows = held.select(chosen.reshape(-1))
            yield trees.map(lambda leaf: leaf.unflatten(0, chosen.shape), rows)  # noqa: B023
        return
    for batches in zip(*(each.batches(epoch, seed) for each, seed in zip(loaders, seeds, strict=True)), strict=True):
        yield trees.to_device(stack(batches), device)


def _observe(
    chunk: list[_Member], seen: list[_Trained], batch: Any, output: dict[str, Any], epoch: int, step: int
) -> None:
    for member, found, (own, made) in zip(chunk, seen, unstack((batch, output)), strict=False):
        routine = member.program.batch_routine
        if routine is not None:
            result: BatchResult[Any, Any] = BatchResult(own, cast(Any, made), trees.n_examples(own))
            observations, failures = routine.observe(result, epoch, step)
            found.observations.extend(observations)
            found.failures.extend(failures)


def _judge_failures(program: Program, failures: Sequence[Failure], member: int) -> None:
    for failure in failures:
        where = f"member {member}, {failure.where}"
        if program.on_callback_error == "raise":
            fix = "mend it, or pass on_callback_error='warn' to go on"
            raise CallbackError("raised", where=where, got=failure.what, fix=fix) from failure.error
        warnings.warn(f"{where}: raised {failure.what}", CallbackWarning, stacklevel=2)
