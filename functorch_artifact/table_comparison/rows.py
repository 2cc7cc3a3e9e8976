"""Rows of tables as points, and how near they are to each other.

Belongs here: rows as features for distances and for learners, distances to the closest record.
Does not: classifiers (`learners`), pictures of points (`projection`).
Floor 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from functorch_artifact.metrics.statistics import Floats, Ints
from functorch_artifact.records import Score
from functorch_artifact.table_comparison.comparison import Comparison
from functorch_artifact.table_comparison.sides import Side

_BLOCK: Final = 1024
TOO_CLOSE: Final = 0.05
"""Share of real rows that are nearer to a record than what counts as too close."""


def sample(n: int, most: int, random: np.random.Generator) -> Ints:
    """Choose at most so many of `n` rows, in random order, without repetition."""
    return random.permutation(n)[:most]


def closest_record(comparison: Comparison, n_rows: int = 4000, seed: int = 0) -> dict[str, float | Score]:
    """Compare how close synthetic rows come to real ones with how close real ones come to each other.

    Half of the real rows (at most `n_rows`) are the records; the other half says how close rows
    come that were not copied from them. Two rows are at a distance of the root of the sum of the
    squared differences of the numeric columns, standardised, and of 1 for each categorical column
    that differs; a missing number stands at 0, and differs by 1 more from a known one.

    Args:
        comparison: the two tables.
        n_rows: rows of each kind at most.
        seed: which rows.

    Returns:
        `median_ratio`: the median distance of synthetic rows to the closest record, by that of
        real rows: 1 for new rows of the same distribution, much less for memorised ones.
        `too_close`: the share of synthetic rows that are closer to a record than 95 % of the real
        rows are: 0.05 for new rows, more for memorised ones. `copies`: the share of all synthetic
        rows that stand, value for value, in the real table; where rows are short and columns
        coarse, honest ones do as well.

    A model that copies what it was trained on is seen only if `comparison` was made with the table
    it was trained on.
    """
    random = np.random.default_rng(seed)
    order = sample(comparison.real.n_rows, 2 * n_rows, random)
    records, others = comparison.real.take(order[::2]), comparison.real.take(order[1::2])
    synthetic = comparison.synthetic.take(sample(comparison.synthetic.n_rows, n_rows, random))
    copied: float | Score = copies(comparison)
    if others.n_rows == 0:
        undefined = Score(float("nan"), "there is one real row only")
        return {"median_ratio": undefined, "too_close": undefined, "copies": copied}
    scales = _scales(comparison.real)
    real, made = (closest(side, records, scales) for side in (others, synthetic))
    middle = float(np.median(real))
    ratio = float(np.median(made)) / middle if middle > 0.0 else Score(float("nan"), "half of the real rows are copies")
    return {"median_ratio": ratio, "too_close": float((made < np.quantile(real, TOO_CLOSE)).mean()), "copies": copied}


def copies(comparison: Comparison) -> float:
    """Compute the share of synthetic rows that stand in the real table, value for value."""
    real, synthetic = (_identities(side) for side in (comparison.real, comparison.synthetic))
    return float(np.isin(synthetic, real).mean())


def closest(side: Side, records: Side, scales: Mapping[str, float]) -> Floats:
    """Measure each row's distance to the closest record, as `closest_record` defines it: float64 [n].

    Args:
        side: n rows.
        records: at least one row, with the same codes for the same categories.
        scales: what to divide each numeric column by.
    """
    points, known = (_points(each, scales) for each in (side, records))
    lengths = (known * known).sum(axis=1)
    found = np.empty(len(points))
    for start in range(0, len(points), _BLOCK):
        rows = slice(start, start + _BLOCK)
        differing = np.zeros((len(points[rows]), len(known)))
        for name, codes in side.codes.items():
            differing += codes[rows, None] != records.codes[name]
        near = np.argmin(lengths - 2.0 * (points[rows] @ known.T) + differing, axis=1)
        # Of the difference itself: the expansion above leaves noise where there should be 0.
        squared = np.square(points[rows] - known[near]).sum(axis=1)
        found[rows] = np.sqrt(squared + differing[np.arange(len(near)), near])
    return found


def _scales(side: Side) -> dict[str, float]:
    scales = {}
    for name, values in side.numbers.items():
        finite = values[np.isfinite(values)]
        with np.errstate(over="ignore", invalid="ignore"):
            scale = float(finite.std()) if finite.size else 0.0
        scales[name] = scale if 0.0 < scale < np.inf else 1.0
    return scales


def _points(side: Side, scales: Mapping[str, float]) -> Floats:
    """Place rows in space by their numeric columns: float64 [n, 2 p], a mark of missing behind each number."""
    columns: list[Floats] = [np.zeros(side.n_rows)]
    for name, values in side.numbers.items():
        known = np.isfinite(values)
        # Far outside of all real values is far enough: squares must not overflow.
        columns.append(np.clip(np.where(known, values, 0.0) / scales[name], -1e6, 1e6))
        columns.append(np.where(known, 0.0, 1.0))
    return np.stack(columns, axis=1)


def _identities(side: Side) -> npt.NDArray[np.uint64]:
    """Hash rows: equal ones, and practically no others, share a number."""
    columns = {i: values + 0.0 for i, values in enumerate((*side.numbers.values(), *side.codes.values()))}
    return pd.util.hash_pandas_object(pd.DataFrame(columns), index=False).to_numpy().astype(np.uint64)
