"""Scores of columns and rows against independent computations, and what they say at the edges."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from functorch_artifact.errors import ConfigurationError, MissingExtraError
from functorch_artifact.records import Score
from functorch_artifact.table_comparison import (
    Reference,
    TableComparisonPlan,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    TabularSpec,
    columns,
    learners,
    rows,
)


def compare(real, synthetic, spec=None):
    real, synthetic = pd.DataFrame(real), pd.DataFrame(synthetic)
    return Reference(real, spec or TabularSpec.from_frame(real)).compare(synthetic)


def table(n: int, seed: int, *, noise: float = 1.0) -> pd.DataFrame:
    """A table whose column y follows from x and k."""
    random = np.random.default_rng(seed)
    x, k = random.normal(size=n), random.choice(["a", "b", "c"], n)
    y = 2 * x + (k == "b") + noise * random.normal(size=n)
    return pd.DataFrame({"x": x, "k": k, "y": y, "sign": np.where(y > 0, "up", "down")})


# Columns


@pytest.mark.parametrize("seed", range(3))
def test_distances_of_samples_equal_scipys(seed):
    random = np.random.default_rng(seed)
    real = np.where(random.random(300) < 0.1, np.nan, random.normal(size=300))
    synthetic = np.round(np.where(random.random(200) < 0.2, np.nan, random.normal(0.3, 2, size=200)), seed)
    found = compare({"x": real}, {"x": synthetic})
    known = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
    assert columns.kolmogorov_smirnov_distances(found)["x"] == pytest.approx(
        stats.ks_2samp(*known).statistic, abs=1e-12
    )
    distance = stats.wasserstein_distance(*known)
    assert columns.wasserstein_distances(found, standardised=False)["x"] == pytest.approx(distance, rel=1e-9)
    assert columns.wasserstein_distances(found)["x"] == pytest.approx(distance / known[0].std(), rel=1e-9)


def test_infinities_are_far_away_for_ranks_and_left_out_of_distances():
    found = compare({"x": [1.0, 2.0, 3.0, 4.0]}, {"x": [1.0, 2.0, np.inf, -np.inf]})
    assert (
        columns.kolmogorov_smirnov_distances(found)["x"]
        == stats.ks_2samp([1, 2, 3, 4], [1, 2, np.inf, -np.inf]).statistic
    )
    expected = stats.wasserstein_distance([1, 2, 3, 4], [1, 2])
    assert columns.wasserstein_distances(found, standardised=False)["x"] == pytest.approx(expected)
    assert columns.nonfinite_shares(found) == {"x": 0.5}


def test_what_is_undefined_says_why():
    found = compare({"x": [1.0, np.nan], "k": ["a", "b"]}, {"x": [np.nan, np.nan], "k": ["a", "a"]})
    assert columns.kolmogorov_smirnov_distances(found)["x"].reason == "no synthetic value is known"
    assert columns.wasserstein_distances(found)["x"].reason == "no synthetic value is finite"
    assert columns.mean_of(columns.range_coverages(found), "numeric").reason == "defined for no numeric column"
    only = compare({"k": ["a", None]}, {"k": [None, None]})
    assert columns.mean_of(columns.range_coverages(only), "numeric").reason == "there is no numeric column"
    assert (
        columns.category_coverages(compare({"k": [None]}, {"k": ["a"]}, TabularSpec(categorical=["k"])))["k"].reason
        == "no real category is known"
    )


def test_total_variation_counts_missing_and_unseen_categories():
    real = pd.Series(["a"] * 4 + ["b"] * 4 + [None] * 2)
    synthetic = pd.Series(["a"] * 2 + ["c"] * 3 + [None] * 5)
    found = columns.total_variations(compare({"k": real}, {"k": synthetic}))["k"]
    shares = [each.fillna("missing").value_counts(normalize=True) for each in (real, synthetic)]
    assert found == pytest.approx(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)


def test_coverage_and_agreement():
    found = compare(
        {"x": [0.0, 10.0, 5.0, np.nan], "k": ["a", "b", "c", "d"], "one": [3.0] * 4},
        {"x": [2.0, 20.0, 5.0, 6.0], "k": ["a", "b", "new", None], "one": [2.0, 4.0, 4.0, 4.0]},
    )
    assert columns.range_coverages(found) == {"x": pytest.approx(0.8), "one": 1.0}
    assert columns.category_coverages(found) == {"k": 0.5}
    assert columns.missing_value_agreements(found) == {"x": 0.75, "one": 1.0, "k": 0.75}
    apart = compare({"x": [1.0, 2.0], "one": [1.0, 1.0]}, {"x": [5.0, 6.0], "one": [2.0, 2.0]})
    assert columns.range_coverages(apart) == {"x": 0.0, "one": 0.0}


def test_means_are_over_the_columns_where_the_score_is_defined():
    real = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0]})
    synthetic = pd.DataFrame({"x": [1.0, 1.0], "y": [np.nan, np.nan]})
    report = TableComparisonPlan.of("MEAN_KS_DISTANCE", "KS_DISTANCE").evaluate(real, synthetic, noise=False)
    assert report.scores["value"].to_dict() == {
        "MEAN_KS_DISTANCE": 0.5, "KS_DISTANCE/x": 0.5, "KS_DISTANCE/y": pytest.approx(np.nan, nan_ok=True),
    }  # fmt: skip


# Rows


def test_distances_to_the_closest_record_equal_sklearns():
    real, synthetic = (table(400, seed)[["x", "k", "y"]] for seed in (0, 1))
    comparison = compare(real, synthetic)
    scales = rows._scales(comparison.real)
    found = rows.closest(comparison.synthetic, comparison.real, scales)
    points = [
        np.column_stack([frame[["x", "y"]] / real[["x", "y"]].std(ddof=0), pd.get_dummies(frame["k"]) / np.sqrt(2)])
        for frame in (real, synthetic)
    ]
    expected, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(points[0]).kneighbors(points[1])
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-7)


def test_memorised_rows_are_told_from_new_ones():
    real, new = table(2000, 0), table(1000, 1)
    honest = rows.closest_record(compare(real, new))
    assert honest["median_ratio"] == pytest.approx(1.0, abs=0.1)
    assert honest["too_close"] == pytest.approx(0.05, abs=0.03)
    assert honest["copies"] == 0.0
    copied = rows.closest_record(compare(real, real.sample(1000, random_state=0)))
    assert copied["copies"] == 1.0 and copied["median_ratio"] < 0.8 and copied["too_close"] > 0.3
    blurred = real.assign(x=real["x"] + 0.001, y=real["y"] + 0.001)
    assert rows.closest_record(compare(real, blurred))["too_close"] > 0.3


def test_copies_are_counted_value_for_value():
    real = {"x": [0.0, 1.0, np.nan, 3.0], "k": ["a", "b", None, "d"]}
    synthetic = {"x": [-0.0, 1.0, np.nan, 3.0], "k": ["a", "a", None, "new"]}
    assert rows.copies(compare(real, synthetic)) == 0.5


def test_distances_at_the_edges():
    one = rows.closest_record(compare({"x": [1.0]}, {"x": [1.0, np.inf]}))
    assert one["copies"] == 0.5 and one["too_close"].reason == "there is one real row only"
    same = rows.closest_record(compare({"x": [1.0] * 9}, {"x": [np.nan, -np.inf, 1e308]}))
    assert same["median_ratio"].reason == "half of the real rows are copies"
    assert same["too_close"] == 0.0


# Learners


def test_detection_is_chance_for_new_rows_and_certain_for_others():
    real = table(1500, 0)
    assert learners.detection_score(compare(real, table(1500, 1))).value == pytest.approx(0.5, abs=0.05)
    shuffled = real.assign(y=np.random.default_rng(0).permutation(real["y"]))
    assert learners.detection_score(compare(real, shuffled)).value > 0.8
    assert learners.detection_score(compare(real, shuffled), learner="logistic").value < 0.6
    assert learners.detection_score(compare(real, real.assign(k="b")), learner="logistic").value > 0.6
    odd = real.assign(x=np.inf, k=None)
    assert learners.detection_score(compare(real, odd)).value > 0.99


def test_detection_equals_sklearns_on_the_same_folds():
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    random = np.random.default_rng(0)
    real, synthetic = (random.normal(size=(300, 2)) * scale for scale in (1.0, 1.5))
    comparison = compare(*(pd.DataFrame(each, columns=["a", "b"]) for each in (real, synthetic)))
    order = np.random.default_rng(0)
    features = np.concatenate([each[order.permutation(300)] for each in (real, synthetic)])
    truth = np.repeat([0, 1], 300)
    model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    told = cross_val_predict(model, features, truth, cv=folds, method="predict_proba")[:, 1]
    assert learners.detection_score(comparison).value == pytest.approx(roc_auc_score(truth, told), abs=1e-12)


def test_utility_of_good_and_of_useless_rows():
    real = table(3000, 0)
    good = learners.utility(compare(real, table(2000, 1)), target="sign")
    assert abs(good["gap"]) < 0.05 and good["train_on_real"].value > 0.75
    useless = table(2000, 1).assign(y=0.0, sign=np.random.default_rng(0).permutation(table(2000, 1)["sign"]))
    assert learners.utility(compare(real, useless), target="sign")["gap"] > 0.2
    numeric = learners.utility(compare(real.drop(columns="sign"), table(2000, 1).drop(columns="sign")), target="y")
    assert numeric["train_on_synthetic"].value == pytest.approx(numeric["train_on_real"].value, abs=0.05)
    assert numeric["train_on_real"].value > 0.7
    last = learners.utility(compare(real, table(2000, 1)))
    assert last["gap"] == good["gap"]


def test_learners_at_the_edges():
    few = compare(table(5, 0), table(5, 1))
    assert learners.detection_score(few).reason == "needs at least 10 rows of either side"
    assert learners.utility(few)["train_on_real"].reason == "needs at least 10 rows where 'sign' is known"
    real = table(200, 0)
    unknown = learners.utility(compare(real, real.assign(y=np.nan)), target="y")
    assert unknown["train_on_synthetic"].reason == "needs at least 10 rows where 'y' is known"
    assert np.isnan(unknown["gap"])
    constant = learners.utility(compare(real.assign(y=1.0), real), target="y")
    assert constant["train_on_real"].reason == "'y' is constant in the rows to test on"
    one_answer = learners.utility(compare(real, real.assign(sign="up")), target="sign")
    assert 0.0 < one_answer["train_on_synthetic"].value < 1.0
    many = pd.DataFrame({"k": [f"c{i}" for i in range(1000)] * 2, "x": np.arange(2000.0)})
    assert learners.detection_score(compare(many, many)).value < 0.55  # each row's copy has the other answer
    with pytest.raises(
        ConfigurationError, match=r"target 'z': cannot be predicted\n  expected: one of several columns"
    ):
        learners.utility(few, target="z")
    with pytest.raises(ConfigurationError, match=r"learner: is not a learner\n  expected: .*\n  got: x"):
        learners.detection_score(compare(real, real), learner="x")


def test_a_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"'scikit-learn', which is not installed\n.*functorch-artifact\[artif"):
        learners.detection_score(compare(table(20, 0), table(20, 1)))


# Scales and noise floors


def test_every_score_states_its_range_and_direction_and_keeps_to_it():
    real, synthetic = table(300, 0), table(200, 1, noise=3.0)
    members = [*TableComparisonScoreType, *TableComparisonScoreCollectionType]
    report = TableComparisonPlan.of(*members).evaluate(real, synthetic)
    assert report.failures == {}
    scores = report.scores
    assert (scores["value"].isna() | scores["value"].between(scores["low"], scores["high"])).all()
    undirected = {name.split("/")[0] for name in scores.index[scores["better"].isna()]}
    assert undirected == {"DISTANCE_TO_CLOSEST_RECORD", "TRAIN_ON_SYNTHETIC_TEST_ON_REAL"}
    without = set(scores.index[scores["noise_floor"].isna()])
    assert without == {
        "DISTANCE_TO_CLOSEST_RECORD/copies",
        *(f"TRAIN_ON_SYNTHETIC_TEST_ON_REAL/{key}" for key in ("train_on_synthetic", "train_on_real", "gap")),
    }


def test_noise_floors_are_what_new_rows_of_the_same_distribution_score():
    plan = TableComparisonPlan.of("MEAN_JS_DISTANCE", "CORRELATION_DISTANCE", "MEAN_KS_DISTANCE")
    fresh = pd.concat(
        [plan.evaluate(table(400, 2 * i), table(300, 2 * i + 1), noise=False).scores["value"] for i in range(12)],
        axis=1,
    ).mean(axis=1)
    floors = plan.evaluate(table(400, 100), table(300, 101)).scores["noise_floor"]
    np.testing.assert_allclose(floors, fresh, rtol=0.35)


def test_a_reports_table_of_columns_counts_what_is_odd():
    report = TableComparisonPlan.of("NONFINITE_SHARE").evaluate(
        pd.DataFrame({"x": [1.0, np.nan], "k": ["a", "b"]}), pd.DataFrame({"x": [np.inf, np.nan], "k": ["c", None]})
    )
    found = report.about["columns"]
    assert found.loc["x", ["missing, real", "missing, synthetic", "infinite, synthetic"]].tolist() == [0.5, 0.5, 0.5]
    assert found.loc["k", ["missing, synthetic", "unseen category"]].tolist() == [0.5, 0.5]
    assert report["NONFINITE_SHARE"].values == {"x": 1.0}
    assert "unseen category" in report.html()


def test_parameters_of_the_reference_are_taken():
    real, synthetic = table(500, 0), table(500, 1)
    plan = TableComparisonPlan.of(
        TableComparisonScoreCollectionType.JS_DISTANCE(categorical_only=True),
        TableComparisonScoreType.MEAN_JS_DISTANCE(n_bins_cts_histogram=5),
        TableComparisonScoreType.CORRELATION_DISTANCE(
            categorical_association_type="THEILS_U",
            continuous_association_type="SPEARMAN",
            vector_distance_metric="RMSE",
        ),
    )
    report = plan.evaluate(real, synthetic, noise=False)
    assert set(report["JS_DISTANCE"].values) == {"k", "sign"}
    fewer = plan.evaluate(real, synthetic, TabularSpec.from_frame(real, n_bins=5), noise=False)
    assert report["MEAN_JS_DISTANCE"] == fewer["MEAN_JS_DISTANCE"]
    assert 0.0 < report["CORRELATION_DISTANCE"].value < 0.2
    assert isinstance(report["CORRELATION_DISTANCE"], Score)
    with pytest.raises(ConfigurationError, match="vector_distance_metric: is not a distance of vectors"):
        compare(real, synthetic).association_distance(metric="MAX")


def test_a_missing_engine_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "artifact_core", None)
    with pytest.raises(MissingExtraError, match=r"'artifact-core', which is not.*\n.*artifact\[artifact-core\]"):
        TableComparisonPlan.of("MEAN_JS_DISTANCE", engine="artifact-core")
