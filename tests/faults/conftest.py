"""Counts what was tried and what survived, a row a fault.

`FAULTS=full` (as `make test-faults` sets it) tries each fault as often as the promises of
docs/reliability.md say; otherwise a short version runs.
"""

import os
from collections.abc import Iterator

import pytest

ROWS: list["Tally"] = []


class Tally:
    """One row of the table: yields the trials' numbers, and counts a trial whose body ended."""

    def __init__(self, fault: str) -> None:
        self.fault, self.tried, self.survived = fault, 0, 0
        ROWS.append(self)

    def trials(self, *, short: int, full: int) -> Iterator[int]:
        yield from self.over(range(full if os.environ.get("FAULTS") == "full" else short))

    def over(self, cases):
        for case in cases:
            self.tried += 1
            yield case
            self.survived += 1


@pytest.fixture
def tally():
    return Tally


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        terminalreporter.section("faults: tried, survived")
        for row in ROWS:
            terminalreporter.write_line(f"{row.tried:>6} {row.survived:>6}  {row.fault}")
