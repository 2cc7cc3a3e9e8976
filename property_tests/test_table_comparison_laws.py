"""Laws of comparing tables: bounds, symmetries and what must not matter."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from functorch_artifact.records import Score
from functorch_artifact.table_comparison import (
    Reference,
    TableComparisonArrayCollectionType,
    TableComparisonPlan,
    TabularSpec,
    evaluate,
)
from functorch_artifact.table_comparison.associations import association_matrix
from functorch_artifact.table_comparison.distances import bin_counts, js_distance, quantile_edges

numbers = st.one_of(
    st.floats(-1e6, 1e6), st.integers(-3, 3).map(float), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0])
)
categories = st.sampled_from(["a", "b", "c", "", None, np.nan, 1, 2.0, True])
counts = st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any).map(np.array)
SPEC = TabularSpec(["x", "y"], ["k", "l"], n_bins=4)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(1, 12))

    def column(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=n, max_size=n))

    return pd.DataFrame(
        {
            "x": np.array(column(numbers)),
            "y": np.array(column(numbers)),
            "k": pd.Series(column(categories), dtype=object),
            "l": pd.Series(column(categories), dtype=object),
        }
    )


@given(counts, counts)
def test_js_distance_is_symmetric_bounded_and_scipys(left, right):
    distance = js_distance(left, right)
    assert 0.0 <= distance <= 1.0
    assert abs(distance - js_distance(right, left)) <= 1e-7
    width = max(len(left), len(right))
    padded = [np.pad(each, (0, width - len(each))) for each in (left, right)]
    expected = jensenshannon(*padded, base=2)
    assert (
        abs(distance - (0.0 if np.isnan(expected) else expected)) <= 1e-7
    )  # scipy rounds below 0, then takes the root


@given(counts, counts, counts)
def test_js_distance_obeys_the_triangle_inequality(a, b, c):
    assert js_distance(a, c) <= js_distance(a, b) + js_distance(b, c) + 1e-7


@given(
    st.lists(numbers, min_size=1, max_size=30).map(np.array),
    st.lists(numbers, min_size=1).map(np.array),
    st.integers(1, 9),
)
def test_no_value_falls_out_of_the_bins(real, other, n_bins):
    edges = quantile_edges(real, n_bins)
    assert len(edges) <= n_bins + 1
    for values in (real, other):
        counted = bin_counts(values, edges)
        assert counted.sum() == len(values)
        assert counted[0] == np.isnan(values).sum()
    finite = np.isfinite(real).sum()
    assert bin_counts(real, edges)[2:-1].sum() == (finite if len(edges) else 0)


@given(tables(), tables())
def test_scores_are_within_their_ranges_whatever_the_tables(real, synthetic):
    comparison = Reference(real, SPEC).compare(synthetic)
    assert all(0.0 <= value <= 1.0 for value in comparison.js_distances.values())
    assert 0.0 <= comparison.correlation_distance <= 2.0


@given(tables())
def test_a_table_is_at_no_distance_from_its_rows_in_another_order_and_repeated(table):
    comparison = Reference(table, SPEC).compare(pd.concat([table.iloc[::-1]] * 3))
    assert all(value <= 1e-7 for value in comparison.js_distances.values())
    assert comparison.correlation_distance <= 1e-5  # 1e-12 of a variance is taken for noise


@given(tables())
def test_associations_are_symmetric_bounded_and_one_on_the_diagonal(table):
    matrix = Reference(table, SPEC).side.associations
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    assert np.all(np.abs(matrix) <= 1.0)
    assert np.all(matrix[2:] >= 0.0)


@given(
    st.lists(st.tuples(*[st.integers(-50, 50).map(float)] * 2, st.integers(0, 3)), min_size=3, max_size=30),
    st.floats(0.01, 100),
    st.floats(-100, 100),
)
def test_associations_do_not_depend_on_location_and_scale(rows, scale, shift):
    x, y, k = map(np.array, zip(*rows, strict=True))
    before = association_matrix([x, y], [k])
    np.testing.assert_allclose(association_matrix([scale * x + shift, y], [k]), before, atol=1e-6)
    flipped = association_matrix([-x, y], [k])
    np.testing.assert_allclose(flipped[0, 1], -before[0, 1], atol=1e-9)
    np.testing.assert_allclose(flipped[0, 2], before[0, 2], atol=1e-6)


@given(tables(), st.permutations(["a", "b", "c", "", "d"]))
def test_renaming_categories_alike_on_both_sides_changes_nothing(table, names):
    table = table[["x", "k"]].assign(k=table["k"].map(lambda v: v if isinstance(v, str) else None).astype(object))
    spec = TabularSpec(["x"], ["k"])
    renamed = table.assign(k=table["k"].map(dict(zip(["a", "b", "c", "", "d"], names, strict=True))).astype(object))
    other, other_renamed = table.iloc[: len(table) // 2 + 1], renamed.iloc[: len(table) // 2 + 1]
    before, after = Reference(table, spec).compare(other), Reference(renamed, spec).compare(other_renamed)
    assert before.js_distances == after.js_distances
    assert before.correlation_distance == after.correlation_distance


@given(tables(), tables())
def test_swapping_the_sides_swaps_every_juxtaposition(left, right):
    plan = TableComparisonPlan.of(*TableComparisonArrayCollectionType)
    one, other = (evaluate(*pair, SPEC, plan).values for pair in ((left, right), (right, left)))
    for name, value in one.items():
        for column, pair in value.values.items():
            np.testing.assert_array_equal(pair, other[name].values[column][::-1])


ALL = TableComparisonPlan.all_scores()


@given(tables(), tables())
def test_every_score_of_any_two_tables_keeps_to_its_range_or_says_why_it_has_none(real, synthetic):
    report = ALL.evaluate(real, synthetic, SPEC, noise=False)
    assert report.failures == {}
    scores = report.scores
    assert (scores["value"].isna() | scores["value"].between(scores["low"] - 1e-9, scores["high"] + 1e-9)).all()
    for finding in report.findings:
        if isinstance(finding.value, Score):
            assert not np.isnan(finding.value.value) or finding.value.reason
        else:
            undefined = {name for name, value in finding.value.values.items() if np.isnan(value)}
            assert undefined == set(finding.value.reasons)


@given(tables())
def test_a_table_is_at_the_better_end_of_every_score_from_itself(table):
    scores = ALL.evaluate(table, table, SPEC, noise=False).scores.drop(index=["NONFINITE_SHARE/x", "NONFINITE_SHARE/y"])
    best = np.where(scores["better"] == "lower", scores["low"], scores["high"])
    defined = scores["value"].notna().to_numpy()
    np.testing.assert_allclose(scores["value"].to_numpy()[defined], best[defined], atol=1e-7)


@given(tables(), tables(), st.randoms(use_true_random=False))
def test_no_score_depends_on_the_order_of_rows(real, synthetic, random):
    order = random.sample(range(len(synthetic)), len(synthetic))
    ordered = synthetic.iloc[order]
    one, other = (ALL.evaluate(real, each, SPEC, noise=False).scores["value"] for each in (synthetic, ordered))
    np.testing.assert_allclose(one, other, atol=1e-6)
