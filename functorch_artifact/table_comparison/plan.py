"""What to compare: a selection of artifacts, and its evaluation on two tables.

Belongs here: `TableComparisonPlan`, `evaluate`. Does not: the artifacts (`artifacts`), when they
are due in training (`routine`).
Floor 5.
"""

from __future__ import annotations

import attrs
import pandas as pd

from functorch_artifact.plans import ArtifactPlan
from functorch_artifact.report import Report
from functorch_artifact.table_comparison.artifacts import (
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    toolkit,
)
from functorch_artifact.table_comparison.comparison import Comparison, Reference
from functorch_artifact.table_comparison.spec import TabularSpec


@attrs.frozen
class TableComparisonPlan(ArtifactPlan[Comparison]):
    """Say which artifacts to compute: by the hooks of a subclass, or by value with `of`.

    Raises:
        ConfigurationError: an artifact is there twice, or a hook returns another hook's kind.

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
        about = {"real rows": len(real), "synthetic rows": len(synthetic)}
        return self.report(comparison, noise=noise, title="Synthetic table against the real one", about=about)


def all_scores() -> TableComparisonPlan:
    """Plan every score and every collection of scores that is cheap and needs no extra."""
    return TableComparisonPlan.of(
        *(each for each in toolkit if each.name in {*TableComparisonScoreType, *TableComparisonScoreCollectionType})
    )


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
    return (plan or all_scores()).evaluate(real, synthetic, spec, noise=noise)
