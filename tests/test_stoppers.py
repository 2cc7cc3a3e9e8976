"""Stoppers stop when they say they do, and their reasons read as sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import trees
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.stoppers import (
    Continue,
    EarlyStopper,
    EpochBoundStopper,
    ScoreMaximizationStopper,
    ScoreMinimizationStopper,
    ScoreStopper,
    Stop,
    StopperUpdateData,
    Verdict,
    all_of,
    any_of,
)

NAN, INF = math.nan, math.inf


def run(stopper: EarlyStopper[Any, Any], epochs: Iterable[StopperUpdateData]) -> tuple[int, Verdict]:
    """Train until the stopper stops; give the number of epochs and the last verdict."""
    state, n = stopper.init(), 0
    for data in epochs:
        state, n = stopper.update(state, data), n + 1
        if isinstance(stopper.verdict(state), Stop):
            break
    return n, stopper.verdict(state)


def losses(*values: float | None) -> list[StopperUpdateData]:
    """Epochs that reported these validation losses; `None` is an epoch that reported none."""
    return [
        StopperUpdateData(epoch, {} if value is None else {"VAL_LOSS": value})
        for epoch, value in enumerate(values, start=1)
    ]


def minimization(patience: int = 2, max_n_epochs: int = 50, min_delta: float = 0.0) -> ScoreMinimizationStopper:
    return ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=max_n_epochs, patience=patience, min_delta=min_delta)


def maximization(patience: int = 2, max_n_epochs: int = 50, min_delta: float = 0.0) -> ScoreMaximizationStopper:
    return ScoreMaximizationStopper("VAL_LOSS", max_n_epochs=max_n_epochs, patience=patience, min_delta=min_delta)


def test_the_epoch_bound_is_exact() -> None:
    assert run(EpochBoundStopper(3), losses(*[1.0] * 9)) == (3, Stop("the run has reached its bound of 3 epochs"))
    assert run(EpochBoundStopper(n_epochs=1), losses(1.0)) == (1, Stop("the run has reached its bound of 1 epoch"))
    assert run(EpochBoundStopper(3), losses(1.0, 1.0)) == (2, Continue())


@pytest.mark.parametrize(
    ("stopper", "scores", "n_epochs", "reason"),
    [
        (
            minimization(),
            [3, 2, 2, 2.5, 1],
            4,
            "not improved on 2 (epoch 2) over its last 2 values",
        ),
        (
            maximization(),
            [1, 2, 2, 1.5, 9],
            4,
            "not improved on 2 (epoch 2) over its last 2 values",
        ),
        (
            minimization(patience=1),
            [0.1234, 0.1234],
            2,
            "not improved on 0.1234 (epoch 1) over its latest value",
        ),
        # creeping by less than min_delta is no improvement, and does not move the mark
        (
            minimization(min_delta=0.001),
            [1.0, 0.9995, 0.99925],
            3,
            "not improved on 1 (epoch 1) by more than 0.001 over its last 2 values",
        ),
        (
            maximization(patience=3, min_delta=0.25),
            [0.0, 0.25, 0.5, 0.75, 0.75, 0.75],
            6,
            "not improved on 0.5 (epoch 3) by more than 0.25 over its last 3 values",
        ),
        # what is not finite uses up patience, is never the best, and hides nothing
        (minimization(), [NAN, 5, NAN, 4, -INF, INF], 6, "not improved on 4 (epoch 4) over its last 2 values"),
        (maximization(), [INF, 5, NAN, 6, INF, NAN], 6, "not improved on 6 (epoch 4) over its last 2 values"),
        (minimization(), [NAN, -INF], 2, "not been finite over its last 2 values"),
        (minimization(patience=1), [NAN], 1, "not been finite over its latest value"),
        # epochs that report nothing are not counted, but the bound holds
        (minimization(), [3, None, None, 3, None, 3], 6, "not improved on 3 (epoch 1) over its last 2 values"),
    ],
)
def test_plateaus(stopper: ScoreStopper, scores: Sequence[float | None], n_epochs: int, reason: str) -> None:
    assert run(stopper, losses(*scores)) == (n_epochs, Stop(f"VAL_LOSS has {reason}"))


@pytest.mark.parametrize("scores", [[None] * 9, [5, 4, 3, 2, 1], [NAN, None, 1, 1, 1]])
def test_a_score_stopper_keeps_its_bound(scores: Sequence[float | None]) -> None:
    stopper = minimization(patience=3, max_n_epochs=4)
    assert run(stopper, losses(*scores)) == (4, Stop("the run has reached its bound of 4 epochs"))


def test_an_improvement_restores_patience() -> None:
    assert run(minimization(), losses(3, 4, 2, 3, 1, 2)) == (6, Continue())


def test_stop_is_absorbing() -> None:
    for stopper in (minimization(), any_of(minimization(), minimization(patience=3)), all_of(minimization())):
        state = stopper.init()
        for data in losses(1, 2, 2):
            state = stopper.update(state, data)
        stopped = stopper.verdict(state)
        assert isinstance(stopped, Stop)
        for data in (StopperUpdateData(4, {"VAL_LOSS": -9.0}), StopperUpdateData(1)):
            state = stopper.update(state, data)
            assert stopper.verdict(state) == stopped


def test_update_changes_no_earlier_state() -> None:
    stopper = minimization()
    first = stopper.update(stopper.init(), losses(1.0)[0])
    digest = trees.digest(first)
    stopper.update(first, StopperUpdateData(2, {"VAL_LOSS": 2.0}))
    stopper.update(first, StopperUpdateData(2, {"VAL_LOSS": 0.0}))
    assert trees.digest(first) == digest


def test_states_are_tensors_of_the_stated_kinds() -> None:
    stopper = any_of(minimization(), EpochBoundStopper(9))
    state = stopper.update(stopper.init(), losses(0.5)[0])
    for each in (stopper.init(), state):
        assert {path: trees.describe(leaf) for path, leaf in trees.named_leaves(each).items()} == {
            "[0].n_epochs": "int64[]",
            "[0].best": "float64[]",
            "[0].best_epoch": "int64[]",
            "[0].n_stale": "int64[]",
            "[1]": "int64[]",
        }
    assert len({tensor.data_ptr() for tensor in trees.tensors(state)}) == 5


def test_any_of_stops_at_the_first_and_joins_reasons() -> None:
    stopper = any_of(EpochBoundStopper(3), minimization(patience=2, max_n_epochs=9), EpochBoundStopper(5))
    assert run(stopper, losses(1, 2, 3, 4)) == (
        3,
        Stop(
            "the run has reached its bound of 3 epochs; VAL_LOSS has not improved on 1 (epoch 1) over its last 2 values"
        ),
    )


def test_all_of_waits_for_the_last() -> None:
    stopper = all_of(EpochBoundStopper(4), minimization(patience=1))
    n_epochs, verdict = run(stopper, losses(1, 2, 0, 0, 0))
    assert n_epochs == 4
    assert verdict == Stop(
        "the run has reached its bound of 4 epochs; VAL_LOSS has not improved on 1 (epoch 1) over its latest value"
    )


def test_combinations_nest_and_name_their_scores() -> None:
    other = ScoreMaximizationStopper("ACCURACY", max_n_epochs=9, patience=1)
    stopper = any_of(all_of(minimization(), other), minimization(), EpochBoundStopper(9))
    assert stopper.score_names == ("VAL_LOSS", "ACCURACY")
    assert EpochBoundStopper(1).score_names == ()
    assert run(stopper, losses(1, 2, 2))[0] == 3


@attrs.frozen(kw_only=True)
class TimedData(StopperUpdateData):
    seconds: float


@attrs.frozen
class SlowEpochStopper(EarlyStopper[dict[str, Any], TimedData]):
    """A user's own stopper, on plain data, that would take its stop back."""

    limit: float

    def init(self) -> dict[str, Any]:
        return {"seconds": 0.0}

    def update(self, state: dict[str, Any], data: TimedData) -> dict[str, Any]:
        return {"seconds": data.seconds}

    def verdict(self, state: dict[str, Any]) -> Verdict:
        slow = state["seconds"] > self.limit
        return Stop(f"an epoch took {state['seconds']} s") if slow else Continue()


