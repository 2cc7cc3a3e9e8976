"""The score cache keeps each epoch's row apart, and earlier caches as they were."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from functorch_artifact import trees
from functorch_artifact.errors import RecordError, ScoreError
from functorch_artifact.scores import ScoreCache


def cache() -> ScoreCache:
    """Epochs out of order, a periodic score, a NaN that was logged."""
    return (
        ScoreCache.empty()
        .append(2, {"TRAIN_LOSS": 0.5, "VAL_LOSS": math.nan})
        .append(1, {"TRAIN_LOSS": 1.0})
        .append(4, {"ACCURACY": math.inf, "TRAIN_LOSS": 0.25})
    )


def test_rows_hold_what_their_epoch_reported() -> None:
    assert cache().row(1) == {"TRAIN_LOSS": 1.0}
    assert cache().latest() == cache().row(4) == {"TRAIN_LOSS": 0.25, "ACCURACY": math.inf}
    second = cache().row(2)
    assert second.keys() == {"TRAIN_LOSS", "VAL_LOSS"}
    assert math.isnan(second["VAL_LOSS"])


def test_epochs_ascend_and_names_are_in_order_of_appearance() -> None:
    assert cache().epochs == (1, 2, 4)
    assert cache().names == ("TRAIN_LOSS", "VAL_LOSS", "ACCURACY")
    assert len(cache()) == 3


def test_columns_hold_the_epochs_that_reported() -> None:
    assert cache().column("TRAIN_LOSS") == {1: 1.0, 2: 0.5, 4: 0.25}
    assert list(cache().column("VAL_LOSS")) == [2]


def test_an_empty_cache_is_empty() -> None:
    empty = ScoreCache.empty()
    assert (len(empty), empty.epochs, empty.names, empty.latest()) == (0, (), (), {})
    frame = empty.to_frame()
    assert frame.shape == (0, 0)
    assert frame.index.name == "epoch"


def test_an_epoch_may_report_nothing() -> None:
    silent = cache().append(3, {})
    assert silent.epochs == (1, 2, 3, 4)
    assert silent.row(3) == {}
    assert ScoreCache.empty().append(1, {}).latest() == {}


def test_a_row_is_replaced_as_a_whole() -> None:
    replaced = cache().append(2, {"VAL_LOSS": 3.0})
    assert replaced.epochs == (1, 2, 4)
    assert replaced.row(2) == {"VAL_LOSS": 3.0}
    assert replaced.append(2, {"TRAIN_LOSS": 1.0}).column("VAL_LOSS") == {}


def test_append_changes_no_earlier_cache() -> None:
    before = cache()
    digest = trees.digest(before)
    after = before.append(4, {"TRAIN_LOSS": 9.0}).append(5, {"NEW": 1.0})
    for tensor in trees.tensors(after):
        tensor.zero_()
    assert trees.digest(before) == digest


def test_to_frame() -> None:
    pd.testing.assert_frame_equal(
        cache().to_frame(),
        pd.DataFrame(
            {
                "TRAIN_LOSS": [1.0, 0.5, 0.25],
                "VAL_LOSS": [np.nan, np.nan, np.nan],
                "ACCURACY": [np.nan, np.nan, np.inf],
            },
            index=pd.Index([1, 2, 4], name="epoch"),
        ),
    )


def test_a_frame_is_a_copy() -> None:
    held = cache()
    frame = held.to_frame()
    frame.loc[1, "TRAIN_LOSS"] = 99.0
    assert held.row(1) == {"TRAIN_LOSS": 1.0}


def test_an_unknown_epoch_or_score_is_an_error() -> None:
    with pytest.raises(ScoreError, match="epoch 3: has no scores\n  expected: an epoch from 1 to 4 that was logged"):
        cache().row(3)
    with pytest.raises(ScoreError, match="epoch 1: has no scores\n  do this: see `epochs`"):
        ScoreCache.empty().row(1)
    with pytest.raises(
        ScoreError, match="score 'VAL_LOS': was never logged\n  expected: one of TRAIN_LOSS, VAL_LOSS, ACCURACY"
    ):
        cache().column("VAL_LOS")
    with pytest.raises(ScoreError, match="was never logged\n  do this: check the spelling"):
        ScoreCache.empty().column("VAL_LOSS")


def test_a_score_must_be_a_number() -> None:
    with pytest.raises(RecordError, match="score 'A' of epoch 7: is not a score"):
        ScoreCache.empty().append(7, {"A": "0.5"})  # type: ignore[dict-item]
    assert ScoreCache.empty().append(1, {"A": torch.tensor(0.5)}).latest() == {"A": 0.5}  # type: ignore[dict-item]


def test_leaves_do_not_grow_with_the_run() -> None:
    grown = ScoreCache.empty()
    for epoch in range(1, 101):
        grown = grown.append(epoch, {"A": 0.5, "B": 0.25})
    assert trees.paths(grown, "scores") == [
        "scores.names[0]",
        "scores.names[1]",
        "scores.index",
        "scores.values",
        "scores.logged",
    ]
