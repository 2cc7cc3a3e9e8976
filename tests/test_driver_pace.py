"""Several steps a call of `fit`: the bits, records, errors and checkpoints of single steps; and how many."""

import re
import signal
import sqlite3

import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, optimizers, tracking, trees
from functorch_artifact.driver import NonfiniteLossWarning
from functorch_artifact.driver.pace import calls, steps_per_call
from functorch_artifact.errors import CallbackError, ConfigurationError, LossError
from tests.rehearsal import rehearse

CPU = torch.device("cpu")
X = torch.randn(45, 3, generator=torch.Generator().manual_seed(0))  # of 12 batches of 4 the last is one of 1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))

    def forward(self, batch):
        out = self.body(batch["x"])
        return {"loss": (out.sum(1) - batch["x"].sum(1)).square().mean(), "out": out}


def rows(x=X, **options):
    return fa.DataLoader(fa.ResidentDataset({"x": x}), **({"batch_size": 4, "shuffle": True} | options))


WATCHING = [
    callbacks.score("SUM", folds.mean(lambda r: r.input["x"].sum()), period=1),
    callbacks.score("OUT", folds.mean(lambda r: r.output["out"].sum()), period=2),
    fa.BatchLossCallback(period=3),
]


def program(**changes):
    torch.manual_seed(0)
    parts = {
        "model": Net(),
        "optimizer": optimizers.adam(0.01),
        "train_loader": rows(drop_last=True),
        "stopper": fa.EpochBoundStopper(3),
        "batch_routine": fa.BatchRoutine(WATCHING),
    }
    return fa.Program(**(parts | changes))


def fit(run=None, **changes):
    return fa.fit(program(**changes), run=run, progress=False)


def journaled(run):
    connection = sqlite3.connect(run / "journal.sqlite")
    found = connection.execute("SELECT * FROM records ORDER BY sequence").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("mode", ["captured", "compiled", "cudagraph"])
@pytest.mark.parametrize("checkpoint", [fa.every(epochs=1, keep_last=None), fa.every(steps=3, keep_last=None)])
def test_a_run_is_that_of_single_steps_to_the_bit(mode, checkpoint, monkeypatch, tmp_path):
    launched = rehearse(monkeypatch) if mode == "cudagraph" else []
    single = fit(tmp_path / "single", mode=mode, checkpoint=checkpoint, steps_per_call=1)
    for steps in ("auto",) if mode == "compiled" else (3, 5, "auto"):
        run = tmp_path / str(steps)
        result = fit(run, mode=mode, checkpoint=checkpoint, steps_per_call=steps)
        assert trees.digest(result.state) == trees.digest(single.state)
        assert journaled(run) == journaled(tmp_path / "single")
        for one, other in zip(
            *(sorted(tmp_path.glob(f"{each}/checkpoints/*")) for each in (steps, "single")), strict=True
        ):
            assert one.name == other.name
            assert trees.digest(fa.checkpoint.load(one)) == trees.digest(fa.checkpoint.load(other))
    if mode == "cudagraph" and checkpoint.unit == "epochs":
        assert {1, 3, 5, 11} >= {n for each in launched for n in each.launched} > {1}


def test_a_last_smaller_batch_is_taken_by_itself():
    loader = rows(batch_size=8)
    assert len({trees.n_examples(batch) for batch in loader.batches(1, 0)}) == 2
    single, several = (fit(train_loader=loader, steps_per_call=steps) for steps in (1, "auto"))
    assert trees.digest(several.state) == trees.digest(single.state)


