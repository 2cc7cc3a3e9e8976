"""Tables against their specification, and every number against an independent computation."""

import doctest
import importlib
import pkgutil
import time

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats.contingency import association
from sklearn.decomposition import PCA

import functorch_artifact.table_comparison as package
from functorch_artifact import records
from functorch_artifact.errors import ConfigurationError, RecordError, TableError
from functorch_artifact.table_comparison import (
    Artifact,
    Reference,
    TableComparisonArrayCollectionType,
    TableComparisonPlan,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    TabularSpec,
    evaluate,
)


def mixed(n: int, seed: int) -> pd.DataFrame:
    """Three dependent numeric columns and three categorical ones, with missing values in two."""
    random = np.random.default_rng(seed)
    age = random.normal(45, 12, n)
    city = random.choice(["Rome", "Bern", "Oslo"], n, p=[0.5, 0.3, 0.2])
    return pd.DataFrame(
        {
            "age": age,
            "income": np.where(random.random(n) < 0.1, np.nan, np.exp(8 + age / 50 + random.normal(0, 0.5, n))),
            "children": random.poisson(1.5 + (city == "Rome")),
            "city": city,
            "member": age + random.normal(0, 10, n) > 50,
            "job": pd.Series(np.where(random.random(n) < 0.2, None, np.where(age > 40, "cook", city)), dtype=object),
        }
    )


def js(real: pd.DataFrame, synthetic: pd.DataFrame, spec: TabularSpec | None = None) -> dict[str, float]:
    plan = TableComparisonPlan.of(TableComparisonScoreCollectionType.JS_DISTANCE)
    return dict(evaluate(real, synthetic, spec, plan)["JS_DISTANCE"].values)


# Specification


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Series([1, 2]), "numeric"),
        (pd.Series([1.5, np.nan], dtype="float32"), "numeric"),
        (pd.Series([1, None], dtype="Int64"), "numeric"),
        (pd.Series([0.5, None], dtype="Float64"), "numeric"),
        (pd.Series([True, False]), "categorical"),
        (pd.Series([True, None], dtype="boolean"), "categorical"),
        (pd.Series(["a", None], dtype=object), "categorical"),
        (pd.Series(["a", None], dtype="str"), "categorical"),
        (pd.Series(["a", pd.NA], dtype="string"), "categorical"),
        (pd.Series([1, 2], dtype="category"), "categorical"),
    ],
)
def test_kinds_are_inferred_from_dtypes(column, kind):
    spec = TabularSpec.from_frame(pd.DataFrame({"x": column}))
    assert getattr(spec, kind) == ("x",)
    assert spec.columns == ("x",)


