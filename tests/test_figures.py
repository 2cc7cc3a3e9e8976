"""Panels on figures: where things stand, and what that costs."""

import io
import itertools
import math

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from functorch_artifact.figures import (
    DASHED,
    Boxes,
    Cells,
    Key,
    Line,
    Names,
    Panel,
    Points,
    Steps,
    Words,
    linear,
    logarithmic,
    named,
    sheet,
    shorten,
    symmetric_log,
    texts,
)

NAMES = st.text(st.characters(codec="latin-1", categories=("L", "N", "P", "S")), min_size=1, max_size=30)
SIZES = st.sampled_from([(2.0, 1.5), (4.0, 3.0)])


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def labels(figure: Figure) -> list[texts.Label]:
    return figure.artists[-1].labels


def corners(label: texts.Label) -> np.ndarray:
    """The four corners of what a label covers, from the baseline to the height of capitals, in inches."""
    length, turn = texts.width(label.text, label.size, bold=label.bold), math.radians(label.angle)
    em = label.size / 72
    along = np.array([0, length, length, 0]) - label.along * length
    up = np.array([0, 0, 0.72, 0.72]) * em - label.across * em
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.array([label.x, label.y]) + np.stack([along, up], axis=1) @ turned.T


def blue(image: np.ndarray) -> np.ndarray:
    return (image == [0, 0, 255]).all(axis=2)


def one(*marks, **options) -> Figure:
    panel = Panel(linear(0.0, 1.0), linear(0.0, 1.0), marks, **options)
    return sheet([panel], size=(2.0, 2.0))


@settings(max_examples=50)
@given(st.lists(NAMES, min_size=1, max_size=40), NAMES, st.booleans(), st.booleans(), SIZES)
def test_no_text_leaves_the_figure_and_no_names_overlap(names, title, slanted, bar, size):
    cells = Cells(np.zeros((len(names), len(names))), "RdBu_r")
    x, y = named(names, "across", slanted=slanted), named(names, "up", downwards=True)
    panels = [Panel(x, y, [cells], title, bar=cells if bar else None)] * 3
    figure = sheet(panels, size=size, n_columns=2, title=title, legend=[Key(name, "blue") for name in names[:6]])
    width, height = figure.get_size_inches()
    for label in labels(figure):
        assert (corners(label) >= -1e-6).all(), label
        assert (corners(label) <= [width + 1e-6, height + 1e-6]).all(), label
    if not slanted:
        rows = {}
        for label in labels(figure):
            if label.text in names and label.size == 8.0 and label.across == texts.TOP:
                rows.setdefault(round(label.y, 6), []).append(corners(label)[:, 0])
        for row in rows.values():
            spans = sorted((each.min(), each.max()) for each in row)
            assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.sampled_from([0.0, 0.05]))
def test_ticks_of_numbers_lie_on_the_axis_and_their_names_are_true(first, second, margin):
    axis = linear(min(first, second), max(first, second), margin=margin)
    assert axis.low < axis.high
    places = axis.places([value for value, _ in axis.ticks])
    assert ((places >= -1e-6) & (places <= 1 + 1e-6)).all()
    assert len(axis.ticks) <= 8
    if not axis.note:
        for value, name in axis.ticks:
            assert math.isclose(
                float(name.replace("\N{MINUS SIGN}", "-")), value, abs_tol=1e-6 * (axis.high - axis.low)
            )


def test_one_value_alone_has_a_span_around_it():
    assert (linear(5.0, 5.0).low, linear(5.0, 5.0).high) == (2.5, 7.5)
    assert (linear(0.0, 0.0).low, linear(0.0, 0.0).high) == (-0.5, 0.5)
    assert linear(1.0, 1.0 + 1e-15).high == pytest.approx(1.5)
    assert linear(5e-324, 1e-310).high == 0.5


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.floats(1e-9, 1e3))
def test_symmetric_logarithms_keep_order_and_sign(low, span, threshold):
    span += 1e-3 * abs(low)
    axis = symmetric_log(low, low + span, threshold, margin=0.05)
    values = np.array([low, low + span / 3, low + span])
    places = axis.places(values)
    assert (np.diff(places) >= 0).all()
    assert places[0] == pytest.approx(0.05 / 1.1, abs=1e-3)
    ticks = dict(axis.ticks)
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in axis.places(list(ticks)))
    assert len(ticks) <= 18
    assert ("0" in ticks.values()) or not axis.low <= 0 <= axis.high


def test_powers_of_ten_are_named():
    assert [name for _, name in logarithmic(1.0, 2e5).ticks] == ["1", "10", "100", "1000", "10000", "10⁵"]
    assert {"\N{MINUS SIGN}10", "0", "0.1", "100"} <= {name for _, name in symmetric_log(-10.0, 100.0, 0.1).ticks}


