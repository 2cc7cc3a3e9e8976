"""Scores that train a classifier or a regressor.

Belongs here: the detection score and utility (train on synthetic, test on real). Does not: scores
without learning (`columns`, `rows`).
Floor 6. It needs scikit-learn, the extra `artifacts`.

Learners are scikit-learn's histogram gradient boosting: it takes missing values and categories as
they are. Infinities, and numbers that lie further beyond the real ones than ten times their range,
are put there.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

from functorch_artifact.errors import ConfigurationError, MissingExtraError
from functorch_artifact.metrics.statistics import Floats, Ints
from functorch_artifact.records import Score
from functorch_artifact.table_comparison.comparison import Comparison
from functorch_artifact.table_comparison.rows import sample
from functorch_artifact.table_comparison.sides import Side

_MOST_CATEGORIES: Final = 254  # that the learners tell apart; rarer ones are one category
_FEWEST: Final = 10  # rows of a side, below which nothing can be learnt


def detection_score(
    comparison: Comparison,
    learner: Literal["boosting", "logistic"] = "boosting",
    n_folds: int = 3,
    n_rows: int = 5000,
    seed: int = 0,
) -> Score:
    """Measure how well a classifier tells real rows from synthetic ones: its cross-validated ROC AUC.

    0.5 is chance, what a perfect model comes to; 1 means that every row gives itself away; copies of
    real rows come to less than 0.5, for the classifier learns the other answer for them. The
    classifier two-sample test of Lopez-Paz and Oquab (2017), by rank instead of by accuracy.

    Args:
        comparison: the two tables.
        learner: gradient boosting, or logistic regression on standardised numbers and indicators
            of categories, which sees columns one by one.
        n_folds: folds of the cross-validation.
        n_rows: rows of a side at most.
        seed: which rows, which folds.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ConfigurationError: there is no such learner.
    """
    _sklearn("the detection score")
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    random = np.random.default_rng(seed)
    sides = [side.take(sample(side.n_rows, n_rows, random)) for side in (comparison.real, comparison.synthetic)]
    if min(side.n_rows for side in sides) < max(_FEWEST, n_folds):
        return Score(float("nan"), f"needs at least {max(_FEWEST, n_folds)} rows of either side")
    codes = _Codes(comparison.real, comparison.synthetic)
    features = np.concatenate([codes.features(side) for side in sides])
    synthetic = np.repeat([0, 1], [side.n_rows for side in sides])
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    model = codes.classifier(seed) if learner == "boosting" else codes.logistic() if learner == "logistic" else None
    if model is None:
        raise ConfigurationError("is not a learner", where="learner", expected="boosting or logistic", got=learner)
    told = np.asarray(cross_val_predict(model, features, synthetic, cv=folds, method="predict_proba"))
    return Score(float(roc_auc_score(synthetic, told[:, 1])))


def utility(
    comparison: Comparison, target: str | None = None, n_rows: int = 20_000, seed: int = 0
) -> dict[str, float | Score]:
    """Train on synthetic rows, test on real ones; beside it, train on real rows.

    A fifth of the real rows is for testing; of the others as many are trained on as there are
    synthetic ones at most. A categorical target is judged by accuracy, a numeric one by R2; rows
    where it is missing are left out.

    Args:
        comparison: the two tables.
        target: the column to predict from all others, by default the specification's last.
        n_rows: rows to train on at most.
        seed: which rows.

    Returns:
        `train_on_synthetic`, `train_on_real`, and `gap`, the second less the first.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ConfigurationError: `target` is not a column, or it is the only one.
    """
    _sklearn("utility")
    spec = comparison.spec
    target = spec.columns[-1] if target is None else target
    if target not in spec.columns or len(spec.columns) < 2:
        raise ConfigurationError(
            "cannot be predicted", where=f"target {target!r}", expected=f"one of several columns, {list(spec.columns)}"
        )
    random = np.random.default_rng(seed)
    real, synthetic = (_known(side, target) for side in (comparison.real, comparison.synthetic))
    order = sample(real.n_rows, real.n_rows, random)
    test, rest = real.take(order[: len(order) // 5]), real.take(order[len(order) // 5 :])
    made = synthetic.take(sample(synthetic.n_rows, n_rows, random))
    rest = rest.take(np.arange(min(rest.n_rows, max(made.n_rows, 1), n_rows)))
    codes = _Codes(comparison.real, comparison.synthetic, without=target)
    found = {
        name: _tested(codes, train, test, target, seed)
        for name, train in (("train_on_synthetic", made), ("train_on_real", rest))
    }
    return {**found, "gap": found["train_on_real"].value - found["train_on_synthetic"].value}


def _tested(codes: _Codes, train: Side, test: Side, target: str, seed: int) -> Score:
    if min(train.n_rows, test.n_rows) < _FEWEST:
        return Score(float("nan"), f"needs at least {_FEWEST} rows where {target!r} is known")
    features, asked = codes.features(train), codes.features(test)
    if target in train.codes:
        answers, truth = train.codes[target], test.codes[target]
        if (answers == answers[0]).all():
            return Score(float((truth == answers[0]).mean()))
        predicted = codes.classifier(seed).fit(features, answers).predict(asked)
        return Score(float((predicted == truth).mean()))
    measured, actual = train.numbers[target], test.numbers[target]
    spread = float(np.square(actual - actual.mean()).sum())
    if spread == 0.0:
        return Score(float("nan"), f"{target!r} is constant in the rows to test on")
    errors = actual - codes.regressor(seed).fit(features, measured).predict(asked)
    return Score(1.0 - float(np.square(errors).sum()) / spread)


class _Codes:
    """How rows become features: numbers as they are, categories by the rank of their frequency."""

    def __init__(self, real: Side, synthetic: Side, without: str | None = None) -> None:
        self.numeric = [name for name in real.numbers if name != without]
        self.categorical = [name for name in real.codes if name != without]
        self.limits = {name: _limits(real.numbers[name]) for name in self.numeric}
        self.ranks: dict[str, Ints] = {}
        for name in self.categorical:
            counts = np.bincount(real.codes[name], minlength=len(synthetic.labels[name]) + 1)
            counts[: len(synthetic.counts[name])] += synthetic.counts[name]
            ranks = np.empty(len(counts), dtype=np.int64)
            ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
            self.ranks[name] = np.minimum(ranks, _MOST_CATEGORIES)

    def features(self, side: Side) -> Floats:
        """Make features: float64 [n, p + q], NaN where a number is missing."""
        columns: list[Floats] = [np.clip(side.numbers[name], *self.limits[name]) for name in self.numeric]
        columns += [self.ranks[name][side.codes[name]].astype(np.float64) for name in self.categorical]
        return np.stack(columns, axis=1)

    def classifier(self, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**self._options(seed))

    def regressor(self, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(**self._options(seed))

    def logistic(self) -> Any:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        p = len(self.numeric)
        numbers = make_pipeline(SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler())
        columns = ColumnTransformer(
            [
                ("numbers", numbers, list(range(p))),
                ("categories", OneHotEncoder(handle_unknown="ignore"), list(range(p, p + len(self.categorical)))),
            ]
        )
        return make_pipeline(columns, LogisticRegression(max_iter=200))

    def _options(self, seed: int) -> dict[str, Any]:
        p, q = len(self.numeric), len(self.categorical)
        mask = [False] * p + [True] * q
        return {
            "categorical_features": mask if q else None,
            "max_iter": 60,
            "early_stopping": False,
            "random_state": seed,
        }


def _limits(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return -1e9, 1e9
    low, high = float(finite.min()), float(finite.max())
    margin = min(10.0 * (high - low), 1e100) or max(abs(low), 1.0)
    return max(low - margin, -1e200), min(high + margin, 1e200)


def _known(side: Side, target: str) -> Side:
    known = np.isfinite(side.numbers[target]) if target in side.numbers else side.codes[target] > 0
    return side.take(np.flatnonzero(known))


def _sklearn(purpose: str) -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("scikit-learn", extra="artifacts", purpose=purpose) from error
