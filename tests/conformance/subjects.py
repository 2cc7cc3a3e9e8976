"""How each client is made, and how its backend is read back.

A subject reads what is really there: files, databases, a server's answers. Scores are listed as
(step, value) in the backend's own order, pictures as steps, both by the segments of their keys.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import shutil
import sqlite3
import sys
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import numpy as np
import pandas as pd

from functorch_artifact.records import Plot, PlotCollection, RunInfo, Score, ScoreCollection, TrackingClient
from functorch_artifact.tracking import (
    ClearML,
    Filesystem,
    InMemory,
    MLflow,
    Neptune,
    TensorBoard,
    Trackio,
    WandB,
    layout,
)
from functorch_artifact.tracking import clearml as ours_for_clearml
from functorch_artifact.tracking import mlflow as ours_for_mlflow
from functorch_artifact.tracking import neptune as ours_for_neptune
from functorch_artifact.tracking import wandb as ours_for_wandb
from functorch_artifact.tracking.names import FILES, PLAIN, run_id
from tests.conformance.material import FRAME, PARAMETERS, png
from tests.conformance.mlflow_server import empty_database, server

Key = tuple[str, ...]
Scores = dict[Key, list[tuple[int, float]]]


class Subject(ABC):
    """One client and its backend, below one directory."""

    name: str
    names_are_bounded = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what the backend needs before any client is made."""

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
    experiment = "conformance"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root}/mlflow.db"

    def client(self) -> TrackingClient:
        self.prepare()
        return MLflow(experiment=self.experiment, tracking_uri=self.uri)

    def prepare(self) -> None:
        if not (self.root / "mlflow.db").exists():
            shutil.copyfile(empty_database(), self.root / "mlflow.db")

    def reader(self, run: str):
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(self.experiment).experiment_id
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


class OfMLflowServer(OfMLflow):
    """MLflow through a real `mlflow server` on loopback, one for all tests."""

    name = "MLflow (server)"

    @property
    def uri(self) -> str:
        return server().uri

    @property
    def experiment(self) -> str:
        return f"conformance {self.root}"  # one database for all tests

    def prepare(self) -> None:
        server()

    def client(self) -> TrackingClient:
        return MLflow(experiment=self.experiment, tracking_uri=self.uri)


class OfClearML(Subject):
    """ClearML's offline session, as `clearml.Task.import_offline_session` would read it."""

    name = "ClearML (offline)"

    def client(self) -> TrackingClient:
        os.environ["CLEARML_CACHE_DIR"] = str(self.root / "cache")
        return ClearML(project="conformance", offline=True)

    def session(self, run: str) -> tuple[Path, dict[str, Any]]:
        for folder in (self.root / "cache" / "offline").iterdir():
            if folder.is_dir():
                task = json.loads((folder / "task.json").read_text())
                if task["name"] == run:
                    return folder, task
        raise AssertionError(f"no session of {run}")

    def events(self, kind: str, run: str = "run") -> list[dict[str, Any]]:
        lines = (self.session(run)[0] / "metrics.jsonl").read_text().splitlines()
        return [event for line in lines for event in json.loads(line) if event["type"] == kind]

    def spelled(self, event: dict[str, Any]) -> Key:
        end = () if event["variant"] == "value" else (FILES.decode(event["variant"]),)
        return (*FILES.segments(event["metric"]), *end)

    def scores(self, run: str = "run") -> Scores:
        found: Scores = defaultdict(list)
        for event in self.events("training_stats_scalar", run):
            if event["variant"] != "epoch":
                found[self.spelled(event)].append((event["iter"], event["value"]))
        return dict(found)

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        found = defaultdict(list)
        for event in self.events("training_debug_image", run):
            assert (self.session(run)[0] / "data" / event["key"]).read_bytes().startswith(b"\x89PNG")
            found[self.spelled(event)].append(event["iter"])
        return dict(found)

    def artifacts(self) -> dict[str, bytes]:
        _, task = self.session("run")
        return {each["key"]: Path(each["uri"]).read_bytes() for each in task["execution"]["artifacts"]}

    def has_everything(self) -> None:
        has_layout(self.artifacts(), ours_for_clearml.PATHS.decode)
        assert self.plots()["PDFS", "../../a", "VALIDATION"] == [20]
        (plot,) = self.events("plot")
        cells = json.loads(plot["plot_str"])["data"][0]["cells"]["values"]
        assert cells == [["first", "second"], ["0.1", "nan"], ["x", "y"]]
        hyperparameters = self.session("run")[1]["hyperparams"]["run"]
        assert {FILES.decode(name): each["value"] for name, each in hyperparameters.items()} == {
            name: str(value) for name, value in PARAMETERS.items()
        }
        (epoch,) = [each for each in self.events("training_stats_scalar") if each["variant"] == "epoch"]
        assert (epoch["iter"], epoch["value"]) == (20, 2.0)

    def stored(self, value: float) -> float | None:
        return value if math.isfinite(value) else None

    def has_as_text(self, key: Key, step: int, value: float) -> bool:
        return f"{key[0]} {key[1]} at step {step}: {value!r}" in [event["msg"] for event in self.events("log")]

    def large_file(self) -> int:
        (content,) = [content for path, content in self.artifacts().items() if path.startswith("files/WEIGHTS/")]
        return len(content)


