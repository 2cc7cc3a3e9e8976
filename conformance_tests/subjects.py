"""How each client is made, and how its backend is read back.

A subject reads what is really there: files, databases, a server's answers. Scores are listed as
(step, value) in the backend's own order, pictures as steps, both by the segments of their keys.
"""

from __future__ import annotations

import csv
import functools
import math
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import pandas as pd

from conformance_tests.material import FRAME, PARAMETERS, png
from functorch_artifact.records import Plot, PlotCollection, Score, ScoreCollection, TrackingClient
from functorch_artifact.tracking import Filesystem, InMemory, MLflow, TensorBoard, layout
from functorch_artifact.tracking import mlflow as ours_for_mlflow

Key = tuple[str, ...]
Scores = dict[Key, list[tuple[int, float]]]


class Subject(ABC):
    """One client and its backend, below one directory."""

    name: str
    names_are_bounded = True

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def client(self) -> TrackingClient:
        """Make a client; another one of the same place each time."""

    @abstractmethod
    def scores(self, run: str = "run") -> Scores:
        """Read all scores of a run."""

    @abstractmethod
    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        """Read at which steps there are which pictures."""

    @abstractmethod
    def has_everything(self) -> None:
        """Check that `material.everything` of epoch 2, and the parameters, are there as documented."""

    def key(self, name: str, key: str | None = None, split: str | None = None) -> Key:
        """Say how the backend's reader spells a place."""
        return tuple(segment for segment in (name, key, split) if segment is not None)

    def picture_key(self, name: str, key: str | None = None, split: str | None = None) -> Key:
        """Say the same of a picture."""
        return self.key(name, key, split)

    def stored(self, value: float) -> float | None:
        """Say what a number is read back as; `None` if it is elsewhere (see `has_as_text`)."""
        return value

    def has_as_text(self, key: Key, step: int, value: float) -> bool:
        """Say whether a number that the backend refuses is there as text."""
        return False

    @abstractmethod
    def large_file(self) -> int:
        """Give the size of the one file that was logged as `WEIGHTS`."""


class OfMemory(Subject):
    name = "InMemory"
    names_are_bounded = False
    made: ClassVar[dict[Path, InMemory]] = {}

    def client(self) -> InMemory:
        return self.made.setdefault(self.root, InMemory())

    def scores(self, run: str = "run") -> Scores:
        found: Scores = defaultdict(list)
        for record in self.client().records:
            for key, value in layout.numbers(record).items():
                found[key].append((record.step, value))
        return dict(found)

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        found = defaultdict(list)
        for record in self.client().records:
            for key in layout.plots(record):
                found[key].append(record.step)
        return dict(found)

    def has_everything(self) -> None:
        client = self.client()
        assert len(client.records) == 10
        assert client.run is not None
        assert client.run.parameters == PARAMETERS
        assert {type(record.value) for record in client.records} >= {Score, ScoreCollection, Plot, PlotCollection}

    def large_file(self) -> int:
        (record,) = self.client().select(name="WEIGHTS")
        return Path(record.value.path).stat().st_size