def test_users_extend_the_family() -> None:
    stopper = all_of(SlowEpochStopper(1.0), EpochBoundStopper(3))
    epochs = [TimedData(n_epochs_elapsed=n, seconds=s) for n, s in enumerate([0.5, 2.0, 0.5], start=1)]
    assert run(stopper, epochs) == (3, Stop("an epoch took 2.0 s; the run has reached its bound of 3 epochs"))


def test_an_unfinished_stopper_cannot_be_made() -> None:
    class Unfinished(EarlyStopper[int, StopperUpdateData]):
        pass

    with pytest.raises(TypeError, match="Can't instantiate abstract class"):
        Unfinished()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="Can't instantiate abstract class"):
        ScoreStopper("VAL_LOSS", max_n_epochs=9, patience=1)  # type: ignore[abstract]


@pytest.mark.parametrize("n_epochs", [0, -1, 2.0, "3", None, True])
def test_a_bound_must_be_a_positive_int(n_epochs: Any) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"EpochBoundStopper.n_epochs: cannot be used\n  expected: an int, at least 1\n  got: .+\n  do this",
    ):
        EpochBoundStopper(n_epochs)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"score": ""}, "score: cannot be used\n  expected: the name of a score"),
        ({"score": None}, "score: cannot be used\n  expected: the name of a score"),
        ({"patience": 0}, "patience: cannot be used\n  expected: an int, at least 1\n  got: 0"),
        ({"patience": 1.5}, "patience: cannot be used"),
        ({"max_n_epochs": 0}, "max_n_epochs: cannot be used"),
        ({"min_delta": -0.1}, "min_delta: cannot be used\n  expected: a finite number, at least 0\n  got: -0.1"),
        ({"min_delta": NAN}, "min_delta: cannot be used"),
        ({"min_delta": INF}, "min_delta: cannot be used"),
        ({"min_delta": "0"}, "min_delta: cannot be used\n(.|\n)*  got: '0'\n  do this: pass e.g. min_delta=0.001"),
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any], expected: str) -> None:
    right: dict[str, Any] = {"score": "VAL_LOSS", "max_n_epochs": 10, "patience": 2}
    with pytest.raises(ConfigurationError, match=f"^ScoreMaximizationStopper.{expected}"):
        ScoreMaximizationStopper(**(right | wrong))


