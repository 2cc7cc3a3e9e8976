"""The records that every client is offered."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from functorch_artifact import records
from functorch_artifact.records import Record, RunInfo

PARAMETERS = {"rate": 0.1, "layers": 3, "exact": True, "stopper": "S" * 7000, "bound (max)": math.inf}
FRAME = pd.DataFrame({"price ($)": [0.1, float("nan")], "a|b": ["x", "y"]}, index=["first", "second"])
HOSTILE = [
    "price ($)", "a/b", "a//b/", "../../etc/passwd", "/abs", "..", ".", ".hidden", "two\nlines", "tab\t", "nul\0",
    "100%", "%2F", "~2F", ":2F", "Größe", "価格", "🙂", "'; DROP TABLE metrics; --", "$(reboot)", "<b>", " padded ",
    "a,b", 'say "x"', "C:\\x", "con", "epoch", "step", "_step", "run", "__proto__", "{x}", "a.b", "#1", "?",
]  # fmt: skip


def png(shade: int = 128, width: int = 4, height: int = 3) -> bytes:
    """Make a grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + bytes([shade]) * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def run_info(directory: Path, name: str = "run") -> RunInfo:
    return RunInfo(name, str(directory / name), PARAMETERS)


def score(name: str = "LOSS", value: float = 0.5, epoch: int = 1, split: str | None = "TRAIN") -> Record:
    return Record(name, records.Score(value), epoch, epoch * 10, split)


def losses(first: int, last: int) -> list[Record]:
    """Make one score an epoch."""
    return [score(value=1 / epoch, epoch=epoch) for epoch in range(first, last + 1)]


def everything(source: Path, epoch: int = 2) -> list[Record]:
    """Make a record of every kind."""
    source.write_bytes(b"weights")
    values = {
        "LOSS": records.Score(0.25),
        "JS": records.ScoreCollection({"price ($)": 0.5, "a/b": 0.75}),
        "CORRELATION": records.Array.of([[1.0, 2.0], [3.0, 4.0]]),
        "CUBE": records.Array.of([[[1.0, math.nan]], [[3.0, math.inf]]]),
        "WAVES": records.Array.of([1 + 2j]),
        "BY_COLUMN": records.ArrayCollection.of({"file": [1, 2], "a/b": [0.5], "flag": [True]}),
        "PDF": records.Plot(png()),
        "PDFS": records.PlotCollection({"price ($)": png(10), "../../a": png(20)}),
        "MEANS": records.Table(FRAME),
        "WEIGHTS": records.File(str(source)),
    }
    return [Record(name, value, epoch, epoch * 10, "VALIDATION") for name, value in values.items()]


def epochs(n: int, plots_every: int = 5) -> Iterator[list[Record]]:
    """Make the records of a small run: two scores an epoch, a plot every few."""
    for epoch in range(1, n + 1):
        made = [score(value=1 / epoch, epoch=epoch), score("VAL_LOSS", 2 / epoch, epoch, "VALIDATION")]
        if epoch % plots_every == 0:
            made.append(Record("PDF", records.Plot(png(epoch % 256)), epoch, epoch * 10, "VALIDATION"))
        yield made
