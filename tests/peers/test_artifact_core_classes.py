"""Two classes: ours against artifact-core 0.2.1, artifact by artifact; where they differ, on purpose, and why.

`docs/validation.md` lists the differences that are held here.
"""

import artifact_core.binary_classification as core
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import binary_classification as domain
from functorch_artifact.binary_classification import (
    BinaryClassificationPlan,
    BinaryClassificationResults,
    BinaryClassificationScoreType,
    BinaryClassSpec,
)

PLURAL = {
    "score": "ScoreType",
    "array": "ArrayType",
    "plot": "PlotType",
    "score_collection": "ScoreCollectionType",
    "array_collection": "ArrayCollectionType",
    "plot_collection": "PlotCollectionType",
}
THEIRS = {kind: getattr(core, f"BinaryClassification{suffix}") for kind, suffix in PLURAL.items()}
OURS = {kind: getattr(domain, f"BinaryClassification{suffix}") for kind, suffix in PLURAL.items()}
SPEC = BinaryClassSpec(["no", "yes"], positive_class="yes")
ENGINE = core.BinaryClassificationEngine.build(core.BinaryClassSpec(["no", "yes"], "yes"))
KEYS = {"fp": "FPR"}  # the enumeration's value, which is also the key


@st.composite
def judged(draw):
    """Labels of both classes, predictions of both, probabilities with ties."""
    n = draw(st.integers(4, 30))
    probabilities = np.array(draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))) / 20
    positive = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    probabilities[:4], positive[:4] = [0.1, 0.2, 0.7, 0.8], [True, False, True, False]
    return positive, probabilities


def theirs(kind, member, positive, probabilities):
    names = np.where(positive, "yes", "no").tolist()
    predicted = np.where(probabilities >= 0.5, "yes", "no").tolist()
    produce = getattr(ENGINE, f"produce_binary_classification_{kind}")
    return produce(
        THEIRS[kind][member],
        true=dict(enumerate(names)),
        predicted=dict(enumerate(predicted)),
        probs_pos=dict(enumerate(probabilities.tolist())),
    )


def ours(member, positive, probabilities):
    report = BinaryClassificationPlan.of(member).evaluate(np.where(positive, "yes", "no"), probabilities, SPEC)
    assert report.failures == {}
    return next(iter(report.values.values()))


@pytest.mark.parametrize("kind", PLURAL)
def test_every_artifact_of_theirs_is_one_of_ours(kind):
    assert set(THEIRS[kind].__members__) <= set(OURS[kind].__members__)


@pytest.mark.parametrize("name", [m for m in THEIRS["score"].__members__ if m not in ("ROC_AUC", "PR_AUC")])
@given(drawn=judged())
def test_scores_agree(name, drawn):
    assert ours(name, *drawn).value == pytest.approx(theirs("score", name, *drawn), abs=1e-9)


@pytest.mark.parametrize("name", list(THEIRS["score_collection"].__members__))
@given(drawn=judged())
def test_score_collections_agree_key_by_key(name, drawn):
    found = ours(name, *drawn).values
    expected = {KEYS.get(key, key.upper()): value for key, value in theirs("score_collection", name, *drawn).items()}
    assert found == pytest.approx(expected, abs=1e-9)


@given(drawn=judged())
def test_arrays_agree(drawn):
    np.testing.assert_array_equal(ours("CONFUSION_MATRIX", *drawn).value, theirs("array", "CONFUSION_MATRIX", *drawn))
    expected = theirs("array_collection", "CONFUSION_MATRICES", *drawn)
    found = ours("CONFUSION_MATRICES", *drawn).values
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, atol=1e-12)


def test_plot_collections_have_the_same_pictures():
    positive, probabilities = np.array([True, False] * 6), np.linspace(0.1, 0.9, 12)
    for name in THEIRS["plot_collection"].__members__:
        expected = {key.upper() for key in theirs("plot_collection", name, positive, probabilities)}
        assert set(ours(name, positive, probabilities).values) == expected


@given(drawn=judged())
def test_their_single_areas_are_of_the_predictions(drawn):
    positive, probabilities = drawn
    assert theirs("score", "ROC_AUC", *drawn) == pytest.approx(ours("BALANCED_ACCURACY", *drawn).value)
    predictions = np.where(probabilities >= 0.5, 1.0, 0.0)
    for name in ("ROC_AUC", "PR_AUC"):
        assert theirs("score", name, *drawn) == pytest.approx(ours(name, positive, predictions).value)
        assert theirs("score_collection", "THRESHOLD_VARIATION_SCORES", *drawn)[name] == pytest.approx(
            ours(name, *drawn).value
        )


def test_zero_by_zero_is_their_zero_and_our_nan_unless_told_otherwise():
    drawn = np.array([True, False]), np.array([0.1, 0.2])
    assert theirs("score", "PRECISION", *drawn) == 0.0
    assert ours("PRECISION", *drawn).reason == "nothing is predicted positive"
    assert ours(BinaryClassificationScoreType.PRECISION(zero_division=0.0), *drawn).value == 0.0


def test_labels_of_one_class():
    drawn = np.array([False, False]), np.array([0.1, 0.7])
    assert theirs("score", "MCC", *drawn) == 0.0
    assert theirs("score", "BALANCED_ACCURACY", *drawn) == 0.5
    for name in ("MCC", "BALANCED_ACCURACY"):
        assert np.isnan(ours(name, *drawn).value)


def test_without_probabilities_they_make_certainty_up():
    arguments = {"true": {0: "yes", 1: "no"}, "predicted": {0: "yes", 1: "yes"}}
    made_up = ENGINE.produce_binary_classification_score(THEIRS["score"]["GROUND_TRUTH_PROB_MEAN"], **arguments)
    assert made_up == pytest.approx(0.5)
    results = BinaryClassificationResults(predicted=["yes", "yes"])
    report = BinaryClassificationPlan.of("GROUND_TRUTH_PROB_MEAN").evaluate(["yes", "no"], results, SPEC)
    assert report["GROUND_TRUTH_PROB_MEAN"].reason == "2 of 2 probabilities are missing"
