"""Standard errors are those of scikit-learn's weighted scores, and what drawing samples anew shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference

from functorch_artifact import binary_classification as two
from functorch_artifact import classification as several
from functorch_artifact.artifacts import ArtifactPlan, Toolkit
from functorch_artifact.errors import ConfigurationError

BINARY = two.BinaryClassSpec([0, 1], positive_class=1)
CLASSES = several.ClassSpec(range(4))
SCORES_OF_TWO = [*two.BinaryClassificationScoreType, *two.BinaryClassificationScoreCollectionType]
SCORES_OF_SEVERAL = [*several.ClassificationScoreType, *several.ClassificationScoreCollectionType]


def of_two(n: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Draw labels and probabilities, on a grid, so that there are ties."""
    logits = random.normal(size=n)
    truth = random.random(n) < 1 / (1 + np.exp(0.5 - 1.5 * logits))
    return truth.astype(int), (1 / (1 + np.exp(-logits))).round(2).clip(0.01, 0.99)


def of_several(n: int, random: np.random.Generator) -> tuple[Any, Any]:
    logits = random.normal(size=(n, 4))
    chances = np.exp(1.5 * logits + 0.3 * np.arange(4))
    chances /= chances.sum(axis=1, keepdims=True)
    truth = (chances.cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)
    given = np.exp(logits)
    return truth, given / given.sum(axis=1, keepdims=True)


def errors(names: list[Any], truth: Any, given: Any) -> pd.Series:
    plan: Any = two.BinaryClassificationPlan if given.ndim == 1 else several.ClassificationPlan
    return plan.of(*names).evaluate(truth, given, BINARY if given.ndim == 1 else CLASSES).scores["standard_error"]


def weighted(compute: Callable[[Any], float], n: int, step: float = 1e-5) -> float:
    """Take the infinitesimal jackknife of a score of weighted examples, by finite differences."""
    slopes = []
    for place in range(n):
        weights = np.ones(n)
        weights[place] += step
        above = compute(weights)
        weights[place] -= 2 * step
        slopes.append((above - compute(weights)) / (2 * step))
    return float(np.sqrt(np.square(slopes).sum()))


OF_TWO: dict[str, Callable[[Any, Any, Any, Any], float]] = {
    "ACCURACY": lambda y, s, p, w: reference.accuracy_score(y, s, sample_weight=w),
    "BALANCED_ACCURACY": lambda y, s, p, w: reference.balanced_accuracy_score(y, s, sample_weight=w),
    "PRECISION": lambda y, s, p, w: reference.precision_score(y, s, sample_weight=w),
    "NPV": lambda y, s, p, w: reference.precision_score(y, s, pos_label=0, sample_weight=w),
    "RECALL": lambda y, s, p, w: reference.recall_score(y, s, sample_weight=w),
    "TNR": lambda y, s, p, w: reference.recall_score(y, s, pos_label=0, sample_weight=w),
    "FPR": lambda y, s, p, w: 1 - reference.recall_score(y, s, pos_label=0, sample_weight=w),
    "FNR": lambda y, s, p, w: 1 - reference.recall_score(y, s, sample_weight=w),
    "F1": lambda y, s, p, w: reference.f1_score(y, s, sample_weight=w),
    "MCC": lambda y, s, p, w: reference.matthews_corrcoef(y, s, sample_weight=w),
    "COHEN_KAPPA": lambda y, s, p, w: reference.cohen_kappa_score(y, s, sample_weight=w),
    "ROC_AUC": lambda y, s, p, w: reference.roc_auc_score(y, p, sample_weight=w),
    "PR_AUC": lambda y, s, p, w: reference.average_precision_score(y, p, sample_weight=w),
    "LOG_LOSS": lambda y, s, p, w: reference.log_loss(y, p, sample_weight=w),
    "BRIER_SCORE": lambda y, s, p, w: reference.brier_score_loss(y, p, sample_weight=w),
    "GROUND_TRUTH_PROB_MEAN": lambda y, s, p, w: float(np.average(np.where(y, p, 1 - p), weights=w)),
}


