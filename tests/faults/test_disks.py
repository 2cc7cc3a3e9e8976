"""Disks that are full, read-only, or gone in the middle of a run."""

import errno
import os
import resource
import shutil
import signal
from itertools import count

import functorch_artifact as fa
from functorch_artifact.errors import StorageError
from tests.faults import disks, trials


def end(directory, policy, **options):
    """Train; end with 0, or with 3 and what a clear error said."""
    try:
        trials.train_warned(directory, on_storage_error=policy, **options)
    except StorageError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        directory.with_suffix(".said").write_text(str(error))
        os._exit(3)


def train_refused(directory, policy, code, at, only):
    end(directory, policy, fs=disks.Failing(code, at, only))


def train_limited(directory, policy, n_bytes):
    """Train where no file may grow beyond so many bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails, and nobody is killed
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
    end(directory, policy)


class Deleting(fa.DataLoader):
    """Deletes a directory while the n-th batch is made."""

    directory, at, made = None, 0, count(1)

    def batches(self, epoch, seed, start=0):
        for batch in super().batches(epoch, seed, start):
            if next(self.made) == self.at:
                shutil.rmtree(self.directory)
            yield batch


def train_deleted(directory, policy, at):
    Deleting.directory, Deleting.at = directory, at
    loader = Deleting(fa.ResidentDataset({"x": trials.X}), batch_size=8, shuffle=True)
    try:
        fa.fit(trials.program(train_loader=loader), run=directory, progress=False, on_storage_error=policy)
    except StorageError as error:
        directory.with_suffix(".said").write_text(str(error))
        os._exit(3)


def check_the_end(directory, whole, ended):
    """A run that ended with an error named the place; then, the disk mended, it goes on to the same bits."""
    assert ended in (0, 3)
    if ended == 3:
        said = directory.with_suffix(".said").read_text()
        assert str(directory) in said
        assert "do this:" in said
    assert trials.run(trials.train, directory) == 0
    assert trials.outcome(directory) == whole
    shutil.rmtree(directory)


def test_a_disk_that_refuses_from_some_operation_on(whole, tmp_path, tally):
    cases = [
        (policy, code, at)
        for policy in ("raise", "warn")
        for code in (errno.ENOSPC, errno.EROFS, errno.EIO)
        for at in range(0, 90, 3)
    ]
    row = tally("disk full, read-only or broken from an operation on, then mended")
    ends = []
    for policy, code, at in row.some(cases, short=12):
        ends.append(trials.run(train_refused, tmp_path / "run", policy, code, at, None))
        check_the_end(tmp_path / "run", whole, ends[-1])
    assert 3 in ends


def test_a_disk_that_refuses_once(whole, tmp_path, tally):
    cases = [(policy, at) for policy in ("raise", "warn") for at in range(0, 90, 3)]
    for policy, at in tally("one operation on the disk refused").some(cases, short=8):
        ended = trials.run(train_refused, tmp_path / "run", policy, errno.ENOSPC, at, 1)
        check_the_end(tmp_path / "run", whole, ended)


def test_a_disk_that_is_full_for_any_file(whole, tmp_path, tally):
    cases = [(policy, n) for policy in ("raise", "warn") for n in (0, 100, 4096, 20_000, 60_000, 100_000)]
    row = tally("no file may grow (RLIMIT_FSIZE), then it may")
    for policy, n_bytes in row.some(cases, short=6):
        check_the_end(tmp_path / "run", whole, trials.run(train_limited, tmp_path / "run", policy, n_bytes))


def test_a_directory_that_is_deleted_in_the_middle(whole, tmp_path, tally):
    cases = [(policy, at) for policy in ("raise", "warn") for at in range(1, trials.N_STEPS + 1)]
    for policy, at in tally("run directory deleted in the middle").some(cases, short=6):
        ended = trials.run(train_deleted, tmp_path / "run", policy, at)
        check_the_end(tmp_path / "run", whole, ended)
