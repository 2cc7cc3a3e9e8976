"""One of two tables, as arrays.

Belongs here: turning a table into numbers and codes, and what is derived from one table alone.
Does not: what needs both (`comparison`).
Floor 6.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import pandas as pd
from pandas.api import types

from functorch_artifact.errors import TableError
from functorch_artifact.metrics.statistics import Floats, Ints, describe
from functorch_artifact.table_comparison.associations import CategoricalMeasure, NumericMeasure, association_matrix
from functorch_artifact.table_comparison.distances import bin_counts, quantile_edges
from functorch_artifact.table_comparison.spec import TabularSpec


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
        columns: dict[str, Any] = {name: column_of(each, self.dtypes[name]) for name, each in self.numbers.items()}
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
    def sorted(self) -> Mapping[str, Floats]:
        """Known values of the numeric columns, infinities among them, in ascending order."""
        return {name: np.sort(values[~np.isnan(values)]) for name, values in self.numbers.items()}

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
    def missing(self) -> Mapping[str, float]:
        """Share of rows where a column is missing, by column."""
        missing = {name: float(np.isnan(values).mean()) for name, values in self.numbers.items()}
        return missing | {name: float((codes == 0).mean()) for name, codes in self.codes.items()}

    @property
    def associations(self) -> Floats:
        """Association of each two columns, float64 [c, c], in the specification's order."""
        return self.associate()

    def associate(self, categorical: CategoricalMeasure = "CRAMERS_V", numeric: NumericMeasure = "PEARSON") -> Floats:
        """Measure the association of each two columns, as `associations.association_matrix` does."""
        found = self._associations.get((categorical, numeric))
        if found is None:
            found = association_matrix(list(self.numbers.values()), list(self.codes.values()), categorical, numeric)
            self._associations[categorical, numeric] = found
        return found

    @cached_property
    def _associations(self) -> dict[tuple[str, str], Floats]:
        return {}


def check(frame: Any, spec: TabularSpec, what: str) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise TableError("is no table", where=what, expected="a pandas DataFrame", got=type(frame).__name__)
    spec.validate(frame, what)
    if frame.empty:
        raise TableError("is empty", where=what, expected="at least one row", got="0 rows")


def edges_of(numbers: Mapping[str, Floats], spec: TabularSpec) -> dict[str, Floats]:
    return {name: quantile_edges(values, spec.n_bins) for name, values in numbers.items()}


def dtypes_of(frame: pd.DataFrame, spec: TabularSpec) -> dict[str, Any]:
    dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
    return {name: dtypes[name] for name in spec.columns}


def numbers_of(column: pd.Series[Any]) -> Floats:
    """Take a column as numbers; datetimes are seconds since 1970 (UTC), timedeltas seconds."""
    if types.is_datetime64_any_dtype(column.dtype):
        column = column - pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))
    if types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def column_of(numbers: Floats, dtype: Any) -> pd.Series[Any]:
    """Take numbers as the column they were made of."""
    if types.is_datetime64_any_dtype(dtype):
        return pd.to_datetime(pd.Series(numbers), unit="s", utc=getattr(dtype, "tz", None) is not None).astype(dtype)
    if types.is_timedelta64_dtype(dtype):
        return pd.to_timedelta(pd.Series(numbers), unit="s").astype(dtype)
    return pd.Series(numbers)


def encode(
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
