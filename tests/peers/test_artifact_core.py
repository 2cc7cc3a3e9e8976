"""Ours against artifact-core 0.2.1, artifact by artifact; where they differ, on purpose, and why.

`docs/validation.md` lists the differences that are held here.
"""

import artifact_core.table_comparison as core
import numpy as np
import pandas as pd
import pytest

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.records import Score
from functorch_artifact.table_comparison import (
    TableComparisonArrayCollectionType,
    TableComparisonArrayType,
    TableComparisonPlan,
    TableComparisonPlotCollectionType,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    TabularSpec,
)
from functorch_artifact.table_comparison import score as own_score
from tests.peers.tables import table

KINDS = [
    TableComparisonScoreType,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonArrayCollectionType,
    TableComparisonPlotCollectionType,
]
THEIRS = [m for kind in KINDS for m in kind if m.name in getattr(core, kind.__name__).__members__]
REAL, SYNTHETIC = table(400, 0), table(300, 1)


def both(member, real=REAL, synthetic=SYNTHETIC, spec=None):
    """Compute an artifact by either engine: (ours, theirs)."""
    plans = TableComparisonPlan.of(member), TableComparisonPlan.of(str(member), engine="artifact-core")
    reports = [plan.evaluate(real, synthetic, spec, noise=False) for plan in plans]
    assert [report.failures for report in reports] == [{}, {}]
    return [next(iter(report.values.values())) for report in reports]


def test_every_artifact_of_theirs_is_one_of_ours():
    for kind in (*KINDS, TableComparisonArrayType):
        assert set(getattr(core, kind.__name__).__members__) <= set(kind.__members__)
    assert len(THEIRS) == 2 + 15 + 1 + 8 + 3


@pytest.mark.parametrize("member", THEIRS, ids=lambda member: f"{type(member).__name__}-{member.name}")
def test_their_engine_computes_each_of_its_artifacts_under_our_name(member):
    ours, theirs = both(member, REAL.head(60), SYNTHETIC.head(60))
    assert type(ours) is type(theirs)
    if hasattr(ours, "values") and type(member) is not TableComparisonPlotCollectionType:
        assert set(ours.values) == set(theirs.values)


@pytest.mark.parametrize("member", TableComparisonArrayCollectionType)
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_statistics_are_equal(member, missing):
    ours, theirs = both(member, table(400, 0, missing=missing), table(300, 1, missing=missing))
    for name in ("a", "n"):
        np.testing.assert_allclose(ours.values[name], theirs.values[name], rtol=1e-12)


def test_distances_of_categories_differ_by_the_base_of_the_logarithm_alone():
    """Base 2 here, so that 1 is the maximum; base e there, with a maximum of 0.83."""
    ours, theirs = both(TableComparisonScoreCollectionType.JS_DISTANCE)
    for name in ("k", "flag"):
        assert ours.values[name] * np.sqrt(np.log(2)) == pytest.approx(theirs.values[name], abs=1e-9)


def test_distances_of_numbers_are_over_bins_of_equal_mass_here_and_of_equal_width_there():
    """One outlier widens all their bins, and what differs falls into one of them."""
    random = np.random.default_rng(0)
    real = pd.DataFrame({"x": [*random.normal(size=500), 1e6]})
    synthetic = pd.DataFrame({"x": random.normal(3, 1, size=500)})
    ours, theirs = both(TableComparisonScoreCollectionType.JS_DISTANCE, real, synthetic)
    assert theirs.values["x"] < 0.1
    assert ours.values["x"] > 0.7


def test_unseen_categories_and_missing_values_count_here_alone():
    spec = TabularSpec(categorical=["k"])
    real = pd.DataFrame({"k": ["x", "y"] * 50})
    unseen = pd.DataFrame({"k": ["new"] * 98 + ["x", "y"]})
    ours, theirs = both(TableComparisonScoreType.MEAN_JS_DISTANCE, real, unseen, spec)
    assert (round(ours.value, 2), theirs.value) == (0.96, 0.0)
    halved = pd.DataFrame({"n": [1.0, 2.0] * 50})
    gone = pd.DataFrame({"n": [1.0, 2.0] + [np.nan] * 98})
    ours, theirs = both(TableComparisonScoreType.MEAN_JS_DISTANCE, halved, gone)
    assert ours.value > 0.9 and theirs.value == pytest.approx(0.0, abs=1e-9)


def test_correlation_distances_of_numbers_are_equal_but_for_the_diagonal():
    """Theirs averages squares over the whole matrix, whose diagonal never differs; ours leaves it out."""
    real, synthetic = (each[["a", "n"]].assign(b=each["a"] ** 2 + each["n"]) for each in (REAL, SYNTHETIC))
    (_, theirs), c = both("CORRELATION_DISTANCE", real, synthetic), 3
    plan = TableComparisonPlan.of(TableComparisonScoreType.CORRELATION_DISTANCE(vector_distance_metric="RMSE"))
    ours = plan.evaluate(real, synthetic, noise=False)["CORRELATION_DISTANCE"]
    assert ours.value * np.sqrt((c - 1) / c) == pytest.approx(theirs.value, rel=1e-9)


def test_missing_numbers_are_left_out_of_correlations_here_and_taken_for_zero_there():
    random = np.random.default_rng(0)
    x = random.normal(100, 1, size=2000)
    real = pd.DataFrame({"x": x, "y": x + random.normal(0, 0.1, size=2000)})
    synthetic = real.mask(pd.DataFrame(random.random((2000, 2)) < 0.2, columns=["x", "y"]))
    ours, theirs = both(TableComparisonScoreType.CORRELATION_DISTANCE, real, synthetic)
    assert ours.value < 0.02 and theirs.value > 0.5


def test_what_their_engine_cannot_do_is_refused():
    with pytest.raises(ConfigurationError, match=r"artifact 'KS_DISTANCE': is not an artifact of artifact-core"):
        TableComparisonPlan.of("KS_DISTANCE", engine="artifact-core")
    chosen = TableComparisonScoreType.MEAN_JS_DISTANCE(categorical_only=True)
    with pytest.raises(ConfigurationError, match=r"takes from its file only\n  got: .*\n  do this: write them to"):
        TableComparisonPlan.of(chosen, engine="artifact-core")


def test_ones_own_artifacts_stay_in_its_plans():
    @own_score("ROWS")
    def rows(synthetic):
        return len(synthetic)

    report = TableComparisonPlan.of(rows, "MEAN_JS_DISTANCE", engine="artifact-core").evaluate(REAL, SYNTHETIC)
    assert report["ROWS"] == Score(300.0)
    assert 0.0 < report["MEAN_JS_DISTANCE"].value < 0.83