def test_declared_kinds_override_inferred_ones():
    frame = pd.DataFrame({"zip": [8001, 3000], "flag": [True, False], "when": pd.to_datetime(["2020-01-01"] * 2)})
    spec = TabularSpec.from_frame(frame, numeric=["flag"], categorical=["zip", "when"], n_bins=5)
    assert spec == TabularSpec(numeric=["flag"], categorical=["zip", "when"], n_bins=5)


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_moments_and_durations_count_in_seconds(zone):
    """A table of datetimes is judged as the same table in seconds is, and its rows come back as they were."""
    draw = np.random.default_rng(0)

    def tables(n):
        seconds = draw.integers(0, 10**9, n).astype(float)
        seconds[0] = np.nan
        moments = pd.to_datetime(pd.Series(seconds), unit="s", utc=True)
        moments = moments.dt.tz_localize(None) if zone is None else moments.dt.tz_convert(zone)
        durations = pd.to_timedelta(pd.Series(seconds), unit="s")
        plain = pd.DataFrame({"when": seconds, "long": seconds})
        return pd.DataFrame({"when": moments, "long": durations}), plain

    real, synthetic = tables(200), tables(150)
    dated, plain = (
        TableComparisonPlan.of("MEAN_JS_DISTANCE", "CORRELATION_DISTANCE").evaluate(*each)
        for each in zip(real, synthetic, strict=True)
    )
    pd.testing.assert_frame_equal(dated.scores, plain.scores)
    spec = TabularSpec.from_frame(real[0])
    assert spec.numeric == ("when", "long")
    pd.testing.assert_frame_equal(Reference(real[0], spec).compare(synthetic[0]).synthetic.frame, synthetic[0])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TabularSpec(), "has no columns"),
        (lambda: TabularSpec([3]), r"column names that are not strings\n  got: \[3\]"),
        (lambda: TabularSpec(["a"], ["a"]), r"names columns twice\n  got: \['a'\]"),
        (lambda: TabularSpec(["a"], n_bins=0), r"has no bins\n  got: n_bins=0"),
        (lambda: TabularSpec("age"), r"columns 'age': is one name, not a list.*\n  do this: write \['age'\]"),
        (
            lambda: TabularSpec.from_frame(pd.DataFrame({"a": [1]}), numeric=["b"]),
            r"names unknown columns\n  expected: \['a'\]\n  got: \['b'\]",
        ),
        (
            lambda: TabularSpec.from_frame(pd.DataFrame({"a": [1]}), numeric=["a"], categorical=["a"]),
            r"numeric and categorical at once\n  got: \['a'\]",
        ),
        (
            lambda: TabularSpec.from_frame(pd.DataFrame({"z": [1j]})),
            r"column 'z': has the dtype complex128, which suggests no kind(.|\n)*declare it",
        ),
        (lambda: TabularSpec.from_frame(pd.DataFrame({"a": ["x"]}), numeric=["a"]), "not numeric: 'a' of dtype"),
    ],
)
def test_a_specification_that_cannot_be_is_refused(make, text):
    with pytest.raises(TableError, match=text):
        make()


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (pd.DataFrame({"b": ["x"]}), "columns missing: a"),
        (pd.DataFrame({"a": [1], "b": ["x"], "c": [1]}), "columns unexpected: c"),
        (pd.DataFrame([[1, 2, "x"]], columns=["a", "a", "b"]), "columns there twice: a"),
        (pd.DataFrame({"a": pd.Series(["1"], dtype=object), "b": ["x"]}), "not numeric: 'a' of dtype object"),
        (pd.DataFrame({"a": [], "b": []}, dtype=float), "the synthetic table: is empty"),
        (pd.DataFrame({"a": [1], "b": [["x"]]}), "column 'b': has values that cannot be categories"),
        ([[1, "x"]], r"the synthetic table: is no table\n  expected: a pandas DataFrame\n  got: list"),
    ],
)
def test_a_table_that_differs_is_refused_by_name(frame, text):
    real = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    with pytest.raises(TableError, match=text):
        evaluate(real, frame)


def test_an_empty_real_table_is_refused():
    with pytest.raises(TableError, match="the real table: is empty"):
        Reference(pd.DataFrame({"a": [1.0]}).iloc[:0], TabularSpec(["a"]))


# Jensen-Shannon distance


def test_js_distance_equals_scipy_over_the_union_of_categories_and_missing():
    real = pd.DataFrame({"x": pd.Series(["a"] * 5 + ["b"] * 3 + [None] * 2, dtype=object)})
    synthetic = pd.DataFrame({"x": pd.Series(["c"] * 4 + ["b"] * 5 + [np.nan], dtype=object)})
    expected = jensenshannon([0.5, 0.3, 0.0, 0.2], [0.0, 0.5, 0.4, 0.1], base=2)
    assert js(real, synthetic)["x"] == pytest.approx(expected, abs=1e-12)


def test_js_distance_equals_scipy_over_real_quantile_bins():
    real, synthetic = mixed(700, 0), mixed(500, 1)
    for name in ("age", "income", "children"):
        known = real[name].dropna()
        edges = np.unique(known.quantile(np.linspace(0, 1, 21)).to_numpy())
        edges = np.array([-np.inf, *edges[:-1], np.nextafter(edges[-1], np.inf), np.inf])
        shares = [
            [*pd.cut(each[name], edges, right=False).value_counts(sort=False, dropna=True), each[name].isna().sum()]
            for each in (real, synthetic)
        ]
        assert js(real, synthetic)[name] == pytest.approx(jensenshannon(*shares, base=2), abs=1e-7)


