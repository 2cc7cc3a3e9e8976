"""How all pictures look: panels on a figure, as values.

Belongs here: colours, and the names of the family. Does not: what is drawn (`metrics.plots` and the
domains).
Floor 1.

Figures are matplotlib's, made without pyplot, so nothing is global and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from functorch_artifact.figures.marks import DASHED, Boxes, Cells, Line, Mark, Names, Points, Steps, Words
from functorch_artifact.figures.panels import Key, Panel, sheet
from functorch_artifact.figures.scales import Axis, Floats, linear, logarithmic, named, symmetric_log

__all__ = [
    "BLUE",
    "DASHED",
    "GREY",
    "ORANGE",
    "Axis",
    "Boxes",
    "Cells",
    "Floats",
    "Key",
    "Line",
    "Mark",
    "Names",
    "Panel",
    "Points",
    "Steps",
    "Words",
    "linear",
    "logarithmic",
    "named",
    "sheet",
    "shorten",
    "symmetric_log",
]

BLUE: Final = "#1f6fb2"
ORANGE: Final = "#e8743b"
GREY: Final = "#777777"
_LONGEST_LABEL: Final = 15


def shorten(label: Hashable, longest: int = _LONGEST_LABEL) -> str:
    """Make a label one line, and not a long one."""
    text = " ".join(str(label).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
