"""A client that writes records to TensorBoard event files.

Belongs here: what each kind of record becomes in TensorBoard. Does not: starting TensorBoard.
Floor 7.

Tags are `NAME/SPLIT`, in a collection `NAME/key/SPLIT`, without the last part where a record has
no split. The horizontal axis is the optimizer step; the scalar `run/epoch` tells which epoch a
step belongs to. Scores are scalars; real arrays histograms of their finite values, other
arrays text; plots images; tables their first rows as text; files their paths, as text.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    File,
    Plot,
    PlotCollection,
    Record,
    RunInfo,
    Score,
    ScoreCollection,
    Table,
    TrackingClient,
    Value,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_ROWS: Final = 20


class TensorBoard(TrackingClient):
    """Write records as TensorBoard shows them (see this module's docstring for the scheme).

    A record offered again is written once. An event file only grows: a run that is resumed
    starts another, which tells TensorBoard to forget the points from its first step on. That is the
    run's first, for the run's journal offers such a client everything once more.

    Args:
        directory: where to write; by default the run's directory, below `tensorboard`.
    """

    durable = False  # where a crash cut its file off, it cannot tell

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._given = directory
        self._directory: Path | None = None
        self._parameters: dict[str, str | int | float | bool] = {}
        self._writer: SummaryWriter | None = None
        self._written: set[tuple[str, str | None, int, int]] = set()

    def open(self, run: RunInfo) -> None:
        """Find the directory; the event file is begun with the first record.

        Raises:
            TrackingError: neither the client nor the run has a directory.
        """
        if self._given is None and run.directory is None:
            raise TrackingError("has no directory", where="TensorBoard", fix="give it one, or give the run a directory")
        self._directory = Path(run.directory or "", "tensorboard") if self._given is None else Path(self._given)
        self._parameters = dict(run.parameters)
        self._written = set()

    def log(self, records: Sequence[Record]) -> None:
        """Write records, and flush them to disk.

        Raises:
            TrackingError: the client is not open.
        """
        if self._directory is None:
            raise TrackingError("is not open", where="TensorBoard", fix="call open before log")
        if not records:
            return
        writer = self._writer or self._begin(self._directory, min(record.step for record in records))
        for record in records:
            place = (record.name, record.split, record.epoch, record.step)
            if place not in self._written:
                for tag, value in _parts(record):
                    _write(writer, tag, value, record.step)
                self._written.add(place)
        for step, epoch in sorted({(record.step, record.epoch) for record in records}):
            if ("run/epoch", None, epoch, step) not in self._written:
                writer.add_scalar("run/epoch", epoch, step)
                self._written.add(("run/epoch", None, epoch, step))
        writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self, directory: Path, step: int) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        # Event files are read in the order of their names, which tell the second they were begun in.
        while any(directory.glob(f"events.out.tfevents.{int(time.time())}*")):
            time.sleep(0.05)
        self._writer = SummaryWriter(str(directory), purge_step=step)
        rows = [(name, str(value)) for name, value in self._parameters.items()]
        self._writer.add_text("run/parameters", _markdown(("parameter", "value"), rows), step)
        return self._writer


def _parts(record: Record) -> Iterator[tuple[str, Value]]:
    """List a record's tags, a collection's one by one."""
    end = [] if record.split is None else [record.split]
    match record.value:
        case ScoreCollection(values):
            yield from (("/".join([record.name, key, *end]), Score(value)) for key, value in values.items())
        case ArrayCollection(values):
            yield from (("/".join([record.name, key, *end]), Array(value)) for key, value in values.items())
        case PlotCollection(values):
            yield from (("/".join([record.name, key, *end]), Plot(png)) for key, png in values.items())
        case value:
            yield "/".join([record.name, *end]), value


def _write(writer: SummaryWriter, tag: str, value: Value, step: int) -> None:
    match value:
        case Score(number):
            writer.add_scalar(tag, number, step)
        case Array(array):
            finite = array[np.isfinite(array)] if array.dtype.kind in "biuf" else array[:0].ravel()
            if finite.size:
                writer.add_histogram(tag, finite.astype(np.float64), step)
            else:
                writer.add_text(tag, f"`{array!r}`", step)
        case Plot(png):
            _write_png(writer, tag, png, step)
        case Table(frame):
            columns = [*map(str, frame.index.names), *map(str, frame.columns)]
            rows = [list(map(str, row)) for row in frame.head(_ROWS).itertuples()]
            more = f"\n\n{_ROWS} of {len(frame)} rows" if len(frame) > _ROWS else ""
            writer.add_text(tag, _markdown(columns, rows) + more, step)
        case File(path):
            writer.add_text(tag, f"`{path}`", step)
        case other:
            raise TrackingError("is of a kind that cannot be stored", where=f"record {tag!r}", got=type(other).__name__)


def _write_png(writer: SummaryWriter, tag: str, png: bytes, step: int) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue] - generated code

    # The bytes go in as they are: `add_image` would decode and encode them again.
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
    if len(png) < 26 or png[25] not in channels:
        raise TrackingError("is not a PNG file", where=f"plot {tag!r}", got=f"{len(png)} bytes, {png[:26]!r}...")
    width, height, _, colour_type = struct.unpack(">IIBB", png[16:26])
    image = Summary.Image(width=width, height=height, colorspace=channels[colour_type], encoded_image_string=png)
    file_writer: Any = writer.file_writer
    file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "|" + "|".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + "|" for line in lines
    )
