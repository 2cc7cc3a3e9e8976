"""A real and a synthetic table side by side, each thing about them computed once, when asked for.

Belongs here: what every artifact reads, `Reference` and `Comparison`. Does not: what concerns one
table alone (`sides`), which artifacts there are (`artifacts`), how they are drawn (`plots`).
Floor 6.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, TypeAlias

import attrs
import numpy as np
import pandas as pd

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.metrics.statistics import Floats
from functorch_artifact.table_comparison.associations import CategoricalMeasure, NumericMeasure
from functorch_artifact.table_comparison.distances import bin_counts, js_distance, quantile_edges
from functorch_artifact.table_comparison.projection import Projection
from functorch_artifact.table_comparison.sides import Side, check, dtypes_of, edges_of, encode, numbers_of
from functorch_artifact.table_comparison.spec import TabularSpec

VectorDistance: TypeAlias = Literal["MAE", "RMSE", "L2", "COSINE_SIMILARITY"]


class Reference:
    """The real side, prepared once for many synthetic tables.

    Args:
        real: the real table; it is read here and never again.
        spec: its columns.

    Raises:
        TableError: the table is empty or differs from `spec`.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"age": [30, 40, 50, 60], "city": ["Rome", "Bern", "Bern", "Rome"]})
        >>> reference = Reference(real, TabularSpec.from_frame(real))
        >>> reference.compare(real).js_distances
        {'age': 0.0, 'city': 0.0}
    """

    def __init__(self, real: pd.DataFrame, spec: TabularSpec) -> None:
        check(real, spec, "the real table")
        self.spec = spec
        numbers = {name: numbers_of(real[name]) for name in spec.numeric}
        self.side = Side(
            numbers,
            *encode(real, dict.fromkeys(spec.categorical, ()), "the real table"),
            edges_of(numbers, spec),
            dtypes_of(real, spec),
        )

    @classmethod
    def of(cls, side: Side, spec: TabularSpec) -> Reference:
        """Make a reference of a side, without a table."""
        reference = cls.__new__(cls)
        reference.spec, reference.side = spec, side
        return reference

    @property
    def projection(self) -> Projection:
        """Principal components of the real side."""
        return self.project()

    def project(self, centred: bool = True, categories: bool = True) -> Projection:
        """Find the real side's principal components, or its singular vectors; see `Projection.fit`."""
        key = centred, categories
        if key not in self._projections:
            self._projections[key] = Projection.fit(
                self.side.numbers, self.side.codes, centred=centred, categories=categories
            )
        return self._projections[key]

    @cached_property
    def _projections(self) -> dict[tuple[bool, bool], Projection]:
        return {}

    def compare(self, synthetic: pd.DataFrame) -> Comparison:
        """Put a synthetic table beside the real one.

        Raises:
            TableError: the table is empty or differs from the specification.
        """
        check(synthetic, self.spec, "the synthetic table")
        side = Side(
            {name: numbers_of(synthetic[name]) for name in self.spec.numeric},
            *encode(synthetic, self.side.labels, "the synthetic table"),
            self.side.edges,
            dtypes_of(synthetic, self.spec),
        )
        return Comparison(self, side)


@attrs.frozen(eq=False, slots=False)
class Comparison:
    """What every artifact is a pure function of."""

    reference: Reference
    synthetic: Side

    @property
    def spec(self) -> TabularSpec:
        """The columns of both tables."""
        return self.reference.spec

    @property
    def real(self) -> Side:
        """The real side."""
        return self.reference.side

    def resample(self, seed: int) -> Comparison:
        """Draw both tables anew from the real one: what a perfect synthesizer would have come to.

        Rows are drawn with replacement, as many a side as there are, so the values that artifacts
        take on the result are noise.
        """
        random = np.random.default_rng((seed, 0x7AB1E))
        n = self.real.n_rows
        rows, drawn = random.integers(0, n, n), random.integers(0, n, self.synthetic.n_rows)
        edges = edges_of({name: values[rows] for name, values in self.real.numbers.items()}, self.spec)
        return Comparison(Reference.of(self.real.take(rows, edges), self.spec), self.real.take(drawn, edges))

    @cached_property
    def js_distances(self) -> dict[str, float]:
        """Jensen-Shannon distance, base 2, by column.

        Over bins of the real quantiles or over the union of categories; missing values are a bin,
        or a category, of their own, and so is what lies below or above all real values.
        """
        real, synthetic = self.real.counts, self.synthetic.counts
        return {name: js_distance(real[name], synthetic[name]) for name in self.spec.columns}

    def js(self, n_bins: int | None = None, categorical_only: bool = False) -> dict[str, float]:
        """Measure `js_distances` over another number of bins, or of the categorical columns alone."""
        names = self.spec.categorical if categorical_only else self.spec.columns
        if n_bins is None or n_bins == self.spec.n_bins:
            return {name: self.js_distances[name] for name in names}
        found = {}
        for name in names:
            if name in self.spec.numeric:
                sides = self.real.numbers[name], self.synthetic.numbers[name]
                edges = quantile_edges(sides[0], n_bins)
                found[name] = js_distance(bin_counts(sides[0], edges), bin_counts(sides[1], edges))
            else:
                found[name] = self.js_distances[name]
        return found

    @property
    def correlation_distance(self) -> float:
        """Mean absolute difference of the two association matrices over all pairs of columns.

        0 to 2 (to 1 for pairs with a categorical column); 0 where there is no pair.
        """
        return self.association_distance()

    def association_distance(
        self,
        categorical: CategoricalMeasure = "CRAMERS_V",
        numeric: NumericMeasure = "PEARSON",
        metric: VectorDistance = "MAE",
    ) -> float:
        """Measure how far the two association matrices are apart, off the diagonal.

        Raises:
            ConfigurationError: there is no such metric.
        """
        pairs = ~np.eye(len(self.spec.columns), dtype=bool)
        real, synthetic = (side.associate(categorical, numeric)[pairs] for side in (self.real, self.synthetic))
        if not real.size:
            return 0.0
        return _vector_distance(real, synthetic, metric)


def _vector_distance(left: Floats, right: Floats, metric: VectorDistance) -> float:
    if metric == "MAE":
        return float(np.abs(left - right).mean())
    if metric == "RMSE":
        return float(np.sqrt(np.mean((left - right) ** 2)))
    if metric == "L2":
        return float(np.linalg.norm(left - right))
    if metric == "COSINE_SIMILARITY":
        length = float(np.linalg.norm(left) * np.linalg.norm(right))
        return float(left @ right / length) if length else float("nan")
    raise ConfigurationError(
        "is not a distance of vectors",
        where="vector_distance_metric",
        expected="MAE, RMSE, L2 or COSINE_SIMILARITY",
        got=metric,
    )