class OfFiles(Subject):
    name = "Filesystem"

    def client(self) -> TrackingClient:
        return Filesystem()

    def scores(self, run: str = "run") -> Scores:
        found: Scores = defaultdict(list)
        with (self.root / run / "scores.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                key = (row["name"], row["split"]) if row["split"] else (row["name"],)
                found[key].append((int(row["step"]), float(row["value"])))
        return dict(found)

    def key(self, name: str, key: str | None = None, split: str | None = None) -> Key:
        return super().key(name if key is None else f"{name}/{key}", None, split)

    def picture_key(self, name: str, key: str | None = None, split: str | None = None) -> Key:
        return super().key(name, key, split)

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        return pictures({str(path.relative_to(self.root / run)) for path in (self.root / run).rglob("*.png")}, unquote)

    def has_everything(self) -> None:
        has_layout(
            {str(p.relative_to(self.root / "run")): p.read_bytes() for p in files_of(self.root / "run")}, unquote
        )
        assert self.scores()["JS/a/b", "VALIDATION"] == [(20, 0.75)]

    def large_file(self) -> int:
        (path,) = (self.root / "run" / "files" / "WEIGHTS").iterdir()
        return path.stat().st_size


class OfTensorBoard(Subject):
    name = "TensorBoard"
    names_are_bounded = False

    def client(self) -> TrackingClient:
        return TensorBoard()

    def events(self, run: str = "run"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(self.root / run / "tensorboard"), size_guidance=dict.fromkeys(
            ("scalars", "images", "tensors", "histograms"), 0))  # fmt: skip
        found.Reload()
        return found

    def scores(self, run: str = "run") -> Scores:
        found = self.events(run)
        return {
            tuple(tag.split("/")): [(event.step, event.value) for event in found.Scalars(tag)]
            for tag in found.Tags()["scalars"]
            if tag != layout.EPOCH
        }

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        found = self.events(run)
        return {tuple(tag.split("/")): [e.step for e in found.Images(tag)] for tag in found.Tags()["images"]}

    def has_everything(self) -> None:
        found = self.events()
        assert [(event.step, event.value) for event in found.Scalars(layout.EPOCH)] == [(20, 2.0)]
        assert found.Images("PDFS/price ($)/VALIDATION")[0].encoded_image_string == png(10)
        assert found.Histograms("CUBE/VALIDATION")[0].histogram_value.sum == 4.0
        texts = {tag.removesuffix("/text_summary") for tag in found.Tags()["tensors"]}
        assert texts == {"MEANS/VALIDATION", "WEIGHTS/VALIDATION", "WAVES/VALIDATION", "run/parameters"}
        assert found.Scalars("JS/price ($)/VALIDATION")[0].value == 0.5

    def key(self, name: str, key: str | None = None, split: str | None = None) -> Key:
        return tuple("/".join(super().key(name, key, split)).split("/"))

    def stored(self, value: float) -> float:
        return float(pd.Series([value], dtype="float32")[0])

    def large_file(self) -> int:
        (event,) = self.events().Tensors("WEIGHTS/TRAIN/text_summary")
        return Path(event.tensor_proto.string_val[0].decode().strip("`")).stat().st_size


class OfMLflow(Subject):
    """MLflow without a server: its client writes to SQLite and to a directory."""

    name = "MLflow (sqlite)"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root}/mlflow.db"

    @classmethod
    @functools.cache
    def empty_database(cls) -> Path:
        """Make one database, which takes seconds, for all tests to copy."""
        from mlflow import MlflowClient

        path = Path(tempfile.mkdtemp()) / "mlflow.db"
        MlflowClient(f"sqlite:///{path}").search_experiments()
        return path

    def client(self) -> TrackingClient:
        if not (self.root / "mlflow.db").exists():
            shutil.copyfile(self.empty_database(), self.root / "mlflow.db")
        return MLflow(experiment="conformance", tracking_uri=self.uri)

    def reader(self, run: str):
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("conformance").experiment_id
        (found,) = [each for each in client.search_runs([experiment]) if each.info.run_name == run]
        return client, found

    def scores(self, run: str = "run") -> Scores:
        client, found = self.reader(run)
        return {
            ours_for_mlflow.KEYS.segments(key): [
                (entry.step, entry.value) for entry in client.get_metric_history(found.info.run_id, key)
            ]
            for key in found.data.metrics
            if key != layout.EPOCH
        }

    def artifacts(self, run: str = "run") -> dict[str, bytes]:
        client, found = self.reader(run)
        local = Path(client.download_artifacts(found.info.run_id, "", dst_path=str(self.root)))
        return {str(path.relative_to(local)): path.read_bytes() for path in files_of(local)}

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        return pictures({path for path in self.artifacts(run) if path.endswith(".png")}, ours_for_mlflow.PATHS.decode)

    def has_everything(self) -> None:
        client, found = self.reader("run")
        has_layout(self.artifacts(), ours_for_mlflow.PATHS.decode)
        params = {ours_for_mlflow.KEYS.decode(name): value for name, value in found.data.params.items()}
        assert params == {name: str(value)[:6000] for name, value in PARAMETERS.items()}
        assert [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, layout.EPOCH)] == [
            (20, 2.0)
        ]
        assert self.scores()["JS", "a/b", "VALIDATION"] == [(20, 0.75)]
        assert found.info.status == "FINISHED"

    def stored(self, value: float) -> float:
        return math.copysign(sys.float_info.max, value) if math.isinf(value) else value

    def large_file(self) -> int:
        (content,) = [content for path, content in self.artifacts().items() if path.startswith("files/WEIGHTS/")]
        return len(content)


SUBJECTS: list[type[Subject]] = [OfMemory, OfFiles, OfTensorBoard, OfMLflow]


def files_of(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def pictures(paths: set[str], decode) -> dict[Key, list[int]]:
    """Read keys and steps from `plots/NAME/[KEY/][SPLIT_]epoch_0001_step_00000010.png`."""
    found = defaultdict(list)
    for path in sorted(paths):
        _, *segments, stem = path.removesuffix(".png").split("/")
        split, _, place = stem.rpartition("epoch_")
        end = [decode(split.removesuffix("_"))] if split else []
        found[*map(decode, segments), *end].append(int(place.partition("_step_")[2]))
    return dict(found)


def has_layout(found: dict[str, bytes], decode) -> None:
    """Check the files of `material.everything`, by their decoded paths."""
    import io
    import json

    import numpy as np

    plain = {decode(path): content for path, content in found.items()}
    stem = "VALIDATION_epoch_0002_step_00000020"
    assert np.load(io.BytesIO(plain[f"arrays/CORRELATION/{stem}.npy"])).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.load(io.BytesIO(plain[f"arrays/CUBE/{stem}.npy"])).shape == (2, 1, 2)
    assert np.load(io.BytesIO(plain[f"arrays/WAVES/{stem}.npy"])).tolist() == [1 + 2j]
    archive = np.load(io.BytesIO(plain[f"arrays/BY_COLUMN/{stem}.npz"]))
    assert {decode(key): archive[key].tolist() for key in archive} == {"file": [1, 2], "a/b": [0.5], "flag": [True]}
    assert plain[f"plots/PDF/{stem}.png"] == png()
    assert plain[f"plots/PDFS/price ($)/{stem}.png"] == png(10)
    assert plain[f"plots/PDFS/../../a/{stem}.png"] == png(20)
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(plain[f"tables/MEANS/{stem}.csv"]), index_col=0), FRAME)
    assert plain[f"files/WEIGHTS/{stem}.bin"] == b"weights"
    parameters = json.loads(plain["parameters.json"])
    assert parameters == {"name": "run", "parameters": {**PARAMETERS, "bound (max)": "inf"}}
