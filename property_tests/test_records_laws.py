"""Laws of records: taking a value keeps it to the bit, and taking it twice changes nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from functorch_artifact.records import Array, Record, Score, ScoreCollection, scores

arrays = npst.arrays(
    st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "bool", "complex64"]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@given(st.floats())
def test_a_score_is_its_number_however_it_is_wrapped(value: float) -> None:
    for raw in (value, np.float64(value), np.array(value), torch.tensor(value, dtype=torch.float64)):
        assert same(Score.of(raw).value, value)
    assert Score.of(Score.of(value)).value is Score.of(value).value or same(Score.of(Score.of(value)).value, value)


@given(arrays)
def test_an_array_is_the_same_bits_from_numpy_and_torch(raw: np.ndarray[Any, Any]) -> None:
    for taken in (Array.of(raw), Array.of(torch.from_numpy(raw.copy()))):
        assert taken.value.dtype == raw.dtype
        assert taken.value.shape == raw.shape
        assert taken.value.tobytes() == raw.tobytes()
        assert not np.shares_memory(taken.value, raw)
        assert Array.of(taken) is taken


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=2), st.one_of(st.floats(), st.dictionaries(st.text("xyz"), st.floats()))
    )
)
def test_scores_are_each_number_under_its_full_name(reported: dict[str, Any]) -> None:
    records = [
        Record(name, ScoreCollection.of(value) if isinstance(value, dict) else Score.of(value), epoch=1, step=1)
        for name, value in reported.items()
    ]
    expected = {}
    for name, value in reported.items():
        expected.update({f"{name}/{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value})
    found = scores(records)
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)
