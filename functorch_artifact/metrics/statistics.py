"""Descriptive statistics of one column of numbers.

Belongs here: `describe`, and the short names that parameters and keys have for statistics.
Does not: placing statistics side by side.
Floor 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from functorch_artifact.errors import UndefinedError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

SHORT_NAMES: Final[Mapping[str, str]] = {
    "MEAN": "MEAN",
    "STD": "STD",
    "VARIANCE": "VARIANCE",
    "MEDIAN": "MEDIAN",
    "Q1": "FIRST_QUARTILE",
    "Q3": "THIRD_QUARTILE",
    "MIN": "MIN",
    "MAX": "MAX",
}
"""Statistics by their short names."""

_QUARTILES: Final = (0.25, 0.5, 0.75)


def describe(values: Floats) -> dict[str, float]:
    """Describe float64 [n], NaN where a value is missing.

    Missing values are left out, infinities are not. Standard deviation and variance are of the
    sample (divisor n - 1), quartiles interpolate linearly: as `pandas.Series.describe`. A
    statistic that is undefined is NaN.

    Example:
        >>> import numpy as np
        >>> describe(np.array([1.0, 2.0, 6.0]))["MEAN"]
        3.0
    """
    known: npt.NDArray[Any] = values[~np.isnan(values)]
    if known.size == 0:
        known = np.array([np.nan])
    with np.errstate(invalid="ignore", over="ignore"):
        variance = known.var(ddof=1) if known.size > 1 else np.nan
        first, median, third = np.quantile(known, _QUARTILES)
        described = {
            "MEAN": known.mean(),
            "STD": np.sqrt(variance),
            "VARIANCE": variance,
            "MEDIAN": median,
            "FIRST_QUARTILE": first,
            "THIRD_QUARTILE": third,
            "MIN": known.min(),
            "MAX": known.max(),
        }
    return {name: float(value) for name, value in described.items()}


def statistic(described: Mapping[str, float], short_name: str) -> float:
    """Pick one statistic of what `describe` gives.

    Raises:
        UndefinedError: it has no value.
    """
    value = described[SHORT_NAMES[short_name]]
    if np.isnan(value):
        raise UndefinedError("there is no example" if np.isnan(described["MEAN"]) else "one example has no spread")
    return value
