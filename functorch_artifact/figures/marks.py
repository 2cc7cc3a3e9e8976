"""What can be seen in a panel.

Belongs here: marks, each of which says in data what it shows, and `Ink`, which takes all of a figure.
Does not: axes (`scales`), where panels stand (`panels`).
Floor 1.

matplotlib spends its time on artists, not on what they draw. So marks give their vertices to `Ink`,
and a figure is a handful of artists however many panels it has.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import numpy as np

from functorch_artifact.figures import texts
from functorch_artifact.figures.scales import Axis, Floats

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

DASHED: Final = (0, (4, 3))
"""Dashes of a line, as matplotlib has them."""

_BESIDE: Final = 0.07  # from a point to its name, in inches
_SLACK: Final = 1e-6  # an inch that is no distance
_FAR: Final = 1e6  # inches: where what is infinitely far away is taken to be
_FINE: Final = 1e5  # parts of an inch, in which lines are cut

Values: TypeAlias = "Floats | Sequence[float]"
"""Coordinates of points, float64 [n]."""

Place: TypeAlias = Callable[[Any, Any], Floats]
"""Where values (x, y) of a panel lie on its figure: float64 [n, 2], in inches."""


class Ink:
    """All that a figure shows, in inches from its lower left corner, by what matplotlib draws at once.

    From back to front: lines behind, polygons, meshes, lines, points, labels.
    """

    def __init__(self) -> None:
        self._bounds: tuple[Floats, Floats] | None = None
        self._polygons: list[tuple[Floats, str, float]] = []
        self._lines: dict[bool, list[tuple[Floats, str, float, float, Any]]] = {True: [], False: []}
        self._points: list[tuple[Floats, Any, float, float]] = []
        self._meshes: list[tuple[Floats, Floats, str | Colormap, float]] = []
        self._labels: list[texts.Label] = []

    def within(self, left: float, below: float, right: float, above: float) -> Ink:
        """Give ink for the same figure that leaves nothing outside of a rectangle."""
        clipped = copy.copy(self)  # which shares the lists
        clipped._bounds = np.array([left, below]), np.array([right, above])
        return clipped

    def polygon(self, vertices: Floats, colour: str, alpha: float = 1.0) -> None:
        """Fill a polygon whose sides are upright or level: float64 [n, 2]."""
        self._polygons.append((self._moved_inside(vertices), colour, alpha))

    def line(
        self, vertices: Floats, colour: str, width: float, *,
        alpha: float = 1.0, dashes: Any = "solid", behind: bool = False,
    ) -> None:  # fmt: skip
        """Draw a line, `width` points wide, before or behind polygons: float64 [n, 2]."""
        for part in self._parts_inside(vertices):
            self._lines[behind].append((part, colour, alpha, width, dashes))

    def points(self, places: Floats, colours: Any, diameter: float, alpha: float) -> None:
        """Draw discs, `diameter` points wide: float64 [n, 2]; one colour, or one for each."""
        inside = self._inside(places)
        if not isinstance(colours, str):
            colours = [colour for colour, is_inside in zip(colours, inside, strict=True) if is_inside]
        self._points.append((places[inside], colours, diameter, alpha))

    def mesh(self, corners: Floats, values: Floats, colormap: str | Colormap, limit: float) -> None:
        """Colour cells by values from `-limit` to `limit`: float64 [r + 1, c + 1, 2] and [r, c]."""
        self._meshes.append((self._moved_inside(corners), values, colormap, limit))

    def label(self, label: texts.Label) -> None:
        """Write a line of text, all of it, if the place where it stands is inside."""
        if self._inside(np.array([[label.x, label.y]])).all():
            self._labels.append(label)

    def _inside(self, places: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which places are inside, rounding errors apart: bool [n]."""
        if self._bounds is None:
            return np.ones(len(places), dtype=np.bool_)
        low, high = self._bounds
        return np.asarray(((places >= low - _SLACK) & (places <= high + _SLACK)).all(axis=1))

    def _moved_inside(self, vertices: Floats) -> Floats:
        """Move vertices to the nearest places inside, which cuts off what has upright and level sides only."""
        return vertices if self._bounds is None else np.clip(vertices, *self._bounds)

    def _parts_inside(self, vertices: Floats) -> Iterator[Floats]:
        """Cut a line where it leaves the inside; usually all of it stays."""
        if self._bounds is None or self._inside(vertices).all():
            yield vertices
            return
        from matplotlib.path import Path

        # matplotlib leaves one unit of room around the rectangle, and ends a path by a vertex of its own.
        far = np.clip(vertices, -_FAR, _FAR) * _FINE
        cut = Path(far).cleaned(remove_nans=True, clip=tuple(np.concatenate(self._bounds) * _FINE))
        codes, kept = np.asarray(cut.codes)[:-1], np.asarray(cut.vertices)[:-1] / _FINE
        yield from (part for part in np.split(kept, np.flatnonzero(codes == Path.MOVETO)) if len(part) > 1)

    def onto(self, figure: Figure) -> None:
        """Add everything to a figure."""
        from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
        from matplotlib.colors import Normalize, to_rgba, to_rgba_array
        from matplotlib.path import Path
        from matplotlib.transforms import IdentityTransform

        inches = figure.dpi_scale_trans
        for behind in (True, False):
            if lines := self._lines[behind]:
                paths, colours, alphas, widths, dashes = zip(*lines, strict=True)
                drawn = LineCollection(
                    paths, colors=list(map(to_rgba, colours, alphas)), linewidths=widths, linestyles=dashes,
                    joinstyle="miter", transform=inches, zorder=1 if behind else 4,
                )  # fmt: skip
                figure.add_artist(drawn)
        if self._polygons:
            outlines = [vertices for vertices, _, _ in self._polygons]
            fills = [to_rgba(colour, alpha) for _, colour, alpha in self._polygons]
            figure.add_artist(PolyCollection(outlines, facecolors=fills, linewidths=0, transform=inches, zorder=2))
        for corners, values, colormap, limit in self._meshes:
            norm = Normalize(-limit, limit)
            mesh = QuadMesh(
                corners, antialiased=False, array=values, cmap=colormap, norm=norm, transform=inches, zorder=3
            )
            figure.add_artist(mesh)
        for places, chosen, diameter, alpha in self._points:
            discs = PathCollection(
                [Path.unit_circle()], sizes=[(diameter / 2) ** 2], facecolors=to_rgba_array(chosen, alpha),
                linewidths=0, offsets=places, offset_transform=inches, transform=IdentityTransform(), zorder=5,
            )  # fmt: skip
            figure.add_artist(discs)
        figure.add_artist(texts.artist(self._labels)).set_zorder(6)


