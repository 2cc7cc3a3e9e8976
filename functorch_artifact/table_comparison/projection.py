"""Rows of tables with mixed columns as points in a plane.

Belongs here: `Projection` (principal components, truncated SVD) and the neighbour embedding.
Does not: drawing them (`overviews`).
Floor 6.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self, cast

import attrs
import numpy as np

from functorch_artifact.errors import MissingExtraError
from functorch_artifact.metrics.statistics import Floats, Ints

_MOST_CATEGORIES: Final = 20
_BLOCK: Final = 65_536
_LARGEST: Final = sys.float_info.max


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
    def fit(
        cls, numbers: Mapping[str, Floats], codes: Mapping[str, Ints], *, centred: bool = True, categories: bool = True
    ) -> Self:
        """Find the components; the largest entry of each is positive.

        Args:
            numbers: numeric columns, float64 [n] each.
            codes: categorical columns, int64 [n] each.
            centred: whether to subtract the mean: as `sklearn.decomposition.PCA` with it, as
                `TruncatedSVD` without.
            categories: whether categories count; they do if there is nothing else.
        """
        finite = {name: values[np.isfinite(values)] for name, values in numbers.items()}
        unit = {name: _unit(values) for name, values in finite.items()}
        centre = {name: float((values / unit[name]).mean()) if values.size else 0.0 for name, values in finite.items()}
        spread = {name: float((values / unit[name]).std()) if values.size else 0.0 for name, values in finite.items()}
        empty: Any = np.empty(0)
        unfitted = cls(
            centre={name: value * unit[name] for name, value in centre.items()},
            scale={name: value * unit[name] or 1.0 for name, value in spread.items()},
            categories={name: _commonest(each) for name, each in codes.items() if categories or not numbers},
            mean=empty,
            components=empty,
            explained=(0.0, 0.0),
        )
        n = len(next(iter((*numbers.values(), *codes.values()))))
        average: Floats = np.stack([block.sum(axis=0) for block in unfitted._blocks(numbers, codes, n)]).sum(axis=0) / n
        mean = average if centred else np.zeros_like(average)
        products = np.zeros((len(mean), len(mean)))
        for block in unfitted._blocks(numbers, codes, n):
            products += (block - mean).T @ (block - mean)
        # The eigenvectors of the covariance: far cheaper than the SVD of a long table.
        variances, vectors = np.linalg.eigh(products / n)
        components = np.zeros((2, len(mean)))
        components[: vectors.shape[1]] = vectors.T[::-1][:2]
        negative = components.max(axis=1, initial=0.0) < -components.min(axis=1, initial=0.0)
        # What the mean explains is no variance; with centring, there is none of it.
        offset = average - mean
        along = np.zeros(2)
        along[: len(variances)] = variances[::-1][:2]
        whole = float(variances.sum() - offset @ offset)
        shares = np.clip((along - (components @ offset) ** 2) / (whole if whole > 0.0 else 1.0), 0.0, 1.0)
        return attrs.evolve(
            unfitted,
            mean=mean,
            components=components * np.where(negative, -1.0, 1.0)[:, None],
            explained=(float(shares[0]), float(shares[1])),
        )

    def __call__(self, numbers: Mapping[str, Floats], codes: Mapping[str, Ints]) -> Floats:
        """Project a table: float64 [n, 2]."""
        return (self.features(numbers, codes) - self.mean) @ self.components.T

    def features(self, numbers: Mapping[str, Floats], codes: Mapping[str, Ints]) -> Floats:
        """Make the coordinates that are projected: float64 [n, features]."""
        standardised = [
            self._standardised(name, np.where(np.isfinite(values), values, self.centre[name]))[:, None]
            for name, values in numbers.items()
        ]
        indicators = [(codes[name][:, None] == each) / np.sqrt(2.0) for name, each in self.categories.items()]
        return np.concatenate([*standardised, *indicators], axis=1)

    def _standardised(self, name: str, values: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.clip(values - self.centre[name], -_LARGEST, _LARGEST) / self.scale[name]

    def _blocks(self, numbers: Mapping[str, Floats], codes: Mapping[str, Ints], n: int) -> Iterator[Floats]:
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            yield self.features(
                {name: each[rows] for name, each in numbers.items()}, {name: each[rows] for name, each in codes.items()}
            )


def neighbour_embedding(
    sides: Sequence[Floats], perplexity: float, learning_rate: float | str, max_iter: int
) -> list[Floats]:
    """Embed rows of several tables jointly in a plane, by scikit-learn's t-SNE: float64 [n, 2] each.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtraError("scikit-learn", extra="artifacts", purpose="t-SNE") from error
    features = np.concatenate(sides)
    if len(features) < 4:
        return [np.zeros((len(each), 2)) for each in sides]
    model: Any = TSNE(
        perplexity=min(perplexity, (len(features) - 1) / 3), learning_rate=cast(Any, learning_rate), max_iter=max_iter,
        init="pca" if features.shape[1] > 1 else "random", random_state=0,
    )  # fmt: skip
    placed = np.asarray(model.fit_transform(features), dtype=np.float64)
    return np.split(placed, np.cumsum([len(each) for each in sides])[:-1])


def _commonest(codes: Ints) -> Ints:
    counts = np.bincount(codes)[1:]
    return np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES] + 1


def _unit(values: Floats) -> float:
    """Choose a power of two, by which dividing changes no bit, so that sums of squares do not overflow."""
    largest = float(np.abs(values).max(initial=0.0))
    return 1.0 if largest < 1e150 else math.ldexp(1.0, math.frexp(largest)[1] - 1)
