"""How all pictures of tables look.

Belongs here: figures, colours, labels. Does not: what is drawn (`plots`, `overviews`).
Floor 5.

Figures are made without pyplot, so nothing is global and nothing is left behind. Blue is real,
orange is synthetic, everywhere.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from functorch_artifact.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL: Final = "#1f6fb2"
SYNTHETIC: Final = "#e8743b"
SIDES: Final = (("Real", REAL), ("Synthetic", SYNTHETIC))
_LONGEST_LABEL: Final = 15


def new_figure(width: float, height: float, title: str) -> Figure:
    """Make an empty figure, in inches, with a headline.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="plots", purpose="drawing a comparison") from error
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return figure


def style(axes: Axes) -> None:
    """Give a panel its grid and take away what only adds ink."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def legend(figure: Figure) -> None:
    """Name both sides below the panels."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for label, colour in SIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def shorten(label: Hashable, longest: int = _LONGEST_LABEL) -> str:
    """Cut a label."""
    text = str(label)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def signed(value: float) -> str:
    """Write a number between -1 and 1 for a small cell."""
    return "0" if abs(value) < 0.005 else f"{value:.2f}".replace("0.", ".")
