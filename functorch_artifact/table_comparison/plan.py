"""What to compare: a selection of artifacts, and its evaluation on two tables.

Belongs here: `TableComparisonPlan`, `evaluate`. Does not: the artifacts (`artifacts`), when they
are due in training (`routine`).
Floor 6.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pandas as pd

from functorch_artifact.artifacts import ArtifactPlan, Report
from functorch_artifact.table_comparison.artifacts import (
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    toolkit,
)
from functorch_artifact.table_comparison.comparison import Comparison, Reference
from functorch_artifact.table_comparison.engine import Engine, by_artifact_core
from functorch_artifact.table_comparison.spec import TabularSpec


@attrs.frozen
class TableComparisonPlan(ArtifactPlan[Comparison]):
    """Say which artifacts to compute: by the hooks of a subclass, or by value with `of`.

    Raises:
        ConfigurationError: an artifact is there twice, a hook returns another hook's kind, or the
            engine lacks an artifact.
        MissingExtraError: the engine is not installed.

    Example:
        >>> class Brief(TableComparisonPlan):
        ...     @staticmethod
        ...     def _get_score_types() -> list[TableComparisonScoreType]:
        ...         return [TableComparisonScoreType.MEAN_JS_DISTANCE]
        >>> Brief().score_names
        ('MEAN_JS_DISTANCE',)
        >>> TableComparisonPlan.of(TableComparisonScoreCollectionType.JS_DISTANCE).score_names
        ('JS_DISTANCE/*',)
    """

    toolkit = toolkit
    standard = (TableComparisonScoreType, TableComparisonScoreCollectionType)

    engine: Engine = attrs.field(default="own", kw_only=True)
    """Who computes the built-in artifacts: this library, or the package artifact-core, for numbers
    that must equal an older experiment's."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.engine == "artifact-core":
            object.__setattr__(self, "artifacts", by_artifact_core(self.artifacts))

    def evaluate(
        self, real: pd.DataFrame, synthetic: pd.DataFrame, spec: TabularSpec | None = None, *, noise: bool = True
    ) -> Report:
        """Compare two tables, outside of any training.

        Args:
            real: the real table, at least one row.
            synthetic: the synthetic table, at least one row.
            spec: the columns; by default inferred from `real`.
            noise: whether to tell what a perfect model would score; it multiplies the cost.

        Raises:
            TableError: a table is empty or differs from `spec`.

        Example:
            >>> import pandas as pd
            >>> real = pd.DataFrame({"age": [30, 40, 50, 60], "city": ["Rome", "Bern", "Bern", "Rome"]})
            >>> plan = TableComparisonPlan.of(TableComparisonScoreType.MEAN_JS_DISTANCE)
            >>> plan.evaluate(real, real).scores.loc["MEAN_JS_DISTANCE", "value"].item()
            0.0
        """
        comparison = Reference(real, spec or TabularSpec.from_frame(real)).compare(synthetic)
        about = {"real rows": len(real), "synthetic rows": len(synthetic), "columns": describe_columns(comparison)}
        return self.report(comparison, noise=noise, title="Synthetic table against the real one", about=about)


def describe_columns(comparison: Comparison) -> pd.DataFrame:
    """Tell what is missing, infinite or unseen, by column: shares of rows."""
    real, synthetic = comparison.real, comparison.synthetic
    rows = {}
    for name in comparison.spec.columns:
        row: dict[str, Any] = {"kind": "numeric" if name in real.numbers else "categorical"}
        for label, side in (("real", real), ("synthetic", synthetic)):
            row[f"missing, {label}"] = side.missing[name]
            row[f"infinite, {label}"] = float(np.isinf(side.numbers[name]).mean()) if name in side.numbers else None
        n_known = len(real.labels[name]) if name in real.codes else 0
        row["unseen category"] = float((synthetic.codes[name] > n_known).mean()) if name in real.codes else None
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("column")


def evaluate(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    spec: TabularSpec | None = None,
    plan: TableComparisonPlan | None = None,
    *,
    noise: bool = True,
) -> Report:
    """Compare two tables by a plan, by default all scores; see `TableComparisonPlan.evaluate`.

    Raises:
        TableError: a table is empty or differs from `spec`.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"age": [30, 40, 50, 60], "city": ["Rome", "Bern", "Bern", "Rome"]})
        >>> evaluate(real, real)["MEAN_JS_DISTANCE"]
        Score(value=0.0)
    """
    return (plan or TableComparisonPlan.all_scores()).evaluate(real, synthetic, spec, noise=noise)