@pytest.mark.parametrize("name", OF_TWO)
def test_errors_of_two_classes_are_those_of_weighted_scores(name: str) -> None:
    truth, given = of_two(60, np.random.default_rng(0))
    said = (given >= 0.5).astype(int)
    expected = weighted(lambda weights: OF_TWO[name](truth, said, given, weights), 60)
    assert errors([name], truth, given)[name] == pytest.approx(expected, rel=1e-5)


def mean(score: Any, average: str) -> Callable[[Any, Any, Any, Any], float]:
    return lambda y, s, p, w: score(y, s, average=average, sample_weight=w)


def area(score: Any, average: str) -> Callable[[Any, Any, Any, Any], float]:
    return lambda y, s, p, w: score(np.eye(4)[y], p, average=average, sample_weight=w)


OF_SEVERAL: dict[str, Callable[[Any, Any, Any, Any], float]] = {
    **{name: OF_TWO[name] for name in ("ACCURACY", "BALANCED_ACCURACY", "MCC", "COHEN_KAPPA", "LOG_LOSS")},
    "TOP_K_ACCURACY": lambda y, s, p, w: reference.top_k_accuracy_score(y, p, k=3, sample_weight=w),
    **{
        f"{name}_{average.upper()}": kind(score, average)
        for kind, scores in (
            (mean, {"PRECISION": reference.precision_score, "RECALL": reference.recall_score}),
            (mean, {"F1": reference.f1_score}),
            (area, {"ROC_AUC": reference.roc_auc_score, "PR_AUC": reference.average_precision_score}),
        )
        for name, score in scores.items()
        for average in ("macro", "micro", "weighted")
    },
}


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_errors_of_several_classes_are_those_of_weighted_scores(name: str) -> None:
    truth, given = of_several(60, np.random.default_rng(1))
    said = given.argmax(axis=1)
    expected = weighted(lambda weights: OF_SEVERAL[name](truth, said, given, weights), 60)
    assert errors([name], truth, given)[name] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["PRECISION", "RECALL", "F1"])
def test_errors_by_class_are_those_of_weighted_scores(name: str) -> None:
    truth, given = of_several(60, np.random.default_rng(2))
    score, said = getattr(reference, f"{name.lower()}_score"), given.argmax(axis=1)
    found = errors([f"{name}_BY_CLASS"], truth, given)
    for place in range(4):
        expected = weighted(lambda w: score(truth, said, average=None, sample_weight=w)[place], 60)  # noqa: B023
        assert found[f"{name}_BY_CLASS/{place}"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("draw", "names"), [(of_two, SCORES_OF_TWO), (of_several, SCORES_OF_SEVERAL)], ids=["two", "several"]
)
def test_errors_are_how_much_scores_of_new_examples_differ(draw: Any, names: list[Any]) -> None:
    random = np.random.default_rng(3)
    plan: Any = two.BinaryClassificationPlan if draw is of_two else several.ClassificationPlan
    spec = BINARY if draw is of_two else CLASSES
    drawn = [plan.of(*names).evaluate(*draw(400, random), spec, noise=False).scores["value"] for _ in range(150)]
    deviations = pd.concat(drawn, axis=1).std(axis=1)
    told = pd.concat([errors(names, *draw(400, random)) for _ in range(10)], axis=1).mean(axis=1)
    extremes = deviations.index.str.contains("MIN|MAX")
    assert told[extremes].isna().all()
    ratios = (told / deviations)[~extremes]
    # 150 draws tell a deviation within 6 %. A calibration error, which is folded at 0, varies less than told.
    folded = ratios.index == "EXPECTED_CALIBRATION_ERROR"
    assert ratios[~folded].between(0.8, 1.25).all(), ratios
    assert ratios[folded].between(0.9, 1.5).all()


