"""A run's directory: claimed by one process at a time, and only where nothing else lives."""

import os
import socket
import subprocess
import sys

import pytest

from functorch_artifact.errors import RunDirectoryError
from functorch_artifact.fs import Fs
from functorch_artifact.runs.directory import RunDirectory, holder

WHO = {"seed": 0, "state": "abc"}


def test_it_is_made_and_found_again(tmp_path):
    with RunDirectory.claim(tmp_path / "a" / "run", WHO) as first:
        assert not first.found
    with RunDirectory.claim(tmp_path / "a" / "run", WHO, resume="must") as again:
        assert again.found


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path):
    assert holder(tmp_path) is None
    with RunDirectory.claim(tmp_path, WHO):
        found = holder(tmp_path)
        assert (found.pid, found.host) == (os.getpid(), socket.gethostname())
        with pytest.raises(
            RunDirectoryError,
            match=rf"in use by another process\n  got: process {os.getpid()} on {socket.gethostname()}, since 20.*Z\n"
            r"  do this: wait until it has ended, end it, or choose another directory",
        ):
            RunDirectory.claim(tmp_path, WHO)
    assert holder(tmp_path) is None


def test_a_lock_ends_with_its_process_and_is_not_kept_by_its_children(tmp_path):
    code = (
        "import os, signal, subprocess, sys, time\n"
        "from functorch_artifact.runs.directory import RunDirectory\n"
        "held = RunDirectory.claim(sys.argv[1], {'seed': 0, 'state': 'abc'})\n"
        "child = os.fork()\n"
        "if child == 0:\n    os.close(1); os.close(2); time.sleep(60); os._exit(0)\n"
        "print(child, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    os.kill(child, 0)  # it lives
    try:
        with RunDirectory.claim(tmp_path, WHO):
            assert holder(tmp_path).pid == os.getpid()
    finally:
        os.kill(child, 9)


def test_a_claim_that_was_cut_anywhere_can_be_made_again(tmp_path):
    class CutError(Exception):
        pass

    class Cutting(Fs):
        def perform(self, operation):
            if self.left == 0:
                raise CutError
            self.left -= 1
            super().perform(operation)

    for n in range(100):
        fs = Cutting()
        fs.left = n
        path = tmp_path / str(n) / "run"
        try:
            RunDirectory.claim(path, WHO, fs=fs).release()
        except CutError:
            with RunDirectory.claim(path, WHO) as again:
                assert again.path == path
            assert sorted(each.name for each in path.iterdir()) == ["lock", "run.json"]
        else:
            break
    assert n == 10


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        ("mine", {}, "is in use by something that is no run\n  do this: choose a directory that is new or empty"),
        (None, {"resume": "must"}, "holds no run to resume"),
        ("run", {"resume": "never"}, "already holds a run"),
        ("another", {}, "belongs to another run\n  expected: {'seed': 0, 'state': 'abc'}\n  got: {'seed': 1"),
        ("torn", {}, "run.json: is damaged"),
    ],
)
def test_what_is_not_this_run_is_refused(content, options, text, tmp_path):
    if content == "mine":
        (tmp_path / "thesis.txt").write_text("mine")
    elif content:
        RunDirectory.claim(tmp_path, WHO | {"seed": 1} if content == "another" else WHO).release()
    if content == "torn":
        (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunDirectoryError) as raised:
        RunDirectory.claim(tmp_path, WHO, **options)
    assert text in str(raised.value)
    assert holder(tmp_path) is None
