"""Processes that are killed: at any instant, at every operation on the disk, again and again; and cuts of power."""

import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

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


OPENS = re.compile(r'open(?:at)?\([^"]*"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)')
CHANGES = re.compile(r'(?:rename|unlink|mkdir|rmdir)\w*\([^"]*"([^"]+)"')
CALLS = "trace=open,openat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"


def train_and_list(directory, report):
    disk = disks.Listing()
    trials.train(Path(directory), fs=disk, tracking_client=tracking.InMemory())
    Path(report).write_text("\n".join(disk.paths))


def test_nothing_is_written_past_the_seam(tmp_path):
    """What the system is asked to change below the run, as strace sees it, the seam was asked to."""
    run, report, trace = (str(tmp_path / name) for name in ("run", "report", "trace"))
    code = "import sys; from tests.faults import test_kills; test_kills.train_and_list(*sys.argv[1:])"
    strace = ["strace", "-f", "-qq", "-e", CALLS, "-o", trace]
    subprocess.run([*strace, sys.executable, "-c", code, run, report], check=True)
    lines = Path(trace).read_text().splitlines()
    changed = {found[1] for line in lines if (found := OPENS.search(line) or CHANGES.search(line))}
    below = {re.sub("-(wal|shm|journal)$", "", path) for path in changed if path.startswith(run)}
    assert len(below) > 20
    # SQLite's own files beside the journal are written in its transactions.
    assert below <= set(Path(report).read_text().splitlines())
