"""How pictures of two tables tell one from the other.

Belongs here: the sides' names and colours, numbers in small cells. Does not: what is drawn (`plots`,
`overviews`), how pictures look in general (`figures`).
Floor 6.

Blue is real, orange is synthetic, everywhere.
"""

from __future__ import annotations

from typing import Final

from functorch_artifact.figures import BLUE, ORANGE, Key

COLOURS: Final = (BLUE, ORANGE)
LEGEND: Final = (Key("Real", BLUE), Key("Synthetic", ORANGE))


def signed(value: float) -> str:
    """Write a number between -1 and 1 for a small cell."""
    return "0" if abs(value) < 0.005 else f"{value:.2f}".replace("0.", ".")