class OfNeptune(Subject):
    """Neptune's offline sessions, as `neptune sync` would read them."""

    name = "Neptune (offline)"

    def client(self) -> TrackingClient:
        os.environ["NEPTUNE_DATA_DIRECTORY"] = str(self.root / "neptune")
        return Neptune(project="conformance/conformance")

    def operations(self, run: str = "run") -> list[dict[str, Any]]:
        folders = sorted((self.root / "neptune/offline").iterdir(), key=lambda path: path.stat().st_ctime)
        sessions = [list(ours_for_neptune.operations_of(path)) for path in folders]
        named = [each for each in sessions if run in [op.get("value") for op in each if op["path"] == ["sys", "name"]]]
        return [operation for session in named for operation in session]

    def series(self, kind: str, run: str = "run") -> dict[Key, list[tuple[int, Any]]]:
        found = defaultdict(list)
        for operation in self.operations(run):
            if operation["path"][0] == kind:
                key = tuple(FILES.decode(segment) for segment in operation["path"][1:] if segment != "value")
                found[key] += [(entry["step"], entry["value"]) for entry in operation["values"]]
        return dict(found)

    def scores(self, run: str = "run") -> Scores:
        return self.series("scores", run)

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        return {key: [step for step, _ in entries] for key, entries in self.series("plots", run).items()}

    def files(self) -> dict[str, bytes]:
        uploads = [each for each in self.operations() if each["type"] == "UploadFile"]
        return {"/".join(each["path"][1:]): Path(each["file_path"]).read_bytes() for each in uploads}

    def has_everything(self) -> None:
        has_layout(self.files(), ours_for_neptune.PATHS.decode)
        ((_, picture),) = self.series("plots")["PDF", "VALIDATION"]
        assert base64.b64decode(picture["data"]).startswith(b"\x89PNG")
        fields = {each["path"][1]: each["value"] for each in self.operations() if each["path"][0] == "parameters"}
        assert {FILES.decode(name): value for name, value in fields.items()} == {**PARAMETERS, "bound (max)": "inf"}
        assert self.series("run")["epoch",] == [(20, 2.0)]

    def stored(self, value: float) -> float | None:
        return value if math.isfinite(value) else None

    def has_as_text(self, key: Key, step: int, value: float) -> bool:
        return (step, repr(value)) in self.series("nonfinite")[key]

    def large_file(self) -> int:
        (content,) = [content for path, content in self.files().items() if path.startswith("WEIGHTS/", 6)]
        return len(content)


