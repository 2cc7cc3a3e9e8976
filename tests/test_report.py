"""Reports: the scores as a table, and one self-contained page."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from functorch_artifact import pages
from functorch_artifact.artifacts.report import Finding, Report
from functorch_artifact.records import Array, ArrayCollection, Plot, PlotCollection, Scale, Score, ScoreCollection

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x04\x00"  # enough of one: 1024 wide
REPORT = Report(
    (
        Finding("PICTURE <b>", Plot(PNG)),
        Finding("GAP", Score(0.123456), Scale(0.0, 1.0, "lower"), 0.01, 0.002),
        Finding(
            "BY_COLUMN",
            ScoreCollection({"a&b": 1.0, "c": float("nan")}, {"c": "no rows"}),
            Scale(0.0, 1.0, "higher"),
            {"c": 0.5},
        ),
        Finding("PICTURES", PlotCollection({"age": PNG})),
        Finding("MATRIX", Array.of([[1, 2], [3, 4]])),
        Finding("PAIRS", ArrayCollection.of({"age": [1.5, 2.5]})),
        Finding("BARE", Score(3.0)),
    ),
    {"BROKEN": ValueError("no <rows>")},
    "A title",
    {"rows": 10, "columns": pd.DataFrame({"missing": [1]}, index=["age"])},
)


class Outline(HTMLParser):
    """Collects headlines, pictures, ids and what is loaded from elsewhere; checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.found, self.loaded, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        if tag == "img":
            self.found.append(("img", attrs["alt"]))
        if tag == "section":
            self.found.append(("section", attrs["id"]))
        self.loaded += [value for name, value in attrs.items() if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def outline() -> Outline:
    parser = Outline()
    parser.feed(REPORT.html())
    assert parser.open == []
    return parser


def test_scores_are_a_table():
    assert REPORT.scores.loc["GAP"].to_dict() == {
        "value": 0.123456, "noise_floor": 0.01, "standard_error": 0.002, "better": "lower", "low": 0.0, "high": 1.0,
    }  # fmt: skip
    assert list(REPORT.scores.index) == ["GAP", "BY_COLUMN/a&b", "BY_COLUMN/c", "BARE"]
    assert REPORT.scores["noise_floor"].isna().tolist() == [False, True, False, True]
    assert REPORT.scores.loc["BARE", "high"] == float("inf")
    assert Report(()).scores.empty


def test_plots_and_arrays_are_by_name():
    assert REPORT.plots == {"PICTURE <b>": PNG, "PICTURES/age": PNG}
    assert set(REPORT.arrays) == {"MATRIX", "PAIRS/age"}
    np.testing.assert_array_equal(REPORT.arrays["PAIRS/age"], [1.5, 2.5])
    assert REPORT["BARE"] == Score(3.0)
    assert "GAP" in REPORT and "BROKEN" not in REPORT


def test_the_page_begins_with_the_scores_and_labels_every_plot(outline):
    sections = [name for kind, name in outline.found if kind == "section"]
    assert sections == ["scores", "failures", "plots", "arrays", "about"]
    assert [name for kind, name in outline.found if kind == "img"] == ["PICTURE <b>", "PICTURES/age"]


def test_the_page_is_self_contained_and_says_everything(outline):
    assert all(each.startswith(("data:image/png;base64,", "#")) for each in outline.loaded)
    text = "".join(outline.text)
    for said in (
        "0.1235",
        "0.01",
        "lower",
        "0 to 1",
        "a&b",
        "nan",
        "no rows",
        "ValueError: no <rows>",
        "MATRIX",
        "1.5",
        "rows",
    ):
        assert said in text
    page = REPORT.html()
    assert "width=device-width" in page and "prefers-color-scheme: dark" in page and "<script" not in page


def test_the_page_is_written_where_it_is_asked_for(tmp_path):
    path = REPORT.to_html(tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == REPORT.html()


def test_what_is_empty_is_left_out():
    page = Report((Finding("GAP", Score(1.0)),)).html()
    assert 'id="scores"' in page and 'id="plots"' not in page and "Failures" not in page
    assert pages.table(["a"], []) == pages.section("empty", "") == ""
