"""The command line: what it says of real runs, live and dead, and how it fails."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import functorch_artifact as fa
from functorch_artifact import callbacks, cli, folds

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\1\10\0\0\0\0" + bytes(20)
HOSTILE = "bad\x1b[31m\nname"


def program(n_epochs=4, *, rate=0.1, seed=0, also="LARGEST_LOSS", picture="PICTURE"):
    torch.manual_seed(seed)
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(32, 3)}), batch_size=8, shuffle=True)
    every = folds.mean(lambda batch: batch.output["loss"])
    scores = [
        fa.ValLossCallback(),
        callbacks.score(also, folds.max(lambda batch: batch.output["loss"]), period=2),
        callbacks.plot(picture, every.then(lambda _: PNG), period=2),
        callbacks.array("WEIGHTS", every.then(lambda mean: [mean, 1.0]), period=3),
    ]
    return fa.Program(
        model=fa.functional(torch.nn.Linear(3, 1), inputs=lambda batch: batch["x"]),
        loss=lambda output, batch: (output - batch["x"].sum(1, keepdim=True)).square().mean(),
        optimizer=fa.optimizers.sgd(rate),
        train_loader=loader,
        loader_routines=[fa.DataLoaderRoutine(loader, scores, split="VALIDATION")],
        stopper=fa.EpochBoundStopper(n_epochs),
        tracker=fa.ScoreTracker("VAL_LOSS", mode="min"),
        seed=seed,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs; nothing may write to them."""
    folder = tmp_path_factory.mktemp("runs")
    fa.fit(program(), run=folder / "first", progress=False)
    fa.fit(program(6, rate=0.05, seed=1), run=folder / "deep" / "second", progress=False)
    return folder


def run(*arguments, fails=None):
    done = CliRunner().invoke(cli.commands(), [str(each) for each in arguments])
    assert done.exit_code == (fails or 0), done.output
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.output


def rows(output):
    """Take a table apart: cells by the first cell of their row."""
    lines = [re.split(r" {2,}", line.strip()) for line in output.splitlines() if line.strip()]
    return {line[0]: line[1:] for line in lines}


def test_runs_lists_every_run_below_a_directory(runs):
    table = rows(run("runs", runs))
    best = {name: fa.RunReader(runs / name).best_score for name in ("first", "deep/second")}
    bound = "the run has reached its bound of {} epochs"
    assert table["first"] == ["finished", "4", f"VAL_LOSS {best['first'].value:.4g} at 4", bound.format(4)]
    assert table["deep/second"][:2] == ["finished", "6"]
    assert table["deep/second"][3] == bound.format(6)
    assert [name for name in table if name in ("first", "deep/second")] == ["deep/second", "first"]


