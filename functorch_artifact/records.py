"""What a callback returns, as values, and who takes them.

Belongs here: the eight kinds of value, `Record`, and the `TrackingClient` contract.
Does not: computing values (`callbacks`), storing them (`tracking`).
Floor 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

import attrs
import numpy as np
from torch import Tensor

from functorch_artifact import png
from functorch_artifact.errors import RecordError, ScoreError, UndefinedError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

KeyT = TypeVar("KeyT", bound=str)


@attrs.frozen
class Score:
    """One number; NaN where there is none, and then perhaps the reason why."""

    value: float
    reason: str = attrs.field(default="", repr=False)

    @classmethod
    def of(cls, raw: Any, where: str = "score") -> Score:
        """Take a number or a one-element tensor or array; NaN and infinities are kept."""
        if isinstance(raw, cls):
            return raw
        try:
            if isinstance(raw, str | bytes):
                raise TypeError
            return cls(float(raw.item() if isinstance(raw, Tensor | np.ndarray) else raw))
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise RecordError("is not a score", where=where, expected="one number", got=_describe(raw)) from error

    @classmethod
    def attempt(cls, compute: Callable[[], Any], where: str = "score") -> Score:
        """Take what `compute` gives; NaN, with the reason, where the score is undefined.

        Example:
            >>> def recall():
            ...     raise UndefinedError("no label is positive")
            >>> Score.attempt(recall).reason
            'no label is positive'
        """
        try:
            return cls.of(compute(), where)
        except UndefinedError as error:
            return cls(float("nan"), str(error))


@attrs.frozen
class Scale:
    """How to read a score: its range, and which end is the better one."""

    low: float = -float("inf")
    high: float = float("inf")
    better: Literal["lower", "higher"] | None = None


@attrs.frozen(eq=False)
class Array:
    """One array, read-only."""

    value: np.ndarray[Any, Any]

    @classmethod
    def of(cls, raw: Any, where: str = "array") -> Array:
        """Copy a tensor (16-bit floats become float32), an array or nested numbers."""
        if isinstance(raw, cls):
            return raw
        if isinstance(raw, Tensor):
            # numpy has no bfloat16
            raw = (raw.float() if raw.is_floating_point() and raw.itemsize == 2 else raw).numpy(force=True)
        try:
            value = np.array(raw)
            if value.dtype.kind not in "biufc":
                raise TypeError
        except (TypeError, ValueError) as error:
            raise RecordError(
                "is not an array", where=where, expected="numbers of one shape", got=_describe(raw)
            ) from error
        value.flags.writeable = False
        return cls(value)


@attrs.frozen
class Plot:
    """One picture, as the bytes of a PNG file."""

    png: bytes

    @classmethod
    def of(cls, raw: Any, where: str = "plot") -> Plot:
        """Take PNG bytes, or draw a matplotlib `Figure` (without pyplot, at its own dpi)."""
        if isinstance(raw, cls):
            return raw
        if isinstance(raw, bytes) and raw.startswith(b"\x89PNG"):
            return cls(raw)
        if hasattr(raw, "savefig"):
            figure: Any = raw  # duck-typed, so that matplotlib is not imported to ask
            return cls(_draw(figure))
        raise RecordError(
            "is not a plot",
            where=where,
            expected="a matplotlib.figure.Figure or the bytes of a PNG file",
            got=_describe(raw),
        )


@attrs.frozen
class ScoreCollection:
    """Numbers by name, and the reasons of those that are NaN, as far as they are known."""

    values: Mapping[str, float]
    reasons: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @classmethod
    def of(cls, raw: Any, where: str = "score collection") -> ScoreCollection:
        """Take a mapping of names to numbers, or to scores."""
        if isinstance(raw, cls):
            return raw
        taken = {name: Score.of(value, at) for name, value, at in _items(raw, where)}
        return cls(
            {name: each.value for name, each in taken.items()},
            {name: each.reason for name, each in taken.items() if each.reason},
        )

    @classmethod
    def attempt(cls, names: Iterable[KeyT], compute: Callable[[KeyT], Any]) -> ScoreCollection:
        """Take what `compute` gives for each name; NaN, with the reason, where that is undefined."""
        return cls.of({name: Score.attempt(partial(compute, name), name) for name in names})


@attrs.frozen(eq=False)
class ArrayCollection:
    """Arrays by name."""

    values: Mapping[str, np.ndarray[Any, Any]]

    @classmethod
    def of(cls, raw: Any, where: str = "array collection") -> ArrayCollection:
        """Take a mapping of names to arrays."""
        if isinstance(raw, cls):
            return raw
        return cls({name: Array.of(value, at).value for name, value, at in _items(raw, where)})


@attrs.frozen
class PlotCollection:
    """Pictures by name, each the bytes of a PNG file."""

    values: Mapping[str, bytes]

    @classmethod
    def of(cls, raw: Any, where: str = "plot collection") -> PlotCollection:
        """Take a mapping of names to figures or PNG bytes."""
        if isinstance(raw, cls):
            return raw
        return cls({name: Plot.of(value, at).png for name, value, at in _items(raw, where)})


@attrs.frozen(eq=False)
class Table:
    """One pandas table."""

    frame: pd.DataFrame


@attrs.frozen
class File:
    """One file on disk, to be copied by whoever takes the record."""

    path: str


Value: TypeAlias = Score | Array | Plot | ScoreCollection | ArrayCollection | PlotCollection | Table | File


@attrs.frozen(eq=False)
class Record:
    """One value with its name and its place in the run. Identity: (name, split, epoch, step)."""

    name: str
    value: Value
    epoch: int  # epochs completed, counted from 1
    step: int  # optimizer steps completed, counted from 1
    split: str | None = None  # "TRAIN", "VALIDATION", ...


@attrs.frozen
class RunInfo:
    """What a tracking client is told when a run opens."""

    name: str
    directory: str | None = None
    parameters: Mapping[str, str | int | float | bool] = attrs.field(factory=dict)


class TrackingClient(ABC):
    """Whoever stores records: memory, a directory, a tracking server.

    A run calls `open` once, `log` with some records at a time, then `close`, all three from one
    thread of its own, beside the training. A client that raises does not stop training: the same
    records are offered again later, in another process too, so `log` must be able to take a record
    twice (one identity, (name, split, epoch, step), is one record). A `TrackingError` refuses a
    record for good; any other error is taken for an outage.
    """

    durable: ClassVar[bool] = True
    """Whether what it took outlives the process. If not, it is given a resumed run from its beginning."""

    @property
    def name(self) -> str:
        """What a run remembers it by, the same in the next process: its class and where it stores.

        By default the class alone, which tells apart all clients but two of one class.
        """
        return type(self).__name__

    @abstractmethod
    def open(self, run: RunInfo) -> None:
        """Prepare to take the records of `run`."""

    @abstractmethod
    def log(self, records: Sequence[Record]) -> None:
        """Store records; they are taken when it returns."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release what was opened."""


