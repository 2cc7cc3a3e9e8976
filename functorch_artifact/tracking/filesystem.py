"""A client that writes records to a directory that a person can read.

Belongs here: the layout, safe names, writing each record once. Does not: reading them back.
Floor 7.

    parameters.json                                    the run's name and parameters
    scores.csv                                         name, split, epoch, step, value
    arrays/NAME/SPLIT_epoch_0001_step_00000100.npy     a collection: .npz
    plots/NAME/SPLIT_epoch_0001_step_00000100.png      a collection: plots/NAME/KEY/...
    tables/NAME/SPLIT_epoch_0001_step_00000100.csv     with the index as first column
    files/NAME/SPLIT_epoch_0001_step_00000100.suffix   a copy, with the original's suffix

`SPLIT_` is left out where a record has no split. In `scores.csv` a collection's numbers are
named `NAME/key`; `pandas.read_csv` reads them, NaN and infinities included, and with
`converters={"value": float}` to the last bit in any version. In paths and in `.npz` files,
what a file name cannot hold is percent-encoded ("a/b" is `a%2Fb`); `urllib.parse.unquote`
recovers it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

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
)

_HEADER: Final = ("name", "split", "epoch", "step", "value")
_LONGEST: Final = 200  # bytes of one name: file systems take 255, with split, step and suffix
_UNFIT: Final = frozenset('%/\\<>:"|?*')  # besides what does not print


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
        parameters = {name: _finite(value) for name, value in run.parameters.items()}
        described = json.dumps({"name": run.name, "parameters": parameters}, indent=1, allow_nan=False)
        _put(self._root / "parameters.json", f"{described}\n".encode())
        self._rows = _read(self._root / "scores.csv")
        # What a crash tore off the end is dropped here; the run offers it again.
        _put(self._root / "scores.csv", _csv([_HEADER, *((*place, value) for place, value in self._rows.items())]))

    def log(self, records: Sequence[Record]) -> None:
        """Write records. Names are judged before anything is written.

        Raises:
            TrackingError: the client is not open; a record's name, split or key cannot name a
                file; or a file that is to be copied does not exist.
        """
        if self._root is None:
            raise TrackingError("is not open", where="Filesystem", fix="call open before log")
        contents = [(self._root / path, content) for record in records for path, content in _contents(record)]
        rows = {place: value for record in records for place, value in _rows(record)}
        for path, content in contents:
            _put(path, content)

        fresh = {place: value for place, value in rows.items() if self._rows.get(place) != value}
        scores, changed = self._root / "scores.csv", bool(fresh.keys() & self._rows.keys())
        self._rows |= fresh
        if changed:
            _put(scores, _csv([_HEADER, *((*place, value) for place, value in self._rows.items())]))
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


def _contents(record: Record) -> list[tuple[str, bytes | Path]]:
    """List the files a record becomes: path below the root, and bytes or the file to copy."""
    name = _name(record.name, "a record's name")
    split = "" if record.split is None else _name(record.split, f"the split of {record.name!r}") + "_"
    stem = f"{split}epoch_{record.epoch:04d}_step_{record.step:08d}"
    match record.value:
        case Score() | ScoreCollection():
            return []
        case Array(value):
            return [(f"arrays/{name}/{stem}.npy", _npy(value))]
        case ArrayCollection(values):
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as members:  # np.savez takes no key "file", and dates its members
                for key, value in values.items():
                    members.writestr(zipfile.ZipInfo(f"{_segment(key, record.name)}.npy"), _npy(value))
            return [(f"arrays/{name}/{stem}.npz", archive.getvalue())]
        case Plot(png):
            return [(f"plots/{name}/{stem}.png", png)]
        case PlotCollection(values):
            return [(f"plots/{name}/{_segment(key, record.name)}/{stem}.png", png) for key, png in values.items()]
        case Table(frame):
            return [(f"tables/{name}/{stem}.csv", frame.to_csv().encode())]
        case File(path):
            if not Path(path).is_file():
                raise TrackingError("the file to be copied does not exist", where=f"record {record.name!r}", got=path)
            return [(f"files/{name}/{stem}{_encode(Path(path).suffix)}", Path(path))]
        case other:
            raise TrackingError(
                "is of a kind that cannot be stored", where=f"record {record.name!r}", got=type(other).__name__
            )


def _name(name: str, what: str) -> str:
    """Encode a name of the programmer's own; one that looks like a way out of the directory is refused."""
    parts = re.split(r"[/\\]", name)
    if not name.isprintable() or parts[0] == "" or ".." in parts:
        raise TrackingError(
            f"{what} cannot name a file",
            where=repr(name),
            expected="printable text that is neither empty, nor absolute, nor leads upwards",
        )
    return _segment(name, what)


def _segment(key: str, what: str) -> str:
    """Encode any text as the name of one file or folder, reversibly."""
    encoded = _encode(key)
    if not 0 < len(encoded.encode()) <= _LONGEST:
        raise TrackingError(
            "is too long, or empty, to name a file",
            where=f"{key[:40]!r}, {what}",
            expected=f"1 to {_LONGEST} bytes once encoded",
            got=len(encoded.encode()),
        )
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _encode(text: str) -> str:
    return "".join(
        quote(char, safe="", errors="surrogatepass") if char in _UNFIT or not char.isprintable() else char
        for char in text
    )


def _npy(value: np.ndarray[Any, Any]) -> bytes:
    target = io.BytesIO()
    np.save(target, value, allow_pickle=False)
    return target.getvalue()


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


def _put(path: Path, content: bytes | Path) -> None:
    """Write or copy a file under another name, then rename it: it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(".partial")
    if isinstance(content, Path):
        shutil.copyfile(content, partial)
    else:
        partial.write_bytes(content)
    partial.replace(path)


def _finite(value: str | float) -> str | float:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
