"""Panels on a figure.

Belongs here: `Panel`, and how panels with their titles, ticks and names share a figure. Does not:
what panels show (`marks`), along which axes (`scales`).
Floor 1.

A panel's size is given and so is the size of each text, so the figure's size follows, and nothing is
laid out twice. Margins are whole tenths of an inch: pictures of one thing at several times have one
size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from functorch_artifact.errors import MissingExtraError
from functorch_artifact.figures.marks import DASHED, Cells, Ink, Mark, placing
from functorch_artifact.figures.scales import Axis, linear
from functorch_artifact.figures.texts import BASELINE, POINT, TOP, Label, width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE, _FRAME = "#e4e4e4", "#222222"
_NAME, _LABEL, _TITLE, _HEADLINE = 8.0, 9.0, 10.0, 13.0  # sizes of type, in points
_EM: Final = 1.25  # from line to line, in the size of type
_SWATCH: Final = 0.22  # a colour in the legend
_BETWEEN: Final = 0.25  # two entries of the legend
_GAP: Final = 0.06  # between an axis and what is written along it, in inches
_TICK: Final = 0.04
_PAD: Final = 0.1  # around panels
_HEAD: Final = 0.25  # a line of the headline
_FOOT: Final = 0.25  # a row of the legend
_BAR: Final = 0.14  # a colour bar's width
_N_SHADES: Final = 64
_DEPTH: Final = -0.3  # of the letters that reach below the baseline, in the size of type
_SLANT: Final = math.sqrt(0.5)


@attrs.frozen(eq=False)
class Panel:
    """One chart.

    Args:
        x: its horizontal axis.
        y: its vertical axis.
        marks: what it shows; what lies outside of the axes is cut off.
        title: what stands above it, a line or several.
        height: of its axes, in the sheet's; the highest panel of a row counts.
        bar: cells whose colours are explained at its right.
        frame: whether its axes are drawn as lines, with ticks.
    """

    x: Axis
    y: Axis
    marks: Sequence[Mark]
    title: str = ""
    height: float = 1.0
    bar: Cells | None = None
    frame: bool = True

    @property
    def tick(self) -> float:
        """How long its ticks are, in inches."""
        return _TICK if self.frame else 0.0


@attrs.frozen
class Key:
    """One entry of a legend: a name, and a colour, or a dashed line of that colour."""

    name: str
    colour: str
    dashed: bool = False

    @property
    def width(self) -> float:
        """How wide it is, in inches."""
        return _SWATCH + _GAP + width(self.name, _LABEL)

    def draw(self, left: float, middle: float, ink: Ink) -> None:
        """Draw it to the right of `left`."""
        right, half = left + _SWATCH, _SWATCH / 5
        if self.dashed:
            ink.line(np.array([[left, middle], [right, middle]]), self.colour, 1.4, dashes=DASHED)
        else:
            corners = [(left, -half), (right, -half), (right, half), (left, half)]
            ink.polygon(np.array([(x, middle + y) for x, y in corners]), self.colour)
        ink.label(Label(right + _GAP, middle, self.name, _LABEL, along=0.0))


def sheet(
    panels: Sequence[Panel],
    *,
    size: tuple[float, float],
    n_columns: int = 1,
    title: str = "",
    legend: Sequence[Key] = (),
) -> Figure:
    """Draw panels in rows on a figure, made without pyplot.

    Args:
        panels: what to draw, in reading order.
        size: width and height of what each panel's axes enclose, in inches.
        n_columns: panels side by side.
        title: the headline.
        legend: what colours mean, to stand below the panels.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from functorch_artifact.figures import Line, Panel, linear, sheet
        >>> line = Line([0.0, 1.0], [1.0, 0.0], "black")
        >>> figure = sheet([Panel(linear(0, 1, "x"), linear(0, 1, "y"), [line])], size=(4.0, 3.0))
        >>> figure.get_size_inches().round(1).tolist()
        [4.9, 3.7]
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="plots", purpose="drawing") from error
    ink = Ink()
    rows = [_row(panels[start : start + n_columns], size) for start in range(0, len(panels), n_columns)]
    columns = [[row[i] for row in rows if i < len(row)] for i in range(len(rows[0]))]
    lefts, rights = ([_margin(column, side) for column in columns] for side in ("left", "right"))
    tops, bottoms = ([_margin(row, side) for row in rows] for side in ("top", "bottom"))
    inside = sum(lefts) + sum(rights) + len(columns) * size[0]
    headlines, keys = title.splitlines(), _rows_of(legend, max(inside, 3.0))
    widths = [inside, *(width(line, _HEADLINE, bold=True) for line in headlines), *(_keys_width(row) for row in keys)]
    breadth = max(widths) + 2 * _PAD
    head, foot = _HEAD * len(headlines) + _PAD, _FOOT * len(keys) + _PAD * (1 + bool(keys))
    below = foot + sum(tops) + sum(row[0].size[1] for row in rows) + sum(bottoms)
    figure = Figure(figsize=(breadth, below + head), dpi=100)
    for i, line in enumerate(headlines):
        ink.label(Label(breadth / 2, below + head - _PAD - _HEAD * (i + 0.5), line, _HEADLINE, bold=True))
    for row, top, bottom in zip(rows, tops, bottoms, strict=True):
        below -= top + row[0].size[1]
        left = (breadth - inside) / 2
        for each, before, after in zip(row, lefts, rights, strict=False):
            left += before
            each.draw(left, below, ink)
            left += size[0] + after
        below -= bottom
    for i, row_of_keys in enumerate(keys):
        left = (breadth - _keys_width(row_of_keys)) / 2
        for key in row_of_keys:
            key.draw(left, foot - _PAD - _FOOT * (i + 0.5), ink)
            left += key.width + _BETWEEN
    ink.onto(figure)
    return figure


