"""Runs that are cut, interrupted or starved of disk: what is kept, what is said, and how they go on."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, records, tracking, trees
from functorch_artifact.background import Background
from functorch_artifact.errors import LossError, RunDirectoryError, ScoreError, StorageError
from functorch_artifact.fs import Fs, Rename, Transaction, Write
from functorch_artifact.runs.fingerprint import FingerprintWarning
from functorch_artifact.runs.signals import Terminated
from functorch_artifact.runs.store import StorageWarning

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]).sum(1) - batch["x"].sum(1)).square().mean()}


def loader(x=X, **options):
    return fa.DataLoader(fa.ResidentDataset({"x": x}), **({"batch_size": 4, "shuffle": True} | options))


def program(**changes):
    torch.manual_seed(0)
    parts = {
        "model": Net(),
        "optimizer": optimizers.adam(0.01),
        "train_loader": loader(),
        "stopper": fa.EpochBoundStopper(3),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="min"),
        "batch_routine": fa.BatchRoutine([fa.BatchLossCallback()]),
        "loader_routines": [fa.DataLoaderRoutine(loader(), [fa.ValLossCallback()], split="VALIDATION")],
        "mode": "eager",
    }
    return fa.Program(**(parts | changes))


def fit(run=None, program=program, **changes):
    options = {name: changes.pop(name) for name in list(changes) if name in OPTIONS}
    return fa.fit(program(**changes), run=run, progress=False, **options)


OPTIONS = {"resume", "tracking_client", "on_storage_error", "fs", "background"}


def contents(run):
    connection = sqlite3.connect(run / "journal.sqlite")
    found = connection.execute("SELECT * FROM records ORDER BY sequence").fetchall()
    connection.close()
    return found


class Asking(fa.DataLoader):
    """Raises a signal while the batch before a step is on its way."""

    def batches(self, epoch, seed, start=0):
        for number, batch in enumerate(super().batches(epoch, seed, start), start=start):
            for each in self.asked.pop((epoch, number), ()):
                signal.raise_signal(each)
            yield batch


def asking(**asked):
    made = Asking(fa.ResidentDataset({"x": X}), batch_size=4, shuffle=True)
    object.__setattr__(made, "asked", asked["at"])
    return made


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
@pytest.mark.parametrize("at", [(1, 0), (1, 4), (2, 2), (3, 4)])
def test_a_signal_ends_a_run_after_the_step_and_the_same_call_continues_it(number, kind, at, tmp_path):
    whole = fit(tmp_path / "whole")
    before = signal.getsignal(number)
    with pytest.raises(kind, match=rf"after epoch {at[0] - 1}, batch {at[1] + 1} \(step .*; the same command"):
        fit(tmp_path / "run", train_loader=asking(at={at: [number]}))
    assert signal.getsignal(number) is before
    with fa.RunReader(tmp_path / "run") as reader:
        assert reader.state == "interrupted"
        assert reader.reason.startswith("interrupted after epoch")
        assert int(reader.latest.step) == 5 * (at[0] - 1) + at[1] + 1
    resumed = fit(tmp_path / "run")
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_terminated_says_so_and_has_its_status():
    with pytest.raises(SystemExit) as raised:
        fit(train_loader=asking(at={(1, 2): [signal.SIGTERM]}))
    assert raised.value.code == 143
    assert (
        str(raised.value)
        == "interrupted after epoch 0, batch 3 (step 3); nothing is kept, for the run has no directory"
    )


def test_a_second_signal_ends_a_run_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped at once by a second SIGINT"):
        fit(tmp_path, train_loader=asking(at={(2, 2): [signal.SIGINT, signal.SIGINT]}))
    with fa.RunReader(tmp_path) as reader:
        assert int(reader.latest.step) == 5
    assert int(fit(tmp_path).state.step) == 15


class Interrupting(fa.ArtifactRoutine[Net]):
    """Asks for the end in the middle of validation."""

    score_names = ("ONE",)

    def artifacts(self, model, epoch):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)
        yield "ONE", lambda: records.Score(1.0)


class Constant(Interrupting):
    def artifacts(self, model, epoch):
        yield "ONE", lambda: records.Score(1.0)


def test_a_signal_during_validation_keeps_the_steps_and_validates_again(tmp_path):
    whole = fit(tmp_path / "whole", artifact_routines=[Constant()])
    with pytest.raises(KeyboardInterrupt, match=r"after epoch 1, batch 5 \(step 10\)"):
        fit(tmp_path / "run", artifact_routines=[Interrupting()])
    resumed = fit(tmp_path / "run", artifact_routines=[Constant()])
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_finished_run_is_returned_as_stored(tmp_path, capsys):
    first = fit(tmp_path)
    before, stamps = contents(tmp_path), {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").iterdir()}
    made = program(train_loader=asking(at={}))  # whose batches nobody asks for
    again = fa.fit(made, run=tmp_path)
    assert trees.digest(again.state) == trees.digest(first.state)
    assert trees.digest(again.best) == trees.digest(first.best)
    assert again.reason == first.reason
    assert contents(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").iterdir()} == stamps
    assert f"found {tmp_path} after epoch 3, step 15" in capsys.readouterr().err


def test_a_finished_run_without_checkpoints_says_that_it_has_nothing_to_return(tmp_path):
    fit(tmp_path, checkpoint=None)
    with pytest.raises(RunDirectoryError, match="has finished, and keeps no checkpoint to return"):
        fit(tmp_path, checkpoint=None)


def test_checkpoints_may_be_due_by_steps_and_one_is_always_there_in_the_end(tmp_path):
    fit(tmp_path, checkpoint=fa.every(steps=4, keep_last=None))
    with fa.RunReader(tmp_path) as reader:
        names = [path.stem for path in reader.checkpoints]
    assert names == [
        "epoch_000000_batch_000004",
        "epoch_000001_batch_000003",
        "epoch_000002_batch_000002",
        "epoch_000003",
    ]


class Falling(fa.ArtifactRoutine[Net]):
    score_names = ("FALLING",)

    def artifacts(self, model, epoch):
        yield "FALLING", lambda: records.Score(-epoch)


def test_the_best_epochs_checkpoint_outlives_the_last(tmp_path):
    falling = fa.ScoreTracker("FALLING", mode="max")
    result = fit(tmp_path, artifact_routines=[Falling()], tracker=falling, checkpoint=fa.every(epochs=1, keep_last=1))
    assert int(result.best.epoch) == 1
    with fa.RunReader(tmp_path) as reader:
        assert [path.stem for path in reader.checkpoints] == ["epoch_000001", "epoch_000003"]


def test_a_damaged_checkpoint_is_passed_over_and_made_again(tmp_path):
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "run", stopper=fa.EpochBoundStopper(2))
    newest = tmp_path / "run" / "checkpoints" / "epoch_000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(fa.checkpoint.CheckpointWarning, match="passed over a damaged checkpoint: .*epoch_000002"):
        resumed = fit(tmp_path / "run")
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_another_fingerprint_is_named(tmp_path):
    fit(tmp_path, stopper=fa.EpochBoundStopper(1))
    with pytest.warns(FingerprintWarning, match="bits may come out otherwise: mode: eager, now captured"):
        fit(tmp_path, mode="captured")


class Full(Fs):
    """A disk that is full for a while."""

    def __init__(self, kind, first, last):
        self.kind, self.n, self.first, self.last = kind, 0, first, last

    def perform(self, operation):
        if isinstance(operation, self.kind):
            self.n += 1
            if self.first <= self.n <= self.last:
                raise OSError(errno.ENOSPC, "No space left on device")
        super().perform(operation)


@pytest.mark.parametrize("kind", [Transaction, Write, Rename])
def test_a_full_disk_ends_a_run_with_a_clear_error_and_nothing_is_lost(kind, tmp_path):
    whole = fit(tmp_path / "whole", tracking_client=[])
    with pytest.raises(StorageError, match=r"run: cannot be written to\n  got: .*No space left on device\n  do this"):
        fit(tmp_path / "run", fs=Full(kind, 4, 10**9), tracking_client=[])
    resumed = fit(tmp_path / "run", tracking_client=[])
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", [Transaction, Write])
def test_a_full_disk_may_be_a_warning_and_what_it_missed_is_written_later(kind, tmp_path):
    whole = fit(tmp_path / "whole", tracking_client=[])
    with pytest.warns(StorageWarning, match="No space left on device"):
        result = fit(tmp_path / "run", fs=Full(kind, 3, 4), on_storage_error="warn", tracking_client=[])
    assert trees.digest(result.state) == trees.digest(whole.state)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


class Removing(fa.ArtifactRoutine[Net]):
    score_names = ()

    def __init__(self, run):
        super().__init__()
        self.directory = run

    def artifacts(self, model, epoch):
        if epoch == 2:
            shutil.rmtree(self.directory)
        return []


def test_a_directory_that_is_removed_ends_a_run_with_a_clear_error(tmp_path):
    with pytest.raises(StorageError, match="was removed while the run was going on"):
        fit(tmp_path / "run", artifact_routines=[Removing(tmp_path / "run")], tracking_client=[])


def test_a_directory_that_is_removed_may_be_a_warning(tmp_path):
    with pytest.warns(StorageWarning, match="was removed while the run was going on"):
        result = fit(
            tmp_path / "run",
            artifact_routines=[Removing(tmp_path / "run")],
            tracking_client=[],
            on_storage_error="warn",
        )
    assert trees.digest(result.state) == trees.digest(fit().state)


def test_a_directory_in_use_names_who_uses_it(tmp_path):
    class Second(fa.ArtifactRoutine[Net]):
        score_names = ()

        def artifacts(self, model, epoch):
            with pytest.raises(RunDirectoryError, match=rf"in use by another process\n  got: process {os.getpid()} "):
                fit(tmp_path)
            tried.append(epoch)
            return []

    tried = []
    fit(tmp_path, artifact_routines=[Second(period=3)])
    assert tried == [3]


SCRIPT = """
import sys, time, torch, functorch_artifact as fa
from functorch_artifact import optimizers
torch.set_num_threads(1); torch.manual_seed(0)
class Slow(fa.DataLoader):
    def batches(self, epoch, seed, start=0):
        for batch in super().batches(epoch, seed, start):
            print(epoch, flush=True); time.sleep(0.01)
            yield batch