class Mark(ABC):
    """One thing to be seen in a panel; what lies outside of its axes is cut off."""

    @abstractmethod
    def draw(self, place: Place, ink: Ink) -> None:
        """Give what there is to see to `ink`, where `place` says."""


@attrs.frozen(eq=False)
class Steps(Mark):
    """A histogram's outline, filled or not.

    Args:
        edges: float64 [k + 1], ascending.
        values: float64 [k].
        colour: of the line, and of what it encloses.
        width: of the line, in points.
        fill: opacity of what lies between the line and 0.
        closed: whether the line begins and ends at 0.
    """

    edges: Floats
    values: Floats
    colour: str
    width: float = 1.4
    fill: float = 0.0
    closed: bool = True

    def draw(self, place: Place, ink: Ink) -> None:
        """Draw one line with corners."""
        outline = place(np.repeat(self.edges, 2), np.concatenate([[0.0], np.repeat(self.values, 2), [0.0]]))
        if self.fill:
            ink.polygon(outline, self.colour, self.fill)
        ink.line(outline if self.closed else outline[1:-1], self.colour, self.width)


@attrs.frozen(eq=False)
class Line(Mark):
    """Points joined by a line: x and y, float64 [n] each; its width in points, `dashes` solid or `DASHED`."""

    x: Values
    y: Values
    colour: str
    width: float = 1.4
    alpha: float = 1.0
    dashes: Any = "solid"

    def draw(self, place: Place, ink: Ink) -> None:
        """Draw one line."""
        ink.line(place(self.x, self.y), self.colour, self.width, alpha=self.alpha, dashes=self.dashes)


@attrs.frozen(eq=False)
class Boxes(Mark):
    """Filled rectangles: their left, right, lower and upper ends, float64 [n] each or one for all."""

    left: Any
    right: Any
    below: Any
    above: Any
    colour: str
    alpha: float = 0.85

    def draw(self, place: Place, ink: Ink) -> None:
        """Draw each rectangle."""
        left, right, below, above = np.broadcast_arrays(self.left, self.right, self.below, self.above)
        corners = [place(*corner) for corner in ((left, below), (right, below), (right, above), (left, above))]
        for rectangle in np.stack(corners, axis=1):
            ink.polygon(rectangle, self.colour, self.alpha)