def test_a_category_that_real_rows_never_show_counts():
    real = pd.DataFrame({"x": ["a", "b"] * 50})
    distance = js(real, pd.DataFrame({"x": ["new"] * 98 + ["a", "b"]}))["x"]
    assert distance == pytest.approx(jensenshannon([0.5, 0.5, 0.0], [0.01, 0.01, 0.98], base=2))
    assert distance > 0.9


@pytest.mark.parametrize(
    ("real", "synthetic"),
    [
        ([1.0, 2.0, 3.0], [4.0, 5.0]),
        ([1.0, 2.0, 3.0], [-1.0, -2.0]),
        ([5.0, 5.0], [6.0]),
        ([1.0, 2.0], [np.inf, -np.inf]),
        ([1.0, 2.0], [np.nan]),
        ([np.nan], [1.0]),
        (["a", "b"], ["c"]),
        ([True, True], [False]),
    ],
)
def test_disjoint_supports_are_at_distance_one(real, synthetic):
    assert js(pd.DataFrame({"x": real}), pd.DataFrame({"x": synthetic}))["x"] == 1.0


@pytest.mark.parametrize("values", [[5.0, 5.0], [np.nan, np.nan], [np.inf, 1.0, -np.inf], [np.finfo(float).max, 0.0]])
def test_a_column_is_at_distance_zero_from_itself_and_from_its_repetition(values):
    frame = pd.DataFrame({"x": values})
    assert js(frame, frame)["x"] == 0.0
    assert js(frame, pd.concat([frame] * 3))["x"] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(
    "dtypes", [("str", object), ("str", "category"), (object, "string"), ("bool", "boolean"), ("int64", "Int64")]
)
def test_equal_categories_are_one_whatever_their_dtype(dtypes):
    values = {"bool": [True, False, True], "int64": [1, 2, 1]}.get(dtypes[0], ["a", "b", "a"])
    real, synthetic = (pd.DataFrame({"x": pd.Series(values, dtype=dtype)}) for dtype in dtypes)
    assert js(real, synthetic, TabularSpec(categorical=["x"]))["x"] == 0.0


def test_the_order_of_columns_and_rows_does_not_matter():
    real, synthetic = mixed(300, 0), mixed(300, 1)
    shuffled = synthetic.sample(frac=1, random_state=0)[list(reversed(synthetic.columns))]
    for name, value in evaluate(real, synthetic).values.items():
        other = evaluate(real, shuffled)[name]
        if isinstance(value, records.Score):
            assert other.value == pytest.approx(value.value, abs=1e-9)
        else:
            assert other == value


def test_bins_are_configurable():
    real, synthetic = pd.DataFrame({"x": np.arange(100.0)}), pd.DataFrame({"x": np.repeat(np.arange(0.0, 100, 2), 2)})
    assert js(real, synthetic, TabularSpec(["x"], n_bins=2))["x"] == pytest.approx(0.0, abs=1e-7)
    assert js(real, synthetic, TabularSpec(["x"], n_bins=99))["x"] > 0.3


def test_mean_js_distance_is_the_mean_over_columns():
    real, synthetic = mixed(300, 0), mixed(300, 1)
    mean = evaluate(real, synthetic)["MEAN_JS_DISTANCE"].value
    assert mean == pytest.approx(np.mean(list(js(real, synthetic).values())))
    assert 0.0 < mean < 0.3


# Associations


def associations(frame: pd.DataFrame, spec: TabularSpec | None = None) -> pd.DataFrame:
    reference = Reference(frame, spec or TabularSpec.from_frame(frame))
    return pd.DataFrame(reference.side.associations, reference.spec.columns, reference.spec.columns)


def correlation_ratio(frame: pd.DataFrame, category: str, number: str) -> float:
    known = frame[[category, number]].dropna()
    groups = known.groupby(category)[number]
    between = sum(len(g) * (g.mean() - known[number].mean()) ** 2 for _, g in groups)
    return float(np.sqrt(between / ((known[number] - known[number].mean()) ** 2).sum()))


