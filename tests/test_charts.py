"""Curves as SVG and as text: bounded, in place, and readable by who cannot see them."""

import html
import json
import math
import re

import pytest

from functorch_artifact.pages import charts

NAN, INF = float("nan"), float("inf")


def data(figure):
    return json.loads(html.unescape(re.search('data-chart="([^"]*)"', figure)[1]))


def paths(figure):
    return [
        [float(each) for each in re.findall(r"-?[\d.]+", path)] for path in re.findall('<path d="M([^H"]+)"', figure)
    ]


def test_a_chart_draws_each_line_through_its_values():
    figure = charts.chart("LOSS", {"TRAIN": {1: 4.0, 2: 2.0, 3: 3.0}, "VAL": {1: 5.0, 3: 1.0}}, mark=3)
    (x1, y1, x2, y2, x3, y3), (v1, top, v3, bottom) = paths(figure)
    assert (x1, x3) == (v1, v3)
    assert x2 == pytest.approx((x1 + x3) / 2)
    assert top < y1 < y3 < y2 < bottom  # down is more in SVG
    assert y2 - y1 == pytest.approx(2 * (y2 - y3), abs=0.2)
    assert f'class="mark" x1="{x3}"' in figure
    assert data(figure)["x"] == [1, 2, 3]
    assert data(figure)["lines"] == [[4.0, 2.0, 3.0], [5.0, None, 1.0]]


def test_many_decades_make_a_logarithmic_scale():
    figure = charts.chart("NORM", {"NORM": {1: 1000.0, 2: 1.0, 3: 0.001}})
    ((_, y1, _, y2, _, y3),) = paths(figure)
    assert y3 - y2 == pytest.approx(y2 - y1, abs=0.2)
    assert "on a logarithmic scale" in figure
    assert "logarithmic" not in charts.chart("NORM", {"NORM": {1: 1000.0, 2: 1.0, 3: 0.0}})


def test_what_is_not_finite_is_a_gap_that_is_told():
    figure = charts.chart("LOSS", {"LOSS": {1: 1.0, 2: NAN, 3: INF, 4: 2.0}})
    assert len(paths(figure)[0]) == 4
    assert "2 not finite" in figure
    assert data(figure)["lines"] == [[1.0, None, None, 2.0]]


def test_without_a_finite_value_there_is_no_chart():
    assert charts.chart("LOSS", {}) == ""
    assert charts.chart("LOSS", {"LOSS": {1: NAN, 2: -INF}}) == ""


def test_one_value_is_a_dot():
    figure = charts.chart("LOSS", {"LOSS": {7: 3.0}})
    assert "<circle" in figure
    assert "LOSS: 3 at epoch 7" in figure


def test_a_long_run_is_thinned_and_keeps_its_spikes():
    points = {epoch: math.sin(epoch / 1000) for epoch in range(1, 100_001)}
    points[54_321], points[12_345] = 40.0, -40.0
    figure = charts.chart("LOSS", {"A": points, "B": {epoch: -value for epoch, value in points.items()}})
    kept = data(figure)["x"]
    assert {1, 12_345, 54_321, 100_000} <= set(kept)
    assert len(kept) <= charts.MOST_POINTS
    assert len(figure) < 60_000


def test_there_are_no_more_lines_than_colours():
    lines = {str(i): {1: i, 2: i + 1} for i in range(charts.MOST_LINES + 5)}
    assert len(data(charts.chart("MANY", lines))["lines"]) == charts.MOST_LINES


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 1.0], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([-3.0, 8.0], ["-2", "0", "2", "4", "6", "8"]),
        ([1e5, 1e5 + 0.2], ["100000", "100000.05", "100000.1", "100000.15", "100000.2"]),
        ([7.0, 7.0], ["6.7", "6.8", "6.9", "7", "7.1", "7.2", "7.3"]),
        ([0.01, 1.0, 100.0], ["0.01", "0.1", "1", "10", "100"]),
    ],
)
def test_ticks_are_round_and_can_be_told_apart(values, labels):
    figure = charts.chart("LOSS", {"LOSS": dict(enumerate(values, 1))})
    assert re.findall(r'text-anchor="end">(-?[\d.e+]+)</text>', figure) == labels


@pytest.mark.parametrize(
    "values",
    [
        (5e-324, 1e-323),
        (1.7e308, -1.7e308),
        (1e16, 1e16 + 2),
        (0.0, 0.0),
        (1e-310, 1e308),
        (5e-324, 5e-324),
        (-0.0, 1e-300),
    ],
)
def test_any_floats_can_be_drawn(values):
    figure = charts.chart("LOSS", {"LOSS": dict(enumerate(values, 1))})
    assert all(0 <= each <= 400 for each in paths(figure)[0])
    assert "nan" not in figure
    assert "inf" not in figure


def test_hostile_names_are_escaped():
    hostile = '"><script>alert(1)</script>'
    figure = charts.chart(hostile, {hostile: {1: 1.0, 2: 2.0}})
    assert "<script" not in figure
    assert figure.count(html.escape(hostile)) == 3  # the caption, the legend, the description


def test_a_spark_shows_the_course():
    assert charts.spark([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert charts.spark([1, INF, 2]) == "▁ █"
    assert charts.spark([3, 3]) == "▅▅"
    assert charts.spark([]) == ""
    assert charts.spark([NAN]) == " "
    assert charts.spark(list(range(1000)), 8) == "▁▂▃▄▅▆▇█"
    assert charts.spark([1, 2, 3], plain=True).isascii()


def test_the_script_and_the_style_know_the_same_classes():
    figure = charts.chart("LOSS", {"LOSS": {1: 1.0, 2: 2.0}}, mark=1)
    for name in ("chart", "hover", "mark", "grid"):
        assert f'class="{name}"' in figure
        assert f".{name}" in charts.STYLE
