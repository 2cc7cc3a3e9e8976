"""A run as one self-contained HTML page, and as a few lines in a notebook.

Belongs here: what a page about a run says and in which order, and how it stays of bounded size.
Does not: reading the run (`runs.reader`), drawing curves (`pages.charts`), the pieces of a page (`pages`).
Floor 1.

Pictures are what makes a page heavy. Their bytes are bounded: each picture's newest comes first,
then the best epoch's, the oldest, and the middles of what is left; the page says what it left out.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from functorch_artifact.errors import TrackingError
from functorch_artifact.pages import charts
from functorch_artifact.pages import pieces as pages

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES: Final = 16 * 2**20  # of pictures, before they become text, which makes them a third larger
_MOST_CHARTS: Final = 40
_MOST_SCORES: Final = 400
_MOST_EPOCHS: Final = 100
_MOST_COLUMNS: Final = 20
_MOST_BRIEF: Final = 12
_MOST_ROWS: Final = 50
_MOST_DAMAGED: Final = 3
_SPLITS: Final = frozenset({"TRAIN", "TRAINING", "VAL", "VALID", "VALIDATION", "TEST"})

_STYLE: Final = """
.epochs { position: sticky; top: 0; z-index: 1; display: none; gap: 0.75rem; align-items: center; padding: 0.6rem 0;
  background: var(--back); border-bottom: 1px solid var(--line); }
.epochs input { flex: 1; min-width: 0; height: 2rem; accent-color: var(--accent); }
.epochs output { min-width: 6.5rem; text-align: right; font-variant-numeric: tabular-nums; }
#scores td:nth-child(3) { white-space: nowrap; }
@media (max-width: 40rem) { #scores th:first-child, #scores td:first-child { position: sticky; left: 0;
  background: var(--back); max-width: 11rem; } }
