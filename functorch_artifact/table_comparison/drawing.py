"""How pictures of two tables tell one from the other.

Belongs here: the sides' colours, the legend, numbers in small cells. Does not: what is drawn (`plots`,
`overviews`), how pictures look in general (`figures`).
Floor 6.

Blue is real, orange is synthetic, everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from functorch_artifact.figures import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDES: Final = (("Real", BLUE), ("Synthetic", ORANGE))


def legend(figure: Figure) -> None:
    """Name both sides below the panels."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for label, colour in SIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def signed(value: float) -> str:
    """Write a number between -1 and 1 for a small cell."""
    return "0" if abs(value) < 0.005 else f"{value:.2f}".replace("0.", ".")
