"""The cases that every client is put through. A case that has no meaning for a client is not run for it."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from functorch_artifact import records
from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record
from functorch_artifact.tracking import MLflow
from tests.conformance import unreachable
from tests.conformance.material import HOSTILE, epochs, everything, losses, png, run_info, score
from tests.conformance.mlflow_server import Server, server
from tests.conformance.subjects import SUBJECTS, OfMemory, OfMLflowServer, Subject

every_client = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name, indirect=True)
every_durable_client = pytest.mark.parametrize(
    "subject", [each for each in SUBJECTS if each is not OfMemory], ids=lambda subject: subject.name, indirect=True
)
ROOT = Path(__file__).parents[2]
# By these, backends take a process for a part of the one that started it.
INHERITED = {"CLEARML_PROC_MASTER_ID", "TRAINS_PROC_MASTER_ID", "WANDB_SERVICE"}


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    made: Subject = request.param(tmp_path)
    return made


def log(subject: Subject, *batches: list[Record], run: str = "run") -> None:
    """Open, log and close, as a process of its own would."""
    client = subject.client()
    client.open(run_info(subject.root, run))
    try:
        for batch in batches:
            client.log(batch)
    finally:
        client.close()


def start(subject: Subject, run: str) -> subprocess.Popen[str]:
    """Start a process that logs 40 epochs of a run."""
    command = [sys.executable, "-m", "tests.conformance.child", type(subject).__name__, str(subject.root), run]
    subject.prepare()
    environment = {k: v for k, v in os.environ.items() if k not in INHERITED} | {"PYTHONPATH": str(ROOT)}
    if isinstance(subject, OfMLflowServer):
        environment["MLFLOW_SERVER"] = subject.uri
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=subject.root, env=environment)


def same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> bool:
    def alike(a: tuple[int, float], b: tuple[int, float]) -> bool:
        return a[0] == b[0] and (a[1] == b[1] or (math.isnan(a[1]) and math.isnan(b[1])))

    return len(found) == len(expected) and all(itertools.starmap(alike, zip(found, expected, strict=True)))


@every_client
def test_every_kind(subject: Subject, tmp_path: Path) -> None:
    log(subject, everything(tmp_path / "w.bin"))
    assert subject.scores()["LOSS", "VALIDATION"] == [(20, 0.25)]
    subject.has_everything()


@every_client
def test_nan_and_infinities(subject: Subject) -> None:
    values = [math.nan, math.inf, -math.inf, 1e-320, -0.0, 1e300]
    log(subject, [score(value=value, epoch=epoch) for epoch, value in enumerate(values, 1)])
    places = [(10 * epoch, value) for epoch, value in enumerate(values, 1)]
    kept = [(step, stored) for step, value in places if (stored := subject.stored(value)) is not None]
    assert same(subject.scores()["LOSS", "TRAIN"], kept)
    for step, value in places:
        assert subject.stored(value) is not None or subject.has_as_text(("LOSS", "TRAIN"), step, value)


@every_client
def test_duplicate_step(subject: Subject) -> None:
    batch = [score(), score("OTHER", 0.75), score(split=None, value=0.25), score(split="VALIDATION")]
    log(subject, batch, batch, [*batch, *batch])
    assert subject.scores() == {
        ("LOSS", "TRAIN"): [(10, 0.5)],
        ("OTHER", "TRAIN"): [(10, 0.75)],
        ("LOSS",): [(10, 0.25)],
        ("LOSS", "VALIDATION"): [(10, 0.5)],
    }


@every_client
def test_out_of_order_step(subject: Subject) -> None:
    made = losses(1, 6)
    log(subject, [made[i] for i in (2, 0, 1)], [made[5]], [made[3], made[4]])
    found = sorted(subject.scores()["LOSS", "TRAIN"])
    assert found == [(record.step, subject.stored(record.value.value)) for record in made]


@every_client
def test_10_000_scores(subject: Subject) -> None:
    made = [score(f"S{i}", i / 8, epoch) for epoch in range(1, 501) for i in range(20)]
    log(subject, *(made[i : i + 256] for i in range(0, len(made), 256)))
    found = subject.scores()
    assert {key: sorted(points) for key, points in found.items()} == {
        (f"S{i}", "TRAIN"): [(10 * epoch, i / 8) for epoch in range(1, 501)] for i in range(20)
    }


@every_client
def test_100_plots(subject: Subject) -> None:
    made = [Record("PDF", records.Plot(png(shade)), shade + 1, (shade + 1) * 10) for shade in range(100)]
    log(subject, *(made[i : i + 25] for i in range(0, 100, 25)))
    assert sorted(subject.plots()["PDF",]) == [record.step for record in made]


@every_client
def test_50_mb_file(subject: Subject, tmp_path: Path) -> None:
    source = tmp_path / "weights.bin"
    with source.open("wb") as file:
        file.truncate(50_000_000)
    log(subject, [Record("WEIGHTS", records.File(str(source)), 1, 10, "TRAIN")])
    assert subject.large_file() == 50_000_000


@every_client
def test_hostile_and_unicode_names(subject: Subject) -> None:
    made = [score(name, value=i + 0.5) for i, name in enumerate(HOSTILE)]
    collections = [
        Record("JS", records.ScoreCollection({name: i + 0.5 for i, name in enumerate(HOSTILE)}), 1, 10),
        Record("PDFS", records.PlotCollection(dict.fromkeys(HOSTILE, png())), 1, 10),
        *(Record(name, records.Plot(png()), 2, 20) for name in HOSTILE),
    ]
    log(subject, made, collections)
    found, plots = subject.scores(), subject.plots()
    for i, name in enumerate(HOSTILE):
        assert found[subject.key(name, split="TRAIN")] == [(10, i + 0.5)]
        assert found[subject.key("JS", name)] == [(10, i + 0.5)]
        assert plots[subject.picture_key("PDFS", name)] == [10]
        assert plots[subject.picture_key(name)] == [20]
    if subject.names_are_bounded:
        with pytest.raises(TrackingError, match="too long, or empty"):
            log(subject, [score("x" * 100_000)])


@every_client
def test_resume(subject: Subject) -> None:
    log(subject, losses(1, 3))
    log(subject, losses(2, 5))  # as after a crash that forgot epochs 2 and 3
    log(subject, losses(6, 6))
    assert subject.scores()["LOSS", "TRAIN"] == [
        (record.step, subject.stored(record.value.value)) for record in losses(1, 6)
    ]


@every_durable_client
def test_two_runs_at_once(subject: Subject) -> None:
    with start(subject, "one") as one, start(subject, "two") as two:
        one.communicate()
        two.communicate()
    for run in ("one", "two"):
        assert subject.scores(run)["LOSS", "TRAIN"] == [(10 * e, subject.stored(1 / e)) for e in range(1, 41)]
        assert subject.plots(run)["PDF", "VALIDATION"] == [50 * i for i in range(1, 9)]


@every_durable_client
def test_killed_while_writing(subject: Subject) -> None:
    with start(subject, "run") as child:
        assert child.stdout is not None
        for _ in range(6):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)  # it goes on writing meanwhile: this falls somewhere within a write
    log(subject, *epochs(40))
    assert subject.scores()["LOSS", "TRAIN"] == [(10 * e, subject.stored(1 / e)) for e in range(1, 41)]
    assert subject.plots()["PDF", "VALIDATION"] == [50 * i for i in range(1, 9)]


@pytest.fixture
def flaky(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, which is down."""
    made = Server(tmp_path)
    yield made
    made.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def raises_soon(action: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(Exception, match=r"(?i)max retries|timed out|connection") as raised:
        action()
    assert not isinstance(raised.value, TrackingError)  # an outage is no refusal
    assert time.monotonic() - began < 60


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("client", ["MLflow (server)"])
def test_server_down_for_the_first_half(client: str, flaky: Server, tmp_path: Path) -> None:
    subject = MLflow(experiment="flaky", tracking_uri=flaky.uri)
    raises_soon(lambda: subject.open(run_info(tmp_path)))
    flaky.start()
    subject.open(run_info(tmp_path))
    subject.log(losses(1, 3))
    flaky.kill()
    raises_soon(lambda: subject.log(losses(4, 6)))
    flaky.start()
    subject.log(losses(4, 6))
    subject.close()
    assert history(flaky, "flaky") == [(record.step, record.value.value) for record in losses(1, 6)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("client", ["MLflow (server)"])
def test_slow_server(client: str, tmp_path: Path) -> None:
    slow = server()
    assert isinstance(slow, Server)
    subject = MLflow(experiment="slow", tracking_uri=slow.uri)
    subject.open(run_info(tmp_path))
    slow.stall()
    raises_soon(lambda: subject.log(losses(1, 3)))
    slow.go_on()
    subject.log(losses(1, 6))
    subject.close()
    assert history(slow, "slow") == [(record.step, record.value.value) for record in losses(1, 6)]


def history(at: Server, experiment: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(at.uri)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return [(entry.step, entry.value) for entry in client.get_metric_history(found.info.run_id, "LOSS/TRAIN")]


@pytest.mark.parametrize("client", list(unreachable.CLIENTS))
def test_server_that_is_not_there(client: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.conformance.unreachable", client, "http://127.0.0.1:9"]
    environment = {k: v for k, v in os.environ.items() if k not in INHERITED} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120, check=True
    )
    assert float(done.stdout.split()[-1]) < 90