.reel .strip { display: flex; gap: 1rem; overflow-x: auto; scroll-snap-type: x proximity; }
.reel .strip > figure { flex: 0 0 100%; margin: 0; scroll-snap-align: start; }
.moving .epochs { display: flex; } .moving .strip > figure { display: none; }
.moving .strip > .shown { display: block; }
"""
_SCRIPT: Final = """
for (const section of document.querySelectorAll(".reels")) {
  const slider = section.querySelector("input"), label = section.querySelector("output");
  const epochs = JSON.parse(section.dataset.epochs);
  const move = () => {
    const epoch = epochs[Number(slider.value)];
    label.textContent = "epoch " + epoch;
    slider.setAttribute("aria-valuetext", label.textContent);
    for (const reel of section.querySelectorAll(".strip")) {
      let shown = reel.children[0];
      for (const each of reel.children) {
        each.classList.remove("shown");
        if (Number(each.dataset.epoch) <= epoch) shown = each;
      }
      shown.classList.add("shown");
    }
  };
  section.classList.add("moving");
  slider.addEventListener("input", move);
  move();
}
"""


@attrs.frozen(eq=False)
class Picture:
    """A picture of an epoch, read when it is needed; what cannot be read is a `TrackingError`."""

    name: str
    epoch: int
    read: Callable[[], bytes]  # the bytes of a PNG file


@attrs.frozen(eq=False, kw_only=True)
class RunView:
    """What a page says about a run; all but the name may be empty.

    Args:
        name: the run's.
        state: `finished`, `running`, ...
        reason: why it stopped.
        scores: a row an epoch, a column a score, NaN where there is none.
        best: the epoch of the best model.
        facts: what is said first: epochs, how long it took, ...
        parameters: of the run.
        environment: versions, device, threads, ...
        pictures: of any epoch, in any order.
        tables: by name, the newest of each.
        others: what is only listed: kind, name, the epochs that have it.
        failures: callbacks that raised: epoch, callback, error.
    """

    name: str
    state: str = ""
    reason: str = ""
    scores: pd.DataFrame
    best: int | None = None
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    environment: Mapping[str, Any] = attrs.field(factory=dict)
    pictures: Sequence[Picture] = ()
    tables: Mapping[str, pd.DataFrame] = attrs.field(factory=dict)
    others: Sequence[tuple[str, str, Sequence[int]]] = ()
    failures: Sequence[tuple[int, str, str]] = ()


def page(view: RunView, *, most_bytes: int = MOST_BYTES) -> str:
    """Make the whole page.

    Args:
        view: what to say.
        most_bytes: of pictures.
    """
    curves = charts.curves(view.scores)
    said = {"state": view.state, "stopped because": view.reason, **view.facts}
    parts = {
        "Run": pages.facts({name: value for name, value in said.items() if value not in (None, "")}),
        "Curves": _curves(curves, view.best),
        "Scores": _scores(view.scores, curves),
        "Artifacts": _reels(view, most_bytes),
        "Tables": "".join(pages.folded(name, _frame(frame)) for name, frame in view.tables.items()),
        "Also recorded": pages.table(
            ["kind", "name", "epochs"],
            [[kind, name, some(epochs)] for kind, name, epochs in view.others[:_MOST_SCORES]],
        ),
        "Failures": pages.table(["epoch", "callback", "error"], view.failures[:_MOST_SCORES]),
        "Parameters": pages.facts(view.parameters),
        "Environment": pages.facts(view.environment),
    }
    shown = {title: pages.section(title, part) for title, part in parts.items() if part}
    return pages.page(
        view.name,
        [pages.contents(shown), *shown.values()],
        style=charts.STYLE + _STYLE,
        script=charts.SCRIPT + _SCRIPT,
    )


def brief(name: str, facts: Mapping[str, Any], scores: pd.DataFrame) -> str:
    """Say a run in a few lines, for a notebook: no style and no script of its own."""
    shown = list(scores.columns)[:_MOST_BRIEF]
    rest = f"<p>and {len(scores.columns) - len(shown)} more scores</p>" if len(scores.columns) > len(shown) else ""
    said = " &middot; ".join(f"{pages.escape(label)} {pages.cell(value)}" for label, value in facts.items())
    rows = _rows(charts.curves(scores[shown]))
    return f"<div><strong>{pages.escape(name)}</strong><p>{said}</p>{pages.table(_HEADERS, rows)}{rest}</div>"


def some(epochs: Sequence[int], most: int = 8) -> str:
    """Write epochs down, of many only the newest.

    Example:
        >>> from functorch_artifact.pages import run as run_report
        >>> run_report.some([5, 10]), run_report.some(range(1, 101), 3)
        ('5, 10', '100, the newest: 98, 99, 100')
    """
    shown = ", ".join(map(str, epochs[-most:]))
    return shown if len(epochs) <= most else f"{len(epochs)}, the newest: {shown}"


def groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Sort scores into charts: a collection's together, and one score's splits.

    Example:
        >>> from functorch_artifact.pages import run as run_report
        >>> run_report.groups(["TRAIN_LOSS", "VAL_LOSS", "VAL_KL", "JS/price", "JS/cut"])
        {'LOSS': ['TRAIN_LOSS', 'VAL_LOSS'], 'VAL_KL': ['VAL_KL'], 'JS': ['JS/price', 'JS/cut']}
    """
    found: dict[str, list[str]] = {}
    for name in names:
        head, _, tail = name.partition("_")
        plain = tail if tail and head in _SPLITS else name
        found.setdefault(name.partition("/")[0] if "/" in name else plain, []).append(name)
    return {names[0] if len(names) == 1 else title: names for title, names in found.items()}


_HEADERS: Final = ("score", "last", "course", "first", "lowest", "at epoch", "highest", "at epoch")


def _rows(curves: Mapping[str, Mapping[int, float]]) -> Iterator[list[Any]]:
    for name, points in curves.items():
        about = charts.summary(points)
        course = charts.spark(list(points.values()))
        yield [name, about.last, course, about.first, about.low, about.low_at, about.high, about.high_at]


def _curves(curves: Mapping[str, Mapping[int, float]], best: int | None) -> str:
    drawn = []
    for title, names in groups(list(curves)).items():
        lines = {name: curves[name] for name in names}
        if len(lines) > charts.MOST_LINES:
            ends = {name: points[max(points)] for name, points in lines.items() if points}
            highest = sorted(ends, key=lambda name: -math.inf if math.isnan(ends[name]) else ends[name])
            lines = {name: lines[name] for name in highest[: -charts.MOST_LINES - 1 : -1]}
            title = f"{title}: the {len(lines)} of {len(names)} that end highest"
        drawn.append(charts.chart(title, lines, mark=best))
    shown = [each for each in drawn if each]
    left_out = f"<p>Charts left out: {len(shown) - _MOST_CHARTS}.</p>" if len(shown) > _MOST_CHARTS else ""
    marked = f'<p class="dim">The dotted line marks epoch {best}, the best model.</p>' if best is not None else ""
    inside = "".join(shown[:_MOST_CHARTS])
    return f'{marked}<div class="charts">{inside}</div>{left_out}' if shown else ""


