"""Clients that raise, hang, die and come back; callbacks, plots and models that fail; workers that die."""

import csv
import itertools
import os
import shutil
import signal
import threading

import attrs
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, records, tracking
from functorch_artifact.driver import CallbackWarning
from functorch_artifact.errors import CallbackError, DataError
from tests.faults import trials


class Backend(tracking.Filesystem):
    """A real client with a fault: it is killed, raises or hangs, from its n-th `log` on, so often."""

    name = "Backend"

    def __init__(self, directory, fault="", at=0, times=0):
        super().__init__(directory)
        self.fault, self.calls = fault, range(at, at + times)
        self.count = itertools.count()

    def log(self, batch):
        faulty = next(self.count) in self.calls
        if faulty and self.fault == "raises":
            raise ConnectionError("nobody answers")
        if faulty and self.fault == "hangs":
            threading.Event().wait()
        super().log(batch)
        if faulty and self.fault == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)


class Board(tracking.TensorBoard):
    """TensorBoard that has its process killed after its n-th `log`."""

    name = "Board"

    def __init__(self, directory, at=-1):
        super().__init__(directory)
        self.at, self.count = at, itertools.count()

    def log(self, batch):
        super().log(batch)
        if next(self.count) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def train_watched(directory, client, *arguments):
    trials.train_warned(directory, tracking_client=client(*arguments), patience=1.0)


def rows(directory):
    """Read what a `Backend` has: each number once, by its place."""
    with (directory / "scores.csv").open() as file:
        found = [tuple(row.values()) for row in csv.DictReader(file)]
    assert len({row[:-1] for row in found}) == len(found)
    return sorted(found)


def points(directory):
    """Read what TensorBoard shows: tag, step and value of each point, each once."""
    board = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    board.Reload()
    scalars = [(tag, e.step, e.value) for tag in board.Tags()["scalars"] for e in board.Scalars(tag)]
    images = [(tag, e.step, e.encoded_image_string) for tag in board.Tags()["images"] for e in board.Images(tag)]
    assert len({point[:2] for point in scalars + images}) == len(scalars + images)
    return sorted(scalars), sorted(images)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    """What the clients have of a run that nothing interrupted."""
    root = tmp_path_factory.mktemp("delivered")
    assert trials.run(train_watched, root / "one", Backend, root / "backend") == 0
    assert trials.run(train_watched, root / "two", Board, root / "board") == 0
    assert len(rows(root / "backend")) > 10
    return rows(root / "backend"), points(root / "board")


def test_a_kill_between_taking_and_acknowledging_loses_and_repeats_nothing(delivered, whole, tmp_path, tally):
    for trial in tally("killed between a client's taking and its acknowledgement").times(short=6, full=200):
        at, kept = trial // 2 % 4, tmp_path / "trial" / "kept"
        client, faulty, read = ((Backend, ("is killed", at, 1), rows), (Board, (at,), points))[trial % 2]
        run = kept.parent / "run"
        assert trials.run(train_watched, run, client, kept, *faulty) in (-signal.SIGKILL, 0)
        assert trials.run(train_watched, run, client, kept) == 0
        fa.sync(run, client(kept))
        assert read(kept) == delivered[trial % 2]
        assert trials.outcome(run) == whole
        shutil.rmtree(kept.parent)


def test_a_client_that_fails_changes_nothing_and_gets_everything_later(delivered, whole, tmp_path, tally):
    cases = [
        (fault, at, times)
        for fault in ("raises", "hangs")
        for at in range(4)
        for times in (1, 2, 1000)
        if fault == "raises" or times == 1
    ]
    for fault, at, times in tally("client raises, hangs, is unreachable, comes back").some(cases, short=6):
        kept, run = tmp_path / "trial" / "kept", tmp_path / "trial" / "run"
        assert trials.run(train_watched, run, Backend, kept, fault, at, times) == 0
        assert trials.outcome(run) == whole
        with fa.RunReader(run) as reader:
            owed = reader.owed["Backend"]
        assert (owed > 0) or (fault == "raises" and times < 1000) or at > 1
        fa.sync(run, Backend(kept))
        assert rows(kept) == delivered[0]
        with fa.RunReader(run) as reader:
            assert reader.owed["Backend"] == 0
        shutil.rmtree(kept.parent)