def test_associations_equal_independent_computations_on_pairwise_complete_rows():
    frame = mixed(800, 0)
    found = associations(frame)
    numeric, categorical = ["age", "income", "children"], ["city", "member", "job"]
    np.testing.assert_allclose(found.loc[numeric, numeric], frame[numeric].corr(), atol=1e-9)
    for category in categorical:
        for number in numeric:
            assert found.loc[category, number] == pytest.approx(correlation_ratio(frame, category, number), abs=1e-9)
            assert found.loc[number, category] == found.loc[category, number]
        for other in categorical:
            expected = association(pd.crosstab(frame[category], frame[other]).to_numpy(), method="cramer")
            assert found.loc[category, other] == pytest.approx(expected, abs=1e-9)
    assert found.loc["age", "member"] > 0.4
    assert found.loc["city", "job"] > 0.4


def test_correlation_distance_is_the_mean_absolute_difference_over_pairs():
    real, synthetic = mixed(500, 0), mixed(400, 1)
    synthetic["age"] = synthetic["age"].to_numpy()[::-1]
    difference = (associations(real) - associations(synthetic)).abs().to_numpy()
    expected = (difference.sum() - np.trace(difference)) / (difference.size - len(difference))
    found = evaluate(real, synthetic)["CORRELATION_DISTANCE"].value
    assert found == pytest.approx(expected, abs=1e-12)
    assert found > 0.1
    assert evaluate(real, real)["CORRELATION_DISTANCE"].value == 0.0


def test_correlation_distance_is_two_for_opposite_correlations_and_zero_without_a_pair():
    real = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    assert evaluate(real, real.assign(y=-real["y"]))["CORRELATION_DISTANCE"].value == pytest.approx(2.0)
    assert evaluate(real[["x"]], -real[["x"]])["CORRELATION_DISTANCE"].value == 0.0


@pytest.mark.parametrize("constant", [0.1, 0.0, 1e300, np.nan, np.inf])
def test_constant_columns_have_no_association(constant):
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0], "c": [constant] * 3, "k": ["a", "b", "a"], "one": ["a"] * 3})
    found = associations(frame)
    assert found.loc["c"].drop("c").eq(0.0).all()
    assert found.loc["one"].drop("one").eq(0.0).all()
    assert found.loc["x", "k"] > 0


def test_a_column_constant_where_the_other_is_known_has_no_association():
    frame = pd.DataFrame({"x": [0.1, 0.1, 0.1, 9.0], "y": [1.0, 2.0, 4.0, np.nan], "k": ["a", "b", "a", None]})
    found = associations(frame)
    assert found.loc["x", "y"] == 0.0
    assert found.loc["x", "k"] == 0.0
    assert found.loc["y", "k"] > 0.0


def test_associations_survive_infinities_and_extremes():
    huge = pd.DataFrame({"x": [1e308, -1e308, 1.0, np.inf], "y": [1e-308, -1e-308, 0.0, 0.0]})
    assert associations(huge).loc["x", "y"] == pytest.approx(1.0)
    far = pd.DataFrame({"t": 1.7e9 + np.arange(100.0), "y": np.arange(100.0)})
    assert associations(far).loc["t", "y"] == pytest.approx(1.0)


def test_two_columns_of_names_need_no_table_of_all_pairs():
    n = 40_000
    frame = pd.DataFrame({"a": [f"a{i}" for i in range(n)], "b": [f"b{i}" for i in range(n)]})
    assert associations(frame).loc["a", "b"] == pytest.approx(1.0)


# Statistics


def test_juxtapositions_equal_pandas_describe():
    real, synthetic = mixed(300, 0), mixed(200, 1)
    found = evaluate(real, synthetic, plan=TableComparisonPlan.of(*TableComparisonArrayCollectionType))
    rows = {
        "MEAN": "mean",
        "STD": "std",
        "MEDIAN": "50%",
        "FIRST_QUARTILE": "25%",
        "THIRD_QUARTILE": "75%",
        "MIN": "min",
        "MAX": "max",
    }
    described = [each[["age", "income", "children"]].describe() for each in (real, synthetic)]
    for name in ("age", "income", "children"):
        for ours, theirs in rows.items():
            expected = [each.loc[theirs, name] for each in described]
            np.testing.assert_allclose(found[f"{ours}_JUXTAPOSITION"].values[name], expected, rtol=1e-12)
        variances = [each[name].var() for each in (real, synthetic)]
        np.testing.assert_allclose(found["VARIANCE_JUXTAPOSITION"].values[name], variances, rtol=1e-12)
    assert set(found) == {each.value for each in TableComparisonArrayCollectionType}
    assert set(found["MEAN_JUXTAPOSITION"].values) == {"age", "income", "children"}


