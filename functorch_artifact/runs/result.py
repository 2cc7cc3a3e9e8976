"""What a run ended with.

Belongs here: `FitResult`. Does not: running (`driver`), reading a run of another process (`runs.reader`).
Floor 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs
from torch import nn

from functorch_artifact.model_tracking import ModelSnapshot
from functorch_artifact.pages import run as run_report
from functorch_artifact.program import Program
from functorch_artifact.routines import Failure
from functorch_artifact.step import TrainState
from functorch_artifact.tracking import Owed

if TYPE_CHECKING:
    import pandas as pd


@attrs.frozen(eq=False)
class FitResult:
    """What a run ended with."""

    program: Program = attrs.field(repr=False)
    state: TrainState
    reason: str
    failures: tuple[Failure, ...] = ()
    directory: Path | None = None
    owed: tuple[Owed, ...] = ()

    @property
    def scores(self) -> pd.DataFrame:
        """The scores of all epochs, indexed by epoch."""
        return self.state.scores.to_frame()

    @property
    def best(self) -> ModelSnapshot | None:
        """The best model's variables and epoch; `None` without a tracker, or if no score was finite."""
        tracker = self.program.tracker
        return None if tracker is None else tracker.best(self.state.tracker)

    @property
    def best_model(self) -> nn.Module | None:
        """The best model as an ordinary module in eval mode."""
        best = self.best
        return None if best is None else cast(nn.Module, self.program.model.bind(best.model))

    @property
    def latest_model(self) -> nn.Module:
        """The final model, as it is evaluated, as an ordinary module in eval mode."""
        return cast(nn.Module, self.program.model.bind(self.program.evaluated(self.state)))

    def _repr_html_(self) -> str:
        best, name = self.best, self.program.model.name if self.directory is None else self.directory.name
        facts = {"stopped because": self.reason, "epochs": len(self.state.scores)}
        facts |= {} if best is None else {"best model at epoch": int(best.epoch)}
        return run_report.brief(name, facts, self.scores)
