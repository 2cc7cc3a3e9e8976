"""The table in the documentation is that of the cases that run, client by client."""

from pathlib import Path

from tests.conformance import test_conformance
from tests.conformance.subjects import SUBJECTS

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"


def table() -> str:
    """Make the table from the cases: a client has a case if its test is run for it."""
    clients = [subject.name for subject in SUBJECTS]
    heads = [client.removesuffix(" (offline)") for client in clients]
    rows = [["case", *heads], ["---"] * (len(clients) + 1)]
    for name, case in vars(test_conformance).items():
        if name.startswith("test_"):
            (given,) = [mark.args[1] for mark in case.pytestmark if mark.name == "parametrize"]
            put_through = {getattr(each, "name", each) for each in given}
            assert put_through <= set(clients)
            marks = ["yes" if client in put_through else "-" for client in clients]
            rows.append([name.removeprefix("test_").replace("_", " "), *marks])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_page_has_the_table() -> None:
    assert table() in PAGE.read_text(), f"the table is now\n{table()}"