def test_marks_stand_where_their_values_are():
    image = blue(pixels(one(Boxes(0.25, 0.5, 0.0, 0.75, "blue", 1.0))))
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    frame = pixels(one())
    bottom = np.flatnonzero((frame[:, 60] < 100).all(axis=1)).max()  # the axis
    assert abs(np.ptp(rows) - 150) <= 2  # three quarters of two inches
    assert abs(np.ptp(columns) - 50) <= 2
    assert abs(rows.max() - bottom) <= 2


@pytest.mark.parametrize(
    ("mark", "share"),
    [
        (Steps(np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.0]), "blue", width=0.0, fill=1.0), 0.5),
        (Line(np.array([0.0, 1.0]), np.array([0.5, 0.5]), "blue", width=7.2), 0.05),
        (Line(np.array([0.0, 1.0]), np.array([0.5, 0.5]), "blue", width=7.2, dashes=DASHED), 0.05 * 4 / 7),
        (Points(np.array([0.5]), np.array([0.5]), "blue", diameter=72.0), math.pi / 4 / 4),
        (Points(np.array([0.25, 0.75]), np.array([0.5, 0.5]), ["blue", "red"], diameter=36.0), math.pi / 4 / 16),
    ],
)
def test_marks_cover_what_they_say(mark, share):
    assert blue(pixels(one(mark))).sum() / 200**2 == pytest.approx(share, abs=0.015)


def test_cells_are_coloured_by_value_and_written_on():
    cells = Cells(np.array([[-1.0, 0.0], [0.0, 1.0]]), "bwr", texts=[["a", "b"], ["c", "d"]])
    figure = sheet([Panel(named("xy"), named("zw", downwards=True), [cells], frame=False)], size=(2.0, 2.0))
    image = pixels(figure)
    rows, columns = np.nonzero(blue(image))
    assert len(rows) > 0.95 * 100**2
    found = {label.text: label for label in labels(figure)}
    height = figure.get_size_inches()[1]
    assert 100 * found["a"].x == pytest.approx(columns.mean(), abs=2)
    assert 100 * (height - found["a"].y) == pytest.approx(rows.mean(), abs=2)
    assert found["d"].x > found["c"].x
    assert found["c"].y < found["a"].y
    assert (found["a"].colour, found["b"].colour) == ("#ffffff", "#333333")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), NAMES), min_size=1, max_size=30))
def test_names_of_points_neither_overlap_nor_leave_the_panel(points):
    x, y, names = zip(*points, strict=True)
    axis = linear(0.0, 1.0)
    panel = Panel(axis, axis, [Names(np.array(x), np.array(y), names, ((0.0, 0.0), (1.0, 1.0)))])
    figure = sheet([panel], size=(3.0, 2.0))
    written = [label for label in labels(figure) if label.size == 7.0]
    assert written[:1] == [label for label in written if label.text == names[0]][:1]
    left, below = (min(each) for each in zip(*(corners(label)[0] for label in written), strict=True))
    right, above = (max(each) for each in zip(*(corners(label)[2] for label in written), strict=True))
    assert right - left <= 3.0 + 1e-6
    assert above - below <= 2.0 + 1e-6
    for one, other in itertools.combinations(map(corners, written), 2):
        apart = (one.max(axis=0) <= other.min(axis=0)) | (other.max(axis=0) <= one.min(axis=0))
        assert apart.any()


def test_names_stand_at_each_corner_before_they_are_left_out():
    middle = np.full(5, 0.5)
    marks = [Names(middle, middle, list("abcde"), ((0.0, 0.0), (1.0, 1.0)))]
    written = {label.text: (label.x, label.y) for label in labels(one(*marks)) if label.size == 7.0}
    assert sorted(written) == list("abcd")
    assert len(set(written.values())) == 4


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0])
@pytest.mark.parametrize("text", ["share of rows", "$5 & x_1", "Größe…"])
def test_texts_look_as_matplotlib_draws_them(text, angle):
    label = texts.Label(1.0, 0.7, text, 9.0, "#1f6fb2", along=0.0, across=texts.BASELINE, angle=angle)
    figure = Figure(figsize=(3, 3), dpi=100)
    figure.add_artist(texts.artist([label]))
    renderer = RendererAgg(300, 300, 100)
    context = renderer.new_gc()
    context.set_foreground("#1f6fb2")
    renderer.draw_text(context, 100, 230, text, FontProperties(size=9.0), angle)
    direct = np.asarray(renderer.buffer_rgba()).astype(int)
    on_white = 255 + (direct[:, :, :3] - 255) * direct[:, :, 3:] // 255
    assert np.abs(pixels(figure).astype(int) - on_white).max() <= 3
    assert (on_white < 200).any()


def test_a_figure_cropped_to_its_contents_keeps_its_labels():
    figure, target = one(Words(0.5, 0.5, "text"), title="title"), io.BytesIO()
    figure.savefig(target, format="png", bbox_inches="tight", pad_inches=0.0)
    with Image.open(target) as image:
        assert image.size == tuple((figure.get_size_inches() * 100).round().astype(int))