loader = Slow(fa.ResidentDataset({"x": torch.ones(64, 3)}), batch_size=4, shuffle=True)
result = fa.fit(fa.Program(
    model=fa.functional(torch.nn.Linear(3, 1), inputs=lambda b: b["x"]), loss=lambda o, b: o.square().mean(),
    optimizer=optimizers.adam(0.1), train_loader=loader, stopper=fa.EpochBoundStopper(int(sys.argv[2])),
    batch_routine=fa.BatchRoutine([fa.BatchLossCallback()]), checkpoint=fa.every(steps=5),
), run=sys.argv[1], progress=False)
print(fa.trees.digest(result.state))
"""


def run_script(*arguments, **options):
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def last_line(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines()[-1]


def test_killed_terminated_and_interrupted_for_real_a_run_comes_to_the_same_bits(tmp_path):
    whole = run_script(tmp_path / "whole", 4)
    statuses = []
    for number, batches in ((signal.SIGKILL, 8), (signal.SIGTERM, 12), (signal.SIGINT, 20)):
        process = run_script(tmp_path / "run", 4)
        for _ in range(batches):
            process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        statuses.append((process.returncode, "the same command continues the run" in err))
    assert statuses == [(-signal.SIGKILL, False), (143, False), (-signal.SIGINT, True)]
    assert last_line(run_script(tmp_path / "run", 4)) == last_line(whole)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    first = run_script(tmp_path / "run", 1000)
    first.stdout.readline()  # it trains
    second = run_script(tmp_path / "run", 1000)
    _, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"is in use by another process\n  got: process {first.pid} on" in err
    first.kill()
    first.communicate(timeout=120)
    last_line(run_script(tmp_path / "run", 1))


def with_nan(x):
    return torch.cat([x[:12], torch.full_like(x[:4], torch.nan), x[12:16]])


def test_loss_that_is_not_finite_can_be_recorded(tmp_path):
    with pytest.warns(fa.driver.NonfiniteLossWarning, match="went on after .* of 5 batches; the first: step"):
        fit(tmp_path, train_loader=loader(with_nan(X)), nonfinite="record", stopper=fa.EpochBoundStopper(1))
    with fa.RunReader(tmp_path) as reader:
        (failure,) = reader.failures
        assert (failure.callback, failure.epoch) == ("loss", 1)
        assert "the loss is nan" in failure.error


class Cliff(nn.Module):
    """Has an infinite slope at zero, where its value is finite."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return {"loss": (self.w * batch["x"]).abs().sqrt().mean()}