def _scores(scores: pd.DataFrame, curves: Mapping[str, Mapping[int, float]]) -> str:
    if not len(scores):
        return ""
    kept = dict(list(curves.items())[:_MOST_SCORES])
    left_out = f"<p>Scores left out: {len(curves) - len(kept)}.</p>" if len(curves) > len(kept) else ""
    columns = ([name for name in scores.columns if "/" not in name] or list(scores.columns))[:_MOST_COLUMNS]
    step = math.ceil(len(scores) / _MOST_EPOCHS)
    chosen = scores.iloc[(len(scores) - 1) % step :: step][columns]
    which = "Every epoch" if step == 1 else f"One epoch in {step}"
    rows = ([epoch, *(None if math.isnan(value) else value for value in row)] for epoch, *row in chosen.itertuples())
    table = pages.folded(which, pages.table(["epoch", *columns], rows))
    return pages.table(_HEADERS, _rows(kept)) + left_out + table


def _reels(view: RunView, most_bytes: int) -> str:
    chosen, left_out, damaged = _choose(view.pictures, view.best, most_bytes)
    if not chosen and not left_out and not damaged:
        return ""
    epochs = sorted({epoch for _, epoch in chosen})
    reels = []
    for name in dict.fromkeys(name for name, _ in chosen):
        inside = "".join(_still(name, epoch, png) for (each, epoch), png in sorted(chosen.items()) if each == name)
        reels.append(f'<div class="reel"><h3>{pages.escape(name)}</h3><div class="strip">{inside}</div></div>')
    slider = (
        f'<div class="epochs"><label for="epoch">Epoch</label><input id="epoch" type="range" min="0" '
        f'max="{len(epochs) - 1}" value="{len(epochs) - 1}"><output for="epoch"></output></div>'
        if len(epochs) > 1
        else ""
    )
    note = f'<p class="dim">Pictures left out, to keep this page small: {left_out}.</p>' if left_out else ""
    note += "".join(f'<p class="bad">{pages.escape(str(error))}</p>' for error in damaged[:_MOST_DAMAGED])
    attribute = f' class="reels" data-epochs="{pages.escape(json.dumps(epochs))}"' if slider else ""
    return f"{note}<div{attribute}>{slider}{''.join(reels)}</div>"


def _still(name: str, epoch: int, png: bytes) -> str:
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))  # of the IHDR chunk
    wide = ' class="wide-picture"' if width > 800 else ""
    return (
        f'<figure data-epoch="{epoch}"><figcaption>epoch {epoch}</figcaption><span class="picture">'
        f'<img{wide} width="{width}" height="{height}" alt="{pages.escape(name)} at epoch {epoch}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></span></figure>'
    )


def _choose(
    pictures: Sequence[Picture], best: int | None, most_bytes: int
) -> tuple[dict[tuple[str, int], bytes], int, list[TrackingError]]:
    """Read the pictures that matter most until there is no room for another; count the others."""
    by_name: dict[str, dict[int, Picture]] = {}
    for each in pictures:
        by_name.setdefault(each.name, {})[each.epoch] = each
    orders = [[found[epoch] for epoch in _by_interest(sorted(found), best)] for found in by_name.values()]
    chosen: dict[tuple[str, int], bytes] = {}
    room, full = most_bytes, set[str]()
    damaged: list[TrackingError] = []
    for i in range(max(map(len, orders), default=0)):
        for order in orders:
            if i < len(order) and order[i].name not in full:
                try:
                    png = order[i].read()
                except TrackingError as error:
                    damaged.append(error)
                    continue
                if len(png) > room:
                    full.add(order[i].name)
                    continue
                chosen[order[i].name, order[i].epoch] = png
                room -= len(png)
    return chosen, sum(map(len, orders)) - len(chosen) - len(damaged), damaged


def _by_interest(epochs: Sequence[int], best: int | None) -> list[int]:
    """Order epochs: the newest, the best, the oldest, then ever finer middles."""
    first = [epochs[-1], *(epoch for epoch in epochs if epoch == best), epochs[0]]
    stretches = [(0, len(epochs) - 1)]
    for low, high in stretches:  # grows while it is read
        if high - low > 1:
            middle = (low + high) // 2
            first.append(epochs[middle])
            stretches += [(low, middle), (middle, high)]
    return list(dict.fromkeys(first))


def _frame(frame: pd.DataFrame) -> str:
    head = frame.iloc[:_MOST_ROWS, :_MOST_COLUMNS]
    rows = [[str(row[0]), *map(_plain, row[1:])] for row in head.itertuples(name=None)]
    shape = f"<p>{len(head)} of {len(frame)} rows, {head.shape[1]} of {frame.shape[1]} columns</p>"
    note = shape if head.shape != frame.shape else ""
    return pages.table([str(frame.index.name or ""), *map(str, head.columns)], rows) + note


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
