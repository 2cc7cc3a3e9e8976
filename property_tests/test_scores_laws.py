"""Laws of the score cache, against a dictionary of dictionaries."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import trees
from functorch_artifact.scores import ScoreCache

rows = st.dictionaries(st.sampled_from(["A", "B", "C", "D/x", "D/y"]), st.floats(), max_size=5)
histories = st.lists(st.tuples(st.integers(1, 8), rows), max_size=12)
Row = dict[str, float]


def build(history: list[tuple[int, Row]]) -> ScoreCache:
    cache = ScoreCache.empty()
    for epoch, row in history:
        cache = cache.append(epoch, row)
    return cache


def same(one: dict, other: dict) -> bool:  # type: ignore[type-arg]
    """Equal mappings, where a NaN equals a NaN."""
    return one.keys() == other.keys() and all(
        one[key] == other[key] or (math.isnan(one[key]) and math.isnan(other[key])) for key in one
    )


@given(histories)
def test_the_cache_is_a_dictionary_of_rows(history: list[tuple[int, Row]]) -> None:
    cache, model = build(history), dict(history)
    assert cache.epochs == tuple(sorted(model))
    assert len(cache) == len(model)
    assert cache.names == tuple(dict.fromkeys(name for _, row in history for name in row))
    assert all(same(cache.row(epoch), model[epoch]) for epoch in model)
    assert same(cache.latest(), model[max(model)] if model else {})
    for name in cache.names:
        assert same(cache.column(name), {epoch: row[name] for epoch, row in sorted(model.items()) if name in row})


@given(histories)
def test_the_frame_shows_every_cell(history: list[tuple[int, Row]]) -> None:
    cache, model = build(history), dict(history)
    frame = cache.to_frame()
    assert tuple(frame.index) == cache.epochs
    assert tuple(frame.columns) == cache.names
    for epoch in cache.epochs:
        shown = dict.fromkeys(cache.names, math.nan) | model[epoch]
        assert same(frame.loc[epoch].to_dict(), shown)


@given(histories, st.integers(1, 8), rows)
def test_append_changes_no_earlier_cache(history: list[tuple[int, Row]], epoch: int, row: Row) -> None:
    before = build(history)
    digest = trees.digest(before)
    for tensor in trees.tensors(before.append(epoch, row)):
        tensor.zero_()
    assert trees.digest(before) == digest


@given(histories, histories)
def test_a_prefix_that_is_saved_and_continued_is_the_whole(
    prefix: list[tuple[int, Row]], rest: list[tuple[int, Row]]
) -> None:
    leaves, structure = trees.flatten(build(prefix))
    cache = trees.unflatten(structure, leaves)
    for epoch, row in rest:
        cache = cache.append(epoch, row)
    assert trees.digest(cache) == trees.digest(build(prefix + rest))


@given(histories, st.integers(1, 8), rows, rows)
def test_the_last_row_of_an_epoch_counts(history: list[tuple[int, Row]], epoch: int, first: Row, last: Row) -> None:
    cache = build(history)
    assert same(cache.append(epoch, first).append(epoch, last).row(epoch), last)
