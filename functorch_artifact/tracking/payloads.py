"""Records as text and bytes, and back, bit for bit and free of code.

Belongs here: what each kind of value becomes in the journal. Does not: where it is put
(`journal`), or how a person reads it (`filesystem`).
Floor 7.

| kind | text, as JSON | payload |
|---|---|---|
| `score`, `score_collection` | a number; numbers by name; with reasons, a list of both | |
| `array`, `plot` | | `.npy`; `.png` |
| `array_collection`, `plot_collection` | the names | an archive of them, in the order of the names |
| `table` | | JSON: labels, dtypes, values by column |
| `file` | the file's name | the file |
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import numpy as np

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    File,
    Plot,
    PlotCollection,
    Record,
    Score,
    ScoreCollection,
    Table,
    Value,
)

if TYPE_CHECKING:
    import pandas as pd

KINDS: Final[dict[type[Any], str]] = {
    Score: "score",
    ScoreCollection: "score_collection",
    Array: "array",
    ArrayCollection: "array_collection",
    Plot: "plot",
    PlotCollection: "plot_collection",
    Table: "table",
    File: "file",
}


@attrs.frozen
class Encoded:
    """A record's value as text and, for what is large, bytes or the file to copy."""

    kind: str
    text: str
    payload: bytes | Path | None = attrs.field(default=None, repr=False)
    suffix: str = ""  # of the payload's file


def encode(record: Record) -> Encoded:
    """Turn a record's value into text and bytes.

    Raises:
        TrackingError: the value is of no known kind, holds what has no JSON, or is a file that
            does not exist; or the record's name, split or place cannot be stored.
    """
    where = f"record {record.name!r}"
    kind = KINDS.get(type(record.value))
    if kind is None:
        raise TrackingError("is of a kind that cannot be stored", where=where, got=type(record.value).__name__)
    for text in (record.name, record.split or ""):
        if not isinstance(text, str) or (not text.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in text)):
            raise TrackingError("has a name or split that is no text", where=where, got=repr(text))
    match record.value:
        case Score(value, reason):
            return Encoded(kind, json.dumps([float(value), reason] if reason else float(value)))
        case ScoreCollection(values, reasons):
            numbers = {name: float(value) for name, value in values.items()}
            return Encoded(kind, json.dumps([numbers, dict(reasons)] if reasons else numbers))
        case Array(array):
            return Encoded(kind, "null", _npy(array), ".npy")
        case ArrayCollection(arrays):
            return Encoded(kind, json.dumps(list(arrays)), _zip([_npy(each) for each in arrays.values()]), ".zip")
        case Plot(png):
            return Encoded(kind, "null", png, ".png")
        case PlotCollection(plots):
            return Encoded(kind, json.dumps(list(plots)), _zip(list(plots.values())), ".zip")
        case Table(frame):
            return Encoded(kind, "null", json.dumps(_table(frame)).encode(), ".json")
        case File(path):
            if not Path(path).is_file():
                raise TrackingError("the file to be copied does not exist", where=where, got=path)
            suffix = Path(path).suffix
            safe = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,16}", suffix) else ""
            return Encoded(kind, json.dumps(Path(path).name), Path(path), safe)


def decode(kind: str, text: str, payload: Path | None) -> Value:
    """Turn text, and the payload's file, into the value they were made of."""
    if kind == "file":
        return File(str(payload))
    if kind == "score":
        return Score(*_pair(json.loads(text), ""))
    if kind == "score_collection":
        return ScoreCollection(*_pair(json.loads(text), {}))
    data = b"" if payload is None else payload.read_bytes()
    if kind == "array":
        return Array(_array(data))
    if kind == "array_collection":
        return ArrayCollection(dict(zip(json.loads(text), map(_array, _unzip(data)), strict=True)))
    if kind == "plot":
        return Plot(data)
    if kind == "plot_collection":
        return PlotCollection(dict(zip(json.loads(text), _unzip(data), strict=True)))
    return Table(_frame(json.loads(data)))


def _pair(found: Any, nothing: Any) -> Any:
    """Take numbers apart from their reasons."""
    return found if isinstance(found, list) else (found, nothing)


def _npy(value: np.ndarray[Any, Any]) -> bytes:
    target = io.BytesIO()
    np.save(target, value, allow_pickle=False)
    return target.getvalue()


def _array(data: bytes) -> np.ndarray[Any, Any]:
    value: np.ndarray[Any, Any] = np.load(io.BytesIO(data), allow_pickle=False)
    value.flags.writeable = False
    return value


def _zip(members: Sequence[bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for position, data in enumerate(members):
            archive.writestr(zipfile.ZipInfo(str(position)), data)  # dated 1980: equal contents, equal bytes
    return target.getvalue()


def _unzip(data: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [archive.read(str(position)) for position in range(len(archive.namelist()))]


def _table(frame: pd.DataFrame) -> Any:
    columns = [frame.iloc[:, position] for position in range(frame.shape[1])]
    return {
        "columns": _labels(frame.columns),
        "index": _labels(frame.index),
        "dtypes": [str(column.dtype) for column in columns],
        "values": [_values(column) for column in columns],
    }


def _labels(axis: pd.Index[Any]) -> Any:
    levels = [axis.get_level_values(level) for level in range(axis.nlevels)]
    return {
        "names": [_plain(name) for name in axis.names],
        "dtypes": [str(level.dtype) for level in levels],
        "values": [_values(level) for level in levels],
    }


def _values(column: Any) -> list[Any]:
    if getattr(column.dtype, "kind", "O") in "mM":
        return [str(value) for value in column]
    return [_plain(value) for value in column.tolist()]


def _plain(value: Any) -> Any:
    """Keep what JSON has a word for; a missing value that is no float becomes null, the rest text."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    import pandas as pd

    return None if value is pd.NA or value is pd.NaT else str(value)


def _frame(described: Any) -> pd.DataFrame:
    import pandas as pd

    columns, index = _axis(described["columns"]), _axis(described["index"])
    series = [_series(v, d, index) for v, d in zip(described["values"], described["dtypes"], strict=True)]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=index)
    frame.columns = columns
    return frame


def _series(values: list[Any], dtype: str, index: pd.Index[Any] | None = None) -> pd.Series[Any]:
    import pandas as pd

    if dtype.startswith("datetime64"):
        moments: Any = pd.Series(pd.to_datetime(values, format="ISO8601"), index=index)
        return cast("pd.Series[Any]", moments.astype(dtype))
    return pd.Series(values, index=index, dtype="object" if dtype.startswith("complex") else dtype)


def _axis(described: Any) -> pd.Index[Any]:
    import pandas as pd

    levels = [pd.Index(_series(v, d)) for v, d in zip(described["values"], described["dtypes"], strict=True)]
    if len(levels) > 1:
        return pd.MultiIndex.from_arrays(levels, names=described["names"])
    named: pd.Index[Any] = levels[0].rename(described["names"][0])
    return named
