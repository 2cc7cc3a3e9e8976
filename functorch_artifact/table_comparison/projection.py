"""Principal components of tables with mixed columns.

Belongs here: `Projection`. Does not: drawing it.
Floor 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import attrs
import numpy as np

from functorch_artifact.table_comparison.statistics import Floats, Ints

_MOST_CATEGORIES: Final = 20


@attrs.frozen(eq=False)
class Projection:
    """Map tables to the first two principal components of one of them.

    Numeric columns are standardised by that table's mean and standard deviation; what is missing
    or infinite stands at the mean. Each of the 20 most frequent categories of a column is an
    indicator, centred and divided by the square root of 2, so that two rows that differ in one
    category lie at distance 1; all other categories have none.
    """

    centre: Mapping[str, float]
    scale: Mapping[str, float]
    categories: Mapping[str, Ints]  # codes that have an indicator
    mean: Floats  # [features]
    components: Floats  # [2, features]
    explained: tuple[float, float]
    """Share of the variance that each component explains."""

    @classmethod
    def fit(cls, numbers: Mapping[str, Floats], codes: Mapping[str, Ints]) -> Self:
        """Find the components, as `sklearn.decomposition.PCA` does; the largest entry of each is positive."""
        finite = {name: values[np.isfinite(values)] for name, values in numbers.items()}
        spread = {name: float(values.std()) if values.size else 0.0 for name, values in finite.items()}
        empty: Any = np.empty(0)
        unfitted = cls(
            centre={name: float(values.mean()) if values.size else 0.0 for name, values in finite.items()},
            scale={name: value or 1.0 for name, value in spread.items()},
            categories={name: _commonest(each) for name, each in codes.items()},
            mean=empty,
            components=empty,
            explained=(0.0, 0.0),
        )
        features = unfitted._features(numbers, codes)
        mean = features.mean(axis=0)
        # The eigenvectors of the covariance: far cheaper than the SVD of a long table.
        variances, vectors = np.linalg.eigh((features - mean).T @ (features - mean) / len(features))
        components = np.zeros((2, features.shape[1]))
        components[: vectors.shape[1]] = vectors.T[::-1][:2]
        negative = components.max(axis=1, initial=0.0) < -components.min(axis=1, initial=0.0)
        shares = np.zeros(2)
        shares[: len(variances)] = np.maximum(variances[::-1][:2], 0.0) / (variances.sum() or 1.0)
        return attrs.evolve(
            unfitted,
            mean=mean,
            components=components * np.where(negative, -1.0, 1.0)[:, None],
            explained=(float(shares[0]), float(shares[1])),
        )

    def __call__(self, numbers: Mapping[str, Floats], codes: Mapping[str, Ints]) -> Floats:
        """Project a table: float64 [n, 2]."""
        return (self._features(numbers, codes) - self.mean) @ self.components.T

    def _features(self, numbers: Mapping[str, Floats], codes: Mapping[str, Ints]) -> Floats:
        standardised = [
            np.where(np.isfinite(values), (values - self.centre[name]) / self.scale[name], 0.0)[:, None]
            for name, values in numbers.items()
        ]
        indicators = [(each[:, None] == self.categories[name]) / np.sqrt(2.0) for name, each in codes.items()]
        return np.concatenate([*standardised, *indicators], axis=1)


def _commonest(codes: Ints) -> Ints:
    counts = np.bincount(codes)[1:]
    return np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES] + 1
