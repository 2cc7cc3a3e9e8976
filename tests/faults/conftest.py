"""Counts what was tried and what survived, a row a fault.

`FAULTS=full` (as `make test-faults` sets it) tries each fault as often as docs/reliability.md says;
otherwise a short version runs.
"""

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

import pytest

from tests.faults import trials

T = TypeVar("T")
FULL = os.environ.get("FAULTS") == "full"
ROWS: list["Tally"] = []


class Tally:
    """One row of the table: yields trials, and counts those whose body came to its end."""

    def __init__(self, fault: str) -> None:
        self.fault, self.tried, self.survived = fault, 0, 0
        ROWS.append(self)

    def times(self, *, short: int, full: int) -> Iterator[int]:
        """Yield the numbers of trials."""
        yield from self.over(range(full if FULL else short))

    def some(self, cases: Iterable[T], *, short: int) -> Iterator[T]:
        """Yield all cases; in the short version so many of them, evenly spread."""
        found = list(cases)
        yield from self.over(found if FULL else found[:: max(1, len(found) // short)])

    def over(self, cases: Iterable[T]) -> Iterator[T]:
        """Yield cases."""
        for case in cases:
            self.tried += 1
            yield case
            self.survived += 1


@pytest.fixture
def tally():
    return Tally


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The directory of a run that nothing interrupted; not to be changed."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert trials.run(trials.train, directory) == 0
    return directory


@pytest.fixture(scope="session")
def whole(finished):
    """The outcome of a run that nothing interrupted."""
    return trials.outcome(finished)


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        terminalreporter.section("faults: tried, survived")
        for row in ROWS:
            terminalreporter.write_line(f"{row.tried:>6} {row.survived:>6}  {row.fault}")
