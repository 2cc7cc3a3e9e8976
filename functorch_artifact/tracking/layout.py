"""What a record comes to outside the process: numbers by key, and files by path.

Belongs here: the one layout that the filesystem client and every backend with files share. Does
not: storing anything (the clients), or which names a backend allows (`names`).
Floor 7.

    arrays/NAME/SPLIT_epoch_0001_step_00000100.npy     a collection: .npz
    plots/NAME/SPLIT_epoch_0001_step_00000100.png      a collection: plots/NAME/KEY/...
    tables/NAME/SPLIT_epoch_0001_step_00000100.csv     with the index as first column
    files/NAME/SPLIT_epoch_0001_step_00000100.suffix   a copy, with the original's suffix

`SPLIT_` is left out where a record has no split. A score's key is `NAME/SPLIT`, in a collection
`NAME/KEY/SPLIT`, without the last part where a record has no split.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

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
)
from functorch_artifact.tracking.names import FILES, Names

Key: TypeAlias = tuple[str, ...]
Content: TypeAlias = bytes | Path  # a file's content, or the file to copy
EPOCH: Final = "run/epoch"  # the score that tells which epoch a step belongs to


def numbers(record: Record) -> dict[Key, float]:
    """List a record's numbers by the segments of their keys."""
    end = () if record.split is None else (record.split,)
    if isinstance(record.value, Score):
        return {(record.name, *end): float(record.value.value)}
    if isinstance(record.value, ScoreCollection):
        return {(record.name, key, *end): float(value) for key, value in record.value.values.items()}
    return {}


def arrays(record: Record) -> dict[Key, np.ndarray[Any, Any]]:
    """List a record's arrays by the segments of their keys."""
    end = () if record.split is None else (record.split,)
    if isinstance(record.value, Array):
        return {(record.name, *end): record.value.value}
    if isinstance(record.value, ArrayCollection):
        return {(record.name, key, *end): value for key, value in record.value.values.items()}
    return {}


def plots(record: Record) -> dict[Key, bytes]:
    """List a record's pictures, as the bytes of PNG files, by the segments of their keys."""
    end = () if record.split is None else (record.split,)
    if isinstance(record.value, Plot):
        return {(record.name, *end): record.value.png}
    if isinstance(record.value, PlotCollection):
        return {(record.name, key, *end): png for key, png in record.value.values.items()}
    return {}


def files(record: Record, names: Names = FILES) -> dict[str, Content]:
    """List the files a record becomes, by path.

    Raises:
        TrackingError: a name, split or key is empty or too long; the value is of no known kind, or
            a file that does not exist.
    """
    name = names.encode(record.name, "a record's name")
    where = f"record {record.name!r}"
    split = "" if record.split is None else names.encode(record.split, f"the split of {record.name!r}") + "_"
    stem = f"{split}epoch_{record.epoch:04d}_step_{record.step:08d}"
    match record.value:
        case Score() | ScoreCollection():
            return {}
        case Array(value):
            return {f"arrays/{name}/{stem}.npy": npy(value)}
        case ArrayCollection(values):
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as members:  # np.savez takes no key "file", and dates its members
                for key, value in values.items():
                    members.writestr(zipfile.ZipInfo(f"{names.encode(key, where)}.npy"), npy(value))
            return {f"arrays/{name}/{stem}.npz": archive.getvalue()}
        case Plot(png):
            return {f"plots/{name}/{stem}.png": png}
        case PlotCollection(values):
            return {f"plots/{name}/{names.encode(key, where)}/{stem}.png": png for key, png in values.items()}
        case Table(frame):
            return {f"tables/{name}/{stem}.csv": frame.to_csv().encode()}
        case File(path):
            if not Path(path).is_file():
                raise TrackingError("the file to be copied does not exist", where=where, got=path)
            suffix = Path(path).suffix
            return {f"files/{name}/{stem}{suffix and '.' + names.encode(suffix[1:], where)}": Path(path)}
        case other:
            raise TrackingError("is of a kind that cannot be stored", where=where, got=type(other).__name__)


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Write a table as text: the names of its columns, index included, and its rows."""
    frame = table.frame.reset_index()
    rows = zip(*(map(str, frame.iloc[:, column]) for column in range(frame.shape[1])), strict=True)
    return [str(name) for name in frame.columns], [list(row) for row in rows]


def parameters(run: RunInfo) -> bytes:
    """Write a run's name and parameters as JSON; what is not finite becomes text."""
    plain = {name: _finite(value) for name, value in run.parameters.items()}
    return f"{json.dumps({'name': run.name, 'parameters': plain}, indent=1, allow_nan=False)}\n".encode()


def npy(value: np.ndarray[Any, Any]) -> bytes:
    """Write an array as the bytes of a `.npy` file."""
    target = io.BytesIO()
    np.save(target, value, allow_pickle=False)
    return target.getvalue()


def write(root: Path, contents: Mapping[str, Content]) -> None:
    """Write or copy files below a directory; each is whole or not there."""
    for path, content in contents.items():
        put(root / path, content)


def put(path: Path, content: Content) -> None:
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