ZEROS = torch.cat([torch.ones(4, 3), torch.zeros(4, 3), torch.ones(4, 3)])


def cliff(policy):
    return {
        "model": Cliff(),
        "optimizer": optimizers.sgd(0.1),
        "train_loader": loader(ZEROS, shuffle=False),
        "stopper": fa.EpochBoundStopper(1),
        "nonfinite": policy,
        "loader_routines": [],
        "tracker": None,
    }


def test_gradients_that_are_not_finite_are_judged_too():
    with pytest.raises(LossError, match=r"the loss is nan|parameter 'w' after step 2"):
        fit(**cliff("raise"))
    with pytest.warns(fa.driver.NonfiniteLossWarning, match="skipped 1 of 3 batches; the first: step 2.*gradient"):
        result = fit(**cliff("skip"))
    assert result.state.params["w"].isfinite().all()
    assert int(result.state.step) == 3
    stopped = fit(**cliff("stop"))
    assert stopped.reason == "step 2 (epoch 1, batch 2): a gradient is not finite"


def test_parameters_that_are_not_finite_reach_no_checkpoint(tmp_path):
    last = {"train_loader": loader(ZEROS[:8], shuffle=False)}  # no loss comes after the step that spoils them
    with pytest.raises(LossError, match=r"parameter 'w' after step 2 \(epoch 1\): is not finite"):
        fit(tmp_path, **(cliff("raise") | last))
    with fa.RunReader(tmp_path) as reader:
        assert reader.checkpoints == []