def test_a_figure_looks_alike_at_a_higher_resolution():
    figure, target = one(Words(0.5, 0.5, "text", size=20.0), title="title"), io.BytesIO()
    figure.savefig(target, format="png", dpi=300)
    with Image.open(target) as image:
        fine = np.asarray(image.convert("L").reduce(30)).astype(int)
    coarse = np.asarray(Image.fromarray(pixels(figure)).convert("L").reduce(10)).astype(int)
    assert np.abs(fine - coarse).max() < 40
    assert coarse.min() < 200


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_a_figure_can_be_saved_for_print(kind):
    figure, target = (
        one(Words(0.5, 0.5, "text"), Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "blue")),
        io.BytesIO(),
    )
    figure.savefig(target, format=kind)
    assert target.getvalue().count(b"/Subtype /Image" if kind == "pdf" else b"<image") >= 1


def test_a_figure_is_a_handful_of_artists_however_many_panels_it_has():
    steps = Steps(np.array([0.0, 0.5, 1.0]), np.array([0.3, 1.0]), "blue", fill=0.3)
    panels = [Panel(linear(0.0, 1.0), linear(0.0, 1.0), [steps], f"column {i}") for i in range(40)]
    figure = sheet(panels, size=(2.0, 1.0), n_columns=4, title="all", legend=[Key("real", "blue")])
    assert len(figure.artists) <= 5
    assert not figure.axes
    assert len(labels(figure)) > 400


def test_rows_of_a_sheet_are_as_high_as_their_highest_panel():
    low, high = (Panel(linear(0, 1), linear(0, 1), [], height=height) for height in (0.5, 2.0))
    heights = [sheet(panels, size=(2.0, 1.0)).get_size_inches()[1] for panels in ([low], [high], [low, high])]
    assert heights[1] - heights[0] == pytest.approx(1.5)
    assert heights[2] > heights[1] + 0.5


def test_pictures_of_one_thing_at_several_times_have_one_size():
    sizes = {
        tuple(sheet([Panel(linear(0, 1), linear(0, high), [])], size=(2.0, 1.0)).get_size_inches())
        for high in (0.061, 0.059, 0.063)
    }
    assert len(sizes) == 1


def test_no_setting_of_matplotlib_is_touched():
    before = dict(mpl.rcParams)
    pixels(one(Words(0.5, 0.5, "text"), title="title"))
    assert dict(mpl.rcParams) == before


def test_fonts_are_those_of_the_users_settings():
    first = pixels(one(Words(0.5, 0.5, "text")))
    with mpl.rc_context({"font.family": "DejaVu Serif"}):
        assert (pixels(one(Words(0.5, 0.5, "text"))) != first).any()
    np.testing.assert_array_equal(pixels(one(Words(0.5, 0.5, "text"))), first)


def test_labels_are_one_line_and_not_a_long_one():
    assert shorten("two\nlines") == "two lines"
    assert shorten("x" * 20) == "x" * 14 + "…"
    assert shorten(5) == "5"


def test_what_lies_outside_of_a_panel_is_cut_off() -> None:
    ends, beyond = np.array([0.2, 0.8]), np.array([-1.0, 3.0])
    outside = [
        Line([-9.0, 0.5, 9.0], [9.0, 0.5, 9.0], "black"),
        Line([0.5, 0.5], [0.5, np.inf], "black"),
        Steps(beyond, np.array([7.0]), "black", fill=1.0),
        Boxes(0.5, 4.0, 0.5, -4.0, "black"),
        Points([5.0, -5.0], [0.5, 0.5], ["black", "black"]),
        Words(0.5, 1.8, "outside"),
    ]
    axes = linear(0.0, 1.0), linear(0.0, 1.0)
    kept = [Line(ends, ends, "black"), Points(ends, ends, "black"), Words(0.5, 0.5, "inside")]

    def image(marks: list) -> np.ndarray:
        return pixels(sheet([Panel(*axes, marks)], size=(2.0, 2.0)))

    empty, drawn = image([]), image(outside)
    assert (image(kept) != empty).any()
    differs = np.argwhere((empty != drawn).any(axis=2))
    frame = np.argwhere((image([Boxes(0.0, 1.0, 0.0, 1.0, "red")]) != empty).any(axis=2))
    room = 3  # half a line's width, and its smoothed edge
    assert (differs.min(axis=0) >= frame.min(axis=0) - room).all()
    assert (differs.max(axis=0) <= frame.max(axis=0) + room).all()
    assert len(differs) > 1000  # what is inside of the same marks is there


@pytest.mark.parametrize(("low", "high"), [(-1.79e308, 1.79e308), (-1e307, 1.7e308), (1.5e308, 1.5e308 * (1 + 1e-9))])
def test_axes_of_numbers_at_the_end_of_what_floats_hold(low: float, high: float) -> None:
    axis = linear(low, high, margin=0.05)
    assert np.isfinite([axis.low, axis.high]).all()
    first, last = axis.places([low, high]).tolist()
    assert 0.0 <= first < 0.06
    assert 0.94 < last <= 1.0
    assert len(axis.ticks) >= 3
    assert axis.note.startswith("1e30")