class Rows(fa.Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return {"x": X[index] + torch.randn(3)}


class Ragged:
    """A loader of somebody else's, whose batches differ in size and in what they hold."""

    def __len__(self):
        return 7

    def batches(self, epoch, seed):
        for number in range(7):
            batch = {"x": X[3 * number : 3 * number + 2 + (number // 2) % 2]}
            yield batch if number % 3 else batch | {"extra": torch.zeros(2)}


@pytest.mark.parametrize("loader", [fa.DataLoader(Rows(), batch_size=8, shuffle=True), Ragged()])
def test_other_loaders_take_several_where_that_is_asked_for(loader):
    assert steps_per_call(program(train_loader=loader), CPU) == 1
    single, several = (fit(train_loader=loader, steps_per_call=steps) for steps in (1, 4))
    assert trees.digest(several.state) == trees.digest(single.state)


POISONED = torch.cat([X[:22], torch.full((2, 3), torch.nan), X[22:]])


@pytest.mark.parametrize("policy", ["raise", "skip", "stop", "record"])
@pytest.mark.parametrize("mode", ["eager", "captured"])
@pytest.mark.filterwarnings("ignore::functorch_artifact.driver.NonfiniteLossWarning")
def test_a_loss_that_is_not_finite_has_the_same_consequences(policy, mode, tmp_path):
    def ended(steps):
        client, run = tracking.InMemory(), tmp_path / f"{steps}"
        made = program(
            train_loader=rows(POISONED, shuffle=False), nonfinite=policy, mode=mode, steps_per_call=steps,
            checkpoint=fa.every(steps=4),
        )  # fmt: skip
        try:
            result = fa.fit(made, run=run, tracking_client=client, progress=False)
        except LossError as error:
            end = str(error)
        else:
            end = (result.reason, trees.digest(result.state), [failure.where for failure in result.failures])
        with fa.RunReader(run) as reader:
            kept = (trees.digest(reader.latest), reader.state, reader.reason)
        return end, kept, [(r.name, r.step, trees.digest(r.value)) for r in client.records]

    single = ended(1)
    assert "step 6 (epoch 1, batch 6): the loss is nan" in str(single[0]) or policy in ("skip", "record")
    for steps in (5, "auto"):
        assert ended(steps) == single


def test_steps_that_were_skipped_are_counted_the_same():
    for steps in (1, 7):
        with pytest.warns(NonfiniteLossWarning, match="skipped 1 of 11 batches; the first: step") as told:
            fit(train_loader=rows(POISONED, shuffle=False, drop_last=True), nonfinite="skip", steps_per_call=steps)
        assert len(told) == 3


class Asking(fa.DataLoader):
    """Raises a signal while the n-th batch of the run is made."""

    def batches(self, epoch, seed, start=0):
        for number, batch in enumerate(super().batches(epoch, seed, start), start=(epoch - 1) * len(self) + start + 1):
            if number == Asking.at:
                signal.raise_signal(signal.SIGINT)
            yield batch


@pytest.mark.parametrize("at", [1, 4, 11, 12, 17, 33])
def test_a_signal_between_batches_ends_the_call_there_and_the_run_goes_on_from_within_the_epoch(at, tmp_path):
    whole = fit(tmp_path / "whole", steps_per_call=1)
    Asking.at = at
    loader = Asking(fa.ResidentDataset({"x": X}), batch_size=4, shuffle=True, drop_last=True)
    with pytest.raises(KeyboardInterrupt, match=rf"\(step {at}\)"):
        fit(tmp_path / "run", train_loader=loader, steps_per_call=5)
    with fa.RunReader(tmp_path / "run") as reader:
        assert int(reader.latest.step) == at
    resumed = fit(tmp_path / "run", steps_per_call=4)
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    assert journaled(tmp_path / "run") == journaled(tmp_path / "whole")


class Signalling(nn.Module):
    """Is interrupted within its n-th forward pass."""

    at, passed = 0, 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)

    def forward(self, batch):
        return {"loss": torch.ops.functorch_artifact_tests.interrupted(self.linear(batch["x"])).square().mean()}


@torch.library.custom_op("functorch_artifact_tests::interrupted", mutates_args=())
def interrupted(x: torch.Tensor) -> torch.Tensor:
    Signalling.passed += 1
    if Signalling.passed == Signalling.at:
        signal.raise_signal(signal.SIGINT)
    return x.clone()


interrupted.register_fake(torch.empty_like)
interrupted.register_autograd(lambda context, gradient: gradient)


def test_a_signal_within_a_call_lets_it_finish(tmp_path):
    Signalling.passed, Signalling.at = 0, 10**9
    one = fit(tmp_path / "whole", model=Signalling(), batch_routine=None, stopper=fa.EpochBoundStopper(1))
    n_tried = Signalling.passed - int(one.state.step)  # while the step was built
    Signalling.passed, Signalling.at = 0, n_tried + 6
    with pytest.raises(KeyboardInterrupt, match=r"after epoch 0, batch 8 \(step 8\)"):
        fit(tmp_path / "run", model=Signalling(), batch_routine=None, steps_per_call=4)
    resumed = fit(tmp_path / "run", model=Signalling(), batch_routine=None, stopper=fa.EpochBoundStopper(1))
    assert trees.digest(resumed.state) == trees.digest(one.state)


def test_a_callback_that_raises_is_told_of_each_step_all_the_same():
    def broken(result):
        raise RuntimeError("broken on purpose")

    routine = fa.BatchRoutine([callbacks.score("BROKEN", folds.mean(broken), period=4), *WATCHING])
    told = []
    for steps in (1, 5):
        client = tracking.InMemory()
        made = program(batch_routine=routine, steps_per_call=steps)
        with pytest.raises(CallbackError, match="callback 'BROKEN', epoch 1, split TRAIN: raised"):
            fa.fit(made, tracking_client=client, progress=False)
        told.append([(r.name, r.step, r.value) for r in client.records])
    assert told[0] == told[1] != []


def test_how_many_a_call_takes():
    def chosen(**changes):
        return steps_per_call(program(**changes), CPU)

    assert chosen() == 16
    assert [chosen(mode=mode) for mode in ("eager", "captured", "compiled", "cudagraph", "auto")] == [1, 16, 16, 16, 16]
    assert [chosen(nonfinite=policy) for policy in ("raise", "skip", "record", "stop")] == [16, 16, 16, 1]
    assert steps_per_call(program(nonfinite="stop", steps_per_call=3), torch.device("cuda")) == 3  # not looked at
    assert [chosen(steps_per_call=4, **each) for each in ({}, {"nonfinite": "stop"}, {"mode": "eager"})] == [4, 1, 1]
    assert chosen(purity="check", steps_per_call=4) == 1
    assert chosen(model=nn.Linear(512, 512)) == 1  # 1 MiB
    assert chosen(train_loader=rows(torch.zeros(400, 1000), batch_size=50)) == 5  # 200 kB
    assert chosen(train_loader=rows(torch.zeros(400, 10_000), batch_size=50)) == 1
    assert chosen(train_loader=Asking(fa.ResidentDataset({"x": X}), batch_size=4)) == 1
    assert steps_per_call(program(), torch.device("cuda")) == 1  # the table is elsewhere


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, "many", None])
def test_a_number_of_steps_that_cannot_be_is_refused(steps):
    text = rf"Program.steps_per_call: cannot be used\n  expected: 'auto', or .*\n  got: {re.escape(repr(steps))}"
    with pytest.raises(ConfigurationError, match=text):
        program(steps_per_call=steps)


def test_calls_end_where_somebody_looks():
    assert list(calls("abcdefg", 16, lambda n: False)) == [list("abcdefg")]
    assert list(calls("", 4, lambda n: False)) == []
    asked = []
    assert list(calls("abcdefg", 3, lambda n: asked.append(n) or n == 2)) == [list("ab"), list("cd"), list("ef"), ["g"]]
    assert asked == [1, 2, 1, 2, 1, 2, 1]


def test_a_run_says_how_many_a_call_takes(capsys):
    fa.fit(program(mode="auto", stopper=fa.EpochBoundStopper(1)))
    assert re.search(
        r"steps on float32\[4, 3\] run captured: .*; built in .* s; up to 16 a call", capsys.readouterr().err
    )


def test_checked_and_single_runs_agree():
    checked = fit(purity="check", steps_per_call=4)
    assert trees.digest(checked.state) == trees.digest(fit().state)


def test_members_of_an_ensemble_are_none_the_wiser():
    single, several = (
        fa.ensemble(program(batch_routine=None, steps_per_call=steps), seeds=range(2)).fit(progress=False).members
        for steps in (1, 4)
    )
    assert [trees.digest(each.state) for each in several] == [trees.digest(each.state) for each in single]
