"""Many short texts on one figure.

Belongs here: `Label`, how wide it is, and the artist that draws all of a figure. Does not: which
labels there are (`panels`, `marks`).
Floor 1.

Laying out and rasterising a text costs matplotlib a tenth of a millisecond to half of one, and a
page of panels has hundreds, most of them alike: ticks, names, cells of heatmaps, epoch after epoch.
So each one is drawn once, by matplotlib, onto a stamp of its own, and the last few thousand of
these are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.font_manager import FontProperties

BASELINE: Final = 0.0
MIDDLE: Final = 0.36  # half the height of a capital letter, in its size
TOP: Final = 0.76
POINT: Final = 1 / 72  # of an inch, the unit of everything on a figure but sizes of type
_DPI: Final = 100.0
_MOST_STAMPS: Final = 4096


@attrs.frozen
class Label:
    """One line of text.

    Args:
        x: where it stands, in inches from the left.
        y: in inches from below.
        text: what it says, literally.
        size: in points.
        colour: as matplotlib names it.
        along: which part of its length stands at (x, y): 0 its beginning, 1 its end.
        across: what height of it stands at (x, y), from the baseline, in its size.
        angle: by which it is turned around (x, y), in degrees, counterclockwise.
        bold: whether it is.
    """

    x: float
    y: float
    text: str
    size: float = 8.0
    colour: str = "#222222"
    along: float = 0.5
    across: float = MIDDLE
    angle: float = 0.0
    bold: bool = False


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Measure a line of text, in inches."""
    return _width(text, _font(size, bold), _DPI) / _DPI


def artist(labels: Sequence[Label]) -> Artist:
    """Make an artist that draws labels."""
    made: Artist = _labels_class()(labels)
    return made


@cache
def _labels_class() -> Any:
    from matplotlib.artist import Artist

    class Labels(Artist):
        def __init__(self, labels: Sequence[Label]) -> None:
            super().__init__()
            self.labels = labels

        def draw(self, renderer: Any) -> None:
            # Backends of pages rather than pixels take images that are finer than the figure.
            finer = renderer.get_image_magnification()
            figure: Any = self.get_figure()
            dpi = figure.dpi * finer
            context = renderer.new_gc()
            fonts = {key: _font(*key) for key in {(each.size, each.bold) for each in self.labels}}
            for each in self.labels:
                font = fonts[each.size, each.bold]
                back, down = each.along * _width(each.text, font, dpi), each.across * each.size * POINT * dpi
                turn = math.radians(each.angle)
                x = dpi * each.x - back * math.cos(turn) + down * math.sin(turn)
                y = dpi * each.y - back * math.sin(turn) - down * math.cos(turn)
                image, left, below = _stamp(each.text, font, each.colour, each.angle, dpi)
                renderer.draw_image(context, (round(x) + left) / finer, (round(y) + below) / finer, image)
            context.restore()

        def get_window_extent(self, renderer: Any = None) -> Any:
            figure: Any = self.get_figure()
            return figure.bbox  # so that no label is cut off where a figure is cropped to its contents

    return Labels


def _font(size: float, bold: bool) -> FontProperties:
    """Take the user's font, if matplotlib's settings name one."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=size, weight="bold" if bold else "normal")


@lru_cache(_MOST_STAMPS)
def _width(text: str, font: FontProperties, dpi: float) -> float:
    if not text:
        return 0.0
    measured: float = _renderer(1, dpi).get_text_width_height_descent(text, font, ismath=False)[0]
    return measured


@lru_cache(_MOST_STAMPS)
def _stamp(text: str, font: FontProperties, colour: str, angle: float, dpi: float) -> tuple[Any, int, int]:
    """Draw a text: uint8 [height, width, 4] from below, and its lower left corner from the baseline's beginning."""
    reach = math.ceil(_width(text, font, dpi) + 2 * font.get_size_in_points() * POINT * dpi)
    renderer = _renderer(2 * reach, dpi)  # the text begins in the middle, and may go anywhere
    context = renderer.new_gc()
    context.set_foreground(colour)
    renderer.draw_text(context, reach, reach, text, font, angle)
    drawn = np.asarray(renderer.buffer_rgba())
    inked = drawn[:, :, 3] > 0
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    if not rows.size:
        return np.zeros((1, 1, 4), dtype=np.uint8), 0, 0
    image = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][::-1].copy()  # as `draw_image` wants it
    return image, int(columns[0]) - reach, reach - int(rows[-1]) - 1


def _renderer(side: int, dpi: float) -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    make: Any = RendererAgg  # which is not typed
    return make(side, side, dpi)