@attrs.frozen(eq=False)
class _Tick:
    at: float  # along the axis, in inches
    name: str
    width: float


@attrs.frozen(eq=False)
class _Placed:
    """A panel whose ticks are chosen, and the room it needs around its axes, in inches."""

    panel: Panel
    size: tuple[float, float]
    across: Sequence[_Tick]
    up: Sequence[_Tick]
    left: float
    right: float
    top: float
    bottom: float

    @classmethod
    def of(cls, panel: Panel, size: tuple[float, float]) -> _Placed:
        """Leave out ticks that would overlap, and measure what stands around the axes."""
        x, y, line = panel.x, panel.y, _EM * _NAME * POINT
        across = _apart(_ticks(x, size[0]), line / _SLANT if x.slanted else None)
        up = _apart(_ticks(y, size[1]), line)
        left = _most(tick.width for tick in up) + _GAP + panel.tick + (_EM * _LABEL * POINT if y.label else 0.0)
        right = 0.0 if x.slanted else max([0.0, *(tick.at + tick.width / 2 - size[0] for tick in across)])
        below = line if any(tick.name for tick in across) else 0.0
        if x.slanted:
            left = max([left, *(tick.width * _SLANT - tick.at for tick in across)])
            below = _most(tick.width for tick in across) * _SLANT + line
        bottom = panel.tick + _GAP + below + (line if x.note else 0.0) + (_EM * _LABEL * POINT if x.label else 0.0)
        if panel.bar is not None:
            right = _BAR + 3 * _GAP + _most(tick.width for tick in _ticks(_bar_axis(panel.bar), 1.0))
        spill = max((width(text, _TITLE) for text in panel.title.splitlines()), default=0.0) / 2 - size[0] / 2
        left, right = max(left, spill), max(right, spill)
        top = len(panel.title.splitlines()) * _EM * _TITLE * POINT + _GAP + (line if y.note else 0.0)
        return cls(panel, size, across, up, left, right + _PAD, top, bottom)

    def draw(self, left: float, below: float, ink: Ink) -> None:
        """Draw the panel, the lower left corner of its axes at (left, below)."""
        right, above = left + self.size[0], below + self.size[1]
        place, inside = (
            placing(self.panel.x, self.panel.y, left, below, *self.size),
            ink.within(left, below, right, above),
        )
        for mark in self.panel.marks:
            mark.draw(place, inside)
        if self.panel.frame:
            ink.line(np.array([[left, above], [left, below], [right, below]]), _FRAME, 0.8)
        self._draw_x(left, right, below, above, ink)
        self._draw_y(left, right, below, above, ink)
        at = above + _GAP + (_EM * _NAME * POINT if self.panel.y.note else 0.0)
        for text in reversed(self.panel.title.splitlines()):
            ink.label(Label((left + right) / 2, at, text, _TITLE, across=BASELINE))
            at += _EM * _TITLE * POINT
        if self.panel.bar is not None:
            _draw_bar(self.panel.bar, right + 2 * _GAP, below, self.size[1], ink)

    def _draw_x(self, left: float, right: float, below: float, above: float, ink: Ink) -> None:
        axis, end = self.panel.x, below - self.panel.tick
        along, angle = (1.0, 45.0) if axis.slanted else (0.5, 0.0)
        for tick in self.across:
            at = left + tick.at
            if self.panel.frame:
                ink.line(np.array([[at, end], [at, below]]), _FRAME, 0.8)
                if axis.grid:
                    ink.line(np.array([[at, below], [at, above]]), _LINE, 0.7, behind=True)
            ink.label(Label(at, end - _GAP / 2, tick.name, _NAME, along=along, across=TOP, angle=angle))
        low = below - self.bottom  # from here upwards: the label, the note
        if axis.label:
            ink.label(Label((left + right) / 2, low, axis.label, _LABEL, across=_DEPTH))
            low += _EM * _LABEL * POINT
        if axis.note:
            ink.label(Label(right, low, axis.note, _NAME, along=1.0, across=_DEPTH))

    def _draw_y(self, left: float, right: float, below: float, above: float, ink: Ink) -> None:
        axis, end = self.panel.y, left - self.panel.tick
        for tick in self.up:
            at = below + tick.at
            if self.panel.frame:
                ink.line(np.array([[end, at], [left, at]]), _FRAME, 0.8)
                if axis.grid:
                    ink.line(np.array([[left, at], [right, at]]), _LINE, 0.7, behind=True)
            ink.label(Label(end - _GAP / 2, at, tick.name, _NAME, along=1.0))
        if axis.label:
            at = end - _GAP - _most(tick.width for tick in self.up)
            ink.label(Label(at, (below + above) / 2, axis.label, _LABEL, across=_DEPTH, angle=90.0))
        if axis.note:
            ink.label(Label(left, above + _GAP, axis.note, _NAME, along=0.0, across=BASELINE))