def wrong(result):
    return "text"


def nan(result):
    return torch.tensor(float("nan"))


def raises(result):
    raise ValueError("a broken metric")


class Broken(trials.Pictures):
    """Artifacts of which some, or the work they share, fail."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def artifacts(self, model, epoch):
        if self.fault == "generate raises":
            raise ValueError("a broken model")
        made = dict(super().artifacts(model, epoch))
        if self.fault == "plot raises":
            made["BROKEN"] = lambda: records.Plot.of(raises(None))
        if self.fault == "plot of the wrong type":
            made["BROKEN"] = lambda: records.Plot.of(3)
        return list(made.items())


FAULTS = {
    "callback raises": (raises, "BROKEN", "a broken metric"),
    "callback of the wrong type": (wrong, "BROKEN", "str"),
    "callback gives NaN": (nan, None, None),
    "plot raises": (None, "BROKEN", "a broken metric"),
    "plot of the wrong type": (None, "BROKEN", "is not a plot"),
    "generate raises": (None, "Broken", "a broken model"),
}


@pytest.mark.parametrize("policy", ["raise", "warn"])
def test_what_fails_is_named_and_keeps_nothing_else_from_being_recorded(policy, tmp_path, tally):
    for fault in tally(f"callback, plot, artifact or generate fails; policy {policy}").over(FAULTS):
        metric, name, what = FAULTS[fault]
        made = trials.program(on_callback_error=policy, artifact_routines=[Broken(fault)])
        if metric is not None:
            routine = made.loader_routines[0]
            extra = callbacks.score("BROKEN", folds.mean(metric))
            made = attrs.evolve(made, loader_routines=[attrs.evolve(routine, callbacks=(*routine.callbacks, extra))])
        run = tmp_path / fault
        if name is None:
            scores = fa.fit(made, run=run, progress=False).scores
            assert scores["BROKEN"].isna().all()
            assert scores["VAL_LOSS"].notna().all()
        elif policy == "raise":
            with pytest.raises(CallbackError, match=f"(?s)callback '{name}', epoch 1.*{what}"):
                fa.fit(made, run=run, progress=False)
            with fa.RunReader(run) as reader:  # what did not fail was committed before
                assert reader.scores["VAL_LOSS"].notna().all()
        else:
            with pytest.warns(CallbackWarning, match=f"callback '{name}', epoch .*{what}"):
                result = fa.fit(made, run=run, progress=False)
            assert result.scores["VAL_LOSS"].notna().all()
            assert {failure.epoch for failure in result.failures} == {1, 2, 3}
            with fa.RunReader(run) as reader:
                assert {failure.callback for failure in reader.failures} == {name}


class Examples(fa.Dataset):
    """Examples of which one, in a worker, ends the process that makes it, while a file is there."""

    def __init__(self, trap):
        self.trap = trap

    def __len__(self):
        return len(trials.X)

    def __getitem__(self, index):
        if index == 17 and self.trap.exists() and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": trials.X[index]}


def train_with_workers(directory, trap, n_workers):
    loader = fa.DataLoader(Examples(trap), batch_size=8, shuffle=True, num_workers=n_workers)
    try:
        fa.fit(trials.program(train_loader=loader), run=directory, progress=False)
    except DataError as error:
        directory.with_suffix(".said").write_text(str(error))
        os._exit(3)


def test_a_worker_that_dies_is_named_and_the_run_goes_on(whole, tmp_path, tally):
    for trial in tally("a DataLoader's worker dies").times(short=1, full=5):
        run, trap = tmp_path / f"run{trial}", tmp_path / "trap"
        trap.touch()
        assert trials.run(train_with_workers, run, trap, 1 + trial % 2) == 3
        assert "worker" in run.with_suffix(".said").read_text()
        trap.unlink()
        assert trials.run(train_with_workers, run, trap, 1 + trial % 2) == 0
        assert trials.outcome(run) == whole
