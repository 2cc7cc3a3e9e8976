"""A client that hands records to a tracking client of artifact-experiment, or to anything that logs like one.

Belongs here: the methods that are asked of such an object, and what each kind of record becomes. Does not:
importing artifact-experiment, which is never needed.
Floor 7.

Names are `NAME.SPLIT`; in them, what is not a letter, a digit, `_` or `-` is encoded with tildes. Such a client
counts values instead of taking steps, so records keep their order, and their epoch and step are lost. A
picture is drawn on a figure again, so it is no longer the same to the pixel. Tables and parameters are
files.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

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
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.extras import load
from functorch_artifact.tracking.names import Names

NAMES: Final = Names(lambda sign: sign.isalnum() or sign in "_-", escape="~")
_PATIENCE: Final = 30.0  # seconds for a queue to empty


@runtime_checkable
class ExperimentClient(Protocol):
    """What artifact-experiment calls a `TrackingClient`: a method for every kind of value."""

    def log_score(self, score: float, name: str) -> None: ...
    def log_array(self, array: Any, name: str) -> None: ...
    def log_plot(self, plot: Any, name: str) -> None: ...
    def log_score_collection(self, score_collection: Any, name: str) -> None: ...
    def log_array_collection(self, array_collection: Any, name: str) -> None: ...
    def log_plot_collection(self, plot_collection: Any, name: str) -> None: ...
    def log_file(self, path_source: str, name: str) -> None: ...


AnyClient: TypeAlias = TrackingClient | ExperimentClient


class ArtifactExperiment(TrackingClient):
    """Hand records to an artifact-experiment client.

    A record is handed over once in the life of this object; after a crash, what the journal does not know
    to be delivered is handed over again, and such a client cannot tell. Closing waits for its queue to be
    empty but leaves it running: whoever made it stops it.

    Args:
        client: the artifact-experiment client, at work.
    """

    def __init__(self, client: ExperimentClient) -> None:
        self._client = client
        self._taken: set[tuple[str, str | None, int, int]] = set()

    @property
    def name(self) -> str:
        """Its class, and that of the client."""
        return f"ArtifactExperiment({type(self._client).__name__})"

    def open(self, run: RunInfo) -> None:
        """Log the parameters as a file."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "parameters.json")
            layout.put(path, layout.parameters(run))
            self._client.log_file(path_source=str(path), name="parameters")
            self._settle()

    def log(self, records: Sequence[Record]) -> None:
        """Hand records over, and wait until they have been taken.

        Raises:
            TrackingError: a name is empty or too long, or a value is of no known kind.
            ConnectionError: the client's worker has died, or takes too long.
        """
        named = [(_name(record), record) for record in records if _place(record) not in self._taken]
        with tempfile.TemporaryDirectory() as directory:
            for name, record in named:
                self._hand_over(name, record, Path(directory))
            self._settle()
        self._taken |= {_place(record) for _, record in named}

    def close(self) -> None:
        """Wait until everything has been taken."""
        self._settle()

    def _hand_over(self, name: str, record: Record, directory: Path) -> None:
        client = self._client
        match record.value:
            case Score(value):
                client.log_score(score=value, name=name)
            case Array(value):
                client.log_array(array=value, name=name)
            case Plot(png):
                client.log_plot(plot=_figure(png), name=name)
            case ScoreCollection(values):
                client.log_score_collection(score_collection=_keyed(values), name=name)
            case ArrayCollection(values):
                client.log_array_collection(array_collection=_keyed(values), name=name)
            case PlotCollection(values):
                figures = {key: _figure(png) for key, png in values.items()}
                client.log_plot_collection(plot_collection=_keyed(figures), name=name)
            case Table() | File():
                for path, content in layout.files(record, NAMES).items():
                    copy = directory / path
                    layout.put(copy, content)
                    client.log_file(path_source=str(copy), name=name)
            case other:
                raise TrackingError(
                    "is of a kind that cannot be stored", where=f"record {record.name!r}", got=type(other).__name__
                )

    def _settle(self) -> None:
        """Wait until the client's queue is empty; its worker ends without a word at the first bad value."""
        queue = getattr(getattr(self._client, "queue", None), "queue", None)
        thread = getattr(getattr(self._client, "_logger_worker", None), "_thread", None)
        deadline = time.monotonic() + _PATIENCE
        while queue is not None and not queue.empty():
            if thread is not None and not thread.is_alive():
                raise ConnectionError(f"the worker of {type(self._client).__name__} has died")
            if time.monotonic() > deadline:
                raise ConnectionError(f"{type(self._client).__name__} has not taken its queue in {_PATIENCE:g} s")
            time.sleep(0.01)


def as_clients(given: AnyClient | Sequence[AnyClient]) -> list[TrackingClient]:
    """List one or several tracking clients: ours as they are, artifact-experiment's by their methods.

    Raises:
        TrackingError: one is neither.
    """
    return [_as_client(each) for each in (given if isinstance(given, Sequence) else [given])]


def _as_client(given: object) -> TrackingClient:
    if isinstance(given, TrackingClient):
        return given
    if isinstance(given, ExperimentClient):
        return ArtifactExperiment(given)
    raise TrackingError(
        "is no tracking client",
        where="tracking_client",
        expected="a TrackingClient, or an object with log_score, log_array, log_plot, log_file, log_*_collection",
        got=type(given).__name__,
    )


def _place(record: Record) -> tuple[str, str | None, int, int]:
    return record.name, record.split, record.epoch, record.step


def _name(record: Record) -> str:
    return ".".join(NAMES.encode(part) for part in (record.name, record.split) if part is not None)


def _keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_key(key): value for key, value in values.items()}


def _key(key: str) -> str:
    # Arrays go to `np.savez` as keyword arguments, beside its own.
    return f"~{ord(key[0]):02X}{key[1:]}" if key in ("file", "allow_pickle") else NAMES.encode(key)


def _figure(png: bytes) -> Any:
    """Draw a picture on a figure of its size."""
    image = load("matplotlib.image", "plots").imread(io.BytesIO(png))
    height, width = image.shape[:2]
    figure = load("matplotlib.figure", "plots").Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure
