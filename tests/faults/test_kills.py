"""Processes that are killed: at any instant, at every operation on the disk, again and again; and cuts of power."""

import pickle
import random
import shutil
import signal
import time

import pytest

from tests.faults import disks, trials


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run that nothing interrupted, and how long it took."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    began = time.monotonic()
    assert trials.run(trials.train, directory) == 0
    return trials.outcome(directory), time.monotonic() - began


def train_on(disk, directory):
    trials.train(directory, fs=disk)


def count_operations(directory, report):
    disk = disks.Counting()
    trials.train(directory, fs=disk)
    report.write_text(str(disk.performed))


def record_operations(directory, report):
    disk = disks.Recording(directory.parent)
    trials.train(directory, fs=disk)
    report.write_bytes(pickle.dumps(disk.cuts))


def finish_and_compare(directory, whole):
    assert trials.run(trials.train, directory) == 0
    assert trials.outcome(directory) == whole
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def n_operations(tmp_path_factory):
    directory = tmp_path_factory.mktemp("counted")
    assert trials.run(count_operations, directory / "run", directory / "report") == 0
    return int((directory / "report").read_text())


def test_a_run_that_is_killed_at_any_instant_goes_on_to_the_same_bits(whole, tmp_path, tally):
    draw = random.Random(0)
    for trial in tally("SIGKILL at a random instant, resumed until done").trials(short=8, full=200):
        directory = tmp_path / str(trial)
        for _ in range(20):
            child = trials.start(trials.train, directory)
            child.join(draw.uniform(0, 1.2) * whole[1])
            if child.exitcode is not None:
                break
            child.kill()
            child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        finish_and_compare(directory, whole[0])


def test_a_kill_at_every_operation_leaves_a_run_that_goes_on(whole, n_operations, tmp_path, tally):
    row = tally("kill at every operation on the disk, clean and torn")
    for trial in row.trials(short=12, full=2 * n_operations):
        at, torn = trial // 2, bool(trial % 2)
        if not is_full():
            at = at * n_operations // 6
        directory = tmp_path / str(trial)
        assert trials.run(train_on, disks.Dying(at, torn=torn), directory) == -signal.SIGKILL
        finish_and_compare(directory, whole[0])
