"""What the pictures of a comparison show, read from the figures."""

import gc
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from functorch_artifact.errors import MissingExtraError
from functorch_artifact.figures import BLUE
from functorch_artifact.records import Plot
from functorch_artifact.table_comparison import (
    Comparison,
    Reference,
    TableComparisonPlan,
    TableComparisonPlotCollectionType,
    TableComparisonPlotType,
    TabularSpec,
    overviews,
    plots,
)

EVERY_PLOT = [plots.pdf, plots.cdf, overviews.correlation_heatmaps, overviews.pca, overviews.statistics_alignment]


def compare(real: dict, synthetic: dict, spec: TabularSpec | None = None) -> Comparison:
    frame = pd.DataFrame(real)
    return Reference(frame, spec or TabularSpec.from_frame(frame)).compare(pd.DataFrame(synthetic))


@pytest.fixture
def ordinary() -> Comparison:
    random = np.random.default_rng(0)
    sides = [
        {"x": random.normal(shift, 1, 300), "k": random.choice(["a", "b"], 300, p=[0.5 - shift, 0.5 + shift])}
        for shift in (0.0, 0.2)
    ]
    return compare(*sides)


@pytest.mark.parametrize("draw", EVERY_PLOT)
def test_every_plot_is_a_figure_without_pyplot_and_repeats_byte_for_byte(ordinary, draw):
    figure = draw(ordinary)
    assert isinstance(figure, Figure)
    assert getattr(figure, "number", None) is None
    first, second = Plot.of(figure).png, Plot.of(draw(ordinary)).png
    assert first == second
    assert first.startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", EVERY_PLOT)
@pytest.mark.parametrize(
    ("real", "synthetic"),
    [
        ({"x": [np.nan, np.nan]}, {"x": [1.0, np.inf]}),
        ({"x": [5.0, 5.0]}, {"x": [-np.inf, np.nan]}),
        ({"x": [0.5]}, {"x": [0.5]}),
        ({"k": [None, None]}, {"k": ["$5", r"$\frac$"]}),
        ({"k": ["a"]}, {"k": [None]}),
        ({r"$\x$": [1.0, 2.0], "k": [True, False]}, {r"$\x$": [1.0, 1e12], "k": [True, True]}),
    ],
)
def test_odd_columns_can_be_drawn(draw, real, synthetic):
    spec = TabularSpec(categorical=["k"]) if set(real) == {"k"} else None
    assert Plot.of(draw(compare(real, synthetic, spec))).png


