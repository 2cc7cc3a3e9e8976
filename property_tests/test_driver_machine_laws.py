"""The driver under whatever happens to a run, as a state machine; and a machine that finds what is not pure."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from functorch_artifact import callbacks, optimizers
from functorch_artifact.model import functional
from functorch_artifact.program import Program
from functorch_artifact.testing import ProgramMachine
from functorch_artifact.testing.configurations import regression
from functorch_artifact.testing.machine import small_program

CHECKED = settings(max_examples=15, stateful_step_count=8, suppress_health_check=list(HealthCheck))
FIRST = settings(CHECKED, phases=[Phase.generate], report_multiple_bugs=False)


class Lifted(ProgramMachine):
    """Another program: an optimizer of torch, a plateau rule's patience of one, a loss that is skipped."""

    def make_program(self) -> Program:
        net = regression(["in place", "frozen"], seed=1)
        tx = optimizers.from_torch(torch.optim.AdamW(net.parameters(), lr=0.1))
        largest = callbacks.score("LARGEST", callbacks.folds.max(lambda batch: batch.output["loss"]), period=2)
        program = small_program()
        first, second = program.loader_routines
        second = attrs.evolve(second, callbacks=(*second.callbacks, largest))
        return attrs.evolve(program, model=net, optimizer=tx, nonfinite="skip", loader_routines=[first, second])


class Remembering(torch.nn.Module):
    """A module that counts its calls outside of its buffers: a run that is continued counts anew."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)
        self.calls = 0

    def forward(self, batch):
        self.calls += 1
        return {"loss": (self.linear(batch["x"]).sum(1) * self.calls - batch["y"]).square().mean()}


class Forgetful(ProgramMachine):
    def make_program(self) -> Program:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return attrs.evolve(small_program(), model=functional(Remembering()))


@pytest.mark.parametrize("machine", [ProgramMachine, Lifted])
def test_a_run_comes_out_as_it_would_have_undisturbed(machine):
    run_state_machine_as_test(machine, settings=CHECKED)


def test_a_program_that_remembers_outside_its_state_is_found():
    with pytest.raises(AssertionError, match=r"other bits|another number"):
        run_state_machine_as_test(Forgetful, settings=FIRST)
