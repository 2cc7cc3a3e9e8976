"""SIGINT and SIGTERM, once and twice, at every step; and processes that want one run at a time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count

import functorch_artifact as fa
from functorch_artifact.errors import RunDirectoryError
from tests.faults import trials


class Signalling(fa.DataLoader):
    """Sends its own process a signal, so often, while the n-th batch is made."""

    number, times, at, made = 0, 0, 0, count(1)

    def batches(self, epoch, seed, start=0):
        for batch in super().batches(epoch, seed, start):
            if next(self.made) == self.at:
                for _ in range(self.times):
                    os.kill(os.getpid(), self.number)
            yield batch


SEVERAL = {"mode": "captured", "steps_per_call": 4}


def train_signalled(directory, number, times, at, changes):
    """Train with a signal at a step, and leave as a script would: with the status, and what was said."""
    Signalling.number, Signalling.times, Signalling.at = number, times, at
    loader = Signalling(fa.ResidentDataset({"x": trials.X}), batch_size=8, shuffle=True)
    try:
        fa.fit(trials.program(train_loader=loader, **changes), run=directory, progress=False)
    except (KeyboardInterrupt, SystemExit) as error:
        directory.with_suffix(".said").write_text(str(error))
        os._exit(130 if isinstance(error, KeyboardInterrupt) else error.code)


def test_a_signal_at_any_step_leaves_a_run_that_goes_on(whole, tmp_path, tally):
    cases = [(n, t, at) for n in (signal.SIGINT, signal.SIGTERM) for t in (1, 2) for at in range(1, trials.N_STEPS + 1)]
    cases = [(*case, changes) for changes in ({}, SEVERAL) for case in cases]
    row = tally("SIGINT and SIGTERM at every step, once and twice")
    for number, times, at, changes in row.some(cases, short=12):
        directory = tmp_path / "run"
        assert trials.run(train_signalled, directory, number, times, at, changes) == {2: 130, 15: 143}[number]
        said = directory.with_suffix(".said").read_text()
        if times == 1:
            assert str(directory) in said  # how to go on
            with fa.RunReader(directory) as reader:
                assert reader.state == "interrupted"
                assert int(reader.latest.step) == at
        else:
            assert f"second {number.name}" in said
        assert trials.run(trials.train_warned, directory) == 0  # in another mode than before, in part
        assert trials.outcome(directory) == whole
        shutil.rmtree(directory)


def test_a_script_that_is_interrupted_ends_with_the_status_of_its_signal(tmp_path):
    code = (
        "import signal, sys; from pathlib import Path; from tests.faults import test_interrupts as t, trials;"
        "import functorch_artifact as fa;"
        "t.Signalling.number, t.Signalling.times, t.Signalling.at = int(sys.argv[2]), 1, 4;"
        "loader = t.Signalling(fa.ResidentDataset({'x': trials.X}), batch_size=8);"
        "fa.fit(trials.program(train_loader=loader), run=sys.argv[1], progress=False)"
    )
    for number, status in ((signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)):  # a shell shows -2 as 130
        run = tmp_path / number.name
        ended = subprocess.run([sys.executable, "-c", code, run, str(int(number))], capture_output=True, text=True)
        assert ended.returncode == status
        with fa.RunReader(run) as reader:
            assert int(reader.latest.step) == 4


class Slow(fa.DataLoader):
    """Takes longer over an epoch than a second process waits for the lock."""

    def batches(self, epoch, seed, start=0):
        for batch in super().batches(epoch, seed, start):
            time.sleep(0.15)
            yield batch


def train_or_say(directory, start, report):
    loader = Slow(fa.ResidentDataset({"x": trials.X}), batch_size=8, shuffle=True)
    report.touch()
    while not start.exists():
        pass
    try:
        fa.fit(trials.program(train_loader=loader), run=directory, progress=False)
    except RunDirectoryError as error:
        report.write_text(str(error))
        os._exit(3)


def test_of_two_processes_on_one_run_exactly_one_trains(whole, tmp_path, tally):
    for _ in tally("two processes race for one run").times(short=4, full=20):
        root = tmp_path / "race"
        root.mkdir()
        racers = [trials.start(train_or_say, root / "run", root / "start", root / f"said{i}") for i in range(2)]
        while len(list(root.iterdir())) < 2:
            pass
        (root / "start").touch()
        for racer in racers:
            racer.join(60)
        assert sorted(racer.exitcode for racer in racers) == [0, 3]
        loser = next(i for i, racer in enumerate(racers) if racer.exitcode == 3)
        assert f"process {racers[1 - loser].pid} on " in (root / f"said{loser}").read_text()
        with fa.RunReader(root / "run") as reader:
            assert [session.outcome for session in reader.sessions] == ["finished"]
        assert trials.outcome(root / "run") == whole
        shutil.rmtree(root)


def test_the_lock_of_a_process_that_was_killed_is_taken_over(whole, tmp_path):
    child = trials.start(trials.train, tmp_path / "run")
    while not (tmp_path / "run" / "lock").exists() and child.is_alive():
        pass
    child.kill()
    child.join()
    assert trials.run(trials.train, tmp_path / "run") == 0
    assert trials.outcome(tmp_path / "run") == whole