def test_histograms_show_each_sides_share_by_bin():
    real, synthetic = plots.density(compare({"n": [0, 0, 0, 1]}, {"n": [1, 1, 3, 3]}), "n").marks
    np.testing.assert_allclose(real.edges, [-0.5, 0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(real.values, [0.75, 0.25, 0.0, 0.0])
    np.testing.assert_allclose(synthetic.values, [0.0, 0.5, 0.0, 0.5])


def test_integers_never_share_a_bin_unevenly():
    values = np.repeat(np.arange(100), 7)
    heights = plots.density(compare({"n": values}, {"n": values}), "n").marks[0].values
    np.testing.assert_allclose(heights[:-1], heights[0])


def test_bars_show_the_commonest_categories_then_others_then_missing():
    common = [f"c{i:02}" for i in range(12)]
    real = common * 3 + ["rare1", "rare2"] + [None] * 2
    synthetic = common * 2 + ["new"] * 12 + [None] * 4
    panel = plots.density(compare({"k": real}, {"k": synthetic}), "k")
    assert [name for _, name in panel.y.ticks][-3:] == ["new", "other (3)", "missing"]
    widths = np.array([boxes.right for boxes in panel.marks])
    np.testing.assert_allclose(widths.sum(axis=1), 1.0)
    np.testing.assert_allclose(widths[:, -3], [0.0, 0.3])
    np.testing.assert_allclose(widths[:, -1], [0.05, 0.1])


def test_the_share_of_missing_numbers_is_told():
    panel = plots.cumulation(compare({"x": [1.0, np.nan]}, {"x": [1.0, 2.0]}), "x")
    assert panel.title == "x\nmissing: 50.0% real, 0.0% synthetic"


@pytest.mark.parametrize("step", [1.0, 0.001])
def test_cumulative_shares_are_right_and_end_at_one(step):
    real, synthetic = step * np.arange(0.0, 100.0), step * np.arange(0.0, 50.0, 0.5)
    lines = plots.cumulation(compare({"x": real}, {"x": synthetic}), "x").marks
    for line, values in zip(lines, (real, synthetic), strict=True):
        before, after = line.y[1:-1:2], line.y[2::2]  # at each corner's place
        np.testing.assert_allclose(line.x[1:-1:2], line.x[2::2])
        np.testing.assert_allclose(after, [(values <= place).mean() for place in line.x[2::2]])
        assert (before < after).all()
        assert line.y[-1] >= 0.99


def test_heatmaps_show_both_matrices_and_their_difference(ordinary):
    panels = overviews.heatmaps(ordinary)
    real, synthetic = ordinary.real.associations, ordinary.synthetic.associations
    assert [panel.title for panel in panels] == ["Real", "Synthetic", "Synthetic - real"]
    for panel, matrix in zip(panels, (real, synthetic, synthetic - real), strict=True):
        np.testing.assert_array_equal(panel.marks[0].values, matrix)
        assert panel.marks[0].limit >= np.abs(matrix).max()
        assert [name for _, name in panel.x.ticks] == ["x", "k"]


def test_the_scatter_draws_each_side_in_its_colour_on_the_real_components(ordinary):
    projection = ordinary.reference.projection
    (points,) = overviews.projected(ordinary, projection).marks
    blue = np.array(points.colours) == BLUE
    for side, mine in ((ordinary.real, blue), (ordinary.synthetic, ~blue)):
        expected = projection(side.numbers, side.codes)
        np.testing.assert_allclose(np.sort([points.x[mine], points.y[mine]]), np.sort(expected.T))


def test_the_scatter_thins_out_long_tables():
    values = np.random.default_rng(0).normal(size=5000)
    comparison = compare({"x": values}, {"x": values[:100]})
    (points,) = overviews.projected(comparison, comparison.reference.projection).marks
    assert len(points.x) == 2100


def test_statistics_lie_on_the_line_where_the_tables_agree():
    same = {"x": [1.0, 2.0, 4.0], "tiny": [1e-6, 2e-6, 3e-6], "none": [np.nan] * 3}
    panel = overviews.alignment(compare(same, same), "MEAN")
    diagonal, points, left_out, names = panel.marks
    np.testing.assert_allclose(panel.x.places(points.x), panel.y.places(points.y))
    np.testing.assert_array_equal(diagonal.x, diagonal.y)
    assert left_out.text == "1 undefined"
    assert names.names == ["x", "tiny"]
    assert [name for _, name in panel.x.ticks] == ["1", "0.1", "0.01", "0.001", "10⁻⁴", "10⁻⁵"]


def test_each_column_has_a_panel_and_the_legend_names_both_sides():
    names = [f"x{i}" for i in range(10)]
    figure = plots.pdf(compare({name: [1.0, 2.0] for name in names}, {name: [1.0, 2.0] for name in names}))
    written = [label.text for label in figure.artists[-1].labels]
    assert [text for text in written if text in names] == names
    assert written[-2:] == ["Real", "Synthetic"]
    assert figure.get_size_inches()[0] / 4 >= 3.2


def test_a_thousand_columns_are_no_larger_than_a_picture_can_be():
    table = {f"x{i}": [1.0, 2.0] for i in range(1000)}
    assert (plots.pdf(compare(table, table)).get_size_inches() * 100 < 65_535).all()


def test_a_missing_matplotlib_names_the_extra(ordinary, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"'matplotlib', which is not installed\n.*functorch-artifact\[plots\]"):
        plots.pdf(ordinary)


def test_a_thousand_figures_leave_nothing_behind(ordinary):
    drawn = weakref.WeakSet()
    for i in range(1000):
        figure = overviews.statistic_alignment(ordinary, overviews.STATISTICS[i % 8])
        if i % 100 == 0:
            Plot.of(figure)
        drawn.add(figure)
        del figure
    gc.collect()
    assert len(drawn) == 0
    assert Gcf.get_num_fig_managers() == 0  # pyplot's


def test_columns_at_the_end_of_what_floats_hold_have_pictures():
    random = np.random.default_rng(0)

    def table(n):
        return pd.DataFrame(
            {
                "wide": random.normal(size=n).clip(-3, 3) * 5e307,
                "ends": random.choice([-1.79e308, 1.79e308], n),
                "constant": np.full(n, 1.79e308),
                "narrow": 1.5e308 * (1 + 1e-9 * random.normal(size=n)),
                "integers": np.full(n, 1e17),
            }
        )

    real = table(60)
    plan = TableComparisonPlan.of(*TableComparisonPlotType, *TableComparisonPlotCollectionType)
    report = plan.evaluate(real, table(50), TabularSpec.from_frame(real), noise=False)
    assert not report.failures
