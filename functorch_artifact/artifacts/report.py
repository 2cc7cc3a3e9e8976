"""What artifacts found, outside of training: as a table, as values, as one HTML file.

Belongs here: `Report`, `Finding`. Does not: computing (`plans`), pieces of HTML (`pages`).
Floor 3. `to_html` writes the file it is asked for; nothing else here touches the disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from functorch_artifact import pages
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    Plot,
    PlotCollection,
    Scale,
    Score,
    ScoreCollection,
    Value,
)

if TYPE_CHECKING:
    import pandas as pd

_MOST_SHOWN = 100  # entries of an array


@attrs.frozen(eq=False)
class Finding:
    """One artifact's value."""

    name: str
    value: Value
    scale: Scale | None = None
    noise: float | Mapping[str, float] | None = None
    """What a perfect model would score at these sample sizes; by key for a collection."""
    error: float | Mapping[str, float] | None = None
    """The standard error of the score, or by key of each score."""

    @property
    def numbers(self) -> list[Number]:
        """What there is to tell of each of its scores."""
        if isinstance(self.value, Score):
            return [Number(self.name, self.value.value, _float(self.noise), _float(self.error), self.value.reason)]
        if isinstance(self.value, ScoreCollection):
            floors = self.noise if isinstance(self.noise, Mapping) else {}
            errors = self.error if isinstance(self.error, Mapping) else {}
            reasons = self.value.reasons
            return [
                Number(key, value, _float(floors.get(key)), _float(errors.get(key)), reasons.get(key, ""))
                for key, value in self.value.values.items()
            ]
        return []


class Number(NamedTuple):
    """One score; what nobody tells is NaN."""

    name: str
    value: float
    noise_floor: float
    standard_error: float
    reason: str


