"""Curves of scores: as inline SVG for a page, as one line of text for a terminal.

Belongs here: scales, ticks, thinning, what a curve looks like. Does not: which curves are drawn
(`pages.run`), the pieces of a page (`pages`).
Floor 1.

However many points a score has, a chart holds a bounded number: each stretch of a curve keeps its
lowest and its highest value, so a spike is never lost. What is not finite is a gap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from functorch_artifact.pages import pieces as pages

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES: Final = 8  # in one chart: as many as there are colours
MOST_POINTS: Final = 400  # in one line
_WIDTH: Final = 400.0  # of the drawing, in its own units; as wide as a phone, so that text stays readable there
_HEIGHT: Final = 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 24.0
_LOGARITHMIC_FROM: Final = 1000.0  # highest over lowest value
_HUGE: Final = 1e300
_TINY: Final = 1e-290  # beyond these, differences and powers leave the range of a float
_MOST_DOTS: Final = 12  # of a line that has so few values, each is marked
_BARS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = "_.-~^"
_DASHES: Final = ("", "6 3", "2 3", "8 3 2 3", "1 3", "12 4", "4 2 1 2", "10 2 4 2")

STYLE: Final = """
:root { --s0: #1f6fb2; --s1: #b8500f; --s2: #2c7d32; --s3: #a02c6d; --s4: #6b4fbb; --s5: #8a6500; --s6: #00727d;
  --s7: #555f6b; }
@media (prefers-color-scheme: dark) { :root { --s0: #6cb4f0; --s1: #ff9d66; --s2: #7fd084; --s3: #f08cc0;
  --s4: #b9a3ff; --s5: #e0b84a; --s6: #5cd0dc; --s7: #b4bcc8; } }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 0 1.5rem; }
.chart { min-width: 0; } .chart svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.chart text { font: 12px system-ui, sans-serif; fill: var(--dim); } .chart .grid { stroke: var(--line); }
.chart path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .mark { stroke: var(--dim); stroke-dasharray: 2 4; }
.chart .hover { stroke: var(--text); visibility: hidden; } .chart ul { list-style: none; display: flex; flex-wrap: wrap;
  gap: 0 1rem; margin: 0; padding: 0; font-size: 0.85rem; } .chart li { overflow-wrap: anywhere; }
.chart li svg { display: inline-block; width: 1.6rem; height: 0.5rem; margin-right: 0.4rem; }
.chart figcaption { color: var(--text); font-weight: 600; }
"""

SCRIPT: Final = """
for (const figure of document.querySelectorAll(".chart")) {
  const {x, lines, left, width, total} = JSON.parse(figure.dataset.chart);
  const drawing = figure.querySelector("svg"), hover = figure.querySelector(".hover");
  const values = figure.querySelectorAll("li output"), place = figure.querySelector("figcaption output");
  const low = x[0], span = (x[x.length - 1] - low) || 1;
  const show = (value) => value === null ? "\\u2013" : Number(value.toPrecision(4)).toString();
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = low + ((event.clientX - box.left) / box.width * total - left) / width * span;
    const near = x.reduce((best, each, i) => Math.abs(each - at) < Math.abs(x[best] - at) ? i : best, 0);
    const across = left + (x.length > 1 ? (x[near] - low) / span : 0.5) * width;
    hover.setAttribute("x1", across); hover.setAttribute("x2", across); hover.style.visibility = "visible";
    place.textContent = " epoch " + x[near];
    lines.forEach((line, i) => { values[i].textContent = " " + show(line[near]); });
  });
  drawing.addEventListener("pointerleave", () => {
    hover.style.visibility = "hidden"; place.textContent = "";
    values.forEach((each) => { each.textContent = ""; });
  });
}
"""


@attrs.frozen
class Summary:
    """A curve in six numbers; `None` where there is no value, or no finite one."""

    first: float | None
    last: float | None
    low: float | None
    low_at: int | None  # the epoch
    high: float | None
    high_at: int | None


@attrs.frozen
class _Scale:
    """How numbers become places between two edges of the drawing."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(each) if self.logarithmic else each for each in (self.low, self.high, value))
        return self.start + ((at - low) / (high - low) if high > low else 0.5) * (self.end - self.start)


def chart(title: str, lines: Mapping[str, Mapping[int, float]], *, mark: int | None = None) -> str:
    """Draw lines by epoch as a figure with a legend; `""` if there is not one finite value.

    Pointing at it shows the values of an epoch if the page holds `SCRIPT`; the colours are in `STYLE`.

    Args:
        title: what the figure is called.
        lines: by name, values by epoch, at most `MOST_LINES`.
        mark: an epoch to mark, such as that of the best model.

    Example:
        >>> from functorch_artifact.pages import charts
        >>> charts.chart("LOSS", {"VAL_LOSS": {1: 0.5, 2: 0.25}}).count("<li>")
        1
        >>> charts.describe("VAL_LOSS", {1: 0.5, 2: 0.25, 3: float("nan")})
        'VAL_LOSS: 0.5 at epoch 1, 0.25 at epoch 2, lowest 0.25 at epoch 2, highest 0.5 at epoch 1, 1 not finite'
    """
    lines = dict(list(lines.items())[:MOST_LINES])
    finite = {
        name: {epoch: max(-_HUGE, min(_HUGE, value)) for epoch, value in _finite(points).items()}
        for name, points in lines.items()
    }
    everything = [value for points in finite.values() for value in points.values()]
    if not everything:
        return ""
    epochs = sorted({epoch for points in lines.values() for epoch in points})
    kept = _thin(epochs, list(finite.values()))
    across = _Scale(epochs[0], epochs[-1], _LEFT, _WIDTH - _RIGHT)
    up = _vertical(min(everything), max(everything))
    drawn = [_axes(across, up)]
    if mark is not None and epochs[0] <= mark <= epochs[-1]:
        drawn.append(
            f'<line class="mark" x1="{across(mark):.1f}" x2="{across(mark):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        )
    drawn += [_line(i, points, kept, across, up) for i, points in enumerate(finite.values())]
    drawn.append(f'<line class="hover" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    data = {
        "x": kept,
        "lines": [[points.get(epoch) for epoch in kept] for points in finite.values()],
        "left": _LEFT,
        "width": _WIDTH - _LEFT - _RIGHT,
        "total": _WIDTH,
    }
    legend = "".join(
        f'<li><svg viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4H26" {_stroke(i)}/></svg>'
        f"{pages.escape(name)}<output></output></li>"
        for i, name in enumerate(lines)
    )
    scale = ' <span class="dim">on a logarithmic scale</span>' if up.logarithmic else ""
    alt = "; ".join(describe(name, points) for name, points in lines.items())
    return (
        f'<figure class="chart" data-chart="{pages.escape(json.dumps(data, allow_nan=False, separators=(",", ":")))}">'
        f"<figcaption>{pages.escape(title)}{scale}<output></output></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{pages.escape(alt)}">{"".join(drawn)}</svg>'
        f"<ul>{legend}</ul></figure>"
    )


def curves(scores: pd.DataFrame) -> dict[str, dict[int, float]]:
    """Take a table of scores apart: values by epoch, by name; what is missing (NaN) is left out."""
    known = {str(name): scores[name].dropna() for name in scores.columns}
    return {name: dict(zip(map(int, each.index), map(float, each), strict=True)) for name, each in known.items()}


def summary(points: Mapping[int, float]) -> Summary:
    """Sum a curve up.

    Example:
        >>> from functorch_artifact.pages import charts
        >>> charts.summary({1: 0.5, 2: 0.25, 3: float("inf")})
        Summary(first=0.5, last=inf, low=0.25, low_at=2, high=0.5, high_at=1)
    """
    if not points:
        return Summary(None, None, None, None, None, None)
    first, last, finite = points[min(points)], points[max(points)], _finite(points)
    if not finite:
        return Summary(first, last, None, None, None, None)
    low, high = min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)
    return Summary(first, last, finite[low], low, finite[high], high)


def describe(name: str, points: Mapping[int, float]) -> str:
    """Say in words what a curve shows, for who cannot see it."""
    finite = _finite(points)
    lost = f", {len(points) - len(finite)} not finite" if len(finite) < len(points) else ""
    if not finite:
        return f"{name}: no finite value{lost}"
    places = [min(finite), max(finite)] if len(finite) > 1 else [min(finite)]
    ends = ", ".join(f"{finite[epoch]:.4g} at epoch {epoch}" for epoch in places)
    if len(finite) == 1:
        return f"{name}: {ends}{lost}"
    about = summary(finite)
    extremes = f"lowest {about.low:.4g} at epoch {about.low_at}, highest {about.high:.4g} at epoch {about.high_at}"
    return f"{name}: {ends}, {extremes}{lost}"


def spark(values: Sequence[float], width: int = 24, *, plain: bool = False) -> str:
    """Draw values as one line of text, at most `width` characters; what is not finite is a blank.

    Args:
        values: the numbers, in order; more than `width` are averaged in stretches.
        width: characters at most.
        plain: draw with ASCII.

    Example:
        >>> from functorch_artifact.pages import charts
        >>> charts.spark([4.0, 3.0, float("nan"), 2.0, 1.0])
        '█▆ ▃▁'
    """
    n = min(len(values), width)
    stretches = [values[len(values) * i // n : len(values) * (i + 1) // n] for i in range(n)]
    means = [_mean([value for value in each if math.isfinite(value)]) for each in stretches]
    known = [mean for mean in means if mean is not None]
    bars = _PLAIN_BARS if plain else _BARS
    if not known:
        return " " * n
    scale = _Scale(min(known), max(known), 0.0, len(bars) - 1.0)
    return "".join(" " if mean is None else bars[round(scale(mean))] for mean in means)


def _line(i: int, points: Mapping[int, float], kept: Sequence[int], across: _Scale, up: _Scale) -> str:
    """Draw one line through the epochs that have a value; a dot where there is only one."""
    there = [(across(epoch), up(points[epoch])) for epoch in kept if epoch in points]
    if len(there) == 1:
        ((x, y),) = there
        return _dot(i, x, y, 3.5)
    steps = " ".join(f"{x:.1f} {y:.1f}" for x, y in there)
    dots = "".join(_dot(i, x, y, 2.5) for x, y in there) if len(there) <= _MOST_DOTS else ""
    return f'<path d="M{steps}" {_stroke(i)}/>{dots}' if there else ""


def _dot(i: int, x: float, y: float, radius: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill: var(--s{i})"/>'


def _stroke(i: int) -> str:
    dash = f' stroke-dasharray="{_DASHES[i]}"' if _DASHES[i] else ""
    return f'style="stroke: var(--s{i})"{dash}'


def _axes(across: _Scale, up: _Scale) -> str:
    marks = _decades(up.low, up.high) if up.logarithmic else _ticks(up.low, up.high, 5)
    apart = abs(marks[1] - marks[0]) if len(marks) > 1 and not up.logarithmic else 0.0
    drawn = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(each):.1f}" y2="{up(each):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{up(each) + 4:.1f}" text-anchor="end">{_label(each, apart)}</text>'
        for each in marks
    ]
    drawn += [
        f'<text x="{across(each):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{each:g}</text>'
        for each in _ticks(across.low, across.high, 6)
        if each == int(each)
    ]
    drawn.append(f'<text x="{_LEFT - 6}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="end">epoch</text>')
    return "".join(drawn)


def _vertical(low: float, high: float) -> _Scale:
    """Choose a scale that shows all values with a little room around them."""
    if low > _TINY and high / low >= _LOGARITHMIC_FROM:
        return _Scale(10 ** math.floor(math.log10(low)), high * 1.1, _HEIGHT - _BOTTOM, _TOP, logarithmic=True)
    spread = high - low if high - low > _TINY else abs(high)
    room = 0.05 * spread if spread > _TINY else 1.0
    return _Scale(low - room, high + room, _HEIGHT - _BOTTOM, _TOP)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """List round numbers from `low` to `high`, about as many as `most`."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = size * next(factor for factor in (1, 2, 5, 10) if factor * size >= 0.7 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _label(value: float, apart: float) -> str:
    """Write a number with the digits that tell it from one that is `apart`."""
    digits = math.floor(math.log10(abs(value) / apart) + 1e-9) + 2 if apart > 0 and abs(value) >= apart else 4
    return f"{value:.{min(max(digits, 3), 9)}g}"


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**i for i in range(first, last + 1, max(1, (last - first) // 5))]


def _thin(epochs: Sequence[int], lines: Sequence[Mapping[int, float]]) -> list[int]:
    """Choose epochs: all, or of each stretch the ends and every line's lowest and highest."""
    if len(epochs) <= MOST_POINTS:
        return list(epochs)
    n = MOST_POINTS // (2 * len(lines) + 1)
    kept = {epochs[0], epochs[-1]}
    for i in range(n):
        stretch = epochs[len(epochs) * i // n : len(epochs) * (i + 1) // n]
        for line in lines:
            there = [epoch for epoch in stretch if epoch in line]
            if there:
                kept |= {min(there, key=line.__getitem__), max(there, key=line.__getitem__)}
    return sorted(kept)


def _finite(points: Mapping[int, float]) -> dict[int, float]:
    return {epoch: float(points[epoch]) for epoch in sorted(points) if math.isfinite(points[epoch])}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