def _draw_bar(cells: Cells, left: float, below: float, height: float, ink: Ink) -> None:
    """Explain the colours of cells."""
    low, length = below + 0.1 * height, 0.8 * height
    across, up = np.meshgrid([left, left + _BAR], np.linspace(low, low + length, _N_SHADES + 1))
    shades = np.linspace(-cells.limit, cells.limit, _N_SHADES)[:, None]
    ink.mesh(np.stack([across, up], axis=2), shades, cells.colormap, cells.limit)
    for tick in _ticks(_bar_axis(cells), length):
        ink.label(Label(left + _BAR + _GAP / 2, low + tick.at, tick.name, _NAME, along=0.0))


def _bar_axis(cells: Cells) -> Axis:
    return linear(-cells.limit, cells.limit)


def _ticks(axis: Axis, length: float) -> list[_Tick]:
    places = length * axis.places([value for value, _ in axis.ticks])
    names = [name for _, name in axis.ticks]
    return [_Tick(at, name, width(name, _NAME)) for at, name in zip(places.tolist(), names, strict=True)]


def _apart(ticks: Sequence[_Tick], extent: float | None = None) -> list[_Tick]:
    """Choose ticks, the first ones first, so that no two overlap; their extent is their width by default."""
    kept: list[_Tick] = []
    for tick in ticks:
        room = ((tick.width + other.width) / 2 + _GAP if extent is None else extent for other in kept)
        if all(abs(tick.at - other.at) > least - 1e-6 for other, least in zip(kept, room, strict=True)):
            kept.append(tick)
    return kept


def _row(panels: Sequence[Panel], size: tuple[float, float]) -> list[_Placed]:
    height = size[1] * max(panel.height for panel in panels)
    return [_Placed.of(panel, (size[0], height)) for panel in panels]


def _margin(placed: Sequence[_Placed], side: str) -> float:
    """Give panels of a row, or of a column, the same room."""
    most: float = max(getattr(each, side) for each in placed)
    return math.ceil(10 * most - 1e-9) / 10


def _most(lengths: Iterable[float]) -> float:
    return max(lengths, default=0.0)


def _keys_width(keys: Sequence[Key]) -> float:
    return sum(key.width + _BETWEEN for key in keys) - _BETWEEN


def _rows_of(legend: Sequence[Key], room: float) -> list[list[Key]]:
    """Break the legend into rows."""
    rows: list[list[Key]] = []
    for key in legend:
        if rows and _keys_width([*rows[-1], key]) <= room:
            rows[-1].append(key)
        else:
            rows.append([key])
    return rows
