"""A client that writes records to a directory that a person can read.

Belongs here: writing each record once, below one directory. Does not: the layout of files
(`layout`), or reading them back.
Floor 7.

    parameters.json     the run's name and parameters
    scores.csv          name, split, epoch, step, value
    arrays/...          and plots, tables, files: see `layout`

In `scores.csv` a collection's numbers are
named `NAME/key`; `pandas.read_csv` reads them, NaN and infinities included, and with
`converters={"value": float}` to the last bit in any version. In paths and in `.npz` files,
what a file name cannot hold is percent-encoded ("a/b" is `a%2Fb`); `urllib.parse.unquote`
recovers it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo, Score, ScoreCollection, TrackingClient
from functorch_artifact.tracking import layout

_HEADER: Final = ("name", "split", "epoch", "step", "value")


class Filesystem(TrackingClient):
    """Write records to a directory, in the layout that this module's docstring shows.

    A record offered again is written once: its file is replaced, its row in `scores.csv` is left
    as it is (or replaced, if the number has changed). Rows are appended, so a run's scores cost
    time in proportion to their number. A directory that holds an earlier part of the run is
    continued, after a crash too.

    Args:
        directory: where to write; by default the run's own directory.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._given = directory
        self._root: Path | None = None
        self._rows: dict[tuple[str, ...], str] = {}

    @property
    def name(self) -> str:
        """Its class and, if it was given one, its directory."""
        return "Filesystem" if self._given is None else f"Filesystem({os.fspath(self._given)})"

    def open(self, run: RunInfo) -> None:
        """Make the directory, write the parameters, and find what was written before.

        Raises:
            TrackingError: neither the client nor the run has a directory.
        """
        directory = run.directory if self._given is None else self._given
        if directory is None:
            raise TrackingError("has no directory", where="Filesystem", fix="give it one, or give the run a directory")
        self._root = Path(directory)
        self._root.mkdir(parents=True, exist_ok=True)
        layout.put(self._root / "parameters.json", layout.parameters(run))
        self._rows = _read(self._root / "scores.csv")
        # What a crash tore off the end is dropped here; the run offers it again.
        layout.put(
            self._root / "scores.csv", _csv([_HEADER, *((*place, value) for place, value in self._rows.items())])
        )

    def log(self, records: Sequence[Record]) -> None:
        """Write records. Names are judged before anything is written.

        Raises:
            TrackingError: the client is not open; a record's name, split or key is empty or too
                long; or a file that is to be copied does not exist.
        """
        if self._root is None:
            raise TrackingError("is not open", where="Filesystem", fix="call open before log")
        if not self._root.is_dir():  # what was removed is not made again in part
            raise FileNotFoundError(f"{self._root} was removed")
        contents = {path: content for record in records for path, content in layout.files(record).items()}
        rows = {place: value for record in records for place, value in _rows(record)}
        layout.write(self._root, contents)

        fresh = {place: value for place, value in rows.items() if self._rows.get(place) != value}
        scores, changed = self._root / "scores.csv", bool(fresh.keys() & self._rows.keys())
        self._rows |= fresh
        if changed:
            layout.put(scores, _csv([_HEADER, *((*place, value) for place, value in self._rows.items())]))
        elif fresh:
            with scores.open("ab") as file:
                file.write(_csv((*place, value) for place, value in fresh.items()))

    def close(self) -> None:
        """Do nothing: nothing is held open between offers."""


def _rows(record: Record) -> list[tuple[tuple[str, ...], str]]:
    """List a record's rows in `scores.csv`, each as its place and its value."""
    numbers = {}
    if isinstance(record.value, Score):
        numbers = {record.name: record.value.value}
    elif isinstance(record.value, ScoreCollection):
        numbers = {f"{record.name}/{key}": value for key, value in record.value.values.items()}
    place = (record.split or "", str(record.epoch), str(record.step))
    return [((name, *place), repr(float(value))) for name, value in numbers.items()]


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows(rows)
    return target.getvalue().encode(errors="backslashreplace")


def _read(path: Path) -> dict[tuple[str, ...], str]:
    """Read the whole rows of `scores.csv`, by place."""
    if not path.exists():
        return {}
    whole = path.read_bytes()
    text = whole[: whole.rfind(b"\n") + 1].decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return {tuple(row[:-1]): row[-1] for row in rows[1:] if len(row) == len(_HEADER)}