class Sometimes(fa.ArtifactRoutine[Net]):
    score_names = ("AUC",)

    def artifacts(self, model, epoch):
        yield "AUC", lambda: records.Score(float("nan") if epoch == 2 else 1.0 / epoch)


def test_scores_that_are_not_finite_are_judged_by_their_own_policy(tmp_path):
    parts = {"artifact_routines": [Sometimes()], "tracker": fa.ScoreTracker("AUC", mode="min")}
    recorded = fit(**parts)
    assert recorded.scores["AUC"].isna().tolist() == [False, True, False]
    assert int(recorded.best.epoch) == 3
    skipped = fit(**parts, nonfinite_scores="skip")
    assert list(skipped.state.scores.column("AUC")) == [1, 3]
    with pytest.raises(ScoreError, match=r"score 'AUC', epoch 2: is nan\n  expected: a finite number"):
        fit(**parts, nonfinite_scores="raise")
    for _ in range(2):  # the same call returns what was stored
        stopped = fit(tmp_path, **parts, nonfinite_scores="stop")
        assert (stopped.reason, int(stopped.state.epoch)) == ("score 'AUC', epoch 2: is nan", 2)


class Slow(fa.ArtifactRoutine[Net]):
    """Computes beside the training."""

    score_names = ()
    waiting = frozenset({"LATE"})

    def artifacts(self, model, epoch):
        return [
            ("LATE", lambda: time.sleep(0.02) or records.Score(1.0 * epoch)),
            ("NOW", lambda: records.Array.of([epoch])),
        ]


def test_artifacts_that_can_wait_are_committed_with_their_epoch(tmp_path):
    client = tracking.InMemory()
    with Background(ThreadPoolExecutor(1)) as background:
        fit(tmp_path, artifact_routines=[Slow()], background=background, tracking_client=client)
    with fa.RunReader(tmp_path) as reader:
        late = [(each.epoch, each.step, each.value.value) for each in reader.records(records.Score, name="LATE")]
    assert late == [(1, 5, 1.0), (2, 10, 2.0), (3, 15, 3.0)]
    assert len(client.select(name="LATE")) == 3


class Never:
    """A background that the process does not live to see the end of."""

    def submit(self, task, shared):
        class Lost:
            epoch, step = task.epoch, task.step

            def done(self):
                return False

            def result(self):
                raise KeyboardInterrupt("the process is gone")

        return Lost()


def test_artifacts_that_a_crash_took_are_computed_again(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="the process is gone"):
        fit(tmp_path, artifact_routines=[Slow()], background=Never())
    with fa.RunReader(tmp_path) as reader:
        assert reader.records(name="LATE") == []
    fit(tmp_path, artifact_routines=[Slow()], background=None)
    with fa.RunReader(tmp_path) as reader:
        assert [each.epoch for each in reader.records(name="LATE")] == [1, 2, 3]


def points(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.parametrize("at", [(1, 3), (2, 0), (3, 4)])
def test_tensorboard_shows_each_point_once_after_a_run_was_cut(at, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        twice = asking(at={at: [signal.SIGINT, signal.SIGINT]})
        fit(tmp_path, train_loader=twice, tracking_client=tracking.TensorBoard())
    fit(tmp_path, tracking_client=tracking.TensorBoard())
    shown = points(tmp_path / "tensorboard")
    assert shown["BATCH_LOSS/TRAIN"] == list(range(1, 16))
    assert shown["VAL_LOSS/VALIDATION"] == [5, 10, 15]


def test_a_client_in_memory_gets_a_resumed_run_from_its_beginning(tmp_path):
    fit(tmp_path, stopper=fa.EpochBoundStopper(2), tracking_client=tracking.InMemory())
    client = tracking.InMemory()
    fit(tmp_path, tracking_client=client)
    assert [record.epoch for record in client.select(name="VAL_LOSS")] == [1, 2, 3]
    with fa.RunReader(tmp_path) as reader:
        assert reader.owed == {}


class Noisy(fa.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"x": torch.randn(3)}


def test_what_an_example_draws_depends_on_seed_epoch_and_index_alone():
    def drawn(**options):
        made = fa.DataLoader(Noisy(), **options)
        return torch.cat([batch["x"] for batch in made.batches(2, 5)])

    assert torch.equal(drawn(batch_size=2), drawn(batch_size=8))
    assert torch.equal(drawn(batch_size=2), drawn(batch_size=2, num_workers=2))
