"""The law of the driver: a run that is cut anywhere and started again is the run that was not."""

import contextlib
import sqlite3
import tempfile
import warnings
from pathlib import Path

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.callbacks import BatchLossCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.fs import Fs

X = torch.randn(22, 2, generator=torch.Generator().manual_seed(0))
N_EPOCHS, N_BATCHES = 4, 3


class Rows(fa.Dataset):
    """Rows with noise that is drawn when a row is got, and gets no better with the epochs."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return {"x": X[index] + 0.1 * torch.randn(2)}


class Stream(fa.IterableDataset):
    def __len__(self):
        return len(X)

    def __iter__(self):
        for row in X:
            yield {"x": row + 0.1 * torch.randn(2)}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.2), nn.Linear(3, 1))

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]).sum(1) - batch["x"].sum(1)).square().mean()}


class Norms(fa.ArtifactRoutine[Net]):
    score_names = ("NOISE",)

    def artifacts(self, model, epoch):
        noise = torch.randn(3)
        yield "NOISE", lambda: fa.records.Score.of(noise.sum())
        yield "WEIGHT", lambda: fa.records.Array.of(model.body[0].weight)


OPTIMIZERS = {
    "sgd": lambda net: optimizers.sgd(0.01, momentum=0.9),
    "by epoch": lambda net: optimizers.adam(optimizers.schedules.exponential(0.05, gamma=0.5, per="epoch")),
    "by step": lambda net: optimizers.adam(optimizers.schedules.exponential(0.05, gamma=0.9, per="step")),
    "plateau": lambda net: optimizers.sgd(optimizers.reduce_on_plateau(0.05, patience=0)),
    "lifted": lambda net: optimizers.from_torch(torch.optim.AdamW(net.parameters())),
}
STOPPERS = {
    "bound": fa.EpochBoundStopper(N_EPOCHS),
    "patience": fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=N_EPOCHS, patience=1),
    "either": fa.stoppers.any_of(
        fa.EpochBoundStopper(N_EPOCHS), fa.ScoreMaximizationStopper("NOISE", max_n_epochs=9, patience=2)
    ),
}
DATASETS = {"resident": lambda: fa.ResidentDataset({"x": X}), "rows": Rows, "stream": Stream}
TRACKERS = {"none": None, "train": fa.ScoreTracker("TRAIN_LOSS", mode="min"), "val": fa.ScoreTracker("VAL_LOSS", "max")}
POLICIES = {
    "each epoch": fa.every(epochs=1),
    "each other epoch": fa.every(epochs=2, keep_last=1),
    "each step": fa.every(steps=1, keep_last=2),
    "each fourth step": fa.every(steps=4),
    "none": None,
}
programs = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(sorted(OPTIMIZERS)),
        "stopper": st.sampled_from(sorted(STOPPERS)),
        "dataset": st.sampled_from(sorted(DATASETS)),
        "tracker": st.sampled_from(sorted(TRACKERS)),
        "policy": st.sampled_from(sorted(POLICIES)),
        "mode": st.sampled_from(["eager", "captured"]),
        "steps_per_call": st.sampled_from([1, 2, 16]),
        "batch_period": st.integers(1, 4),
        "artifact_period": st.integers(1, 3),
    }
)


class Cut(BaseException):
    """The process is gone."""


class Dying(Fs):
    """Lets the process die at its n-th operation, or before any that comes after it was cut."""

    def __init__(self, n=None):
        self.left, self.dead = n, False

    def perform(self, operation):
        if self.left is not None:
            self.left -= 1
            self.dead = self.dead or self.left < 0
        if self.dead:
            raise Cut
        super().perform(operation)


class Cutting(fa.DataLoader):
    """Lets the process die before its n-th batch."""

    def batches(self, epoch, seed, start=0):
        for number, batch in enumerate(super().batches(epoch, seed, start), start=start):
            if self.cut == (epoch, number):
                self.fs.dead = True
                raise Cut
            yield batch


def program(drawn, cut=None, fs=None):
    torch.manual_seed(0)
    net, dataset = Net(), DATASETS[drawn["dataset"]]()
    train = Cutting(dataset, batch_size=8, shuffle=drawn["dataset"] != "stream")
    object.__setattr__(train, "cut", cut)
    object.__setattr__(train, "fs", fs)
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=8, shuffle=True)
    return fa.Program(
        model=net,
        optimizer=OPTIMIZERS[drawn["optimizer"]](net),
        train_loader=train,
        stopper=STOPPERS[drawn["stopper"]],
        tracker=TRACKERS[drawn["tracker"]],
        batch_routine=fa.BatchRoutine([BatchLossCallback(period=drawn["batch_period"])]),
        loader_routines=[fa.DataLoaderRoutine(loader, [TrainLossCallback(), ValLossCallback()])],
        artifact_routines=[Norms(period=drawn["artifact_period"])],
        checkpoint=POLICIES[drawn["policy"]],
        mode=drawn["mode"],
        steps_per_call=drawn["steps_per_call"],
    )


def fit(drawn, run, cut=None, n=None):
    fs = Dying(n)
    return fa.fit(program(drawn, cut, fs), run=run, progress=False, tracking_client=[], fs=fs)


def tables(run):
    connection = sqlite3.connect(run / "journal.sqlite")
    records = connection.execute("SELECT * FROM records ORDER BY sequence").fetchall()
    commits = connection.execute("SELECT epoch, part, step, complete FROM commits ORDER BY epoch, part").fetchall()
    connection.close()
    return records, commits


cuts = st.tuples(st.integers(1, N_EPOCHS), st.integers(0, N_BATCHES - 1)) | st.integers(0, 60)


@settings(max_examples=30)
@given(drawn=programs, cuts=st.lists(cuts, min_size=1, max_size=3))
def test_cut_and_started_again_is_whole(drawn, cuts):
    with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
        warnings.simplefilter("ignore", fa.driver.ScoreWarning)
        expected = fit(drawn | {"steps_per_call": 1}, Path(parent) / "whole")
        parts = Path(parent) / "parts"
        for cut in cuts:
            if drawn["policy"] == "none" and finished(parts):
                return  # to start it again is an error that says so
            with contextlib.suppress(Cut):
                fit(drawn, parts, **({"n": cut} if isinstance(cut, int) else {"cut": cut}))
        if drawn["policy"] == "none" and finished(parts):
            return
        found = fit(drawn, parts)
        assert trees.digest(found.state) == trees.digest(expected.state)
        assert found.reason == expected.reason
        assert trees.digest(found.best) == trees.digest(expected.best)
        assert tables(parts) == tables(Path(parent) / "whole")


def finished(run):
    try:
        with fa.RunReader(run) as reader:
            return reader.state == "finished"
    except fa.errors.TrackingError:  # there is no journal yet
        return False


@settings(max_examples=6)
@given(drawn=programs, n_epochs=st.integers(1, N_EPOCHS - 1))
def test_a_run_with_a_later_bound_goes_on_from_there(drawn, n_epochs):
    drawn = drawn | {"stopper": "bound", "policy": "each other epoch"}
    with tempfile.TemporaryDirectory() as parent:
        expected = fit(drawn, Path(parent) / "whole")
        shorter = fa.Program(**{**vars_of(program(drawn)), "stopper": fa.EpochBoundStopper(n_epochs)})
        fa.fit(shorter, run=Path(parent) / "parts", progress=False, tracking_client=[])
        found = fit(drawn, Path(parent) / "parts")
        assert trees.digest(found.state) == trees.digest(expected.state)
        assert tables(Path(parent) / "parts") == tables(Path(parent) / "whole")


def vars_of(made):
    import attrs

    return {field.name: getattr(made, field.name) for field in attrs.fields(type(made)) if field.init}
