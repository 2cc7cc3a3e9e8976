"""A client that writes records to Neptune, or to Neptune's offline files.

Belongs here: what each kind of record becomes in Neptune. Does not: sending offline files to a server
(`neptune sync`). Neptune's own service ended in March 2026; what it wrote offline stays readable.
Floor 7.

Scores are series below `scores/`, with their steps; what is not finite, which Neptune drops, is text in a
series below `nonfinite/`. Plots are series of pictures below `plots/`; arrays, plots, tables and files
are files below `files/`, in the layout of `layout`. The series `run/epoch` tells which epoch a step
belongs to. Parameters are fields below `parameters/`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo, TrackingClient
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.extras import load
from functorch_artifact.tracking.names import FILES, PLAIN, run_id

Place: TypeAlias = tuple[str, int]  # a field's path and a step, or -1 for a file

KEYS: Final = FILES
PATHS: Final = PLAIN
NO_SPLIT: Final = "value"  # ends the path of a series without a split
_IDENTITY: Final = "functorch_artifact/run"


class Neptune(TrackingClient):
    """Write records to a run of a Neptune project.

    A run that is resumed continues the run it began. Offline it writes a further session, which
    holds nothing that an earlier one has.

    Args:
        project: `WORKSPACE/PROJECT`, for a server.
        mode: `offline`, or `async` or `sync` for a server that still answers.

    Raises:
        MissingExtraError: on opening, if Neptune is not installed.
    """

    def __init__(
        self, project: str = "workspace/functorch_artifact", *, mode: Literal["offline", "async", "sync"] = "offline"
    ) -> None:
        self._project = project
        self._mode = mode
        self._run: Any = None
        self._written: set[Place] = set()
        self._files = Path()

    @property
    def name(self) -> str:
        """Its class, project and mode."""
        return f"Neptune({self._project}, {self._mode})"

    def open(self, run: RunInfo) -> None:
        """Find what the run has written, go on with it, and write the parameters."""
        neptune = load(
            "neptune",
            "neptune",
            NEPTUNE_REQUEST_TIMEOUT="10",
            NEPTUNE_RETRIES_TIMEOUT="1",
            NEPTUNE_SYNC_AFTER_STOP_TIMEOUT="10",
        )
        identity = run_id(run)
        self._files = _data() / "files" / identity
        self._written = _written(identity) if self._mode == "offline" else set()
        self._run = neptune.init_run(
            project=self._project,
            mode=self._mode,
            custom_run_id=identity,
            name=run.name,
            git_ref=False,
            source_files=[],
            capture_stdout=False,
            capture_stderr=False,
            capture_hardware_metrics=False,
            capture_traceback=False,
        )
        self._run[_IDENTITY] = identity
        for name, value in run.parameters.items():
            plain = repr(value) if isinstance(value, float) and not math.isfinite(value) else value
            self._run[f"parameters/{KEYS.key(name)}"] = plain
        self._upload({"parameters.json": layout.parameters(run)})

    def log(self, records: Sequence[Record]) -> None:
        """Write series and files; they are on disk when it returns.

        Raises:
            TrackingError: the client is not open; or a name is empty or too long.
        """
        if self._run is None:
            raise TrackingError("is not open", where="Neptune", fix="call open before log")
        contents = {path: content for record in records for path, content in layout.files(record, PATHS).items()}
        entries = dict(entry for record in records for entry in _entries(record))
        for place, value in entries.items():
            if place not in self._written:
                path, step = place
                self._run[path].append(self._picture(value) if isinstance(value, bytes) else value, step=step)
                self._written.add(place)
        self._upload({path: each for path, each in contents.items() if (f"files/{path}", -1) not in self._written})
        self._written |= {(f"files/{path}", -1) for path in contents}
        self._run.wait(disk_only=self._mode == "offline")

    def close(self) -> None:
        """Stop the run."""
        if self._run is not None:
            self._run.stop()
            self._run = None

    def _picture(self, png: bytes) -> Any:
        return load("neptune.types", "neptune").File.from_content(png, extension="png")

    def _upload(self, contents: dict[str, layout.Content]) -> None:
        # Neptune reads a file when it sends it, which may be another day, and takes no large one as bytes.
        for path, content in contents.items():
            copy = self._files / path
            layout.put(copy, content)
            self._run[f"files/{path}"].upload(str(copy.absolute()))


def _entries(record: Record) -> Iterator[tuple[Place, float | str | bytes]]:
    # A field cannot be a series and have fields below it: `LOSS` and `LOSS/TRAIN`.
    end = (NO_SPLIT,) if record.split is None else ()
    for key, value in layout.numbers(record).items():
        kind = "scores" if math.isfinite(value) else "nonfinite"
        yield (f"{kind}/{KEYS.key(*key, *end)}", record.step), value if math.isfinite(value) else repr(value)
    for key, png in layout.plots(record).items():
        yield (f"plots/{KEYS.key(*key, *end)}", record.step), png
    yield (layout.EPOCH, record.step), float(record.epoch)


def _data() -> Path:
    return Path(os.environ.get("NEPTUNE_DATA_DIRECTORY", ".neptune"))


def _written(identity: str) -> set[Place]:
    """List the places that offline sessions of a run hold."""
    found: set[Place] = set()
    for session in (_data() / "offline").glob("run__*"):
        operations = list(operations_of(session))
        if ["functorch_artifact", "run"] in [each["path"] for each in operations if each.get("value") == identity]:
            for each in operations:
                path = "/".join(each["path"])
                if each["type"].startswith("Log"):
                    found |= {(path, entry["step"]) for entry in each["values"]}
                elif each["type"] == "UploadFile":
                    found.add((path, -1))
    return found


def operations_of(session: Path) -> Iterator[dict[str, Any]]:
    """Read the operations of an offline session, up to what a crash tore off."""
    decoder = json.JSONDecoder()
    for log in sorted(session.glob("data-*.log"), key=lambda path: int(path.stem.partition("-")[2])):
        text, position = log.read_text(), 0
        while True:
            while position < len(text) and text[position].isspace():
                position += 1
            try:
                entry, position = decoder.raw_decode(text, position)
            except json.JSONDecodeError:
                break
            yield entry["obj"]