@attrs.frozen(eq=False)
class Report:
    """What a plan's artifacts found.

    Example:
        >>> report = Report((Finding("GAP", Score(0.25), Scale(0.0, 1.0, "lower")),))
        >>> report.scores.loc["GAP", "value"].item(), report["GAP"]
        (0.25, Score(value=0.25))
    """

    findings: tuple[Finding, ...]
    failures: Mapping[str, Exception] = attrs.field(factory=dict)
    """Artifacts that raised."""
    title: str = "Report"
    about: Mapping[str, Any] = attrs.field(factory=dict)
    """Facts, e.g. how many rows were compared; a pandas table is shown as one."""

    @property
    def values(self) -> Mapping[str, Value]:
        """The artifacts' values, by name."""
        return {finding.name: finding.value for finding in self.findings}

    def __getitem__(self, name: str) -> Value:
        """Give one artifact's value.

        Raises:
            KeyError: there is none of that name, or it failed.
        """
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the artifacts that did not fail."""
        return iter(self.values)

    @property
    def scores(self) -> pd.DataFrame:
        """All scores, a collection's as `NAME/key`, with what tells how to read them.

        Columns: value; noise_floor, what a perfect model would score at these sample sizes;
        standard_error, how much the value would differ on other examples of the same population
        (both NaN where nobody says); better, "lower", "higher" or missing; low and high.
        """
        import pandas as pd

        columns = ["value", "noise_floor", "standard_error", "better", "low", "high"]
        rows = {}
        for finding in self.findings:
            scale = finding.scale or Scale()
            for each in finding.numbers:
                name = f"{finding.name}/{each.name}" if isinstance(finding.value, ScoreCollection) else each.name
                told = math.nan if math.isnan(each.value) else each.standard_error
                rows[name] = [each.value, each.noise_floor, told, scale.better, scale.low, scale.high]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return frame.rename_axis("score")

    @property
    def arrays(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """All arrays, a collection's as `NAME/key`."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        for finding in self.findings:
            if isinstance(finding.value, Array):
                found[finding.name] = finding.value.value
            elif isinstance(finding.value, ArrayCollection):
                found |= {f"{finding.name}/{key}": value for key, value in finding.value.values.items()}
        return found

    @property
    def plots(self) -> Mapping[str, bytes]:
        """All plots as the bytes of PNG files, a collection's as `NAME/key`."""
        found: dict[str, bytes] = {}
        for finding in self.findings:
            if isinstance(finding.value, Plot):
                found[finding.name] = finding.value.png
            elif isinstance(finding.value, PlotCollection):
                found |= {f"{finding.name}/{key}": png for key, png in finding.value.values.items()}
        return found

    def html(self) -> str:
        """Make one self-contained page: the scores first, every plot labelled."""
        sections = {
            "Scores": pages.section("Scores", self._scores_html()),
            "Failures": pages.section(
                "Failures",
                pages.table(
                    ["artifact", "error"],
                    [[name, f"{type(error).__name__}: {error}"] for name, error in self.failures.items()],
                ),
            ),
            "Plots": pages.section("Plots", *(pages.picture(name, png) for name, png in self.plots.items())),
            "Arrays": pages.section("Arrays", *(self._arrays_html())),
            "About": pages.section("About", *self._about_html()),
        }
        shown = {title: html for title, html in sections.items() if html}
        return pages.page(self.title, [pages.contents(shown), *shown.values()])

    def to_html(self, path: str | Path) -> Path:
        """Write `html` to a file, whose folder is made if there is none, and return its path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.html(), encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        return self._scores_html()

    def _scores_html(self) -> str:
        single = [(number, finding.scale) for finding in self.findings if isinstance(finding.value, Score)
                  for number in finding.numbers]  # fmt: skip
        parts = [
            f"<h3>{pages.escape(finding.name)}{_reading(finding.scale)}</h3>" + _table("of", finding.numbers)
            for finding in self.findings
            if isinstance(finding.value, ScoreCollection)
        ]
        return _table("score", *zip(*single, strict=True)) + self._legend_html() + pages.cards(*parts)

    def _legend_html(self) -> str:
        numbers = [number for finding in self.findings for number in finding.numbers]
        told = {
            "standard error: how much a value would differ on as many other examples": [
                each.standard_error for each in numbers
            ],
            "noise floor: what a perfect model would score at these sample sizes": [
                each.noise_floor for each in numbers
            ],
        }
        said = [pages.escape(text) for text, values in told.items() if not all(map(math.isnan, values))]
        return f'<p class="dim">{"; ".join(said)}</p>' if said else ""

    def _arrays_html(self) -> list[str]:
        parts = []
        for finding in self.findings:
            if isinstance(finding.value, ArrayCollection):
                rows = [[name, *np.ravel(each)[:_MOST_SHOWN].tolist()] for name, each in finding.value.values.items()]
                width = max((len(row) for row in rows), default=0)
                rows = [row + [None] * (width - len(row)) for row in rows]
                body = pages.table(["of", *map(str, range(1, width))], rows)
                parts.append(pages.folded(finding.name, body))
            elif isinstance(finding.value, Array):
                array = finding.value.value
                flat = array.reshape(array.shape[0] if array.ndim > 1 else 1, -1)
                body = pages.table(
                    [str(i) for i in range(flat.shape[1])], flat[: _MOST_SHOWN // max(flat.shape[1], 1) + 1].tolist()
                )
                parts.append(pages.folded(f"{finding.name}, shape {list(array.shape)}", body))
        return parts

    def _about_html(self) -> list[str]:
        plain = {name: value for name, value in self.about.items() if not hasattr(value, "itertuples")}
        parts = [pages.facts(plain)]
        for name, frame in self.about.items():
            if name not in plain:
                rows = [[str(row[0]), *(_plain(each) for each in row[1:])] for row in frame.itertuples()]
                parts.append(f"<h3>{pages.escape(name)}</h3>")
                parts.append(pages.table([str(frame.index.name or ""), *map(str, frame.columns)], rows))
        return parts


def _table(header: str, numbers: Sequence[Number] = (), scales: Sequence[Scale | None] = ()) -> str:
    """Make a table of scores, without the columns in which nothing stands."""
    known = [scale or Scale() for scale in scales]
    columns: dict[str, list[Any]] = {
        header: [each.name for each in numbers],
        "value": [each.value for each in numbers],
        "standard error": [_shown(each.standard_error, 2) for each in numbers],
        "noise floor": [_shown(each.noise_floor, 4) for each in numbers],
        "better": [each.better for each in known],
        "range": [_range(each) for each in known],
        "why": [each.reason or None for each in numbers],
    }
    kept = {title: cells for title, cells in columns.items() if any(cell is not None for cell in cells)}
    return pages.table(list(kept), [list(row) for row in zip(*kept.values(), strict=True)])


def _shown(number: float, n_digits: int) -> float | None:
    return None if math.isnan(number) else float(f"{number:.{n_digits}g}")


def _float(number: float | Mapping[str, float] | None) -> float:
    return float(number) if isinstance(number, int | float) else math.nan


def _reading(scale: Scale | None) -> str:
    if scale is None:
        return ""
    better = f"{scale.better} is better, " if scale.better else ""
    return f' <span class="dim">({better}{pages.escape(_range(scale))})</span>'


def _range(scale: Scale) -> str:
    return f"{scale.low:g} to {scale.high:g}"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
