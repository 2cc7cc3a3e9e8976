"""Pictures of numbers about predictions.

Belongs here: drawing matrices, curves, densities and reliability. Does not: computing them, or
which pictures a toolkit offers and under which name.
Floor 2.

Every function gives one `matplotlib.figure.Figure`, made without pyplot.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from functorch_artifact.errors import UndefinedError
from functorch_artifact.figures import BLUE, GREY, ORANGE, new_figure, shorten, style
from functorch_artifact.metrics.calibration import Reliability
from functorch_artifact.metrics.confusion import Normalization, normalize
from functorch_artifact.metrics.statistics import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    side = float(np.clip(0.62 * k, 3.2, 10.0))
    figure = new_figure(side + 1.6, side + 1.2, title)
    axes = figure.subplots()
    greatest = float(shares.max(initial=0.0)) or 1.0
    signed = np.where(np.eye(k, dtype=bool), -shares, shares)
    axes.imshow(signed, cmap=_two_sided(), vmin=-greatest, vmax=greatest)
    whole = normalization == "NONE"
    if k <= _MOST_LABELLED:
        size = 11.0 if k <= 4 else 9.0 if k <= 10 else 6.5
        for (row, column), share in np.ndenumerate(shares):
            text = f"{counts[row, column]:,}" if whole else f"{share:.1%}" if k <= 10 else f"{100 * share:.0f}"
            colour = "white" if share > 0.6 * greatest else "#333333"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    if k > _MOST_NAMED:
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        ticks, size = [shorten(name) for name in names], 9.0 if k <= _MOST_LABELLED else 6.0
        rotation = 0 if max(map(len, ticks)) * k <= 12 * side else 45
        axes.set_xticks(
            range(k), ticks, rotation=rotation, ha="right" if rotation else "center", fontsize=size, parse_math=False
        )
        axes.set_yticks(range(k), ticks, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


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
    figure, axes = _square(title, labels)
    if baseline is not None:
        axes.plot(baseline[0], baseline[1], color=GREY, linestyle=(0, (4, 3)), linewidth=1.0, label=baseline[2])
    _draw_lines(axes, lines, emphasis)
    _legend(axes)
    return figure


def error_tradeoff(lines: Mapping[str, tuple[Floats, Floats]], title: str) -> Figure:
    """Draw false negative against false positive rates on normal-deviate axes (Martin et al., 1997).

    Rates below 0.1 % and above 99.9 % are drawn on the edge.

    Args:
        lines: false positive and false negative rates by name, float64 [k] each.
        title: the headline.
    """
    figure, axes = _square(title, ("false positive rate", "false negative rate"))
    low, high = _deviate(np.array([_RATES[0], _RATES[-1]]))
    axes.plot([low, high], [high, low], color=GREY, linestyle=(0, (4, 3)), linewidth=1.0, label="chance")
    _draw_lines(axes, {name: (_deviate(x), _deviate(y)) for name, (x, y) in lines.items()}, None)
    places, texts = _deviate(np.array(_RATES)).tolist(), [f"{100 * rate:g} %" for rate in _RATES]
    axes.set_xticks(places, texts, rotation=45)
    axes.set_yticks(places, texts)
    axes.set_xlim(low - 0.1, high + 0.1)
    axes.set_ylim(low - 0.1, high + 0.1)
    _legend(axes)
    return figure


def densities(groups: Mapping[str, Floats], title: str, label: str) -> Figure:
    """Draw the distribution of probabilities in each group: shares over 40 bins of 0 to 1.

    Args:
        groups: float64 [n] each, NaN where a probability is missing; these are left out.
        title: the headline.
        label: what the probabilities are of.
    """
    figure = new_figure(6.4, 4.2, title)
    axes = figure.subplots()
    edges = np.linspace(0.0, 1.0, _N_BINS + 1)
    for (name, values), colour in zip(groups.items(), _SEVERAL, strict=False):
        known = values[~np.isnan(values)]
        shares = np.histogram(known, edges)[0] / max(len(known), 1)
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.28)
        missing = len(values) - len(known)
        text = f"{name} ({len(known):,}" + (f", {missing:,} missing)" if missing else ")")
        axes.stairs(shares, edges, color=colour, linewidth=1.5, label=_label(text))
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel(label)
    axes.set_ylabel("share of examples")
    style(axes)
    _legend(axes)
    return figure


def reliability_diagram(reliability: Reliability, title: str, labels: tuple[str, str]) -> Figure:
    """Draw frequency against probability, above how many examples each bin has.

    Args:
        reliability: what to draw.
        title: the headline; the expected calibration error is added.
        labels: what the probability and the frequency are.
    """
    figure = new_figure(5.4, 6.2, f"{title}\nexpected calibration error {reliability.expected_calibration_error:.3f}")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    filled = reliability.counts > 0
    middles = (reliability.edges[1:] + reliability.edges[:-1]) / 2
    width = 1 / len(reliability.counts)
    above.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), linewidth=1.0, label="calibrated")
    above.bar(middles[filled], reliability.frequency[filled], width=0.94 * width, color=BLUE, alpha=0.35)
    above.plot(
        reliability.confidence[filled],
        reliability.frequency[filled],
        color=BLUE,
        marker="o",
        markersize=4,
        linewidth=1.6,
        label="model",
    )
    above.set_ylim(0.0, 1.03)
    above.set_ylabel(labels[1])
    _legend(above)
    below.bar(middles, reliability.counts, width=0.94 * width, color=GREY, alpha=0.7)
    below.set_ylabel("examples")
    below.set_xlabel(labels[0])
    below.set_xlim(0.0, 1.0)
    for axes in (above, below):
        style(axes)
    return figure


def top_k(shares: Floats, title: str) -> Figure:
    """Draw the share of examples whose true class is among the k likeliest.

    Args:
        shares: by k from 1 on, float64 [k].
        title: the headline.
    """
    figure = new_figure(6.4, 4.2, title)
    axes = figure.subplots()
    places = np.arange(1, len(shares) + 1)
    axes.plot(places, places / len(shares), color=GREY, linestyle=(0, (4, 3)), linewidth=1.0, label="chance")
    axes.plot(places, shares, color=BLUE, linewidth=1.7, marker="o" if len(shares) <= 30 else None, markersize=4)
    if len(shares) > 100:
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", integer=True)
    axes.set_ylim(0.0, 1.03)
    axes.set_xlabel("k")
    axes.set_ylabel("share of examples")
    style(axes)
    _legend(axes)
    return figure


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
    figure = new_figure(5.4, 4.6, title)
    axes = figure.subplots()
    axes.text(0.5, 0.5, f"undefined:\n{reason}", ha="center", va="center", fontsize=11, color=GREY, wrap=True)
    axes.set_axis_off()
    return figure


def _draw_lines(axes: Axes, lines: Mapping[str, tuple[Floats, Floats]], emphasis: str | None) -> None:
    named = len(lines) <= len(_SEVERAL) + (emphasis is not None)
    colours, alpha = iter(_SEVERAL), min(0.4, 15 / len(lines))
    if not named:
        axes.plot([], [], color=GREY, linewidth=0.8, label=f"{len(lines) - (emphasis in lines):,} classes")
    for name, line in lines.items():
        x, y = _visible(*line)
        if name == emphasis and len(lines) > 1:
            axes.plot(x, y, color="black", linewidth=2.2, label=_label(name), zorder=3)
        elif named:
            axes.plot(x, y, color=next(colours), linewidth=1.7, label=_label(name))
        else:
            axes.plot(x, y, color=GREY, linewidth=0.6, alpha=alpha)


def _visible(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Leave out points too close to the one before to be told apart."""
    if len(x) <= _RESOLUTION:
        return x, y
    places = [np.rint(each * (_RESOLUTION / (np.ptp(each) or 1.0))) for each in (x, y)]
    moved = np.any([np.diff(each) != 0 for each in places], axis=0)
    kept = np.concatenate([[True], moved[:-1] | moved[1:], [True]])
    return x[kept], y[kept]


def _square(title: str, labels: tuple[str, str]) -> tuple[Figure, Axes]:
    figure = new_figure(5.4, 5.2, title)
    axes = figure.subplots()
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    style(axes)
    return figure, axes


def _legend(axes: Axes) -> None:
    legend = axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str) -> str:
    """Cut a name for the legend, which leaves out what begins with an underscore."""
    text = shorten(name, 40)
    return f" {text}" if text.startswith("_") else text


def _two_sided() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("hits and errors", [BLUE, "#ffffff", ORANGE])


def _deviate(rates: Floats) -> Floats:
    clipped = torch.from_numpy(np.clip(rates, _RATES[0], _RATES[-1]))
    return np.asarray(torch.special.ndtri(clipped).numpy(), dtype=np.float64)