def test_the_error_of_a_proportion_is_the_binomials() -> None:
    truth, given = np.array([1] * 30 + [0] * 70), np.array([0.9] * 20 + [0.1] * 10 + [0.2] * 63 + [0.8] * 7)
    found = errors(["ACCURACY", "RECALL", "FPR"], truth, given)
    assert found["ACCURACY"] == pytest.approx(math.sqrt(0.83 * 0.17 / 100))
    assert found["RECALL"] == pytest.approx(math.sqrt(2 / 3 * 1 / 3 / 30))
    assert found["FPR"] == pytest.approx(math.sqrt(0.1 * 0.9 / 70))
    cells = errors(["NORMALIZED_CONFUSION_COUNTS"], truth, given)
    assert cells["NORMALIZED_CONFUSION_COUNTS/TRUE_POSITIVE"] == pytest.approx(math.sqrt(100 * 0.2 * 0.8))


@pytest.mark.parametrize(("truth", "given"), [([1], [0.7]), ([1, 1, 1], [0.7, 0.7, 0.2]), ([1, 0], [float("nan")] * 2)])
def test_what_is_undefined_has_no_error(truth: list[int], given: list[float]) -> None:
    scores = two.BinaryClassificationPlan.of(*SCORES_OF_TWO).evaluate(truth, given, BINARY).scores
    undefined = scores["value"].isna()
    assert undefined.any()
    assert scores["standard_error"][undefined].isna().all()
    assert (
        len(truth) > 1 or scores["standard_error"].drop(index=[n for n in scores.index if "COUNTS" in n]).isna().all()
    )


def test_a_score_of_ones_own_takes_its_error_from_samples_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for domain, draw, spec in ((two, of_two, BINARY), (several, of_several, CLASSES)):
        monkeypatch.setattr(domain.toolkit, "_artifacts", dict(domain.toolkit._artifacts))

        @domain.score("WRONG", error="bootstrap")
        def wrong(true: Any, predicted: Any) -> Any:
            return (true != predicted).mean()

        plan: Any = two.BinaryClassificationPlan if domain is two else several.ClassificationPlan
        examples: Any = draw(400, np.random.default_rng(4))
        scores = plan.of("WRONG", "ACCURACY").evaluate(*examples, spec).scores
        assert scores["value"].sum() == pytest.approx(1.0)
        told, closed = scores["standard_error"]
        assert told == pytest.approx(closed, rel=0.25)  # 100 draws tell a deviation within 7 %
        again = plan.of("WRONG").evaluate(*examples, spec).scores
        assert again["standard_error"]["WRONG"] == told


def test_a_domain_that_cannot_draw_anew_says_so() -> None:
    numbers = Toolkit("numbers", {"it": lambda it: it})

    @numbers.score("SIZE", error="bootstrap")
    def size(it: Any) -> Any:
        return len(it)

    class Plan(ArtifactPlan[Any]):
        toolkit = numbers

    (failure,) = Plan.of("SIZE").report([1, 2]).failures.values()
    assert isinstance(failure, ConfigurationError)
    assert str(failure).startswith("toolkit numbers: cannot bootstrap\n  do this: pass Toolkit(..., bootstrap=...)")


def test_errors_are_told_in_a_report_and_only_on_request() -> None:
    truth, given = of_two(50, np.random.default_rng(5))
    plan = two.BinaryClassificationPlan.of("ACCURACY", "EXPECTED_CALIBRATION_ERROR", "SCORE_STATS")
    report = plan.evaluate(truth, given, BINARY)
    assert report.scores.loc["EXPECTED_CALIBRATION_ERROR", ["noise_floor", "standard_error"]].notna().all()
    assert '<th class="number">standard error</th>' in report.html()
    without = plan.evaluate(truth, given, BINARY, noise=False)
    assert without.scores[["noise_floor", "standard_error"]].isna().all(axis=None)
    assert "standard error" not in without.html()
