"""artifact-experiment's own clients take records, by their methods alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import functorch_artifact as fa
from functorch_artifact.errors import TrackingError
from functorch_artifact.tracking import ArtifactExperiment, artifact_experiment
from tests.conformance.material import HOSTILE, epochs, everything, losses, run_info, score


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A client of the real package, which writes below the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    from artifact_experiment.tracking import FilesystemTrackingClient

    made = FilesystemTrackingClient.build(experiment_id="conformance", run_id="run")
    yield made
    made.stop()


def values(theirs, name: str) -> list[float]:
    theirs.stop()  # which waits for what is being written
    return pd.read_csv(Path(theirs.run_dir, "artifacts", "scores", name))["value"].tolist()


def log(theirs, *batches) -> ArtifactExperiment:
    client = ArtifactExperiment(theirs)
    client.open(run_info(Path(theirs.run_dir).parent))
    for batch in batches:
        client.log(batch)
    client.close()
    return client


def test_every_kind(theirs, tmp_path):
    log(theirs, everything(tmp_path / "w.bin"))
    root = Path(theirs.run_dir, "artifacts")
    assert values(theirs, "LOSS.VALIDATION") == [0.25]
    assert np.load(next((root / "arrays" / "CORRELATION.VALIDATION").iterdir())).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert next((root / "plots" / "PDF.VALIDATION").iterdir()).read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(root / "score_collections" / "JS.VALIDATION").to_dict("list") == {
        "price~20~28~24~29": [0.5],
        "a~2Fb": [0.75],
    }
    with np.load(next((root / "array_collections" / "BY_COLUMN.VALIDATION").iterdir())) as archive:
        assert (archive["a~2Fb"].tolist(), archive["~66ile"].tolist()) == ([0.5], [1, 2])
    assert len(list((root / "plot_collections" / "PDFS.VALIDATION").rglob("*.png"))) == 2
    files = {
        path.parent.parent.name: path.read_bytes()
        for path in Path(theirs.run_dir, "files").rglob("*")
        if path.is_file()
    }
    assert files["WEIGHTS.VALIDATION"] == b"weights"
    assert b"first,0.1,x" in files["MEANS.VALIDATION"]
    assert b'"layers": 3' in files["parameters"]


def test_nothing_twice_and_nothing_lost(theirs):
    batches = list(epochs(10))
    client = log(theirs, *batches)
    client.log([record for batch in batches for record in batch])
    assert values(theirs, "LOSS.TRAIN") == [1 / epoch for epoch in range(1, 11)]


def test_nan_infinities_and_hostile_names(theirs):
    log(theirs, [score(value=value, epoch=i) for i, value in enumerate([math.nan, math.inf, -math.inf], 1)])
    log(theirs, [score(name, value=i) for i, name in enumerate(HOSTILE)])
    assert math.isnan(values(theirs, "LOSS.TRAIN")[0])
    assert values(theirs, "LOSS.TRAIN")[1:] == [math.inf, -math.inf]
    names = {path.name for path in Path(theirs.run_dir, "artifacts", "scores").iterdir()}
    decoded = {artifact_experiment.NAMES.decode(name.removesuffix(".TRAIN")) for name in names}
    assert decoded == {*HOSTILE, "LOSS"}


def test_a_worker_that_died_is_an_outage(theirs, monkeypatch):
    client = log(theirs, losses(1, 2))
    theirs.queue.queue.put("no item of theirs")  # at which the worker ends
    theirs._logger_worker._thread.join(timeout=10)
    with pytest.raises(ConnectionError, match="the worker of FilesystemTrackingClient has died"):
        client.log(losses(3, 4))


def test_fit_takes_such_a_client(theirs):
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(16, 2)}), batch_size=8)
    program = fa.Program(
        model=fa.functional(torch.nn.Linear(2, 1), inputs=lambda batch: batch["x"]),
        optimizer=fa.optimizers.sgd(0.1),
        loss=lambda output, batch: output.square().mean(),
        train_loader=loader,
        loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        stopper=fa.EpochBoundStopper(n_epochs=3),
    )
    result = fa.fit(program, tracking_client=theirs, progress=False)
    assert values(theirs, "VAL_LOSS") == result.scores["VAL_LOSS"].tolist()


def test_anything_else_is_refused():
    with pytest.raises(TrackingError, match=r"tracking_client: is no tracking client\n  expected: .*log_score"):
        artifact_experiment.as_clients([object()])