class OfWandB(Subject):
    """The offline files of Weights & Biases, as `wandb sync` would read them."""

    name = "WandB (offline)"

    def client(self) -> TrackingClient:
        os.environ["WANDB_DIR"] = str(self.root)
        return WandB(project="conformance", mode="offline")

    def folders(self, run: str) -> list[Path]:
        identity = run_id(RunInfo(run, str(self.root / run)))
        return sorted((self.root / "wandb").glob(f"offline-run-*-{identity}"))

    def history(self, run: str = "run") -> dict[Key, list[tuple[int, Any]]]:
        found = defaultdict(list)
        for folder in self.folders(run):
            for row in ours_for_wandb.rows_of(next(folder.glob("*.wandb"))):
                for key, value in row.items():
                    if key not in ("_step", "_timestamp", "_runtime", "_wandb"):
                        found[ours_for_wandb.KEYS.segments(key)].append((row[ours_for_wandb.STEP], value))
        return dict(found)

    def scores(self, run: str = "run") -> Scores:
        history = self.history(run).items()
        numbers = {key: [(step, float(value)) for step, value in found] for key, found in history if plain(found)}
        return {key: found for key, found in numbers.items() if key not in (("run", "step"), ("run", "epoch"))}

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        history = self.history(run).items()
        return {key: [s for s, v in found] for key, found in history if not plain(found)}

    def files(self) -> dict[str, bytes]:
        roots = [folder / "files" for folder in self.folders("run")]
        return {str(path.relative_to(root)): path.read_bytes() for root in roots for path in files_of(root)}

    def has_everything(self) -> None:
        files = self.files()
        has_layout(files, ours_for_wandb.PATHS.decode)
        history = self.history()
        ((_, picture),) = history["PDFS", "price ($)", "VALIDATION"]
        assert files[picture["path"]] == png(10)
        ((_, table),) = history["MEANS", "VALIDATION"]
        assert json.loads(files[table["path"]])["data"] == [["first", "0.1", "x"], ["second", "nan", "y"]]
        assert history["run", "epoch"] == [(20, 2)]
        assert history["JS", "a/b", "VALIDATION"] == [(20, 0.75)]
        (begun,) = [
            r.run
            for r in ours_for_wandb.records_of(next(self.folders("run")[0].glob("*.wandb")))
            if r.WhichOneof("record_type") == "run"
        ]
        config = {ours_for_wandb.KEYS.decode(each.key): json.loads(each.value_json) for each in begun.config.update}
        assert {name: config.get(name) for name in PARAMETERS} == PARAMETERS

    def large_file(self) -> int:
        (content,) = [content for path, content in self.files().items() if path.startswith("files/WEIGHTS/")]
        return len(content)


class OfTrackio(Subject):
    """Trackio's SQLite database and media folder."""

    name = "Trackio"

    @property
    def project(self) -> str:
        return f"p{zlib.crc32(str(self.root).encode()):08x}"  # Trackio's folder is one for the process

    def client(self) -> TrackingClient:
        return Trackio(project=self.project)

    def rows(self, run: str = "run") -> list[tuple[int, dict[str, Any]]]:
        with closing(sqlite3.connect(Path(os.environ["TRACKIO_DIR"], f"{self.project}.db"))) as database:
            query = "SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id"
            return [(step, json.loads(metrics)) for step, metrics in database.execute(query, (run,))]

    def series(self, run: str = "run") -> dict[Key, list[tuple[int, Any]]]:
        found = defaultdict(list)
        for step, metrics in self.rows(run):
            for key, value in metrics.items():
                found[FILES.segments(key)].append((step, value))
        return dict(found)

    def scores(self, run: str = "run") -> Scores:
        return {
            key: [(step, float(value)) for step, value in found]
            for key, found in self.series(run).items()
            if plain(found) and "/".join(key) != layout.EPOCH
        }

    def plots(self, run: str = "run") -> dict[Key, list[int]]:
        return {key: [step for step, _ in found] for key, found in self.series(run).items() if not plain(found)}

    def media(self, path: str) -> Path:
        return Path(os.environ["TRACKIO_DIR"], "media", path)

    def files(self) -> dict[str, bytes]:
        (root,) = self.media(f"{self.project}/files").iterdir()
        return {str(path.relative_to(root)): path.read_bytes() for path in files_of(root)}

    def has_everything(self) -> None:
        series = self.series()
        shown = {
            f"plots/{'/'.join(key[:-1])}/VALIDATION_epoch_0002_step_00000020.png": self.media(
                picture["file_path"]
            ).read_bytes()
            for key, ((_, picture),) in series.items()
            if isinstance(picture, dict) and picture["_type"] == "trackio.image"
        }
        has_layout(shown | self.files(), PLAIN.decode)
        ((_, table),) = series["MEANS", "VALIDATION"]
        assert [list(row.values()) for row in table["_value"]] == [["first", "0.1", "x"], ["second", "nan", "y"]]
        assert series["run", "epoch"] == [(20, 2)]
        with closing(sqlite3.connect(Path(os.environ["TRACKIO_DIR"], f"{self.project}.db"))) as database:
            ((config,),) = database.execute("SELECT config FROM configs")
        found = {FILES.decode(name): value for name, value in json.loads(config).items()}
        assert found == {**PARAMETERS, "bound (max)": "Infinity"}

    def large_file(self) -> int:
        (content,) = [content for path, content in self.files().items() if path.startswith("files/WEIGHTS/")]
        return len(content)


SUBJECTS: list[type[Subject]] = [
    OfMemory, OfFiles, OfTensorBoard, OfMLflow, OfMLflowServer, OfClearML, OfNeptune, OfWandB, OfTrackio
]  # fmt: skip


def plain(entries: list[tuple[int, Any]]) -> bool:
    """Say whether a series is one of numbers."""
    return all(not isinstance(value, dict) for _, value in entries)


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