def test_a_run_that_cannot_be_read_does_not_hide_the_others(runs, tmp_path):
    shutil.copytree(runs / "first", tmp_path / "good")
    for name, content in (("torn", b"SQLite format 3\0" + bytes(50)), ("empty", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.sqlite").write_bytes(content)
    shutil.copytree(runs / "first", tmp_path / "foreign")
    with sqlite3.connect(tmp_path / "foreign" / "journal.sqlite") as journal:
        journal.execute("UPDATE run SET parameters = 'no json'")
    table = rows(run("runs", tmp_path))
    assert table["good"][0] == "finished"
    assert [table[name][0] for name in ("torn", "empty", "foreign")] == ["unreadable"] * 3


def test_show_tells_a_run(runs):
    output = run("show", runs / "first")
    table = rows(output)
    scores = fa.RunReader(runs / "first").scores["VAL_LOSS"]
    assert table["state"] == ["finished"]
    assert table["epochs"] == ["4"]
    last, course, first, lowest, at, *_ = table["VAL_LOSS"]
    assert (first, last) == (f"{scores[1]:.4g}", f"{scores[4]:.4g}")
    assert (lowest, at) == (f"{scores.min():.4g}", str(scores.idxmin()))
    assert re.fullmatch("█[▁-█]{2}▁", course)
    assert table["plot"] == ["PICTURE", "VALIDATION", "2, 4"]
    assert table["array"] == ["WEIGHTS", "VALIDATION", "3"]


def test_hostile_names_move_no_cursor_and_what_is_refused_is_said(tmp_path):
    fa.fit(program(also=HOSTILE, picture="P" * 300), run=tmp_path / "run", tracking_client=[], progress=False)
    output = run("show", tmp_path / "run")
    assert r"bad\x1b[31m\nname" in output
    assert all(char.isprintable() or char == "\n" for char in output)
    output = run("sync", tmp_path / "run", "--to", f"filesystem:{tmp_path / 'files'}", fails=1)
    assert "took 7 of 9 records and refused 2" in output
    assert "Warning: Filesystem" in output
    assert "refused" in run("sync", tmp_path / "run", "--to", f"filesystem:{tmp_path / 'files'}", fails=1)


def test_compare_shows_what_differs(runs):
    table = rows(run("compare", runs / "first", runs / "deep" / "second"))
    assert table["first"] == ["second"]
    assert table["seed"] == ["0", "1"]
    assert "model" not in table
    expected = [fa.RunReader(path).best_score for path in (runs / "first", runs / "deep" / "second")]
    assert table["VAL_LOSS"] == [f"{best.value:.4g}" for best in expected]
    assert table["epochs"] == ["4", "6"]


def test_sync_fills_a_backend_after_the_fact_and_once(runs, tmp_path):
    shutil.copytree(runs / "first", tmp_path / "run")
    target = f"filesystem:{tmp_path / 'files'}"
    n_records = len(fa.RunReader(tmp_path / "run").records())
    assert f"took {n_records} records" in run("sync", tmp_path / "run", "--to", target)
    found = {path.relative_to(tmp_path / "files"): path.read_bytes() for path in _files(tmp_path / "files")}
    assert "has everything already" in run("sync", tmp_path / "run", "--to", target)
    assert found == {path.relative_to(tmp_path / "files"): path.read_bytes() for path in _files(tmp_path / "files")}
    assert len([path for path in found if path.suffix == ".png"]) == 2


def test_sync_says_what_a_backend_does_not_take(runs, tmp_path):
    shutil.copytree(runs / "first", tmp_path / "run")
    (tmp_path / "taken").write_text("a file")
    output = run("sync", tmp_path / "run", "--to", f"filesystem:{tmp_path / 'taken'}", fails=1)
    assert output.startswith("Error: Filesystem")
    assert "FileExistsError" in output or "NotADirectoryError" in output


def test_report_writes_a_page(runs, tmp_path):
    output = run("report", runs / "first", "-o", tmp_path / "new" / "page.html")
    page = (tmp_path / "new" / "page.html").read_text()
    assert "page.html" in output
    assert "<title>first</title>" in page
    assert "PICTURE at epoch 4" in page


def test_doctor_says_what_will_be_used():
    output = run("doctor")
    table = rows(output)
    assert table["torch"] == [torch.__version__]
    assert ("cuda by" if torch.cuda.is_available() else "cpu by") in output
    assert any(line.strip().startswith("modes") for line in output.splitlines())


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["show", "."], 1, "holds no journal"),
        (["runs", "."], 1, "holds no run"),
        (["show", "nowhere"], 2, "does not exist"),
        (["compare"], 2, "Missing argument"),
        (["sync", "."], 2, "Missing option '--to'"),
        (["sync", ".", "--to", "mlflo:x"], 1, "is no kind of tracking client"),
        (["sync", ".", "--to", "filesystem:x?depth=3"], 1, "is no option"),
        (["nonsense"], 2, "No such command"),
        (["report", "."], 1, "holds no journal"),
    ],
)
def test_what_cannot_be_done_is_one_message(arguments, status, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert text in run(*arguments, fails=status)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_is_shown_as_it_stands(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import functorch_artifact as fa, test_cli
        class Wait(fa.TrackingClient):
            durable = False
            def open(self, run): pass
            def log(self, records): pass
            def close(self): pass
        class Stopper(fa.EarlyStopper):
            def init(self): return 0
            def update(self, state, data):
                if data.n_epochs_elapsed == 3:
                    print("three epochs", flush=True)
                    sys.stdin.readline()
                return state
            def verdict(self, state): return fa.stoppers.Continue()
        import attrs
        fa.fit(attrs.evolve(test_cli.program(), stopper=Stopper()), run={str(tmp_path / "live")!r}, progress=False)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"three epochs\n"
        assert rows(run("runs", tmp_path))["live"][0] == "running"
        table = rows(run("show", tmp_path / "live"))
        assert table["state"] == ["running"]
        assert table["epochs"] in (["2"], ["3"])
        run("report", tmp_path / "live", "-o", tmp_path / "page.html")
        assert "running" in (tmp_path / "page.html").read_text()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert rows(run("show", tmp_path / "live"))["state"] == ["crashed"]
    run("report", tmp_path / "live", "-o", tmp_path / "page.html")
    assert "crashed" in (tmp_path / "page.html").read_text()


def test_the_module_runs_as_a_program_and_wide_tables_are_not_cut(runs):
    command = [sys.executable, "-m", "functorch_artifact", "show", str(runs / "first")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "…" not in done.stdout
    assert not re.search(r" $|\x1b", done.stdout, re.MULTILINE)


def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(runs, monkeypatch):
    from functorch_artifact.cli import terminal

    monkeypatch.setattr(terminal, "_WIDTH", 48)  # as on a phone
    table = rows(run("show", runs / "first"))
    wide = fa.RunReader(runs / "first").scores["VAL_LOSS"]
    assert table["VAL_LOSS"][0] == f"{wide[4]:.4g}"
    assert len(table["VAL_LOSS"]) == 2
    output = run("runs", runs)
    assert rows(output)["first"][:2] == ["finished", "4"]
    assert max(map(len, output.splitlines())) <= 48


def test_a_terminal_without_unicode_gets_ascii(runs):
    command = [sys.executable, "-m", "functorch_artifact", "show", str(runs / "first")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


def test_an_error_of_the_program_is_one_message_on_standard_error():
    command = [sys.executable, "-m", "functorch_artifact", "show", os.curdir]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_extra_the_error_names_it(package, runs):
    hide = f"import sys; sys.modules[{package!r}] = None; from functorch_artifact.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide, "runs", str(runs)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: the command line needs the package '{package}', which is not installed\n"
        "  do this: pip install 'functorch-artifact[cli]'\n"
    )


def test_help_needs_no_torch():
    probe = (
        "import sys\nfrom functorch_artifact import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit as done: assert done.code == 0\n"
        "assert not {'torch', 'pandas', 'rich', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "doctor" in done.stdout


def test_the_library_does_not_import_its_command_line():
    probe = (
        "import sys, functorch_artifact\nfunctorch_artifact.fit\n"
        "assert not {'click', 'rich', 'functorch_artifact.cli', 'functorch_artifact.cli.terminal'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())
