"""Seen: what the steps since the last commit gave, which is read all at once.

Belongs here: losses, observations of batch callbacks, and what follows where they are not finite. Does
not: taking steps (`driver.loop`), writing records down (`driver.ledger`).
Floor 9.

Nothing is read from a device before `settle`.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import attrs
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.contracts import BatchResult
from functorch_artifact.driver.ledger import Ledger
from functorch_artifact.finiteness import nonfinite_loss, nonfinite_parameter
from functorch_artifact.program import Program
from functorch_artifact.routines import Failure, Observation, Outcome
from functorch_artifact.step import TrainState
from functorch_artifact.stoppers import Stop
from functorch_artifact.tracking.journal import Part


class NonfiniteLossWarning(UserWarning):
    """Batches with a NaN or infinite loss or gradient, over which the program's policy is to go on."""


@attrs.define(eq=False)
class Seen:
    """What the batches of an epoch gave that is not committed yet."""

    program: Program
    epoch: int
    since: int  # the step up to which all is committed
    observations: list[Observation] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    losses: list[Tensor] = attrs.field(factory=list)  # each []
    held_back: list[Tensor] = attrs.field(factory=list)  # bool [], under the policies that hold steps back

    @property
    def step(self) -> int:
        """The latest step."""
        return self.since + len(self.losses)

    def add(self, batch: Any, output: dict[str, Any]) -> None:
        """Take note of one more step, and show it to the batch callbacks that are due."""
        self.losses.append(output["loss"])
        if "held_back" in output:
            self.held_back.append(output["held_back"])
        if self.program.batch_routine is not None:
            result: BatchResult[Any, Any] = BatchResult(batch, cast(Any, output), trees.n_examples(batch))
            observed, failed = self.program.batch_routine.observe(result, self.epoch, self.step)
            self.observations += observed
            self.failures += failed

    def settle(self, state: TrainState, ledger: Ledger) -> tuple[Part, Stop | None]:
        """Read it all, and do as the policy says where it is not finite.

        Where that ends the run, what was seen is committed first.

        Raises:
            LossError: a loss or a parameter is not finite, and the policy is `raise`.
        """
        program, client, outcome = self.program, None, Outcome()
        if program.batch_routine is not None:
            client = program.batch_routine.tracking_client
            outcome = program.batch_routine.finish(self.observations, self.epoch)
            self.failures += outcome.failures
        error, bad = None, self._bad()
        if bad:
            first = self.since + bad[0] + 1
            batch = int(state.batch) - (self.step - first)
            error = nonfinite_loss(first, self.epoch, batch, self.losses[bad[0]].item())
        elif program.nonfinite == "raise":
            error = nonfinite_parameter(state.params, self.step, self.epoch)
        failures = self.failures if error is None else [*self.failures, Failure("loss", self.epoch, None, error)]
        part = ledger.part("batches", self.step, [(client, Outcome(outcome.records, tuple(failures)))])
        part = attrs.evolve(part, since=self.since, complete=False)
        if error is None:
            return part, None
        if program.nonfinite in ("raise", "stop"):
            ledger.commit(self.epoch, self.step, part)
            if program.nonfinite == "raise":
                raise error
            return part, Stop(str(error).splitlines()[0])
        verb = "skipped" if program.nonfinite == "skip" else "went on after"
        what = f"{verb} {len(bad)} of {len(self.losses)} batches; the first: {error}"
        warnings.warn(what, NonfiniteLossWarning, stacklevel=2)
        return part, None

    def _bad(self) -> list[int]:
        """List the batches with a loss or a gradient that is not finite, from 0 on."""
        if not self.losses:
            return []
        found: Tensor = torch.stack(self.held_back) if self.held_back else ~torch.isfinite(torch.stack(self.losses))
        return [int(index) for index in found.nonzero().flatten()]
