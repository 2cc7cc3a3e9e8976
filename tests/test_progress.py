"""What a person sees of a run: on a real terminal, in a pipe, in a notebook, or not at all."""

import io
import os
import pty
import re
import subprocess
import sys
import termios
import time

import pytest

from functorch_artifact.progress import Progress

RUN = """
import sys, time
{setup}
import functorch_artifact.progress as progress
progress._SECONDS_BETWEEN_EPOCHS = {pause}
shown = progress.Progress({enabled}, 3, every={every})
for epoch in range(1, {epochs} + 1):
    assert list(shown.batches((time.sleep({batch}) or i for i in range(3)), epoch)) == [0, 1, 2]
    shown.epoch(epoch, {{"LOSS": 1 / epoch, "JS/price": 0.5, "bad\\x1b[31m\\nname": 0.25}})
shown.say("stopped: enough")
print("the run went on")
"""
NOTEBOOK = """
import types
shell = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
"""


def script(*, enabled=True, every=60.0, epochs=2, batch=0.0, pause=0.0, setup=""):
    return RUN.format(enabled=enabled, every=every, epochs=epochs, batch=batch, pause=pause, setup=setup)


def piped(**options):
    done = subprocess.run([sys.executable, "-c", script(**options)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the run went on\n")
    return done


def on_a_terminal(**options):
    """Run with standard error on a pseudo-terminal; return all that was sent to it."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", script(**options)], stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    sent = b""
    try:
        while chunk := os.read(controller, 4096):
            sent += chunk
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    finally:
        os.close(controller)
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, b"the run went on\n")
    return sent.decode()


def screen(sent):
    """Play a terminal that knows carriage return and newline: the lines it shows in the end."""
    lines, column = [""], 0
    for char in sent:
        if char == "\n":
            lines.append("")
        elif char == "\r":
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + char + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_a_log_gets_whole_lines_without_control_characters():
    lines = piped(every=0).stderr.splitlines()
    assert all(char.isprintable() for line in lines for char in line)
    patterns = [
        r"epoch 1  batch 1/3   33%  \S+ batches/s",
        r"epoch 1  batch 2/3   67%  \S+ batches/s",
        r"epoch 1    0\.0 s  LOSS 1  bad\\x1b\[31m\\nname 0\.25",
        r"epoch 2  batch 1/3   33%  \S+ batches/s",
        r"epoch 2  batch 2/3   67%  \S+ batches/s",
        r"epoch 2    0\.0 s  LOSS 0\.5  bad\\x1b\[31m\\nname 0\.25",
        r"stopped: enough",
    ]
    assert len(lines) == len(patterns)
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.fullmatch(pattern, line)


def test_a_log_is_not_flooded():
    lines = piped(epochs=1000, pause=3600).stderr.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["epoch", "1"], ["epoch", "1000"]]
    assert lines[2:] == ["stopped: enough"]


def test_off_is_silent():
    assert piped(enabled=False).stderr == ""


def test_a_program_without_a_console_runs(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    shown = Progress(True, 2)
    assert list(shown.batches("ab", epoch=1)) == ["a", "b"]
    shown.epoch(1, {"LOSS": 0.5})
    shown.say("stopped")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stream_that_is_closed_stops_the_reports_alone(at_once, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    if at_once:
        stream.close()
    shown = Progress(True, 2, every=0)
    stream.close()
    assert list(shown.batches("ab", epoch=1)) == ["a", "b"]
    shown.epoch(1, {"LOSS": 0.5})
    shown.say("stopped")


def test_a_reader_that_goes_away_stops_the_reports_alone():
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", script(epochs=50)], stdout=subprocess.PIPE, stderr=write)
    os.close(write)
    os.close(read)
    out, _ = process.communicate(timeout=120)
    assert out == b"the run went on\n"


def test_a_terminal_shows_a_bar_and_then_a_line_an_epoch():
    sent = on_a_terminal(batch=0.3)
    assert "epoch 2:  67%|" in sent
    assert "epoch 2  validating ..." in sent
    shown = screen(sent)
    assert [line.split()[:2] for line in shown] == [["epoch", "1"], ["epoch", "2"], ["stopped:", "enough"]]
    assert not any("validating" in line or "|" in line for line in shown)


def test_a_terminal_does_not_flicker_when_epochs_are_short():
    sent = on_a_terminal(epochs=3)
    assert "|" not in sent
    assert "validating" not in sent
    assert len(screen(sent)) == 4


def test_a_notebook_gets_its_lines_as_output_and_not_as_errors():
    done = piped(setup=NOTEBOOK)
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["epoch", "1"], ["epoch", "2"]]
    assert lines[2:] == ["stopped: enough", "the run went on"]
    assert not re.search("epoch|stopped", done.stderr)


def test_several_batches_at_once_count_as_so_many(capsys):
    shown = Progress(True, 7, every=0)
    assert list(shown.batches(iter(["abc", "de", "fg"]), 1, 0, len)) == ["abc", "de", "fg"]
    assert list(shown.batches(iter(["f", "g"]), 2, 5, len)) == ["f", "g"]
    counted = [line.split()[3] for line in capsys.readouterr().err.splitlines()]
    assert counted == ["3/7", "5/7", "6/7"]


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_an_epoch_of_unknown_length_passes_its_batches_on(every, capsys):
    shown = Progress(True, 2, every=every)
    started = time.perf_counter()
    assert list(shown.batches(iter(range(5)), epoch=1)) == [0, 1, 2, 3, 4]
    assert time.perf_counter() > started
    assert ("batch 4/2  100%" in capsys.readouterr().err) is (every == 0)
