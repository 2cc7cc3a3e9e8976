"""Scores against SDMetrics and dython on drawn columns; where they differ, on purpose."""

import numpy as np
import pandas as pd
import pytest
from dython.nominal import correlation_ratio, cramers_v, theils_u
from hypothesis import assume, given
from hypothesis import strategies as st
from sdmetrics.single_column import (
    CategoryCoverage,
    KSComplement,
    MissingValueSimilarity,
    RangeCoverage,
    TVComplement,
)

from functorch_artifact.records import Score
from functorch_artifact.table_comparison import Reference, TabularSpec, columns
from functorch_artifact.table_comparison.associations import association_matrix
from tests.peers.tables import categories, numbers, pairs

NUMERIC, CATEGORICAL = TabularSpec(["c"]), TabularSpec([], ["c"])


def compare(pair, spec):
    real, synthetic = (pd.DataFrame({"c": each}) for each in pair)
    return Reference(real, spec).compare(synthetic)


def known(pair):
    return [each.dropna() for each in pair]


@given(pairs(numbers))
def test_kolmogorov_smirnov(pair):
    assume(all(len(each) for each in known(pair)))
    found = columns.kolmogorov_smirnov_distances(compare(pair, NUMERIC))["c"]
    # They round to fifteen places first.
    assert found == pytest.approx(1.0 - KSComplement.compute(*known(pair)), abs=1e-9)


@given(pairs(categories))
def test_total_variation(pair):
    found = columns.total_variations(compare(pair, CATEGORICAL))["c"]
    filled = [each.fillna("missing") for each in pair]  # theirs leaves missing values out
    assert found == pytest.approx(1.0 - TVComplement.compute(*filled), abs=1e-5)  # theirs adds 1e-6 to each


@given(pairs(categories))
def test_category_coverage(pair):
    assume(len(known(pair)[0]))
    found = columns.category_coverages(compare(pair, CATEGORICAL))["c"]
    assert found == pytest.approx(CategoryCoverage.compute(*known(pair)), abs=1e-9)


@given(pairs(numbers))
def test_range_coverage(pair):
    real, synthetic = known(pair)
    assume(len(synthetic) and len(real) and real.min() < real.max())  # theirs is NaN for a constant
    found = columns.range_coverages(compare(pair, NUMERIC))["c"]
    assert found == pytest.approx(RangeCoverage.compute(real, synthetic), abs=1e-6)


@given(st.one_of(pairs(numbers), pairs(categories)))
def test_missing_value_agreement(pair):
    spec = NUMERIC if pair[0].dtype == np.float64 else CATEGORICAL
    found = columns.missing_value_agreements(compare(pair, spec))["c"]
    assert found == pytest.approx(MissingValueSimilarity.compute(*pair), abs=1e-12)


codes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(-50, 50)), min_size=2, max_size=80)


@given(codes)
def test_associations(rows):
    left, right, values = (np.array(each) for each in zip(*rows, strict=True))
    assume(min(len(set(left)), len(set(right)), len(set(values))) > 1)
    found = association_matrix([values.astype(np.float64)], [left, right])
    if max(len(set(left)), len(set(right))) > 2:  # theirs corrects tables of two by two for continuity
        assert found[1, 2] == pytest.approx(cramers_v(left, right, bias_correction=False), abs=1e-6)
    assert found[0, 1] == pytest.approx(correlation_ratio(left, values), abs=1e-6)
    asked = association_matrix([], [left, right], categorical="THEILS_U")
    assert asked[0, 1] == pytest.approx(theils_u(left, right), abs=1e-6)
    assert asked[1, 0] == pytest.approx(theils_u(right, left), abs=1e-6)


def test_a_thousand_categories():
    random = np.random.default_rng(0)
    pair = [pd.Series(random.integers(0, 1000, n)).astype(str).astype(object) for n in (5000, 3000)]
    comparison = compare(pair, CATEGORICAL)
    assert columns.total_variations(comparison)["c"] == pytest.approx(1.0 - TVComplement.compute(*pair), abs=1e-3)
    assert columns.category_coverages(comparison)["c"] == pytest.approx(CategoryCoverage.compute(*pair), abs=1e-9)


def test_what_is_undefined_there_is_said_here():
    empty = columns.range_coverages(compare([pd.Series([np.nan]), pd.Series([1.0])], NUMERIC))["c"]
    assert isinstance(empty, Score) and empty.reason == "no real value is finite"
    assert columns.range_coverages(compare([pd.Series([2.0, 2.0]), pd.Series([1.0, 3.0])], NUMERIC))["c"] == 1.0
