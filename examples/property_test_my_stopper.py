"""A stopper of one's own, held to the laws of stoppers: its bug, what is printed, and the bug mended.

    python examples/property_test_my_stopper.py

In a test suite, `test_my_stopper` is all there is to write.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import attrs

import functorch_artifact as fa
from functorch_artifact.errors import LawViolation
from functorch_artifact.stoppers import Continue, Stop, Verdict
from functorch_artifact.testing import check_stopper

State: TypeAlias = tuple[float, int]  # the lowest loss, and how many losses came since


@attrs.frozen
class MyStopper(fa.EarlyStopper[State, fa.StopperUpdateData]):
    """Stop when VAL_LOSS has not fallen for `patience` epochs. It looks right, and is not."""

    patience: int = 3

    @property
    def score_names(self) -> tuple[str, ...]:
        return ("VAL_LOSS",)

    def init(self) -> State:
        return (math.inf, 0)

    def update(self, state: State, data: fa.StopperUpdateData) -> State:
        best, stale = state
        if stale >= self.patience or "VAL_LOSS" not in data.scores:
            return state
        loss = data.scores["VAL_LOSS"]
        # After a NaN, no loss is at least as high as the best: each one counts as an improvement.
        return (best, stale + 1) if loss >= best else (loss, 0)

    def verdict(self, state: State) -> Verdict:
        return Stop(f"VAL_LOSS no longer falls below {state[0]:g}") if state[1] >= self.patience else Continue()


@attrs.frozen
class MendedStopper(MyStopper):
    """The same, asking first whether the loss is a number at all."""

    def update(self, state: State, data: fa.StopperUpdateData) -> State:
        best, stale = state
        if stale >= self.patience or "VAL_LOSS" not in data.scores:
            return state
        loss = data.scores["VAL_LOSS"]
        return (loss, 0) if math.isfinite(loss) and loss < best else (best, stale + 1)


def test_my_stopper() -> None:
    check_stopper(MendedStopper(patience=3))


if __name__ == "__main__":
    try:
        check_stopper(MyStopper(patience=3))
    except LawViolation as violation:
        print(violation)
    report = check_stopper(MendedStopper(patience=3))
    print(f"\nMendedStopper keeps all {len(report.holding)} laws.")
