"""What artifacts found, outside of training: as a table, as values, as one HTML file.

Belongs here: `Report`, `Finding`. Does not: computing (`plans`), pieces of HTML (`pages`).
Floor 3. `to_html` writes the file it is asked for; nothing else here touches the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        """All scores, a collection's as `NAME/key`: columns value, noise_floor, better, low, high.

        `noise_floor` is what a perfect model would score at these sample sizes, NaN where nobody
        says; `better` is "lower", "higher" or missing.
        """
        import pandas as pd

        columns = ["value", "noise_floor", "better", "low", "high"]
        rows = {}
        for finding in self.findings:
            scale = finding.scale or Scale()
            for name, value, noise in _numbers(finding):
                rows[name] = [value, np.nan if noise is None else noise, scale.better, scale.low, scale.high]
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
        single = [finding for finding in self.findings if isinstance(finding.value, Score)]
        parts = []
        for finding in self.findings:
            if isinstance(finding.value, ScoreCollection):
                title = f"<h3>{pages.escape(finding.name)}{_reading(finding.scale)}</h3>"
                reasons = finding.value.reasons
                keys = finding.value.values
                rows = [
                    [key, value, noise, reasons.get(key, "")]
                    for key, (_, value, noise) in zip(keys, _numbers(finding), strict=True)
                ]
                parts.append(title + pages.table(["of", "value", "noise floor", "why" if reasons else ""], rows))
        return _score_table("score", single) + pages.cards(*parts)

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


def _numbers(finding: Finding) -> list[tuple[str, float, float | None]]:
    if isinstance(finding.value, Score):
        noise = finding.noise if isinstance(finding.noise, int | float) else None
        return [(finding.name, finding.value.value, noise)]
    if isinstance(finding.value, ScoreCollection):
        floors = finding.noise if isinstance(finding.noise, Mapping) else {}
        values = finding.value.values
        return [(f"{finding.name}/{key}", value, floors.get(key)) for key, value in values.items()]
    return []


def _score_table(header: str, findings: list[Finding]) -> str:
    rows = []
    for finding in findings:
        ((name, value, noise),) = _numbers(finding)
        scale = finding.scale or Scale()
        reason = finding.value.reason if isinstance(finding.value, Score) else ""
        rows.append([name, value, noise, scale.better, _range(scale), reason])
    return pages.table(
        [header, "value", "noise floor", "better", "range", "why" if any(r[-1] for r in rows) else ""], rows
    )


def _reading(scale: Scale | None) -> str:
    if scale is None:
        return ""
    better = f"{scale.better} is better, " if scale.better else ""
    return f' <span class="dim">({better}{pages.escape(_range(scale))})</span>'


def _range(scale: Scale) -> str:
    return f"{scale.low:g} to {scale.high:g}"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