def test_undefined_statistics_are_nan_and_infinities_stay():
    real = pd.DataFrame({"x": [np.nan, np.nan], "y": [-np.inf, np.inf]})
    found = evaluate(
        real, pd.DataFrame({"x": [1.0], "y": [2.0]}), None, TableComparisonPlan.of(*TableComparisonArrayCollectionType)
    )
    np.testing.assert_array_equal(found["MEAN_JUXTAPOSITION"].values["x"], [np.nan, 1.0])
    np.testing.assert_array_equal(found["STD_JUXTAPOSITION"].values["x"], [np.nan, np.nan])
    np.testing.assert_array_equal(found["MAX_JUXTAPOSITION"].values["y"], [np.inf, 2.0])


# Principal components


def test_the_projection_equals_sklearn_on_standardised_numbers():
    frame = mixed(400, 0)[["age", "children"]].assign(sum=lambda f: f["age"] / 12 + f["children"])
    reference = Reference(frame, TabularSpec.from_frame(frame))
    standardised = ((frame - frame.mean()) / frame.std(ddof=0)).to_numpy()
    pca = PCA(2).fit(standardised)
    found = reference.projection(reference.side.numbers, reference.side.codes)
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(standardised)), atol=1e-9)
    np.testing.assert_allclose(reference.projection.explained, pca.explained_variance_ratio_, atol=1e-12)


def test_the_projection_of_categories_equals_sklearn_on_scaled_indicators():
    frame = mixed(400, 0)[["city"]]
    reference = Reference(frame, TabularSpec.from_frame(frame))
    indicators = pd.get_dummies(frame["city"], dtype=float).to_numpy() / np.sqrt(2)
    found = reference.projection(reference.side.numbers, reference.side.codes)
    np.testing.assert_allclose(np.abs(found), np.abs(PCA(2).fit_transform(indicators)), atol=1e-9)


def test_the_projection_of_one_column_has_an_empty_second_component():
    frame = pd.DataFrame({"x": [1.0, 2.0, np.nan, np.inf]})
    reference = Reference(frame, TabularSpec.from_frame(frame))
    projected = reference.projection(reference.side.numbers, reference.side.codes)
    np.testing.assert_allclose(projected, [[-1, 0], [1, 0], [0, 0], [0, 0]], atol=1e-12)
    assert reference.projection.explained == (1.0, 0.0)


# Plans


class Brief(TableComparisonPlan):
    @staticmethod
    def _get_score_types() -> list[TableComparisonScoreType]:
        return [TableComparisonScoreType.CORRELATION_DISTANCE]

    @staticmethod
    def _get_score_collection_types() -> list[TableComparisonScoreCollectionType]:
        return [TableComparisonScoreCollectionType.JS_DISTANCE]

    @staticmethod
    def _get_plot_types() -> list[TableComparisonPlotType]:
        return [TableComparisonPlotType.CDF]


def test_a_plan_by_hooks_equals_the_plan_by_value():
    by_value = TableComparisonPlan.of(
        TableComparisonScoreType.CORRELATION_DISTANCE,
        TableComparisonPlotType.CDF,
        TableComparisonScoreCollectionType.JS_DISTANCE,
    )
    assert Brief().artifacts == by_value.artifacts
    assert Brief().score_names == ("CORRELATION_DISTANCE", "JS_DISTANCE/*")
    assert TableComparisonPlan().artifacts == ()


def test_a_plan_takes_an_artifact_of_ones_own():
    worst = Artifact("WORST_JS_DISTANCE", records.Score, lambda each: max(each.js_distances.values()))
    real, synthetic = mixed(200, 0), mixed(200, 1)
    plan = TableComparisonPlan.of(worst)
    assert plan.score_names == ("WORST_JS_DISTANCE",)
    assert evaluate(real, synthetic, plan=plan).values == {
        "WORST_JS_DISTANCE": records.Score(max(js(real, synthetic).values()))
    }


