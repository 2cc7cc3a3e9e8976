"""A client that writes records to a ClearML task, on a server or as an offline session.

Belongs here: what each kind of record becomes in ClearML. Does not: sending an offline session to a
server (`clearml.Task.import_offline_session`).
Floor 7.

A score is a scalar with its name as title (in a collection `NAME/KEY`) and its split as series;
ClearML would make 0.0 of what is not finite, so that goes to the console log as text. Plots are
debug samples, tables plots, and arrays, plots, tables and files artifacts, named by their paths in
`layout`. The scalar `run`, series `epoch`, tells which epoch a step belongs to. Parameters are the
section `run` of the hyperparameters.

ClearML's logger queues what it is given and loses it silently when a server is gone. Events go to its
metrics manager instead, which answers for them.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo, Table, TrackingClient
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.extras import load
from functorch_artifact.tracking.names import FILES, PLAIN, run_id

Place: TypeAlias = tuple[str | int | None, ...]

KEYS: Final = FILES
PATHS: Final = PLAIN
NO_SPLIT: Final = "value"  # the series of a score without a split
_MARKER: Final = "functorch_artifact_run"
_EVENTS: Final = 1000  # in one request


class ClearML(TrackingClient):
    """Write records to a task of a ClearML project.

    A run that is resumed, or synced, continues the task it began: a tag has its id. ClearML has one
    task a process, so this client is refused where another is at work; what it patches (frameworks,
    argument parsers, output streams, random seeds) it is asked to leave alone.

    Args:
        project: the project's name.
        offline: whether to write a session to ClearML's cache instead of sending to a server.

    Raises:
        MissingExtraError: on opening, if ClearML is not installed.
    """

    def __init__(self, project: str = "functorch_artifact", *, offline: bool = False) -> None:
        self._project = project
        self._offline = offline
        self._task: Any = None
        self._written: set[Place] = set()  # in an offline session, whose file only grows

    @property
    def name(self) -> str:
        """Its class, project and mode."""
        return f"ClearML({self._project}{', offline' if self._offline else ''})"

    def open(self, run: RunInfo) -> None:
        """Find the run's task, or begin one, and write the parameters.

        Raises:
            TrackingError: another ClearML task is at work in this process.
        """
        clearml = load("clearml", "clearml", CLEARML_LOG_LEVEL="ERROR")
        task_class = clearml.Task
        if task_class.current_task() is not None:
            raise TrackingError(
                "another ClearML task is at work in this process", where="ClearML", fix="close it before the run begins"
            )
        task_class.set_offline(self._offline)
        if not self._offline:
            _bound_time()
        task_class.set_random_seed(None)  # or it seeds the global generators
        task_class._report_subprocess_enabled = False  # or it forks the process that trains
        identity = run_id(run)
        found = self._find(task_class, identity)
        self._task = task_class.init(
            project_name=self._project,
            task_name=run.name,
            tags=[identity],
            reuse_last_task_id=False,
            continue_last_task=found or False,
            auto_connect_frameworks={"detect_repository": False},
            auto_connect_arg_parser=False,
            auto_connect_streams=False,
            auto_resource_monitoring=False,
        )
        if not isinstance(self._task, task_class):
            raise TrackingError(
                "is at work in the process that started this one",
                where="ClearML",
                fix="start this process without CLEARML_PROC_MASTER_ID in its environment",
            )
        self._task.set_initial_iteration(0)  # or it adds to the steps
        if self._offline:
            folder = Path(self._task.get_offline_mode_folder())
            (folder / _MARKER).write_text(identity)
            self._written = _repair(folder / "metrics.jsonl")
        self._task.set_parameters({f"run/{KEYS.key(name)}": value for name, value in run.parameters.items()})
        self._upload({"parameters.json": layout.parameters(run)})

    def log(self, records: Sequence[Record]) -> None:
        """Send records: events in batches, then artifacts.

        Raises:
            TrackingError: the client is not open; or a name is empty or too long.
            ConnectionError: the server did not take them.
        """
        if self._task is None:
            raise TrackingError("is not open", where="ClearML", fix="call open before log")
        contents = {path: content for record in records for path, content in layout.files(record, PATHS).items()}
        kinds = load("clearml.backend_interface.metrics.events", "clearml")
        storage = self._task.get_logger().get_default_upload_destination()
        with tempfile.TemporaryDirectory() as directory:
            events = [each for record in records for each in _events(kinds, record, Path(directory), storage)]
            fresh = {place: event for place, event in events if place not in self._written}
            for first in range(0, len(fresh), _EVENTS):
                self._send(list(fresh.values())[first : first + _EVENTS])
        if self._offline:
            self._written |= fresh.keys()
        self._upload(contents)

    def close(self) -> None:
        """Mark the task as completed; an offline session is packed as a zip file."""
        if self._task is not None:
            self._task.close()
            self._task = None

    def _find(self, task_class: Any, identity: str) -> str | None:
        if not self._offline:
            found = task_class.get_tasks(project_name=self._project, tags=[identity])
            return str(found[0].id) if found else None
        sessions = Path(load("clearml.config", "clearml").get_offline_dir())
        markers = [marker for marker in sessions.glob(f"*/{_MARKER}") if marker.read_text() == identity]
        return markers[0].parent.name if markers else None

    def _send(self, events: list[Any]) -> None:
        answer = self._task.metrics_manager.write_events(list(events), async_enable=False)
        if answer is not None and not answer.ok():
            raise ConnectionError(f"ClearML did not take the events: {answer.meta}")
        for event in events:
            if event.upload_exception is not None:
                raise ConnectionError("ClearML did not take a plot") from event.upload_exception

    def _upload(self, contents: dict[str, layout.Content]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            for path, content in contents.items():
                source = Path(directory, path)
                layout.put(source, content)
                if not self._task.upload_artifact(path, artifact_object=str(source), wait_on_upload=True):
                    raise ConnectionError(f"ClearML did not take the artifact {path!r}")


def _bound_time() -> None:
    """Give up on a server after some seconds; ClearML would try for hours."""
    retries = {"total": 2, "connect": 2, "read": 1, "redirect": 2, "status": 2}
    load("clearml.config", "clearml").config_obj.set_overrides({"api": {"http": {"retries": retries}}})
    session = load("clearml.backend_api.session", "clearml").Session
    session._session_timeout = session._session_initial_timeout = (3.0, 10.0)


def _events(kinds: Any, record: Record, directory: Path, storage: str) -> Iterator[tuple[Place, Any]]:
    series = NO_SPLIT if record.split is None else KEYS.encode(record.split)

    def title(key: layout.Key) -> str:
        return KEYS.key(*(key if record.split is None else key[:-1]))

    step = record.step
    for key, value in layout.numbers(record).items():
        if math.isfinite(value):
            yield ("scalar", title(key), series, step), kinds.ScalarEvent(title(key), series, value, step)
        else:
            text = f"{title(key)} {series} at step {step}: {value!r}"
            yield ("log", text), kinds.ConsoleEvent(text, "WARNING", "functorch_artifact")
    for key, png in layout.plots(record).items():
        source = directory / f"{len(list(directory.iterdir()))}.png"
        source.write_bytes(png)
        yield (
            ("image", title(key), series, step),
            kinds.ImageEvent(
                title(key), series, None, str(source), step, upload_uri=storage, override_filename=f"step_{step:08d}"
            ),
        )
    if isinstance(record.value, Table):
        name = KEYS.key(record.name)
        yield ("plot", name, series, step), kinds.PlotEvent(name, series, _table(record.value), step)
    yield ("scalar", "run", "epoch", step), kinds.ScalarEvent("run", "epoch", float(record.epoch), step)


def _table(table: Table) -> str:
    """Write a table as a Plotly figure."""
    header, rows = layout.cells(table)
    columns = [list(column) for column in zip(*rows, strict=True)]
    data = {"type": "table", "header": {"values": header}, "cells": {"values": columns}}
    return json.dumps({"data": [data], "layout": {}})


def _repair(path: Path) -> set[Place]:
    """Drop what a crash tore off an offline session's events, and list the places of the rest."""
    if not path.exists():
        return set()
    whole = path.read_bytes()
    lines = whole[: whole.rfind(b"\n") + 1]
    if lines != whole:
        layout.put(path, lines)
    return {_place(event) for line in lines.splitlines() for event in json.loads(line)}


def _place(event: dict[str, Any]) -> Place:
    if event["type"] == "log":
        return ("log", event["msg"])
    kinds = {"training_stats_scalar": "scalar", "training_debug_image": "image", "plot": "plot"}
    return (kinds.get(event["type"]), event["metric"], event["variant"], event["iter"])
