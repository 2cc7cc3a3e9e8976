"""Pictures of numbers about predictions.

Belongs here: drawing matrices, curves, densities and reliability. Does not: computing them, or
which pictures a toolkit offers and under which name.
Floor 2.

Every function gives one `matplotlib.figure.Figure`, made without pyplot.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np
import torch

from functorch_artifact.errors import UndefinedError
from functorch_artifact.figures import (
    BLUE,
    DASHED,
    GREY,
    ORANGE,
    Axis,
    Boxes,
    Cells,
    Key,
    Line,
    Mark,
    Panel,
    Points,
    Steps,
    Words,
    linear,
    logarithmic,
    named,
    sheet,
    shorten,
)
from functorch_artifact.metrics.calibration import Reliability
from functorch_artifact.metrics.confusion import Normalization, normalize
from functorch_artifact.metrics.statistics import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_SEVERAL: Final = (
    BLUE, ORANGE, "#2a9d6f", "#b8425f", "#7b61a8", "#8a6d3b", "#4aa3c7", "#c2a000", "#5f6b7a", "#d17ba8",
)  # fmt: skip
_N_BINS: Final = 40
_MOST_LABELLED: Final = 20
_MOST_NAMED: Final = 40
_MOST_CELLS: Final = 100
_RESOLUTION: Final = 2048  # four times the width of a picture, in pixels
_LONGEST: Final = 40  # characters of a name
_SQUARE: Final = (4.6, 4.2)  # inches
_WIDE: Final = (5.6, 3.2)
_CHANCE: Final = Key("chance", GREY, dashed=True)
_RATES: Final = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)

_NORMALIZED: Final[Mapping[Normalization, str]] = {
    "NONE": "counts",
    "TRUE": "shares of each true class",
    "PRED": "shares of each predicted class",
    "ALL": "shares of all examples",
}


def matrix(counts: Ints, names: Sequence[Hashable], normalization: Normalization = "NONE") -> Figure:
    """Draw a confusion matrix: hits in blue, errors in orange, the deeper the more.

    More than 100 classes are put together in groups.

    Args:
        counts: int64 [k, k], true classes by row.
        names: the classes.
        normalization: what to colour and to print, as for `confusion.normalize`.
    """
    title = f"Confusion matrix: {_NORMALIZED[normalization]}"
    if len(names) > _MOST_CELLS:  # smaller ones would not be seen
        together = -(-len(names) // _MOST_CELLS)
        starts = np.arange(0, len(names), together)
        counts = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1)
        names = names[::together]
        title += f"\ngroups of {together} classes, in their order"
    k, shares = len(names), normalize(counts, normalization)
    side = float(np.clip(0.62 * k, 2.8, 9.4))
    greatest = float(shares.max(initial=0.0)) or 1.0
    signed = np.where(np.eye(k, dtype=bool), -shares, shares)
    written: list[list[str]] = []
    if k <= _MOST_LABELLED:
        form = "{:,.0f}" if normalization == "NONE" else "{:.1%}" if k <= 10 else "{:.0f}"
        numbers = counts if normalization == "NONE" else shares if k <= 10 else 100 * shares
        written = [[form.format(number) for number in row] for row in numbers.tolist()]
    cells = Cells(signed, _two_sided(), greatest, written, size=11.0 if k <= 4 else 9.0 if k <= 10 else 6.5)
    ticks = [shorten(name) for name in names] if k <= _MOST_NAMED else []
    slanted = max(map(len, ticks), default=0) * k > 12 * side
    panel = Panel(
        attrs.evolve(named(ticks, "predicted", slanted=slanted), high=k - 0.5),
        attrs.evolve(named(ticks, "true", downwards=True), low=k - 0.5),
        [cells],
        frame=False,
    )
    return sheet([panel], size=(side, side), title=title)


def curves(
    lines: Mapping[str, tuple[Floats, Floats]],
    title: str,
    labels: tuple[str, str],
    *,
    baseline: tuple[Sequence[float], Sequence[float], str] | None = None,
    emphasis: str | None = None,
) -> Figure:
    """Draw curves in the unit square; more than ten of them in grey, without names.

    Args:
        lines: x and y by name, float64 [k] each.
        title: the headline.
        labels: what x and y are.
        baseline: x, y and name of what chance would do.
        emphasis: a line to draw on top of the others, in black if there are several.
    """
    marks, legend = _lines(lines, emphasis)
    if baseline is not None:
        marks.insert(0, _baseline(baseline[0], baseline[1]))
        legend.insert(0, Key(baseline[2], GREY, dashed=True))
    axes = linear(-0.01, 1.01, labels[0], most=6), linear(-0.01, 1.03, labels[1], most=6)
    return sheet([Panel(*axes, marks)], size=_SQUARE, title=title, legend=legend)


def error_tradeoff(lines: Mapping[str, tuple[Floats, Floats]], title: str) -> Figure:
    """Draw false negative against false positive rates on normal-deviate axes (Martin et al., 1997).

    Rates below 0.1 % and above 99.9 % are drawn on the edge.

    Args:
        lines: false positive and false negative rates by name, float64 [k] each.
        title: the headline.
    """
    low, high = _deviate(np.array([_RATES[0], _RATES[-1]])).tolist()
    marks, legend = _lines({name: (_deviate(x), _deviate(y)) for name, (x, y) in lines.items()}, None)
    ticks = [(at, f"{100 * rate:g} %") for at, rate in zip(_deviate(np.array(_RATES)).tolist(), _RATES, strict=True)]
    x, y = (Axis(low - 0.1, high + 0.1, ticks, f"false {kind} rate") for kind in ("positive", "negative"))
    panel = Panel(attrs.evolve(x, slanted=True), y, [_baseline([low, high], [high, low]), *marks])
    return sheet([panel], size=_SQUARE, title=title, legend=[_CHANCE, *legend])


def densities(groups: Mapping[str, Floats], title: str, label: str) -> Figure:
    """Draw the distribution of probabilities in each group: shares over 40 bins of 0 to 1.

    Args:
        groups: float64 [n] each, NaN where a probability is missing; these are left out.
        title: the headline.
        label: what the probabilities are of.
    """
    edges = np.linspace(0.0, 1.0, _N_BINS + 1)
    marks, legend, greatest = [], [], 0.0
    for (name, values), colour in zip(groups.items(), _SEVERAL, strict=False):
        known = values[~np.isnan(values)]
        shares = np.asarray(np.histogram(known, edges)[0] / max(len(known), 1), dtype=np.float64)
        greatest = max(greatest, float(shares.max()))
        marks.append(Steps(edges, shares, colour, fill=0.28))
        missing = len(values) - len(known)
        text = f"{name} ({len(known):,}" + (f", {missing:,} missing)" if missing else ")")
        legend.append(Key(shorten(text, _LONGEST), colour))
    axes = linear(0.0, 1.0, label), linear(0.0, 1.05 * greatest or 1.0, "share of examples")
    return sheet([Panel(*axes, marks)], size=_WIDE, title=title, legend=legend)


def reliability_diagram(reliability: Reliability, title: str, labels: tuple[str, str]) -> Figure:
    """Draw frequency against probability, above how many examples each bin has.

    Args:
        reliability: what to draw.
        title: the headline; the expected calibration error is added.
        labels: what the probability and the frequency are.
    """
    filled = reliability.counts > 0
    left, right = reliability.edges[:-1], reliability.edges[1:]
    gap = 0.03 * (right - left)
    confidence, frequency = reliability.confidence[filled], reliability.frequency[filled]
    x = linear(0.0, 1.0, labels[0])
    above = Panel(
        attrs.evolve(x, label="", ticks=[(at, "") for at, _ in x.ticks]),
        linear(0.0, 1.03, labels[1]),
        [
            _baseline([0.0, 1.0], [0.0, 1.0]),
            Boxes((left + gap)[filled], (right - gap)[filled], 0.0, frequency, BLUE, 0.35),
            Line(confidence, frequency, BLUE, 1.6),
            Points(confidence, frequency, BLUE, 4.0),
        ],
    )
    most = 1.05 * float(reliability.counts.max(initial=0)) or 1.0
    bars = Boxes(left + gap, right - gap, 0.0, reliability.counts, GREY, 0.7)
    below = Panel(x, linear(0.0, most, "examples", most=3), [bars], height=0.31)
    return sheet(
        [above, below],
        size=(4.4, 3.6),
        title=f"{title}\nexpected calibration error {reliability.expected_calibration_error:.3f}",
        legend=[Key("calibrated", GREY, dashed=True), Key("model", BLUE)],
    )


def top_k(shares: Floats, title: str) -> Figure:
    """Draw the share of examples whose true class is among the k likeliest.

    Args:
        shares: by k from 1 on, float64 [k].
        title: the headline.
    """
    k = len(shares)
    places = np.arange(1.0, k + 1)
    x = logarithmic(1.0, k, "k") if k > 100 else linear(1.0, k, "k", margin=0.02, most=min(k, 10), integer=True)
    marks: list[Mark] = [_baseline(places, places / k), Line(places, shares, BLUE, 1.7)]
    if k <= 30:
        marks.append(Points(places, shares, BLUE, 4.0))
    panel = Panel(x, linear(0.0, 1.03, "share of examples"), marks)
    return sheet([panel], size=_WIDE, title=title, legend=[_CHANCE, Key("model", BLUE)])


def drawn(title: str, draw: Callable[[], Figure]) -> Figure:
    """Draw; what is undefined becomes a picture of the reason."""
    try:
        return draw()
    except UndefinedError as error:
        return _note(title, str(error))


def steps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Make a line whose value at each x holds from the x before it; x rises."""
    return np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]


