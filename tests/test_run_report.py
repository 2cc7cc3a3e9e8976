"""A run's page: self-contained, of bounded size, safe whatever a run is called, the same without a script."""

import base64
import hashlib
import html
import json
import math
import re
import struct
import zlib
from html.parser import HTMLParser

import pandas as pd
import pytest

from functorch_artifact import pages
from functorch_artifact.errors import TrackingError
from functorch_artifact.pages import run as run_report
from functorch_artifact.pages.run import Picture, RunView

HOSTILE = '</style></title><script>alert("x")</script><img src=//evil.example/x onerror=alert(1)>&amp; "\'\u202e\x00'
VOID = {"wbr", "meta", "img", "input", "br", "hr", "line", "circle", "path"}


class Page(HTMLParser):
    """What a browser would find in a page; nesting that does not add up is an error."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.texts and self.tags and self.tags[-1][0] == "wbr":  # where a word may be broken
            _, before = self.texts.pop()
            self.tags.pop()
            data = before + data
        self.texts.append((self.open[-1] if self.open else None, data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, within=None):
        return " ".join(text for tag, text in self.texts if within is None or tag == within)


def check(text):
    """Hold a page to what every page promises."""
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "action", "xlink:href", "srcset", "poster"}:
                assert value.startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"url\(|@import", page.text("style"))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all("aria-label" in each or "aria-hidden" in each for each in page.all("svg"))
    assert {each["href"][1:] for each in page.all("a")} <= set(page.ids)
    assert {each["for"] for each in page.all("label")} <= set(page.ids)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    scripts = [text for tag, text in page.texts if tag == "script"]
    digests = {base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts}
    assert digests == set(re.findall(r"'sha256-([^']*)'", policy))
    return page


def png(size=100, width=3, height=2):
    """Make a real PNG file of at least `size` bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    padding = chunk(b"tEXt", b"pad\0" + b"x" * size)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + padding + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def frame(n=20, **columns):
    columns = columns or {"TRAIN_LOSS": [1 / epoch for epoch in range(1, n + 1)]}
    return pd.DataFrame(columns, index=pd.Index(range(1, n + 1), name="epoch"))


def view(**options):
    return RunView(**({"name": "diamonds", "scores": frame()} | options))


def embedded(page):
    return [base64.b64decode(each["src"].partition(",")[2]) for each in page.all("img")]


def test_a_page_says_all_there_is():
    scores = frame(3, TRAIN_LOSS=[3.0, 2.0, 1.0], VAL_LOSS=[3.5, 1.25, 1.5], **{"JS/price": [math.nan, 0.5, math.nan]})
    page = check(
        run_report.page(
            view(
                scores=scores,
                state="finished",
                reason="VAL_LOSS has not improved",
                best=2,
                facts={"took": "3 min"},
                parameters={"seed": 7},
                environment={"torch": "2.13.0"},
                pictures=[Picture("PDF", 2, png)],
                tables={"ROWS": pd.DataFrame({"price": [326, 327]})},
                others=[("array", "WEIGHTS", [3])],
                failures=[(2, "ROC", "ValueError: one class")],
            )
        )
    )
    assert page.text("h1") == "diamonds"
    titles = [
        "Run",
        "Curves",
        "Scores",
        "Artifacts",
        "Tables",
        "Also recorded",
        "Failures",
        "Parameters",
        "Environment",
    ]
    assert [text for tag, text in page.texts if tag == "h2"] == titles
    assert [text for tag, text in page.texts if tag == "a"] == titles
    cells = page.text()
    for said in ("finished", "VAL_LOSS has not improved", "3 min", "7", "2.13.0", "326", "WEIGHTS", "one class"):
        assert said in cells
    assert "marks epoch 2, the best model" in cells
    charts = [each["aria-label"] for each in page.all("svg") if "aria-label" in each]
    assert len(charts) == 2  # both losses in one
    assert "VAL_LOSS: 3.5 at epoch 1, 1.5 at epoch 3, lowest 1.25 at epoch 2" in charts[0]
    assert charts[1] == "JS/price: 0.5 at epoch 2"
    assert embedded(page) == [png()]


def test_a_run_without_anything_is_a_page_too():
    page = check(run_report.page(RunView(name="", scores=pd.DataFrame())))
    assert page.all("svg") == page.all("img") == page.all("table") == []


def test_a_run_without_a_finite_score_is_a_page_too():
    page = check(run_report.page(view(scores=frame(2, LOSS=[math.inf, math.nan], EMPTY=[math.nan] * 2))))
    assert page.all("svg") == []
    assert "inf" in page.text("td")


def test_hostile_names_stay_names():
    text = run_report.page(
        view(
            name=HOSTILE,
            state=HOSTILE,
            reason=HOSTILE,
            scores=frame(2, **{HOSTILE: [1.0, 2.0], f"{HOSTILE}/{HOSTILE}": [1.0, 2.0]}),
            facts={HOSTILE: HOSTILE},
            parameters={HOSTILE: HOSTILE},
            environment={HOSTILE: HOSTILE},
            pictures=[Picture(HOSTILE, 1, png), Picture(HOSTILE, 2, png)],
            tables={HOSTILE: pd.DataFrame({HOSTILE: [HOSTILE]})},
            others=[(HOSTILE, HOSTILE, [1])],
            failures=[(1, HOSTILE, HOSTILE)],
        )
    )
    page = check(text)
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1
    assert len(page.all("img")) == 2
    assert "evil.example" not in re.sub(r"&lt;.*?&gt;", "", text)
    assert "evil.example" in page.text()  # shown, as it is called


