"""Validation of a table synthesizer in training.

Belongs here: `TableComparisonRoutine`. Does not: what it computes (`plan`), when the driver asks
for it (`routines`).
Floor 6.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self

import pandas as pd

from functorch_artifact.errors import TableError
from functorch_artifact.records import TrackingClient
from functorch_artifact.routines import PlanRoutine, unfilled
from functorch_artifact.table_comparison.comparison import Comparison, Reference
from functorch_artifact.table_comparison.model import GenerationParamsTCov, TableSynthesizer
from functorch_artifact.table_comparison.plan import TableComparisonPlan
from functorch_artifact.table_comparison.spec import TabularSpec


class TableComparisonRoutine(
    PlanRoutine[TableSynthesizer[Any, Any, GenerationParamsTCov], Comparison],
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

    plan_type = TableComparisonPlan
    export_name: ClassVar[str] = "SYNTHETIC"

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
        super().__init__(plan, period=period, export_period=export_period, split=split, tracking_client=tracking_client)
        self.reference = Reference(real, spec)
        self.generation_params = generation_params

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
        params = cls._get_generation_params()
        return cls(real, spec, params, tracking_client=tracking_client, split=split, **cls._from_hooks())

    @staticmethod
    def _get_generation_params() -> GenerationParamsTCov:
        raise unfilled("_get_generation_params", "generate")

    @property
    def shared(self) -> tuple[object, ...]:
        """The real side."""
        return (self.reference,)

    def produce(self, model: TableSynthesizer[Any, Any, GenerationParamsTCov]) -> tuple[Comparison, pd.DataFrame]:
        """Generate one table and put it beside the real one.

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
        return self.reference.compare(synthetic), synthetic
