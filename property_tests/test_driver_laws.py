"""The law of the driver: a run that is cut and resumed is the run that was not."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import torch
from hypothesis import given, settings
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.callbacks import BatchLossCallback, CheckpointCallback, TrainLossCallback, ValLossCallback

X = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
OPTIMIZERS = {
    "sgd": lambda net: optimizers.sgd(0.1, momentum=0.9),
    "by epoch": lambda net: optimizers.adam(optimizers.schedules.exponential(0.1, gamma=0.5, per="epoch")),
    "plateau": lambda net: optimizers.sgd(optimizers.reduce_on_plateau(0.5, patience=0)),
    "lifted": lambda net: optimizers.from_torch(torch.optim.AdamW(net.parameters())),
}
N_EPOCHS = 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.2), nn.Linear(3, 1))

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]).sum(1) - batch["x"].sum(1)).square().mean()}


def program(optimizer, n_epochs, patience):
    torch.manual_seed(0)
    net = Net()
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=8, shuffle=True)
    return fa.Program(
        model=net,
        optimizer=OPTIMIZERS[optimizer](net),
        train_loader=loader,
        stopper=fa.stoppers.any_of(
            fa.EpochBoundStopper(n_epochs),
            fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=N_EPOCHS, patience=patience),
        ),
        tracker=fa.ScoreTracker("TRAIN_LOSS", mode="min"),
        batch_routine=fa.BatchRoutine([BatchLossCallback(period=2)]),
        loader_routines=[fa.DataLoaderRoutine(loader, [TrainLossCallback(), ValLossCallback()])],
        checkpoint=CheckpointCallback(period=1, keep_last=2),
    )


def fit(program, run, **options):
    return fa.fit(program, run=run, progress=False, **options)


@settings(max_examples=20)
@given(
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    cut=st.integers(1, N_EPOCHS),
    patience=st.integers(1, 3),
)
def test_cut_and_resumed_is_whole(optimizer, cut, patience):
    with tempfile.TemporaryDirectory() as parent:
        whole, parts = Path(parent) / "whole", Path(parent) / "parts"
        expected = fit(program(optimizer, N_EPOCHS, patience), whole)
        fit(program(optimizer, cut, patience), parts)
        found = fit(program(optimizer, N_EPOCHS, patience), parts)
        assert trees.digest(found.state) == trees.digest(expected.state)
        assert found.reason == expected.reason
        pd.testing.assert_frame_equal(pd.read_csv(parts / "scores.csv"), pd.read_csv(whole / "scores.csv"))