def scores(records: Iterable[Record]) -> dict[str, float]:
    """Collect the numbers among records: a score by its name, a collection's as `NAME/key`.

    Raises:
        ScoreError: two records report a score of the same name.
    """
    found: dict[str, float] = {}
    for record in records:
        if isinstance(record.value, Score):
            items = {record.name: record.value.value}
        elif isinstance(record.value, ScoreCollection):
            items = {f"{record.name}/{key}": value for key, value in record.value.values.items()}
        else:
            continue
        for name, value in items.items():
            if name in found:
                raise ScoreError(
                    "is logged twice in one epoch", where=f"score {name!r}", fix="rename one of the callbacks"
                )
            found[name] = value
    return found


def _items(raw: Any, where: str) -> list[tuple[str, Any, str]]:
    if not isinstance(raw, Mapping):
        raise RecordError("is not a collection", where=where, expected="a mapping", got=_describe(raw))
    return [(str(name), value, f"{where}[{name!r}]") for name, value in raw.items()]


def _draw(figure: Figure) -> bytes:
    # pyplot's global state leaks figures, and closing through it swaps the canvas.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    own = figure.canvas
    canvas: Any = FigureCanvasAgg(figure)  # which is not typed
    try:
        canvas.draw()
        return png.encode(np.asarray(canvas.buffer_rgba()))
    finally:
        # A figure and its canvas hold each other until the garbage is collected: not these pixels as well.
        figure.set_canvas(own)


def _describe(raw: Any) -> str:
    shape = getattr(raw, "shape", None)
    return f"{type(raw).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else f" {raw!r:.80}")
