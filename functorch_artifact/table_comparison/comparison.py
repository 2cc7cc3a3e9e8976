"""A real and a synthetic table side by side, each thing about them computed once, when asked for.

Belongs here: turning tables into numbers and codes, and what every artifact reads: `Reference`,
`Comparison`, `Side`. Does not: which artifacts there are (`artifacts`), how they are drawn (`plots`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import pandas as pd

from functorch_artifact.errors import TableError
from functorch_artifact.table_comparison.associations import association_matrix
from functorch_artifact.table_comparison.distances import bin_counts, js_distance, quantile_edges
from functorch_artifact.table_comparison.projection import Projection
from functorch_artifact.table_comparison.spec import TabularSpec
from functorch_artifact.table_comparison.statistics import Floats, Ints, describe


@attrs.frozen(eq=False, slots=False)
class Side:
    """One of the two tables, as arrays; what is derived from them is computed once."""

    numbers: Mapping[str, Floats]
    """Numeric columns: float64 [n], NaN where missing."""
    codes: Mapping[str, Ints]
    """Categorical columns: int64 [n], 0 where missing, k + 1 for the category `labels[column][k]`."""
    labels: Mapping[str, tuple[Hashable, ...]]
    """Categories: the real ones first, then those that only this side has."""
    edges: Mapping[str, Floats]
    """Bins of the numeric columns, by the real side's quantiles."""
    dtypes: Mapping[str, Any]
    """The columns' pandas dtypes."""

    @property
    def n_rows(self) -> int:
        """Count the rows."""
        return len(next(iter((*self.numbers.values(), *self.codes.values()))))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The table again: its values and dtypes, in the specification's order, under an index of its own."""
        columns: dict[str, Any] = dict(self.numbers)
        for name, codes in self.codes.items():
            labels = np.empty(len(self.labels[name]) + 1, dtype=object)
            labels[1:] = self.labels[name]
            columns[name] = labels[codes]
        return pd.DataFrame({name: pd.Series(each).astype(self.dtypes[name]) for name, each in columns.items()})

    def take(self, rows: Ints, edges: Mapping[str, Floats] | None = None) -> Side:
        """Choose rows, possibly some of them often, and keep categories and bins (or give others)."""
        numbers = {name: values[rows] for name, values in self.numbers.items()}
        codes = {name: values[rows] for name, values in self.codes.items()}
        return Side(numbers, codes, self.labels, self.edges if edges is None else edges, self.dtypes)

    @cached_property
    def counts(self) -> Mapping[str, Ints]:
        """Rows by bin or by category, missing values first: int64 [k] a column."""
        binned = {name: bin_counts(values, self.edges[name]) for name, values in self.numbers.items()}
        coded = {name: np.bincount(codes, minlength=len(self.labels[name]) + 1) for name, codes in self.codes.items()}
        return binned | coded

    @cached_property
    def statistics(self) -> Mapping[str, Mapping[str, float]]:
        """Descriptive statistics by numeric column."""
        return {name: describe(values) for name, values in self.numbers.items()}

    @cached_property
    def associations(self) -> Floats:
        """Association of each two columns, float64 [c, c], in the specification's order."""
        return association_matrix(list(self.numbers.values()), list(self.codes.values()))


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
        _check(real, spec, "the real table")
        self.spec = spec
        numbers = {name: _numbers(real[name]) for name in spec.numeric}
        self.side = Side(
            numbers,
            *_encode(real, dict.fromkeys(spec.categorical, ()), "the real table"),
            _edges(numbers, spec),
            _dtypes(real, spec),
        )

    @classmethod
    def of(cls, side: Side, spec: TabularSpec) -> Reference:
        """Make a reference of a side, without a table."""
        reference = cls.__new__(cls)
        reference.spec, reference.side = spec, side
        return reference

    @cached_property
    def projection(self) -> Projection:
        """Principal components of the real side."""
        return Projection.fit(self.side.numbers, self.side.codes)

    def compare(self, synthetic: pd.DataFrame) -> Comparison:
        """Put a synthetic table beside the real one.

        Raises:
            TableError: the table is empty or differs from the specification.
        """
        _check(synthetic, self.spec, "the synthetic table")
        side = Side(
            {name: _numbers(synthetic[name]) for name in self.spec.numeric},
            *_encode(synthetic, self.side.labels, "the synthetic table"),
            self.side.edges,
            _dtypes(synthetic, self.spec),
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
        edges = _edges({name: values[rows] for name, values in self.real.numbers.items()}, self.spec)
        return Comparison(Reference.of(self.real.take(rows, edges), self.spec), self.real.take(drawn, edges))

    @cached_property
    def js_distances(self) -> dict[str, float]:
        """Jensen-Shannon distance, base 2, by column.

        Over bins of the real quantiles or over the union of categories; missing values are a bin,
        or a category, of their own, and so is what lies below or above all real values.
        """
        real, synthetic = self.real.counts, self.synthetic.counts
        return {name: js_distance(real[name], synthetic[name]) for name in self.spec.columns}

    @property
    def correlation_distance(self) -> float:
        """Mean absolute difference of the two association matrices over all pairs of columns.

        0 to 2 (to 1 for pairs with a categorical column); 0 where there is no pair.
        """
        pairs = np.triu_indices(len(self.spec.columns), 1)
        difference = np.abs(self.real.associations[pairs] - self.synthetic.associations[pairs])
        return float(difference.mean()) if difference.size else 0.0


def _check(frame: Any, spec: TabularSpec, what: str) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise TableError("is no table", where=what, expected="a pandas DataFrame", got=type(frame).__name__)
    spec.validate(frame, what)
    if frame.empty:
        raise TableError("is empty", where=what, expected="at least one row", got="0 rows")


def _edges(numbers: Mapping[str, Floats], spec: TabularSpec) -> dict[str, Floats]:
    return {name: quantile_edges(values, spec.n_bins) for name, values in numbers.items()}


def _dtypes(frame: pd.DataFrame, spec: TabularSpec) -> dict[str, Any]:
    dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
    return {name: dtypes[name] for name in spec.columns}


def _numbers(column: pd.Series[Any]) -> Floats:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _encode(
    frame: pd.DataFrame, labels: Mapping[str, tuple[Hashable, ...]], what: str
) -> tuple[dict[str, Ints], dict[str, tuple[Hashable, ...]]]:
    """Encode categorical columns; categories not yet in `labels` are added behind them."""
    codes: dict[str, Ints] = {}
    extended: dict[str, tuple[Hashable, ...]] = {}
    for name, known in labels.items():
        try:
            own_codes, own_labels = pd.factorize(frame[name])
        except TypeError as error:
            raise TableError(
                "has values that cannot be categories", where=f"{what}, column {name!r}", expected="hashable", got=error
            ) from error
        # Equal values are one category whatever their type, as 1, 1.0 and True are.
        places: dict[Hashable, int] = {label: place for place, label in enumerate(known, start=1)}
        translation = [places.setdefault(label, len(places) + 1) for label in own_labels.astype(object)]
        codes[name] = np.array([*translation, 0], dtype=np.int64)[own_codes]  # code -1, missing, takes the last
        extended[name] = tuple(places)
    return codes, extended
