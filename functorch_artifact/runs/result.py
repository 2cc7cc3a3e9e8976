"""What a run ended with.

Belongs here: `FitResult`, and its table of scores. Does not: running (`driver`), reading a run of
another process (`runs.reader`).
Floor 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs
from torch import nn

from functorch_artifact.model_tracking import ModelSnapshot
from functorch_artifact.pages import run as run_report
from functorch_artifact.program import Program
from functorch_artifact.routines import Failure
from functorch_artifact.scores import ScoreCache
from functorch_artifact.step import TrainState
from functorch_artifact.tracking import Owed

if TYPE_CHECKING:
    import pandas as pd


LateScores: TypeAlias = Mapping[tuple[int, str], Mapping[str, float]]
"""Scores by epoch and the part of the journal that they are in, and by name."""


def joined(cache: ScoreCache, late: LateScores) -> pd.DataFrame:
    """Join an epoch's scores with those that came late, in an order that does not tell when they came.

    Example:
        >>> cache = ScoreCache.empty().append(1, {"LOSS": 0.5}).append(2, {"LOSS": 0.25})
        >>> joined(cache, {(2, "artifacts:0:0"): {"DETECTION_SCORE": 0.75}}).loc[2].to_dict()
        {'LOSS': 0.25, 'DETECTION_SCORE': 0.75}
    """
    frame = cache.to_frame()
    columns: dict[str, dict[int, float]] = {}
    for (epoch, _), scores in sorted(late.items()):
        for name, value in scores.items():
            columns.setdefault(name, {})[epoch] = value
    for name, column in columns.items():
        came = frame.index.map(column).astype("float64")
        frame[name] = frame[name].where(frame[name].notna(), came) if name in frame else came
    return frame


@attrs.frozen(eq=False)
class FitResult:
    """What a run ended with."""

    program: Program = attrs.field(repr=False)
    state: TrainState
    reason: str
    failures: tuple[Failure, ...] = ()
    directory: Path | None = None
    owed: tuple[Owed, ...] = ()
    late: LateScores = attrs.field(factory=dict, repr=False)
    """Scores that nobody decided by and that were computed beside the training: not in `state.scores`."""

    @property
    def scores(self) -> pd.DataFrame:
        """The scores of all epochs, indexed by epoch, those that came late in the last columns."""
        return joined(self.state.scores, self.late)

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
