"""How all pictures look.

Belongs here: empty figures, colours, grids, labels. Does not: what is drawn (`metrics.plots` and the
domains).
Floor 1.

Figures are made without pyplot, so nothing is global and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from functorch_artifact.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    """Cut a label."""
    text = str(label)
    return text if len(text) <= longest else text[: longest - 1] + "…"
