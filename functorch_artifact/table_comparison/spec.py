"""Which columns a table has, and of which kind each is.

Belongs here: `TabularSpec`, its inference from a table and its check of one. Does not: what is
computed from the columns.
Floor 6.

| kind | inferred from | may be declared of |
|---|---|---|
| numeric | integers, floats (nullable ones included), datetimes and timedeltas, as seconds | booleans as well |
| categorical | booleans, strings, objects, categoricals | any dtype |

Other dtypes are never guessed: convert them to numbers, or declare them categorical.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import attrs
import pandas as pd
from pandas.api import types

from functorch_artifact.errors import TableError


def _names(columns: Iterable[str]) -> tuple[str, ...]:
    if isinstance(columns, str):
        raise TableError("is one name, not a list of names", where=f"columns {columns!r}", fix=f"write [{columns!r}]")
    return tuple(columns)


@attrs.frozen
class TabularSpec:
    """Name a table's columns by kind; the order of columns in a table does not matter.

    Args:
        numeric: columns of numbers.
        categorical: columns of categories.
        n_bins: quantile bins of a real numeric column in Jensen-Shannon distances.

    Raises:
        TableError: there is no column, a name is not a string or stands twice, or `n_bins` is
            below 1.

    Example:
        >>> import pandas as pd
        >>> TabularSpec.from_frame(pd.DataFrame({"age": [31, 54], "city": ["Rome", "Bern"]}))
        TabularSpec(numeric=('age',), categorical=('city',), n_bins=20)
    """

    numeric: tuple[str, ...] = attrs.field(default=(), converter=_names)
    categorical: tuple[str, ...] = attrs.field(default=(), converter=_names)
    n_bins: int = 20

    def __attrs_post_init__(self) -> None:
        problem: tuple[str, object] | None = None
        if not self.columns:
            problem = "has no columns", "()"
        elif foreign := [name for name in self.columns if not isinstance(name, str)]:
            problem = "has column names that are not strings", foreign
        elif len(set(self.columns)) < len(self.columns):
            problem = "names columns twice", sorted({n for n in self.columns if self.columns.count(n) > 1})
        elif self.n_bins < 1:
            problem = "has no bins", f"n_bins={self.n_bins}"
        if problem:
            raise TableError(problem[0], where="TabularSpec", got=problem[1])

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the numeric ones first."""
        return self.numeric + self.categorical

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        numeric: Iterable[str] | None = None,
        categorical: Iterable[str] | None = None,
        n_bins: int = 20,
    ) -> Self:
        """Infer the kinds of a table's columns from their dtypes.

        Args:
            frame: a table, with or without rows.
            numeric: columns to take as numeric whatever their dtype suggests.
            categorical: columns to take as categorical, e.g. integer codes.
            n_bins: as for the class.

        Raises:
            TableError: a name is not a column or has both kinds, or a column's dtype suggests no
                kind (a complex one), or the table does not fit the result.
        """
        declared = {"numeric": _names(numeric or ()), "categorical": _names(categorical or ())}
        if unknown := sorted({*declared["numeric"], *declared["categorical"]} - set(frame.columns)):
            raise TableError("names unknown columns", where="TabularSpec", expected=list(frame.columns), got=unknown)
        if both := sorted(set(declared["numeric"]) & set(declared["categorical"])):
            raise TableError("declares columns numeric and categorical at once", where="TabularSpec", got=both)
        kinds = {
            name: next((kind for kind, names in declared.items() if name in names), None) or _infer(name, dtype)
            for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
        }
        spec = cls(
            numeric=[name for name, kind in kinds.items() if kind == "numeric"],
            categorical=[name for name, kind in kinds.items() if kind == "categorical"],
            n_bins=n_bins,
        )
        spec.validate(frame, "the table")
        return spec

    def validate(self, frame: pd.DataFrame, what: str) -> None:
        """Check that a table has these columns, of these kinds.

        Args:
            frame: the table.
            what: how to call it in the error.

        Raises:
            TableError: columns are missing, unexpected, there twice, or of another kind.
        """
        names = list(frame.columns)
        faults = {
            "columns missing": [name for name in self.columns if name not in names],
            "columns unexpected": [name for name in names if name not in self.columns],
            "columns there twice": sorted({name for name in names if names.count(name) > 1}, key=str),
        }
        if not any(faults.values()):
            dtypes = dict(zip(names, frame.dtypes, strict=True))
            faults = {"not numeric": [f"{n!r} of dtype {dtypes[n]}" for n in self.numeric if not _is_number(dtypes[n])]}
        if any(faults.values()):
            raise TableError(
                "differs from its specification",
                where=what,
                expected=f"numeric {list(self.numeric)}, categorical {list(self.categorical)}",
                got="; ".join(f"{fault}: {', '.join(map(str, found))}" for fault, found in faults.items() if found),
                fix="give the columns these names and kinds, or infer a specification with TabularSpec.from_frame",
            )


def _is_number(dtype: Any) -> bool:
    moment = types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype)
    return moment or (types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype))


def _infer(name: str, dtype: Any) -> str:
    if types.is_bool_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype) or types.is_object_dtype(dtype):
        return "categorical"
    if types.is_string_dtype(dtype):
        return "categorical"
    if _is_number(dtype):
        return "numeric"
    raise TableError(
        f"has the dtype {dtype}, which suggests no kind",
        where=f"column {name!r}",
        expected="numbers, datetimes, booleans, strings, objects or categoricals",
        fix="convert it to numbers, or declare it: TabularSpec.from_frame(frame, categorical=[...])",
    )
