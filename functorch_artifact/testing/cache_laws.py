"""The laws of score caches.

Belongs here: agreement with a dictionary of rows. Does not: our own cache.
Floor 10.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from functorch_artifact import purity, trees
from functorch_artifact.scores import ScoreCache
from functorch_artifact.testing.agreement import digest, through_a_checkpoint
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect

Row = dict[str, float]
Appended = list[tuple[int, Row]]


@attrs.frozen(eq=False)
class CacheCase(Case):
    """An empty cache."""

    def build(self, history: Appended, cache: Any = None) -> Any:
        cache = self.subject if cache is None else cache
        for epoch, row in history:
            cache = purity.call("append", cache.append, epoch, row)
        return cache


CACHE: Family[CacheCase] = Family("cache", "check_score_cache")
_rows = st.dictionaries(st.sampled_from(["A", "B", "C/x", "C/y"]), st.floats(), max_size=4)
_histories = st.lists(st.tuples(st.integers(1, 6), _rows), max_size=6)


def check_score_cache(cache: ScoreCache | None = None, *, strict: bool = True, without: Collection[str] = ()) -> Report:
    """Hold a score cache to the laws of score caches.

    - `append_is_pure`, `a_row_is_what_its_epoch_reported`, `epochs_are_those_that_reported`
    - `a_column_holds_the_epochs_that_reported_it`, `the_latest_row_is_that_of_the_highest_epoch`
    - `the_frame_shows_every_cell`, `append_changes_no_earlier_cache`, `a_cache_that_is_saved_is_the_same`

    Args:
        cache: an empty cache; by default `ScoreCache.empty()`.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> from functorch_artifact.testing import check_score_cache
        >>> "append_is_pure" in check_score_cache().holding
        True
    """
    return cache_laws(ScoreCache.empty() if cache is None else cache).check(strict=strict, without=without)


def cache_laws(cache: ScoreCache) -> Laws:
    """List the laws of an empty score cache."""
    return CACHE.bind(CacheCase(cache))


def _same(one: Mapping[Any, float], other: Mapping[Any, float]) -> bool:
    """Compare mappings, where a NaN equals a NaN."""
    return one.keys() == other.keys() and all(
        one[key] == other[key] or (math.isnan(one[key]) and math.isnan(other[key])) for key in one
    )


@CACHE.law(usual_cause="a tensor of the cache is written to in place, or the row is changed", history=_histories)
def append_is_pure(case: CacheCase, history: Appended) -> None:
    """Appending changes neither the cache nor the row."""
    with purity.checking():
        case.build(history)


@CACHE.law(
    usual_cause="scores are kept in lists by name, so that a missing one shifts all later epochs", history=_histories
)
def a_row_is_what_its_epoch_reported(case: CacheCase, history: Appended) -> None:
    """Row e holds what epoch e reported last and nothing else, for any order and any names."""
    cache = case.build(history)
    for epoch, expected in dict(history).items():
        found = cache.row(epoch)
        expect(_same(found, expected), f"{expected} in row {epoch}", found)


@CACHE.law(usual_cause="an epoch without scores, or with none that is finite, is dropped", history=_histories)
def epochs_are_those_that_reported(case: CacheCase, history: Appended) -> None:
    """There is one row for each epoch that was appended, in ascending order."""
    cache, expected = case.build(history), tuple(sorted(dict(history)))
    expect(tuple(cache.epochs) == expected, expected, cache.epochs)
    expect(len(cache) == len(expected), len(expected), len(cache))


@CACHE.law(usual_cause="NaN marks a missing score, so that a NaN that was logged is lost", history=_histories)
def a_column_holds_the_epochs_that_reported_it(case: CacheCase, history: Appended) -> None:
    """A column maps each epoch that reported the score, and no other, to its value, NaN included."""
    cache, rows = case.build(history), dict(history)
    for name in dict.fromkeys(name for _, row in history for name in row):
        expected = {epoch: rows[epoch][name] for epoch in sorted(rows) if name in rows[epoch]}
        expect(_same(cache.column(name), expected), f"{expected} in column {name}", cache.column(name))


@CACHE.law(usual_cause="the row that was appended last is taken for the latest", history=_histories)
def the_latest_row_is_that_of_the_highest_epoch(case: CacheCase, history: Appended) -> None:
    """The latest row is that of the highest epoch; {} before there is one."""
    expected = dict(history)[max(dict(history))] if history else {}
    found = case.build(history).latest()
    expect(_same(found, expected), expected, found)


@CACHE.law(usual_cause="the table is indexed by position rather than by epoch", history=_histories)
def the_frame_shows_every_cell(case: CacheCase, history: Appended) -> None:
    """The table has a row an epoch, a column a score, and NaN where nothing was reported."""
    frame, rows = case.build(history).to_frame(), dict(history)
    names = tuple(dict.fromkeys(name for _, row in history for name in row))
    expect(tuple(frame.index) == tuple(sorted(rows)), sorted(rows), list(frame.index))
    expect(tuple(frame.columns) == names, names, list(frame.columns))
    for epoch, row in rows.items():
        expected = dict.fromkeys(names, math.nan) | row
        found = {name: float(frame.loc[epoch, name]) for name in names}
        expect(_same(found, expected), f"{expected} in epoch {epoch}", found)


@CACHE.law(
    usual_cause="the new cache shares memory with the old one", history=_histories, epoch=st.integers(1, 6), row=_rows
)
def append_changes_no_earlier_cache(case: CacheCase, history: Appended, epoch: int, row: Row) -> None:
    """Whatever is done to a later cache, an earlier one stays as it is."""
    cache = case.build(history)
    before = digest(cache)
    for tensor in trees.tensors(cache.append(epoch, row)):
        tensor.zero_()
    expect(digest(cache) == before, "the earlier cache as it was", cache)


@CACHE.law(usual_cause="part of the cache is no tensor or plain data", history=_histories, rest=_histories)
def a_cache_that_is_saved_is_the_same(case: CacheCase, history: Appended, rest: Appended) -> None:
    """A cache that goes through a checkpoint grows into the one that was never saved."""
    whole = case.build(history + rest)
    parts = case.build(rest, through_a_checkpoint(case.build(history)))
    expect(digest(parts) == digest(whole), whole, parts)