def test_the_slider_moves_through_the_epochs_that_have_pictures():
    pictures = [Picture(name, epoch, png) for name, epochs in (("A", (5, 10)), ("B", (10, 20))) for epoch in epochs]
    page = check(run_report.page(view(pictures=pictures)))
    (slider,) = page.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "2", "2")
    (section,) = [each for each in page.all("div") if each.get("class") == "reels"]
    assert json.loads(section["data-epochs"]) == [5, 10, 20]
    stills = [each["data-epoch"] for each in page.all("figure") if "data-epoch" in each]
    assert stills == ["5", "10", "10", "20"]
    assert [each["alt"] for each in page.all("img")] == [
        "A at epoch 5", "A at epoch 10", "B at epoch 10", "B at epoch 20",
    ]  # fmt: skip


def test_pictures_of_one_epoch_need_no_slider():
    page = check(run_report.page(view(pictures=[Picture("A", 5, png), Picture("B", 5, png)])))
    assert page.all("input") == []
    assert len(page.all("img")) == 2


def test_five_hundred_pictures_stay_bounded_and_the_ones_that_matter_are_kept():
    reads = []

    def picture(name, epoch):
        def read():
            reads.append((name, epoch))
            return png(100_000)

        return Picture(name, epoch, read)

    pictures = [picture(name, epoch) for epoch in range(1, 101) for name in "ABCDE"]
    text = run_report.page(view(pictures=pictures, best=42), most_bytes=4_000_000)
    page = check(text)
    assert len(text) < 1.35 * 4_000_000 + 100_000
    assert len(page.all("img")) == 39
    assert "Pictures left out, to keep this page small: 461." in page.text("p")
    for name in "ABCDE":
        kept = {int(each["alt"].split()[-1]) for each in page.all("img") if each["alt"].startswith(name)}
        assert {1, 42, 50, 100} <= kept
    assert len(reads) < 50  # what is left out is not even read


def test_one_picture_that_is_too_large_leaves_room_for_others():
    pictures = [Picture("LARGE", 1, lambda: png(10_000)), Picture("SMALL", 1, png)]
    page = check(run_report.page(view(pictures=pictures), most_bytes=5_000))
    assert [each["alt"] for each in page.all("img")] == ["SMALL at epoch 1"]
    assert "Pictures left out, to keep this page small: 1." in page.text("p")


def test_a_picture_that_is_damaged_is_told_and_the_others_are_shown():
    def damaged():
        raise TrackingError("is damaged", where="payloads/3f/3f2a.png")

    page = check(run_report.page(view(pictures=[Picture("BAD", 1, damaged), Picture("GOOD", 1, png)])))
    assert [each["alt"] for each in page.all("img")] == ["GOOD at epoch 1"]
    assert "payloads/3f/3f2a.png: is damaged" in page.text("p")
    assert "left out" not in page.text("p")


def test_long_and_wide_runs_stay_bounded():
    n, wide = 20_000, {f"C/{i}": [float(i)] * 50 for i in range(2_000)}
    long = run_report.page(view(scores=frame(n, LOSS=[1 / epoch for epoch in range(1, n + 1)])))
    assert len(check(long).all("tr")) < 120
    assert len(long) < 100_000
    broad = run_report.page(view(scores=frame(50, **wide, **{f"S{i}": [1.0] * 50 for i in range(100)})))
    page = check(broad)
    assert len(broad) < 1_000_000
    assert "Charts left out: 61." in page.text("p")
    assert "Scores left out: 1700." in page.text("p")
    assert "C: the 8 of 2000 that end highest" in page.text("figcaption")


def test_a_table_is_cut_and_says_so():
    page = check(run_report.page(view(tables={"ROWS": pd.DataFrame({f"c{i}": range(300) for i in range(30)})})))
    assert "50 of 300 rows, 20 of 30 columns" in page.text("p")


def test_the_table_of_epochs_ends_with_the_last():
    page = check(run_report.page(view(scores=frame(250))))
    assert page.text("summary") == "One epoch in 3"
    rows = re.findall(r"<tr><td[^>]*>(\d+)</td>", run_report.page(view(scores=frame(250))))
    assert rows[-1] == "250"


@pytest.mark.parametrize("name", ["text", "dim", "accent", "bad"])
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(name, scheme):
    style = Page(run_report.page(view())).text("style")
    one, other = (re.findall(rf"--{each}: (#[0-9a-f]{{6}})", style)[scheme] for each in (name, "back"))
    assert contrast(one, other) >= 4.5  # WCAG 2.2, AA for text


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_lines_can_be_seen(scheme):
    style = Page(run_report.page(view())).text("style")
    back = re.findall(r"--back: (#[0-9a-f]{6})", style)[scheme]
    for i in range(8):
        assert contrast(re.findall(rf"--s{i}: (#[0-9a-f]{{6}})", style)[scheme], back) >= 4.5


def contrast(one, other):
    """The contrast ratio of two colours, by WCAG 2.2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_notebook_gets_a_few_lines_without_style_or_script():
    scores = frame(3, **{f"S{i}": [3.0, 2.0, 1.0] for i in range(30)})
    text = run_report.brief(HOSTILE, {"state": HOSTILE, "epochs": 3}, scores)
    page = Page(text)
    assert page.all("script") == page.all("style") == page.all("img") == []
    assert html.escape(HOSTILE, quote=True) in text
    assert len(page.all("tr")) == 13
    assert "and 18 more scores" in page.text()
    assert "█▅▁" in page.text("td")


def test_a_page_without_a_script_permits_none():
    assert "script-src 'none'" in pages.page("x", [])
