"""Callbacks: by subclassing, by value, in every modality."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from functorch_artifact import callbacks, folds, records
from functorch_artifact.callbacks import (
    BatchLossCallback,
    Callback,
    CheckpointCallback,
    DataLoaderArrayCallback,
    DataLoaderScoreCallback,
    TrainLossCallback,
    ValLossCallback,
)
from functorch_artifact.contracts import BatchResult, ModelInput, ModelOutput
from functorch_artifact.errors import ConfigurationError, RecordError

RESULTS = [
    BatchResult({"x": torch.arange(3.0)}, {"loss": torch.tensor(1.0)}, 3),
    BatchResult({"x": torch.tensor([9.0])}, {"loss": torch.tensor(5.0)}, 1),
]


def finished(callback: Callback, results=RESULTS):
    fold = callback._get_fold()
    accumulator = fold.init()
    for result in results:
        accumulator = fold.update(accumulator, result)
    return callback.finish(accumulator)


class Input(ModelInput):
    x: torch.Tensor


class LargestInput(DataLoaderScoreCallback[Input, ModelOutput]):
    def _get_name(self):
        return "LARGEST_INPUT"

    def _get_fold(self):
        return folds.max(lambda result: result.input["x"], each=True)


class AllInputs(DataLoaderArrayCallback[Input, ModelOutput]):
    def _get_name(self):
        return "INPUTS"

    def _get_fold(self):
        return folds.concatenate(lambda result: result.input["x"], bound=10)


@pytest.mark.parametrize(
    ("callback", "name"),
    [(BatchLossCallback(), "BATCH_LOSS"), (TrainLossCallback(), "TRAIN_LOSS"), (ValLossCallback(), "VAL_LOSS")],
)
def test_losses_are_averaged_over_examples(callback, name):
    assert callback.name == name
    assert finished(callback) == records.Score(2.0)


def test_subclasses_say_their_name_and_their_fold():
    assert finished(LargestInput(period=2)) == records.Score(9.0)
    assert finished(AllInputs()).value.tolist() == [0.0, 1.0, 2.0, 9.0]


def _figure(value):
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([float(value)])
    return figure


X = folds.max(lambda result: result.input["x"], each=True)
NAMED = folds.product({"high": X, "low": folds.min(lambda result: result.input["x"], each=True)})


def test_every_modality_by_value():
    assert finished(callbacks.score("S", X)) == records.Score(9.0)
    assert finished(callbacks.array("A", X)).value.tolist() == 9.0
    assert finished(callbacks.plot("P", X.then(_figure))).png.startswith(b"\x89PNG")
    assert finished(callbacks.score_collection("SC", NAMED)).values == {"high": 9.0, "low": 0.0}
    arrays = finished(callbacks.array_collection("AC", NAMED)).values
    assert {name: float(array) for name, array in arrays.items()} == {"high": 9.0, "low": 0.0}
    plots = NAMED.then(lambda found: {name: _figure(value) for name, value in found.items()})
    assert set(finished(callbacks.plot_collection("PC", plots)).values) == {"high", "low"}


def test_nothing_folded_gives_no_value():
    assert finished(callbacks.score("S", X), results=[]) is None


@pytest.mark.parametrize("period", [0, -1, 1.5, True])
def test_a_period_below_one_is_refused(period):
    with pytest.raises(ConfigurationError, match=r"ValLossCallback.period: is too small\n  expected: an integer of at"):
        ValLossCallback(period=period)
    with pytest.raises(ConfigurationError, match=r"CheckpointCallback\.period: is too small"):
        CheckpointCallback(period=period)


def test_due_counts_from_one():
    assert [n for n in range(1, 8) if ValLossCallback(period=3).due(n)] == [3, 6]
    assert [n for n in range(1, 8) if CheckpointCallback(period=2).due(n)] == [2, 4, 6]


def test_a_result_of_the_wrong_type_names_the_callback():
    with pytest.raises(
        RecordError, match=r"WIDE: is not a score\n  expected: one number\n  got: Tensor of shape \(3,\)"
    ):
        finished(callbacks.score("WIDE", folds.last(lambda result: torch.zeros(3))))
    with pytest.raises(RecordError, match=r"FLAT: is not a collection\n  expected: a mapping"):
        finished(callbacks.score_collection("FLAT", X))
    with pytest.raises(RecordError, match=r"DRAWN: is not a plot\n  expected: a matplotlib.figure.Figure"):
        finished(callbacks.plot("DRAWN", X))


def test_half_precision_arrays_become_numpy():
    fold = folds.last(lambda result: torch.ones(2, dtype=torch.bfloat16))
    assert finished(callbacks.array("HALF", fold)).value.dtype == np.float32