@attrs.frozen(eq=False)
class Points(Mark):
    """Discs at points: x and y, float64 [n] each; one colour, or one for each; the diameter in points."""

    x: Values
    y: Values
    colours: str | Sequence[str]
    diameter: float = 3.5
    alpha: float = 1.0

    def draw(self, place: Place, ink: Ink) -> None:
        """Draw each disc, in order."""
        ink.points(place(self.x, self.y), self.colours, self.diameter, self.alpha)


@attrs.frozen(eq=False)
class Words(Mark):
    """A text at a point; `along` and `across` as for `Label`."""

    x: float
    y: float
    text: str
    size: float = 8.0
    colour: str = "#222222"
    along: float = 0.5
    across: float = texts.MIDDLE

    def draw(self, place: Place, ink: Ink) -> None:
        """Write it."""
        ((x, y),) = place(self.x, self.y).tolist()
        ink.label(texts.Label(x, y, self.text, self.size, self.colour, self.along, self.across))


@attrs.frozen(eq=False)
class Names(Mark):
    """Names beside points, the first ones first, each where there is room for it; else it is left out.

    Args:
        x: of the points, float64 [n].
        y: of the points, float64 [n].
        names: of the points.
        within: the lower left and the upper right corner of where names may stand, as values of x and y.
        size: of the text, in points.
    """

    x: Values
    y: Values
    names: Sequence[str]
    within: tuple[tuple[float, float], tuple[float, float]]
    size: float = 7.0

    def draw(self, place: Place, ink: Ink) -> None:
        """Write each name below its point and to the right, or else at another corner."""
        (left, below), (right, above) = place(*zip(*self.within, strict=True)).tolist()
        taken: list[tuple[float, float, float, float]] = []
        half = 0.5 * self.size * texts.POINT
        for (x, y), name in zip(place(self.x, self.y).tolist(), self.names, strict=True):
            width = texts.width(name, self.size)
            for along, up in ((0.0, -1.0), (1.0, 1.0), (0.0, 1.0), (1.0, -1.0)):
                start, middle = x + (1 - 2 * along) * _BESIDE - along * width, y + up * _BESIDE
                box = start, middle - half, start + width, middle + half
                inside = left <= box[0] and below <= box[1] and box[2] <= right and box[3] <= above
                if inside and not any(_overlap(box, other) for other in taken):
                    taken.append(box)
                    ink.label(texts.Label(start, middle, name, self.size, along=0.0))
                    break


@attrs.frozen(eq=False)
class Cells(Mark):
    """A matrix of values, float64 [r, c], around the places 0 to r - 1 down and 0 to c - 1 across.

    Args:
        values: what to colour.
        colormap: a map of matplotlib's, or the name of one, with white in its middle.
        limit: the value of the map's upper end; its lower end is `-limit`.
        texts: what to write on the cells, by row.
        size: of these texts, in points.
    """

    values: Floats
    colormap: str | Colormap
    limit: float = 1.0
    texts: Sequence[Sequence[str]] = ()
    size: float = 7.0

    def draw(self, place: Place, ink: Ink) -> None:
        """Draw the cells, and write on them."""
        rows, columns = self.values.shape
        across, down = np.meshgrid(np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5)
        ink.mesh(
            place(across.ravel(), down.ravel()).reshape(rows + 1, columns + 1, 2),
            self.values,
            self.colormap,
            self.limit,
        )
        middles = place(np.tile(np.arange(columns), rows), np.repeat(np.arange(rows), columns)).tolist()
        for (x, y), value, text in zip(middles, self.values.ravel().tolist(), chain(*self.texts), strict=False):
            colour = "#ffffff" if abs(value) > 0.6 * self.limit else "#333333"
            ink.label(texts.Label(x, y, text, self.size, colour))


def _overlap(box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def placing(x: Axis, y: Axis, left: float, below: float, width: float, height: float) -> Place:
    """Make the function of values to places in a panel at (left, below), of this width and height, in inches."""

    def place(across: Any, up: Any) -> Floats:
        return np.stack(
            [left + width * np.atleast_1d(x.places(across)), below + height * np.atleast_1d(y.places(up))], axis=1
        )

    return place
