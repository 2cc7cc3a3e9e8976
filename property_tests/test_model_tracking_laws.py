"""Laws of the score tracker, and its mirror image."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import trees
from functorch_artifact.model_tracking import ScoreTracker
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import BoundLaw
from functorch_artifact.testing.tracker_laws import TrackerCase, tracker_laws

MEMBERS = {"min": ScoreTracker("LOSS", "min"), "max": ScoreTracker("ACCURACY", "max")}
LAWS = [pytest.param(law, id=f"{name}-{law.__name__}") for name, each in MEMBERS.items() for law in laws(each)]
criteria = st.lists(st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]) | st.floats(), max_size=15)


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()


@given(criteria)
def test_the_lowest_is_the_highest_negative(values: list[float]) -> None:
    lowest, highest = (tracker_laws(MEMBERS[mode]).case for mode in ("min", "max"))
    assert isinstance(lowest, TrackerCase)
    assert isinstance(highest, TrackerCase)
    one = lowest.best(lowest.after(values))
    other = highest.best(highest.after([-value for value in values]))
    assert trees.digest(one) == trees.digest(other)
