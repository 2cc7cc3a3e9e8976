"""What to compare: a selection of artifacts, and its evaluation on two tables.

Belongs here: `TableComparisonPlan`, `evaluate`. Does not: the artifacts (`artifacts`), when they
are due in training (`routine`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Self

import attrs
import pandas as pd

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.records import Value
from functorch_artifact.table_comparison.artifacts import (
    Artifact,
    ArtifactType,
    TableComparisonArrayCollectionType,
    TableComparisonArrayType,
    TableComparisonPlotCollectionType,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
)
from functorch_artifact.table_comparison.comparison import Reference
from functorch_artifact.table_comparison.spec import TabularSpec


@attrs.frozen
class TableComparisonPlan:
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

    artifacts: tuple[Artifact, ...] = attrs.Factory(lambda self: self._from_hooks(), takes_self=True)

    def _from_hooks(self) -> tuple[Artifact, ...]:
        return tuple(
            Artifact.of(member)
            for hook, kind in (
                (self._get_score_types, TableComparisonScoreType),
                (self._get_array_types, TableComparisonArrayType),
                (self._get_plot_types, TableComparisonPlotType),
                (self._get_score_collection_types, TableComparisonScoreCollectionType),
                (self._get_array_collection_types, TableComparisonArrayCollectionType),
                (self._get_plot_collection_types, TableComparisonPlotCollectionType),
            )
            for member in _of_kind(hook(), kind, f"{type(self).__name__}.{hook.__name__}")
        )

    def __attrs_post_init__(self) -> None:
        names = [artifact.name for artifact in self.artifacts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError("names artifacts twice", where=type(self).__name__, got=twice)

    @classmethod
    def of(cls, *artifacts: ArtifactType | Artifact) -> Self:
        """Make a plan by value, of members of the enumerations and of artifacts of your own."""
        return cls(tuple(each if isinstance(each, Artifact) else Artifact.of(each) for each in artifacts))

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that the plan logs; a name ending in `/*` stands for a collection's."""
        return tuple(artifact.score_name for artifact in self.artifacts if artifact.score_name)

    @staticmethod
    def _get_score_types() -> Sequence[TableComparisonScoreType]:
        return []

    @staticmethod
    def _get_array_types() -> Sequence[TableComparisonArrayType]:
        return []

    @staticmethod
    def _get_plot_types() -> Sequence[TableComparisonPlotType]:
        return []

    @staticmethod
    def _get_score_collection_types() -> Sequence[TableComparisonScoreCollectionType]:
        return []

    @staticmethod
    def _get_array_collection_types() -> Sequence[TableComparisonArrayCollectionType]:
        return []

    @staticmethod
    def _get_plot_collection_types() -> Sequence[TableComparisonPlotCollectionType]:
        return []


def all_scores() -> TableComparisonPlan:
    """Plan every score and every collection of scores."""
    return TableComparisonPlan.of(*TableComparisonScoreType, *TableComparisonScoreCollectionType)


def evaluate(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    spec: TabularSpec | None = None,
    plan: TableComparisonPlan | None = None,
) -> Mapping[str, Value]:
    """Compare two tables, outside of any training.

    Args:
        real: the real table, at least one row.
        synthetic: the synthetic table, at least one row.
        spec: the columns; by default inferred from `real`.
        plan: what to compute; by default all scores.

    Returns:
        The value of each artifact, by name.

    Raises:
        TableError: a table is empty or differs from `spec`.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"age": [30, 40, 50, 60], "city": ["Rome", "Bern", "Bern", "Rome"]})
        >>> evaluate(real, real)["MEAN_JS_DISTANCE"]
        Score(value=0.0)
    """
    comparison = Reference(real, spec or TabularSpec.from_frame(real)).compare(synthetic)
    return {artifact.name: artifact(comparison) for artifact in (plan or all_scores()).artifacts}


def _of_kind(members: Iterable[ArtifactType], kind: type[StrEnum], where: str) -> Iterable[ArtifactType]:
    for member in members:
        if not isinstance(member, kind):
            raise ConfigurationError(
                "returns an artifact of another kind",
                where=where,
                expected=f"members of {kind.__name__}",
                got=repr(member),
            )
        yield member
