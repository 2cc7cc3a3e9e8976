"""Validation of a table synthesizer in training.

Belongs here: `TableComparisonRoutine`. Does not: what it computes (`plan`), when the driver asks
for it (`routines`).
Floor 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Generic, Self

import pandas as pd

from functorch_artifact.errors import ConfigurationError, TableError
from functorch_artifact.records import Table, TrackingClient, Value
from functorch_artifact.routines import ArtifactRoutine
from functorch_artifact.table_comparison.comparison import Reference
from functorch_artifact.table_comparison.model import GenerationParamsTCov, TableSynthesizer
from functorch_artifact.table_comparison.plan import TableComparisonPlan, all_scores
from functorch_artifact.table_comparison.spec import TabularSpec

EXPORT_NAME: Final = "SYNTHETIC"
"""The name of the records that hold a synthetic table."""


class TableComparisonRoutine(
    ArtifactRoutine[TableSynthesizer[Any, Any, GenerationParamsTCov]],
    Generic[GenerationParamsTCov],
):
    """Generate a table when due, compare it with the real one, and export it if asked to.

    Make one by value, or subclass it, fill in the hooks and call `build`. The real table is read
    once, here; each run pays for the synthetic one alone.

    Args:
        real: the real table.
        spec: its columns.
        generation_params: what the model is asked for.
        plan: what to compute; by default all scores.
        period: run every so many epochs.
        export_period: log the synthetic table as `SYNTHETIC` every so many epochs, a multiple of
            `period`; by default never.
        tracking_client: where the records go; by default, where the run's records go.
        split: the records' split.

    Raises:
        TableError: the real table is empty or differs from `spec`.
        ConfigurationError: a period is below 1, or `export_period` is no multiple of `period`.

    It is covariant in its generation parameters: a routine that gives more fits where one that
    gives less is wanted.
    """

    def __init__(
        self,
        real: pd.DataFrame,
        spec: TabularSpec,
        generation_params: GenerationParamsTCov,
        plan: TableComparisonPlan | None = None,
        *,
        period: int = 1,
        export_period: int | None = None,
        tracking_client: TrackingClient | None = None,
        split: str | None = "VALIDATION",
    ) -> None:
        super().__init__(period=period, split=split, tracking_client=tracking_client)
        if export_period is not None and (export_period < 1 or export_period % period):
            raise ConfigurationError(
                "falls on epochs without a synthetic table",
                where=f"{type(self).__name__}.export_period",
                expected=f"a multiple of the period, {period}",
                got=export_period,
            )
        self.reference = Reference(real, spec)
        self.generation_params = generation_params
        self.plan = plan if plan is not None else all_scores()
        self.export_period = export_period

    @classmethod
    def build(
        cls,
        real: pd.DataFrame,
        spec: TabularSpec,
        *,
        tracking_client: TrackingClient | None = None,
        split: str | None = "VALIDATION",
    ) -> Self:
        """Build the routine that the hooks describe.

        Raises:
            ConfigurationError: `_get_generation_params` is not filled in.
            TableError: the real table is empty or differs from `spec`.
        """
        return cls(
            real,
            spec,
            cls._get_generation_params(),
            cls._get_artifact_plan(),
            period=cls._get_period(),
            export_period=cls._get_export_period(),
            tracking_client=tracking_client,
            split=split,
        )

    @staticmethod
    def _get_generation_params() -> GenerationParamsTCov:
        raise ConfigurationError(
            "is not filled in",
            where="_get_generation_params",
            expected="the parameters for the model's generate",
            fix="override the hook, or make the routine by value: TableComparisonRoutine(real, spec, params)",
        )

    @staticmethod
    def _get_artifact_plan() -> TableComparisonPlan:
        return all_scores()

    @staticmethod
    def _get_period() -> int:
        return 1

    @staticmethod
    def _get_export_period() -> int | None:
        return None

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores it logs; a name ending in `/*` stands for a collection's."""
        return self.plan.score_names

    def artifacts(
        self, model: TableSynthesizer[Any, Any, GenerationParamsTCov], epoch: int
    ) -> Iterator[tuple[str, Callable[[], Value]]]:
        """Generate one table and name its artifacts.

        Raises:
            TableError: `generate` returned no table, or one that is empty or differs from the
                specification.
        """
        synthetic = model.generate(self.generation_params)
        if not isinstance(synthetic, pd.DataFrame):
            raise TableError(
                "returned no table",
                where=f"{type(model).__name__}.generate",
                expected="a pandas DataFrame",
                got=type(synthetic).__name__,
            )
        comparison = self.reference.compare(synthetic)
        for artifact in self.plan.artifacts:
            yield artifact.name, partial(artifact, comparison)
        if self.export_period is not None and epoch % self.export_period == 0:
            yield EXPORT_NAME, partial(Table, synthetic.copy())
