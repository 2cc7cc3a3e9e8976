"""How all pictures look: panels on a figure, as values.

Belongs here: colours, and the names of the family. Does not: what is drawn (`metrics.plots` and the
domains).
Floor 1.

Figures are matplotlib's, made without pyplot, so nothing is global and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from functorch_artifact.errors import MissingExtraError
from functorch_artifact.figures.marks import Boxes, Cells, Line, Mark, Points, Steps, Words
from functorch_artifact.figures.panels import Panel, sheet
from functorch_artifact.figures.scales import Axis, Floats, linear, named, symmetric_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "Axis",
    "Boxes",
    "Cells",
    "Floats",
    "Line",
    "Mark",
    "Panel",
    "Points",
    "Steps",
    "Words",
    "linear",
    "named",
    "new_figure",
    "sheet",
    "shorten",
    "style",
    "symmetric_log",
]

BLUE: Final = "#1f6fb2"
ORANGE: Final = "#e8743b"
GREY: Final = "#777777"
_LONGEST_LABEL: Final = 15


def new_figure(width: float, height: float, title: str) -> Figure:
    """Make an empty figure, in inches, with a headline.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="plots", purpose="drawing") from error
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return figure


def style(axes: Axes) -> None:
    """Give a panel its grid and take away what only adds ink."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def shorten(label: Hashable, longest: int = _LONGEST_LABEL) -> str:
    """Make a label one line, and not a long one."""
    text = " ".join(str(label).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
