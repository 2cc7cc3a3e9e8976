"""Clients that raise, hang, die and come back; callbacks, plots and models that fail; workers that die."""

import csv
import itertools
import os
import shutil
import signal
import threading
import warnings

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, records, tracking
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


def test_a_kill_between_sending_and_acknowledging_loses_and_repeats_nothing(delivered, whole, tmp_path, tally):
    draw = tally("killed between a client's taking and its acknowledgement")
    for trial in draw.times(short=6, full=200):
        root = tmp_path / "trial"
        client, target = ((Backend, root / "kept"), (Board, root / "kept"))[trial % 2]
        arguments = ("is killed", trial // 2 % 4, 1) if client is Backend else (trial // 2 % 4,)
        assert trials.run(train_watched, root / "run", client, target, *arguments) in (-signal.SIGKILL, 0)
        assert trials.run(train_watched, root / "run", client, target) == 0
        fa.sync(root / "run", client(target))
        assert (rows(target), points(target))[trial % 2] == delivered[trial % 2] if client is Board else rows(target) == delivered[0]
        assert trials.outcome(root / "run") == whole
        shutil.rmtree(root)
