"""What callbacks return becomes a value, or an error that names the callback's value."""

from __future__ import annotations

import gc
import math
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from functorch_artifact.errors import RecordError, ScoreError, UndefinedError
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    File,
    Plot,
    PlotCollection,
    Record,
    RunInfo,
    Score,
    ScoreCollection,
    Value,
    scores,
)


def figure() -> Figure:
    made = Figure(figsize=(1, 1), dpi=50)
    made.subplots().plot([0, 1], [1, 0])
    return made


@pytest.mark.parametrize(
    "raw", [2, 2.0, np.float32(2), np.array(2), torch.tensor(2), torch.tensor([[2.0]]), np.array([2.0])]
)
def test_one_number_is_a_score(raw: Any) -> None:
    assert Score.of(raw) == Score(2.0)
    assert type(Score.of(raw).value) is float


def test_a_score_keeps_what_is_not_finite() -> None:
    assert math.isnan(Score.of(torch.tensor(math.nan)).value)
    assert Score.of(-math.inf).value == -math.inf
    assert Score.of(torch.ones((), requires_grad=True) * 2) == Score(2.0)
    given = Score(1.0)
    assert Score.of(given) is given


def test_a_score_that_is_none_may_say_why() -> None:
    why = Score(math.nan, "no label is positive")
    assert Score.of(why) is why
    taken = ScoreCollection.of({"RECALL": why, "PRECISION": 0.5})
    assert taken.values["PRECISION"] == 0.5
    assert math.isnan(taken.values["RECALL"])
    assert taken.reasons == {"RECALL": "no label is positive"}
    assert Score.of(0.5).reason == ""


def test_an_attempt_at_an_undefined_score_keeps_the_reason() -> None:
    def compute(name: str) -> float:
        if name == "RECALL":
            raise UndefinedError("no label is positive")
        return 0.5

    assert Score.attempt(lambda: compute("PRECISION")) == Score(0.5)
    taken = ScoreCollection.attempt(["RECALL", "PRECISION"], compute)
    assert math.isnan(taken.values["RECALL"])
    assert taken.reasons == {"RECALL": "no label is positive"}
    with pytest.raises(RecordError, match="LOSS: is not a score"):
        Score.attempt(lambda: None, "LOSS")


@pytest.mark.parametrize(
    "raw", ["2.0", b"2", None, [1.0], {"a": 1}, 1j, torch.ones(2), np.ones(2), 10**400, torch.tensor(1j)]
)
def test_what_is_not_one_number_is_no_score(raw: Any) -> None:
    with pytest.raises(RecordError, match=r"MyScore: is not a score\n  expected: one number\n  got: \w+"):
        Score.of(raw, "MyScore")


def test_an_array_is_a_read_only_copy() -> None:
    raw = np.arange(3.0)
    array = Array.of(raw)
    raw[0] = 9
    assert array.value.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        array.value[0] = 1
    live = torch.ones(2, requires_grad=True)
    copied = Array.of(live)
    with torch.no_grad():
        live.zero_()
    assert copied.value.tolist() == [1.0, 1.0]
    assert Array.of(array) is array


@pytest.mark.parametrize(
    ("raw", "dtype"),
    [
        (torch.ones(2, dtype=torch.bfloat16), "float32"),
        (torch.ones(2, dtype=torch.float16), "float32"),
        (torch.ones(2, dtype=torch.float64), "float64"),
        (torch.ones(2, dtype=torch.int64), "int64"),
        (torch.ones(2, dtype=torch.bool), "bool"),
        (torch.ones(2, dtype=torch.complex64).conj(), "complex64"),
        ([[1, 2], [3, 4]], "int64"),
        (3.5, "float64"),
    ],
)
def test_tensors_and_numbers_become_arrays(raw: Any, dtype: str) -> None:
    assert Array.of(raw).value.dtype == dtype


@pytest.mark.parametrize("raw", [None, object(), {"a": 1}, [[1], [1, 2]], ["a"]])
def test_objects_are_no_array(raw: Any) -> None:
    with pytest.raises(RecordError, match="MyArray: is not an array\n  expected: numbers of one shape"):
        Array.of(raw, "MyArray")


def test_a_drawn_figure_keeps_its_canvas_and_no_pixels() -> None:
    drawn = figure()
    own = drawn.canvas
    gc.disable()  # which would free the pixels some time later
    try:
        Plot.of(drawn)
        alive = [each for each in gc.get_objects() if type(each) is FigureCanvasAgg and each.figure is drawn]
    finally:
        gc.enable()
    assert drawn.canvas is own
    assert not alive


def test_a_figure_becomes_png_bytes() -> None:
    plot = Plot.of(figure())
    assert plot.png.startswith(b"\x89PNG\r\n")
    assert Plot.of(plot.png) == plot
    assert Plot.of(plot) is plot


@pytest.mark.parametrize("raw", [3, b"GIF89a", "plot.png"])
def test_other_things_are_no_plot(raw: Any) -> None:
    with pytest.raises(
        RecordError, match=r"MyPlot: is not a plot\n  expected: a matplotlib.figure.Figure or the bytes"
    ):
        Plot.of(raw, "MyPlot")


def test_collections_hold_what_their_members_would() -> None:
    raw = {"a": torch.tensor(1.0), 2: 3}
    collection = ScoreCollection.of(raw)
    raw["a"] = torch.tensor(5.0)
    assert collection == ScoreCollection({"a": 1.0, "2": 3.0})
    assert ArrayCollection.of({"a": [1, 2]}).values["a"].tolist() == [1, 2]
    assert PlotCollection.of({"a": figure()}).values["a"].startswith(b"\x89PNG")
    for value in (collection, ArrayCollection({}), PlotCollection({})):
        assert type(value).of(value) is value


@pytest.mark.parametrize("kind", [ScoreCollection, ArrayCollection, PlotCollection])
def test_a_collection_names_the_member_at_fault(kind: Any) -> None:
    with pytest.raises(RecordError, match=r"Mine\['b'\]: is not an? (score|array|plot)"):
        kind.of({"b": object()}, "Mine")
    with pytest.raises(RecordError, match="Mine: is not a collection\n  expected: a mapping\n  got: int 3"):
        kind.of(3, "Mine")


def record(name: str, value: Value) -> Record:
    return Record(name, value, epoch=1, step=10)


def test_scores_of_records() -> None:
    found = scores(
        [
            record("VAL_LOSS", Score(0.5)),
            record("JS_DISTANCE", ScoreCollection({"age": 0.1, "job": math.inf})),
            record("HIDDEN", Array.of([1.0])),
            record("MODEL", File("model.pt")),
        ]
    )
    assert found == {"VAL_LOSS": 0.5, "JS_DISTANCE/age": 0.1, "JS_DISTANCE/job": math.inf}
    assert scores([]) == {}


def test_a_score_logged_twice_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"score 'A/b': is logged twice in one epoch\n  do this: rename"):
        scores([record("A/b", Score(1.0)), record("A", ScoreCollection({"b": 2.0}))])


def test_records_and_runs_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record("A", Score(1.0)).epoch = 2  # type: ignore[misc]
    assert RunInfo("run").parameters == {}