def test_by_default_all_scores_are_evaluated():
    real = mixed(100, 0)
    heavy = {"DETECTION_SCORE", "DISTANCE_TO_CLOSEST_RECORD", "TRAIN_ON_SYNTHETIC_TEST_ON_REAL"}
    assert set(evaluate(real, real).values) == {*TableComparisonScoreType, *TableComparisonScoreCollectionType} - heavy


def test_no_two_members_share_a_name_and_each_computes_its_modality():
    real = mixed(60, 0)
    kinds = [getattr(package, name) for name in package.__all__ if name.endswith("Type")]
    assert len(kinds) == 6
    members = [member for kind in kinds for member in kind]
    assert len({member.value for member in members}) == len(members) == 45
    report = evaluate(real, mixed(60, 1), plan=TableComparisonPlan.of(*members), noise=False)
    found = report.values
    assert report.failures == {}
    for member in members:
        assert type(found[member.value]).__name__ == type(member).__name__[len("TableComparison") : -len("Type")]


def test_a_plan_that_cannot_be_is_refused():
    class Confused(TableComparisonPlan):
        @staticmethod
        def _get_score_types():
            return [TableComparisonPlotType.PDF]

    with pytest.raises(ConfigurationError, match=r"Confused._get_score_types: returns an artifact of another kind"):
        Confused()
    with pytest.raises(ConfigurationError, match=r"names artifacts twice\n  got: \['PDF'\]"):
        TableComparisonPlan.of(TableComparisonPlotType.PDF, TableComparisonPlotType.PDF)
    with pytest.raises(ConfigurationError, match=r"artifact 'X': computes an unknown kind of value"):
        Artifact("X", float, lambda _: 1.0)


def test_an_artifact_that_raises_is_a_failure_of_the_report():
    plan = TableComparisonPlan.of(
        Artifact("X", records.Score, lambda _: "one"), TableComparisonScoreType.MEAN_JS_DISTANCE
    )
    report = evaluate(mixed(9, 0), mixed(9, 0), plan=plan)
    assert list(report.scores.index) == ["MEAN_JS_DISTANCE"]
    (error,) = report.failures.values()
    assert isinstance(error, RecordError) and "X: is not a score" in str(error)


# The whole


def test_the_real_side_is_read_once_and_never_again():
    real, synthetic = mixed(200, 0), mixed(200, 1)
    reference = Reference(real, TabularSpec.from_frame(real))
    before = dict(reference.compare(synthetic).js_distances)
    real["age"] = 0.0
    real["city"] = "nowhere"
    assert reference.compare(synthetic).js_distances == before
    assert reference.compare(synthetic).real.associations is reference.side.associations


def test_no_argument_is_changed():
    real, synthetic = mixed(200, 0), mixed(200, 1)
    before = real.copy(), synthetic.copy()
    members = [*TableComparisonScoreType, *TableComparisonArrayCollectionType, *TableComparisonPlotType]
    evaluate(real, synthetic, plan=TableComparisonPlan.of(*members))
    pd.testing.assert_frame_equal(real, before[0])
    pd.testing.assert_frame_equal(synthetic, before[1])


def test_both_scores_of_fifty_thousand_rows_are_cheap():
    real, synthetic = (
        pd.concat([mixed(50_000, seed), mixed(50_000, seed + 2).add_suffix("2")], axis=1) for seed in (0, 1)
    )
    reference = Reference(real, TabularSpec.from_frame(real))
    warm = reference.compare(real)
    assert warm.correlation_distance + sum(warm.js_distances.values()) == 0.0

    def cost() -> float:
        start = time.process_time()
        comparison = reference.compare(synthetic)
        assert comparison.correlation_distance + sum(comparison.js_distances.values()) > 0.0
        return time.process_time() - start

    assert min(cost() for _ in range(3)) < 0.4  # about 0.05 s; two shared, slow cores are allowed for


@pytest.mark.parametrize("name", [each.name for each in pkgutil.iter_modules(package.__path__)])
def test_examples_run(name):
    module = importlib.import_module(f"{package.__name__}.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0
