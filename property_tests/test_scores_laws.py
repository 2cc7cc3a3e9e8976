"""Laws of the score cache, against a dictionary of rows."""

from __future__ import annotations

import pytest

from functorch_artifact.scores import ScoreCache
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import BoundLaw


@pytest.mark.parametrize("law", laws(ScoreCache.empty()))
def test_laws(law: BoundLaw) -> None:
    law()
