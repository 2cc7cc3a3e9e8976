"""Feeding: one batch ahead, in order, with errors in their turn, and nothing lost or counted twice."""

import itertools

import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import data, feeding, optimizers, trees

X = torch.randn(22, 3, generator=torch.Generator().manual_seed(0))


def recorded(events):
    def begin(batch):
        events.append(f"{batch} leaves")

        def finish():
            events.append(f"{batch} is here")
            return batch

        return finish

    return begin


def test_a_batch_is_given_when_its_successor_is_on_its_way():
    events = []
    for batch in feeding.one_ahead(iter("abc"), recorded(events)):
        events.append(f"{batch} is computed on")  # noqa: PERF401
    assert events == [
        *("a leaves", "b leaves", "a is here", "a is computed on"),
        *("c leaves", "b is here", "b is computed on", "c is here", "c is computed on"),
    ]


@pytest.mark.parametrize("batches", [[], ["a"]])
def test_none_and_one(batches):
    assert list(feeding.one_ahead(batches, recorded([]))) == batches


@pytest.mark.parametrize("bad", [0, 1, 3])
@pytest.mark.parametrize("where", ["making", "sending"])
def test_an_error_waits_for_its_batchs_turn(bad, where):
    def made():
        for number in range(5):
            if where == "making" and number == bad:
                raise ValueError("spoilt")
            yield number

    def begin(number):
        if number == bad:
            raise ValueError("spoilt")
        return lambda: number

    given = []
    with pytest.raises(ValueError, match="spoilt"):
        for batch in feeding.one_ahead(made(), begin):
            given.append(batch)  # noqa: PERF402
    assert given == list(range(bad))


def test_closing_early_closes_what_is_below():
    closed = []

    def made():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    fed = feeding.one_ahead(made(), recorded([]))
    assert next(fed) == 0
    fed.close()
    assert closed == [True]
    assert list(fed) == []


class Ahead:
    """A loader whose batches are fetched one ahead; of the first epoch, only so many can be made."""

    def __init__(self, made=None):
        rows = fa.ResidentDataset({"x": X})
        self.inner, self.made = fa.DataLoader(rows, batch_size=5, shuffle=True), made

    def __len__(self):
        return len(self.inner)

    def batches(self, epoch, seed):
        return feeding.one_ahead(self.some(epoch, seed), lambda batch: lambda: batch)

    def some(self, epoch, seed):
        for number, batch in enumerate(self.inner.batches(epoch, seed)):
            if epoch == 1 and number == self.made:
                raise OSError("the disk is gone")
            yield batch


def fit(run, made=None):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))
    program = fa.Program(
        model=fa.functional(net, inputs=lambda batch: batch["x"]), loss=lambda out, batch: out.square().mean(),
        optimizer=optimizers.adam(0.01), train_loader=Ahead(made), stopper=fa.EpochBoundStopper(2),
        checkpoint=fa.every(steps=1), mode="eager",
    )  # fmt: skip
    return fa.fit(program, run=run, progress=False)


@pytest.mark.parametrize("made", [1, 3, 4])
def test_a_batch_that_was_fetched_and_not_trained_on_is_neither_lost_nor_counted(tmp_path, made):
    whole = fit(tmp_path / "whole")
    with pytest.raises(OSError, match="the disk is gone"):
        fit(tmp_path / "run", made)
    with fa.RunReader(tmp_path / "run") as reader:
        assert int(reader.latest.batch) == made
    resumed = fit(tmp_path / "run")
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    assert int(resumed.state.step) == 10


def test_batches_on_the_cpu_are_the_loaders_own():
    batches = [{"x": X, "name": "first"}]
    (fed,) = feeding.on_device(batches, "cpu")
    assert fed["x"] is X
    assert fed["name"] == "first"


def test_a_table_that_does_not_fit_stays_and_its_batches_are_copied(monkeypatch):
    monkeypatch.setattr(feeding, "free_memory", lambda device: 2 * X.nbytes)
    rows = fa.ResidentDataset(X)
    assert fa.DataLoader(rows, 5, device="meta").feeding == "gathered from tensors on meta"
    monkeypatch.setattr(feeding, "free_memory", lambda device: 2 * X.nbytes - 1)
    loader = fa.DataLoader(rows, 5, device="meta")
    assert loader.feeding == "gathered from tensors on cpu, copied to meta"
    assert loader.dataset.tree is X
    assert {batch.device.type for batch in loader.batches(1, 0)} == {"meta"}
    assert [tuple(stack.shape) for stack in loader.stacks(1, 0, steps=3)] == [(3, 5, 3), (1, 5, 3), (1, 2, 3)]
    assert {stack.device.type for stack in loader.stacks(1, 0, steps=3)} == {"meta"}


def test_a_runs_tables_are_placed_once_however_many_loaders_read_them():
    rows = torch.utils.data.TensorDataset(X)
    train, told = fa.DataLoader(rows, 5), fa.DataLoader(rows, 5, device="cpu")
    same, other = fa.DataLoader(train.dataset, 7), fa.DataLoader([{"x": each} for each in X], 5)
    place = data.placing(torch.device("meta"))
    placed = [place(each) for each in (train, same, other, told, train)]
    assert placed[0] is placed[4]
    assert placed[0].dataset.tree[0] is placed[1].dataset.tree[0]
    assert placed[0].feeding == "gathered from tensors on meta"
    assert placed[2].feeding == "collated from examples in no worker processes, copied to meta"
    assert placed[3] is told
    assert data.placing(torch.device("cpu"))(train) is train
    assert train.feeding == "gathered from tensors on cpu"


def test_a_program_is_placed_whole():
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), 5)
    program = fa.Program(
        model=torch.nn.Linear(3, 1), optimizer=optimizers.sgd(0.1), train_loader=loader,
        stopper=fa.EpochBoundStopper(1), loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
    )  # fmt: skip
    assert program.with_loaders(lambda each: each) is program
    placed = program.with_loaders(data.placing(torch.device("meta")))
    assert placed.train_loader.placed == torch.device("meta")
    assert placed.loader_routines[0].data_loader is placed.train_loader
    assert placed.loader_routines[0].callbacks == program.loader_routines[0].callbacks
