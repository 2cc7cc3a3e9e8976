"""A client that writes records to Weights & Biases, or to its offline files.

Belongs here: what each kind of record becomes in W&B. Does not: sending offline files to a server
(`wandb sync`).
Floor 7.

Every step is a row of the history, with `run/step` and `run/epoch` beside its scores, and `run/step` as the
axis of all, so that steps may come in any order. NaN and infinities are kept. Plots are images, tables
tables of text; arrays, plots, tables and files are also files of the run, in the layout of `layout`.
Parameters are the config. In names, what is not a letter, a digit, a space, `_` or `-`, and a `_` at the
beginning, which is for W&B's own, is encoded with tildes.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo, Table, TrackingClient
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.extras import load
from functorch_artifact.tracking.names import PLAIN, Names, run_id

Place: TypeAlias = tuple[str, int]  # a key and a step

KEYS: Final = Names(lambda sign: sign.isalnum() or sign in "_- ", escape="~", not_first="_")
PATHS: Final = PLAIN
STEP: Final = "run/step"
_PATIENCE: Final = 5.0  # seconds


class WandB(TrackingClient):
    """Write records to a run of a W&B project.

    A run that is resumed continues the W&B run it began: its id is the same. Offline it writes a
    further file, which holds nothing that an earlier one has. Online, W&B's history cannot be asked
    quickly, so what was sent just before a crash may be there twice, with equal values.

    Args:
        project: the project's name.
        mode: `online` or `offline`; by default what W&B is configured for.

    Raises:
        MissingExtraError: on opening, if W&B is not installed.
    """

    def __init__(
        self, project: str = "functorch_artifact", *, mode: Literal["online", "offline"] | None = None
    ) -> None:
        self._project = project
        self._mode = mode
        self._wandb: Any = None
        self._run: Any = None
        self._written: set[Place] = set()
        self._files = Path(), ""  # the folder of offline files, and the run's id

    @property
    def name(self) -> str:
        """Its class, project and mode."""
        return f"WandB({self._project}, {self._mode or 'default'})"

    def open(self, run: RunInfo) -> None:
        """Begin the run's W&B run, or go on with it."""
        self._wandb = load("wandb", "wandb")
        identity = run_id(run)
        self._files = Path(_directory() or "", "wandb"), identity
        for path in self._offline_files():
            _settle(path)  # W&B's process outlives the one that was killed, and goes on writing
        self._written = {
            (key, row[STEP]) for path in self._offline_files() for row in rows_of(path) for key in row if STEP in row
        }
        while any(self._files[0].glob(f"offline-run-{time.strftime('%Y%m%d_%H%M%S')}-{identity}")):
            time.sleep(0.05)  # or it writes over the file that was begun this very second
        self._run = self._wandb.init(
            project=self._project,
            name=run.name,
            id=identity,
            resume="allow",
            mode=self._mode,
            dir=_directory(),
            reinit="create_new",
            config={KEYS.key(name): value for name, value in run.parameters.items()},
            settings=self._wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                init_timeout=10,
                silent=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        self._run.define_metric("*", step_metric=STEP)
        self._save({"parameters.json": layout.parameters(run)})

    def log(self, records: Sequence[Record]) -> None:
        """Hand over rows, a step each, and files; W&B's own process sends them.

        Raises:
            TrackingError: the client is not open; or a name is empty or too long.
        """
        if self._run is None:
            raise TrackingError("is not open", where="WandB", fix="call open before log")
        contents = {path: content for record in records for path, content in layout.files(record, PATHS).items()}
        with tempfile.TemporaryDirectory() as directory:
            rows: dict[int, dict[str, Any]] = defaultdict(dict)
            for record in records:
                for key, value in self._values(record, Path(directory)):
                    if (key, record.step) not in self._written:
                        rows[record.step][key] = value
            for step, row in rows.items():
                self._run.log({**row, STEP: step})
                self._written |= {(key, step) for key in row}
        self._save(contents)

    def close(self) -> None:
        """Finish the run, and wait a while for W&B to have written it."""
        if self._run is not None:
            self._run.finish()
            self._run = None
            for path in self._offline_files()[-1:]:
                _settle(path)

    def _offline_files(self) -> list[Path]:
        folder, identity = self._files
        return sorted(folder.glob(f"offline-run-*-{identity}/run-{identity}.wandb"))

    def _values(self, record: Record, directory: Path) -> Iterator[tuple[str, Any]]:
        for key, value in layout.numbers(record).items():
            yield KEYS.key(*key), value
        for key, png in layout.plots(record).items():
            picture = directory / f"{len(list(directory.iterdir()))}.png"
            picture.write_bytes(png)
            yield KEYS.key(*key), self._wandb.Image(str(picture))
        if isinstance(record.value, Table):
            header, rows = layout.cells(record.value)
            yield KEYS.key(record.name, record.split), self._wandb.Table(columns=header, data=rows)
        yield layout.EPOCH, record.epoch

    def _save(self, contents: dict[str, layout.Content]) -> None:
        for path, content in contents.items():
            layout.put(Path(self._run.dir, path), content)
            self._run.save(str(Path(self._run.dir, path)), base_path=self._run.dir, policy="now")


def _directory() -> str | None:
    return os.environ.get("WANDB_DIR")


def _settle(path: Path) -> None:
    """Wait, but not for long, until a file is written to its end."""
    deadline, size = time.monotonic() + _PATIENCE, -1
    while time.monotonic() < deadline:
        if size != (size := path.stat().st_size) and "exit" in [r.WhichOneof("record_type") for r in records_of(path)]:
            return
        time.sleep(0.05)


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Read the rows of an offline file's history, up to what a crash tore off."""
    for record in records_of(path):
        if record.WhichOneof("record_type") == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                *above, last = item.nested_key or [item.key]
                place = row
                for key in above:
                    place = place.setdefault(key, {})
                place[last] = json.loads(item.value_json)
            yield row


def records_of(path: Path) -> Iterator[Any]:
    """Read an offline file's messages."""
    record_class = load("wandb.proto.wandb_internal_pb2", "wandb").Record
    return map(record_class.FromString, _messages(path.read_bytes()))


def _messages(data: bytes) -> Iterator[bytes]:
    """Read the messages of W&B's file: LevelDB's log format, after a header of seven bytes."""
    block, header, position, message = 32768, 7, 7, b""
    while position + header <= len(data):
        left = block - position % block
        if left < header:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + header])
        chunk = data[position + header : position + header + length]
        if kind == 0 or len(chunk) < length:
            return
        message += chunk
        if kind in (1, 4):  # a whole message, or the last chunk of one
            yield message
            message = b""
        position += header + length
