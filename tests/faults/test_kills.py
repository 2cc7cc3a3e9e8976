"""Processes that are killed: at any instant, at every operation on the disk, again and again; and cuts of power."""

import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from functorch_artifact import tracking
from tests.faults import disks, trials


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


def test_a_run_killed_at_any_instant_goes_on_to_the_same_bits(whole, tmp_path, tally):
    draw, began = random.Random(0), time.monotonic()
    assert trials.run(trials.train, tmp_path / "timed") == 0
    lasts = time.monotonic() - began
    for trial in tally("SIGKILL at a random instant, resumed until done").times(short=8, full=200):
        directory = tmp_path / str(trial)
        child = trials.start(trials.train, directory)
        child.join(draw.uniform(0, lasts))
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        finish_and_compare(directory, whole)


def test_a_kill_at_every_operation_leaves_a_run_that_goes_on(whole, n_operations, tmp_path, tally):
    cases = [(at, torn) for at in range(n_operations) for torn in (False, True)]
    ends = []
    for at, torn in tally("kill at every operation on the disk, clean and torn").some(cases, short=16):
        directory = tmp_path / f"{at}{torn}"
        ends.append(trials.run(train_on, disks.Dying(at, torn=torn), directory))
        finish_and_compare(directory, whole)
    # A client's thread acknowledges in chunks of any size, so that a run may have some operations fewer.
    assert ends.count(-signal.SIGKILL) > 0.8 * len(ends)
    assert set(ends) <= {-signal.SIGKILL, 0}


def test_kills_in_a_row_recovery_included(whole, n_operations, tmp_path, tally):
    draw = random.Random(1)
    for trial in tally("2 to 4 kills in a row, at operations of the recovery too").times(short=6, full=200):
        directory = tmp_path / str(trial)
        for _ in range(draw.randint(2, 4)):
            disk = disks.Dying(draw.randrange(n_operations // 2), torn=draw.random() < 0.5)
            assert trials.run(train_on, disk, directory) in (-signal.SIGKILL, 0)
        finish_and_compare(directory, whole)


def test_whatever_a_cut_of_power_leaves_goes_on(whole, tmp_path, tally):
    (tmp_path / "recorded").mkdir()
    assert trials.run(record_operations, tmp_path / "recorded" / "run", tmp_path / "cuts") == 0
    cuts = pickle.loads((tmp_path / "cuts").read_bytes())
    last = {}
    row = tally("cut of power after every operation: what was not synced is lost")
    for number, (_, left) in row.some(list(enumerate(cuts)), short=16):
        root = tmp_path / f"cut{number}"
        disks.restore(left, root)
        committed = trials.committed(root / "run")
        assert all(committed.get(part, ()) >= done for part, done in last.items())  # what was acknowledged is kept
        last = committed
        finish_and_compare(root / "run", whole)


WRITES = re.compile(r'^(?:\d+ +)?(?:open(?:at)?\(.*?"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)|(?:rename|unlink|mkdir|rmdir|link)\w*\(.*?"([^"]+)")')


def train_and_list(directory, report):
    disk = disks.Listing()
    trials.train(directory, fs=disk, tracking_client=tracking.InMemory())
    report.write_text("\n".join(disk.paths))


def test_nothing_is_written_past_the_seam(tmp_path):
    """What the system is asked to write below the run, as strace sees it, the seam was asked for."""
    run, report, trace = tmp_path / "run", tmp_path / "report", tmp_path / "trace"
    code = f"import tests.faults.test_kills as k; from pathlib import Path; k.train_and_list(Path({str(run)!r}), Path({str(report)!r}))"
    strace = ["strace", "-f", "-qq", "-e", "trace=openat,open,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"]
    subprocess.run([*strace, "-o", str(trace), sys.executable, "-c", code], check=True)
    written = {path for line in trace.read_text().splitlines() if (found := WRITES.match(line)) for path in found.groups()}
    below = {path for path in written if path and path.startswith(str(run))}
    asked = set(report.read_text().splitlines())
    # SQLite's own files beside the journal are written in its transactions.
    assert len(below) > 20
    assert {path.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal") for path in below} - asked == set()
