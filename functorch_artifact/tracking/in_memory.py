"""A client that keeps records in memory.

Belongs here: keeping records and reading them back. Does not: writing anything.
Floor 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from functorch_artifact.records import Record, RunInfo, Score, ScoreCollection, TrackingClient, Value

if TYPE_CHECKING:
    import pandas as pd


class InMemory(TrackingClient):
    """Keep every record; one offered again replaces the one of the same name, split, epoch and step.

    Example:
        >>> from functorch_artifact import records, tracking
        >>> client = tracking.InMemory()
        >>> client.log([records.Record("LOSS", records.Score(0.5), epoch=1, step=10, split="TRAIN")])
        >>> client.scores()
           name  split  epoch  step  value
        0  LOSS  TRAIN      1    10    0.5
    """

    durable = False

    def __init__(self) -> None:
        self.run: RunInfo | None = None
        self._records: dict[tuple[str, str | None, int, int], Record] = {}

    def open(self, run: RunInfo) -> None:
        """Remember what the run is."""
        self.run = run

    def log(self, records: Sequence[Record]) -> None:
        """Keep records."""
        self._records |= {(record.name, record.split, record.epoch, record.step): record for record in records}

    def close(self) -> None:
        """Do nothing: the records stay readable."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The records, in the order they came."""
        return tuple(self._records.values())

    def select(self, kind: type[Value] | None = None, *, name: str | None = None) -> tuple[Record, ...]:
        """List the records of a kind (such as `records.Plot`), of a name, or both."""
        return tuple(
            record
            for record in self.records
            if (kind is None or isinstance(record.value, kind)) and (name is None or record.name == name)
        )

    def scores(self) -> pd.DataFrame:
        """Table the numbers: name, split, epoch, step, value; a collection's are named `NAME/key`."""
        import pandas as pd

        rows = [
            (name, record.split, record.epoch, record.step, value)
            for record in self.records
            for name, value in _numbers(record)
        ]
        return pd.DataFrame(rows, columns=["name", "split", "epoch", "step", "value"])


def _numbers(record: Record) -> list[tuple[str, float]]:
    if isinstance(record.value, Score):
        return [(record.name, record.value.value)]
    if isinstance(record.value, ScoreCollection):
        return [(f"{record.name}/{key}", value) for key, value in record.value.values.items()]
    return []
