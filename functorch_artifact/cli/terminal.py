"""Runs as tables on a terminal.

Belongs here: what the command line shows, and in which columns. Does not: reading runs
(`runs.reader`), options and exit codes (`cli`).
Floor 11.

Where the output is no terminal, tables are as wide as they need to be, so that nothing is cut.
"""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from functorch_artifact.cli.doctor import Fact
from functorch_artifact.errors import FunctorchArtifactError
from functorch_artifact.pages import charts
from functorch_artifact.pages.run import some
from functorch_artifact.runs.reader import RunReader

if TYPE_CHECKING:
    from rich.console import Console  # pyright: ignore[reportMissingImports] - an extra
    from rich.table import Table  # pyright: ignore[reportMissingImports]

_STATES: Final = {
    "finished": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "crashed": "red",
    "unreadable": "red",
}
_WIDTH: Final = 1000  # where nobody looks
_NARROW: Final = 80
_EXTREMES: Final = (">first", ">lowest", ">at epoch", ">highest", ">at epoch")


class Terminal:
    """Where the command line writes; `rich` does the drawing.

    Raises:
        ModuleNotFoundError: `rich` is not installed.
    """

    def __init__(self) -> None:
        from rich.console import Console  # pyright: ignore[reportMissingImports]

        self._console: Console = Console(highlight=False, emoji=False, markup=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, emoji=False, markup=False, width=_WIDTH)
        self._narrow = self._console.width < _NARROW
        self._plain = not str(getattr(sys.stdout, "encoding", "")).lower().startswith("utf")

    def say(self, text: str) -> None:
        """Write one line."""
        self._console.print(_clean(text), soft_wrap=True)

    def runs(self, found: Iterable[tuple[str, RunReader | Exception]]) -> int:
        """List runs, a row each, one that cannot be read as well; say how many there are."""
        headers = ("run", "|state", ">epochs", "best score", "why it stopped", ">owed")
        table = self._table(*headers[: len(headers) - 2 * self._narrow])
        for name, reader in found:
            try:
                if isinstance(reader, Exception):
                    raise reader
                why = (_first_line(reader.reason or ""), str(sum(reader.owed.values()) or ""))
                cells = (name, _state(reader.state), str(len(reader.scores)), _best(reader))
            except (FunctorchArtifactError, OSError, ValueError, sqlite3.Error) as error:
                cells, why = (name, _state("unreadable"), "", ""), (_first_line(str(error)), "")
            _row(table, *cells, *(() if self._narrow else why))
        self._print(table)
        return int(table.row_count)

    def show(self, reader: RunReader) -> None:
        """Say what one run is, its scores with their courses, and what else it recorded."""
        self._print(self._facts(reader.facts()))
        table = self._table("score", ">last", "|course", *(() if self._narrow else _EXTREMES))
        for name, points in charts.curves(reader.scores).items():
            about = charts.summary(points)
            course = charts.spark(list(points.values()), plain=self._plain)
            extremes = (about.first, about.low, about.low_at, about.high, about.high_at)
            _row(table, name, about.last, course, *(() if self._narrow else extremes))
        self._print(table)
        others = self._table("recorded", "name", "split", "epochs")
        for (kind, name, split), epochs in reader.contents().items():
            _row(others, kind, name, split or "", some(epochs))
        self._print(others)
        for failure in reader.failures:
            self.say(f"epoch {failure.epoch}: {failure.callback} raised {failure.error}")

    def compare(self, readers: Mapping[str, RunReader]) -> None:
        """Put runs side by side: what differs in their parameters, and their scores at the best epoch."""
        table = self._table("", *readers)  # side by side, so they may be long
        facts = [reader.facts() for reader in readers.values()]
        for label in ("state", "epochs", "took", "best model"):
            _row(table, label, *(each.get(label, "") for each in facts))
        table.add_section()
        parameters = [dict(reader.parameters) for reader in readers.values()]
        for label in dict.fromkeys(label for each in parameters for label in each):
            values = [each.get(label) for each in parameters]
            if any(value != values[0] for value in values):
                _row(table, label, *("" if value is None else value for value in values))
        table.add_section()
        columns = [_at_best(reader) for reader in readers.values()]
        for name in dict.fromkeys(name for column in columns for name in column):
            _row(table, name, *(column.get(name) for column in columns))
        self._print(table)
        self.say("Scores are those at the epoch of the best model, or the last before it; without one, the last.")

    def doctor(self, sections: Mapping[str, Sequence[Fact]]) -> None:
        """Say what the doctor found."""
        from rich.text import Text  # pyright: ignore[reportMissingImports]

        marks = {True: ("ok", "green"), False: ("!!", "red"), None: ("", "")}
        for title, facts in sections.items():
            table = self._table("", title, "")
            for fact in facts:
                _row(table, Text(*marks[fact.good]), fact.name, fact.text)
            self._print(table)

    def _print(self, table: Table) -> None:
        """Write a table and an empty line; nothing for one without rows."""
        if not table.row_count:
            return
        with self._console.capture() as capture:
            self._console.print(table)
        lines = capture.get().splitlines()
        self._console.out("\n".join(line.rstrip() for line in lines), highlight=False)
        self._console.out()

    def _facts(self, facts: Mapping[str, Any]) -> Table:
        from rich.table import Table  # pyright: ignore[reportMissingImports]

        grid = Table.grid(padding=(0, 2))
        for label, value in facts.items():
            _row(grid, label, value)
        return grid

    def _table(self, *headers: str) -> Table:
        from rich import box  # pyright: ignore[reportMissingImports]
        from rich.table import Table  # pyright: ignore[reportMissingImports]

        lines = box.ASCII2 if self._plain else box.SIMPLE_HEAD
        table = Table(box=lines, show_edge=False, pad_edge=False, header_style="bold")
        for header in headers:  # ">" stands for numbers, "|" for what must stay on one line as well
            mark = header[:1]
            justify: Literal["left", "right"] = "right" if mark == ">" else "left"
            name = _clean(header.lstrip(">|"))
            table.add_column(name, justify=justify, no_wrap=mark in (">", "|"), overflow="fold")
        return table


def _row(table: Table, *cells: Any) -> None:
    table.add_row(*(cell if hasattr(cell, "plain") else _text(cell) for cell in cells))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return _clean(str(value))


def _clean(text: str) -> str:
    """Replace what would move the cursor or change colours."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _state(state: str) -> Any:
    from rich.text import Text  # pyright: ignore[reportMissingImports]

    return Text(state, _STATES[state])


def _best(reader: RunReader) -> str:
    best = reader.best_score
    return "" if best is None else f"{best.name} {best.value:.4g} at {best.epoch}"


def _at_best(reader: RunReader) -> dict[str, float]:
    best, scores = reader.best_score, reader.scores
    upto = scores if best is None else scores.loc[: best.epoch]
    return {str(name): float(value) for name, value in upto.ffill().iloc[-1].dropna().items()} if len(upto) else {}
