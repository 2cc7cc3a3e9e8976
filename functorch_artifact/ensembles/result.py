"""What the runs of an ensemble ended with.

Belongs here: `EnsembleResult`. Does not: what one run ended with (`runs.result`).
Floor 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.model_tracking import ScoreTracker
from functorch_artifact.runs.result import FitResult

if TYPE_CHECKING:
    import pandas as pd


@attrs.frozen(eq=False)
class EnsembleResult:
    """What the runs of an ensemble ended with."""

    settings: pd.DataFrame  # what distinguishes the members: seed and hyper-parameters, indexed by member
    members: tuple[FitResult, ...] = attrs.field(repr=False)

    @property
    def scores(self) -> pd.DataFrame:
        """The scores of all epochs of all members, indexed by member and epoch."""
        import pandas as pd

        return pd.concat({i: each.scores for i, each in enumerate(self.members)}, names=["member"])

    @property
    def table(self) -> pd.DataFrame:
        """One row a member: what distinguishes it, its epochs, the best of them, why it stopped, its last scores."""
        import pandas as pd

        rows = []
        for each in self.members:
            best = each.best
            rows.append(
                {
                    "n_epochs": int(each.state.epoch),
                    "best_epoch": 0 if best is None else int(best.epoch),
                    "reason": each.reason,
                    **each.state.scores.latest(),
                }
            )
        return self.settings.join(pd.DataFrame(rows, index=self.settings.index))

    @property
    def best_member(self) -> int | None:
        """The member with the best tracked score; `None` if no member has one.

        Raises:
            ConfigurationError: the members have no `ScoreTracker`.
        """
        ranked = []
        for index, each in enumerate(self.members):
            tracker = each.program.tracker
            if not isinstance(tracker, ScoreTracker):
                raise ConfigurationError(
                    "cannot be ranked",
                    where="the members",
                    expected="a ScoreTracker",
                    got=type(tracker).__name__,
                    fix="pass Program(tracker=ScoreTracker(...)), or choose by `members` or `scores`",
                )
            value = float(each.state.tracker.value)
            if each.best is not None:
                ranked.append((value if tracker.mode == "min" else -value, index))
        return min(ranked)[1] if ranked else None

    @property
    def best(self) -> FitResult | None:
        """The result of the best member; see `best_member`."""
        member = self.best_member
        return None if member is None else self.members[member]