def _note(title: str, reason: str) -> Figure:
    """Draw why there is nothing to draw."""
    axis = Axis(0.0, 1.0)
    lines = ["undefined:", *textwrap.wrap(reason, 50)]
    words = [Words(0.5, 0.55 - 0.07 * i, line, size=11.0, colour=GREY) for i, line in enumerate(lines)]
    return sheet([Panel(axis, axis, words, frame=False)], size=_SQUARE, title=title)


def _baseline(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> Mark:
    """Draw what needs no model."""
    return Line(np.asarray(x), np.asarray(y), GREY, 1.0, dashes=DASHED)


def _lines(lines: Mapping[str, tuple[Floats, Floats]], emphasis: str | None) -> tuple[list[Mark], list[Key]]:
    """Draw lines, the one to emphasise on top, and name them, as far as there are colours."""
    several = len(lines) <= len(_SEVERAL) + (emphasis is not None)
    colours = iter(_SEVERAL)
    marks: list[Mark] = []
    legend = [] if several else [Key(f"{len(lines) - (emphasis in lines):,} classes", GREY)]
    for name, line in sorted(lines.items(), key=lambda item: item[0] == emphasis):
        points = _visible(*line)
        if name == emphasis and len(lines) > 1:
            marks.append(Line(*points, "#000000", 2.2))
            legend.append(Key(shorten(name, _LONGEST), "#000000"))
        elif several:
            colour = next(colours)
            marks.append(Line(*points, colour, 1.7))
            legend.append(Key(shorten(name, _LONGEST), colour))
        else:
            marks.append(Line(*points, GREY, 0.6, alpha=min(0.4, 15 / len(lines))))
    return marks, legend


def _visible(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Leave out points too close to the one before to be told apart."""
    if len(x) <= _RESOLUTION:
        return x, y
    places = [np.rint(each * (_RESOLUTION / (np.ptp(each) or 1.0))) for each in (x, y)]
    moved = np.any([np.diff(each) != 0 for each in places], axis=0)
    kept = np.concatenate([[True], moved[:-1] | moved[1:], [True]])
    return x[kept], y[kept]


def _two_sided() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("hits and errors", [BLUE, "#ffffff", ORANGE])


def _deviate(rates: Floats) -> Floats:
    clipped = torch.from_numpy(np.clip(rates, _RATES[0], _RATES[-1]))
    return np.asarray(torch.special.ndtri(clipped).numpy(), dtype=np.float64)
