"""Laws of programs: who is told what at the end of an epoch."""

from __future__ import annotations

import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import optimizers
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import BoundLaw


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))

    def forward(self, batch):
        return {"loss": self.body(batch["x"]).square().mean()}


def program(optimizer, stopper, tracker):
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(4, 2)}), batch_size=2)
    return fa.Program(
        model=Net(),
        optimizer=optimizer,
        train_loader=loader,
        stopper=stopper,
        tracker=tracker,
        loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()], split="VALIDATION")],
        mode="eager",
    )


by_score = fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=9, patience=2)
MEMBERS = {
    "by epoch": program(
        optimizers.adam(optimizers.exponential(0.1, gamma=0.5, per="epoch")),
        fa.EpochBoundStopper(3),
        fa.ScoreTracker("VAL_LOSS", "max"),
    ),
    "by score": program(
        optimizers.chain(
            optimizers.clip_by_global_norm(1.0), optimizers.sgd(optimizers.reduce_on_plateau(0.1, patience=0))
        ),
        by_score,
        fa.ScoreTracker("VAL_LOSS", "min"),
    ),
    "by step": program(optimizers.sgd(optimizers.cosine(0.1, total=9, per="step")), fa.stoppers.any_of(by_score), None),
}
LAWS = [pytest.param(law, id=f"{name}-{law.__name__}") for name, each in MEMBERS.items() for law in laws(each)]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()
