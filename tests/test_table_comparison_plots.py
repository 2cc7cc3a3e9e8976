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
from functorch_artifact.records import Plot
from functorch_artifact.table_comparison import Comparison, Reference, TabularSpec, overviews, plots

EVERY_PLOT = [plots.pdf, plots.cdf, overviews.correlation_heatmaps, overviews.pca]


def compare(real: dict, synthetic: dict, spec: TabularSpec | None = None) -> Comparison:
    frame = pd.DataFrame(real)
    return Reference(frame, spec or TabularSpec.from_frame(frame)).compare(pd.DataFrame(synthetic))


def panel(figure: Figure, title: str):
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


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
    axes = panel(plots.pdf(compare({"n": [0, 0, 0, 1]}, {"n": [1, 1, 3, 3]})), "n")
    real, synthetic = (patch for patch in axes.patches if not patch.get_fill())
    np.testing.assert_allclose(real.get_data().edges, [-0.5, 0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(real.get_data().values, [0.75, 0.25, 0.0, 0.0])
    np.testing.assert_allclose(synthetic.get_data().values, [0.0, 0.5, 0.0, 0.5])


def test_integers_never_share_a_bin_unevenly():
    values = np.repeat(np.arange(100), 7)
    axes = panel(plots.pdf(compare({"n": values}, {"n": values})), "n")
    heights = axes.patches[0].get_data().values
    np.testing.assert_allclose(heights[:-1], heights[0])


def test_bars_show_the_commonest_categories_then_others_then_missing():
    common = [f"c{i:02}" for i in range(12)]
    real = common * 3 + ["rare1", "rare2"] + [None] * 2
    synthetic = common * 2 + ["new"] * 12 + [None] * 4
    axes = panel(plots.pdf(compare({"k": real}, {"k": synthetic})), "k")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-3:] == ["new", "other (3)", "missing"]
    widths = np.array([bar.get_width() for bar in axes.patches]).reshape(2, len(labels))
    np.testing.assert_allclose(widths.sum(axis=1), 1.0)
    np.testing.assert_allclose(widths[:, -3], [0.0, 0.3])
    np.testing.assert_allclose(widths[:, -1], [0.05, 0.1])


def test_the_share_of_missing_numbers_is_told():
    figure = plots.cdf(compare({"x": [1.0, np.nan]}, {"x": [1.0, 2.0]}))
    assert "missing: 50.0% real, 0.0% synthetic" in figure.axes[0].get_title()


def test_cumulative_shares_are_right_and_end_at_one():
    real, synthetic = np.arange(0.0, 100.0), np.arange(0.0, 50.0, 0.5)
    axes = panel(plots.cdf(compare({"x": real}, {"x": synthetic})), "x")
    for line, values in zip(axes.lines, (real, synthetic), strict=True):
        points, shares = line.get_data()
        np.testing.assert_allclose(shares, [(values <= point).mean() for point in points])
        assert shares[-1] >= 0.99


def test_heatmaps_show_both_matrices_and_their_difference(ordinary):
    real, synthetic, difference, *_ = overviews.correlation_heatmaps(ordinary).axes
    np.testing.assert_array_equal(real.images[0].get_array(), ordinary.real.associations)
    np.testing.assert_array_equal(synthetic.images[0].get_array(), ordinary.synthetic.associations)
    np.testing.assert_allclose(
        difference.images[0].get_array(), ordinary.synthetic.associations - ordinary.real.associations
    )


def test_the_scatter_draws_each_side_in_its_colour_on_the_real_components(ordinary):
    scatter = overviews.pca(ordinary).axes[0].collections[0]
    points, colours = np.asarray(scatter.get_offsets()), scatter.get_facecolors()[:, :3]
    blue = colours[:, 2] > colours[:, 0]
    projection = ordinary.reference.projection
    for side, mine in ((ordinary.real, blue), (ordinary.synthetic, ~blue)):
        expected = projection(side.numbers, side.codes)
        np.testing.assert_allclose(np.sort(points[mine], axis=0), np.sort(expected, axis=0))


def test_the_scatter_thins_out_long_tables():
    values = np.random.default_rng(0).normal(size=5000)
    scatter = overviews.pca(compare({"x": values}, {"x": values[:100]})).axes[0].collections[0]
    assert len(scatter.get_offsets()) == 2100


def test_each_column_has_a_panel_and_the_legend_names_both_sides():
    figure = plots.pdf(compare({f"x{i}": [1.0, 2.0] for i in range(10)}, {f"x{i}": [1.0, 2.0] for i in range(10)}))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [f"x{i}" for i in range(10)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Real", "Synthetic"]
    assert figure.get_size_inches()[0] / 4 >= 3.5


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
