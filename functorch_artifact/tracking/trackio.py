"""A client that writes records to a local Trackio project.

Belongs here: what each kind of record becomes in Trackio. Does not: the dashboard (`trackio show`), or
sending a project to a Space (`trackio sync`).
Floor 7.

Every record is a row of the project's SQLite database, under an id of its own, so that Trackio drops
what it has already. Scores are metrics, NaN and infinities included; plots images; tables tables of
text. Arrays, tables and files are also files of the project, below the run's id, in the layout of
`layout`. The metric `run/epoch` tells which epoch a step belongs to; parameters are the config.

Trackio's own `log` queues what it is given and chooses the ids; the rows go to its storage instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Plot, PlotCollection, Record, RunInfo, Table, TrackingClient
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.extras import load
from functorch_artifact.tracking.names import FILES, PLAIN, run_id

KEYS: Final = FILES


class Trackio(TrackingClient):
    """Write records to a run of a local Trackio project, where `TRACKIO_DIR` says.

    Args:
        project: the project's name.

    Raises:
        MissingExtraError: on opening, if Trackio is not installed.
    """

    def __init__(self, project: str = "functorch_artifact") -> None:
        self._project = project
        self._run: RunInfo | None = None
        self._id = ""

    @property
    def name(self) -> str:
        """Its class and project."""
        return f"Trackio({self._project})"

    def open(self, run: RunInfo) -> None:
        """Find the run's id; Trackio hears of it with the first records."""
        load("trackio", "trackio")
        self._run, self._id = run, run_id(run)
        for path, content in {"parameters.json": layout.parameters(run)}.items():
            layout.put(self._file(path), content)

    def log(self, records: Sequence[Record]) -> None:
        """Write files, then all rows in one transaction.

        Raises:
            TrackingError: the client is not open; or a name is empty or too long.
        """
        if self._run is None:
            raise TrackingError("is not open", where="Trackio", fix="call open before log")
        contents = {path: content for record in records for path, content in layout.files(record, PLAIN).items()}
        rows = {place: row for record in records for place, row in self._rows(record)}
        for path, content in contents.items():
            if not path.startswith("plots/"):
                layout.put(self._file(path), content)
        load("trackio.sqlite_storage", "trackio").SQLiteStorage.bulk_log(
            project=self._project,
            run=self._run.name,
            metrics_list=[metrics for _, metrics in rows.values()],
            steps=[step for step, _ in rows.values()],
            config={KEYS.key(name): value for name, value in self._run.parameters.items()},
            log_ids=list(rows),
            run_id=self._id,
        )

    def close(self) -> None:
        """Forget the run: nothing is held open between offers."""
        self._run = None

    def _rows(self, record: Record) -> Iterator[tuple[str, tuple[int, dict[str, Any]]]]:
        metrics: dict[str, Any] = {KEYS.key(*key): value for key, value in layout.numbers(record).items()}
        if isinstance(record.value, Plot | PlotCollection):
            metrics |= {KEYS.key(*key): self._image(key, png, record.step) for key, png in layout.plots(record).items()}
        if isinstance(record.value, Table):
            header, rows = layout.cells(record.value)
            cells = [dict(zip(header, row, strict=True)) for row in rows]
            metrics[KEYS.key(record.name, record.split)] = {"_type": "trackio.table", "_value": cells}
        if metrics:
            yield self._row_id(record.name, record.split, record.epoch, record.step), (record.step, metrics)
        yield self._row_id(layout.EPOCH, record.epoch, record.step), (record.step, {layout.EPOCH: record.epoch})

    def _row_id(self, *place: str | int | None) -> str:
        return hashlib.blake2b(repr((self._id, *place)).encode(), digest_size=16).hexdigest()

    def _image(self, key: layout.Key, png: bytes, step: int) -> dict[str, Any]:
        folder = load("trackio.media.utils", "trackio").get_project_media_path(self._project, run=self._id, step=step)
        path = Path(folder, f"{PLAIN.key(*key).replace('/', '~2F')}.png")
        layout.put(path, png)
        root = load("trackio.utils", "trackio").MEDIA_DIR
        return {"_type": "trackio.image", "file_path": str(path.relative_to(root)), "caption": None}

    def _file(self, path: str) -> Path:
        media = load("trackio.media.utils", "trackio")
        return Path(media.get_project_media_path(self._project, relative_path=self._id), path)