@pytest.mark.parametrize("combine", [any_of, all_of])
def test_only_stoppers_combine(combine: Any) -> None:
    for wrong in ((), (EpochBoundStopper,), (EpochBoundStopper(2), 3)):
        with pytest.raises(ConfigurationError, match="stoppers: cannot be combined\n  expected: one EarlyStopper"):
            combine(*wrong)


def test_a_count_from_numpy_is_stored_as_int64() -> None:
    state = EpochBoundStopper(5).update(torch.tensor(0), StopperUpdateData(np.int32(4)))
    assert trees.describe(state) == "int64[]"


def test_bounds() -> None:
    ten, fifty = EpochBoundStopper(n_epochs=10), minimization()

    class Unbounded(EpochBoundStopper):
        bound = None

    assert (ten.bound, fifty.bound) == (10, 50)
    assert (any_of(ten, fifty).bound, all_of(ten, fifty).bound) == (10, 50)
    assert (any_of(Unbounded(5), fifty).bound, all_of(Unbounded(5), fifty).bound) == (50, None)


@pytest.mark.parametrize("found", [True, None, "because"])
def test_what_is_no_verdict_is_refused_rather_than_taken_for_going_on(found):
    class Mistaken(EarlyStopper[int, StopperUpdateData]):
        def init(self):
            return 0

        def update(self, state, data):
            return state + 1

        def verdict(self, state):
            return found if state else Continue()

    for stopper in (Mistaken(), any_of(Mistaken(), EpochBoundStopper(3))):
        with pytest.raises(ConfigurationError) as caught:
            fa.fit(program(stopper), progress=False)
        assert str(caught.value).startswith(
            "Mistaken.verdict: returned no verdict\n  expected: Continue() or Stop('why')"
        )
        assert f"got: {found!r}" in str(caught.value)


def test_an_update_without_a_return_is_named():
    class Forgetful(EpochBoundStopper):
        def update(self, state, data):
            super().update(state, data)

    with pytest.raises(ConfigurationError, match=r"^Forgetful\.update: returned None"):
        fa.fit(program(Forgetful(3)), progress=False)


def program(stopper):
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(4, 2)}), batch_size=2)
    model = fa.functional(torch.nn.Linear(2, 1), inputs=lambda batch: batch["x"])
    return fa.Program(
        model=model, optimizer=fa.optimizers.sgd(0.1), loss=lambda output, batch: output.square().mean(),
        train_loader=loader, stopper=stopper, mode="eager",
    )  # fmt: skip
