"""What each epoch scored, as one immutable table: a row an epoch, a column a score.

Belongs here: `ScoreCache`, how rows enter it and how they are read; which of them a function reads.
Does not: computing scores
(`callbacks`), acting on them (`stoppers`, `model_tracking`), storing them (`tracking`).
Floor 2.

A row holds what its epoch reported and nothing else. A score that was reported as NaN is in the
row; one that was not reported is not. Only `to_frame`, which has no other word for it, shows NaN
for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from functorch_artifact.errors import ScoreError
from functorch_artifact.records import Score
from functorch_artifact.trees import node

if TYPE_CHECKING:
    import pandas as pd


@node
@attrs.frozen(eq=False)
class ScoreCache:
    """Hold the scores of a run by epoch and name; start from `ScoreCache.empty()`.

    The table is three tensors and the names, however long the run, so that it costs a state next
    to nothing to carry it.

    Example:
        >>> from functorch_artifact.scores import ScoreCache
        >>> cache = ScoreCache.empty().append(1, {"TRAIN_LOSS": 0.5})
        >>> later = cache.append(2, {"TRAIN_LOSS": 0.25, "VAL_LOSS": 0.5})
        >>> later.row(1), later.latest()
        ({'TRAIN_LOSS': 0.5}, {'TRAIN_LOSS': 0.25, 'VAL_LOSS': 0.5})
        >>> later.column("VAL_LOSS"), len(cache)
        ({2: 0.5}, 1)
    """

    names: tuple[str, ...]  # every score ever logged, in the order of their first appearance
    index: Tensor  # int64 [n_epochs], the epochs in ascending order
    values: Tensor  # float64 [n_epochs, n_names], NaN where nothing was logged
    logged: Tensor  # bool [n_epochs, n_names]

    @classmethod
    def empty(cls) -> ScoreCache:
        """Make the cache of a run that has not begun."""
        return cls(
            names=(),
            index=torch.zeros(0, dtype=torch.int64),
            values=torch.zeros(0, 0, dtype=torch.float64),
            logged=torch.zeros(0, 0, dtype=torch.bool),
        )

    def append(self, epoch: int, scores: Mapping[str, float]) -> ScoreCache:
        """Make the cache in which the row of `epoch` is exactly `scores`, whatever was there.

        Epochs may come in any order and bring any names. This cache stays as it is and shares no
        memory with the new one.

        Raises:
            RecordError: a score is not one number.
        """
        row = {name: Score.of(value, f"score {name!r} of epoch {epoch}").value for name, value in scores.items()}
        names = tuple(dict.fromkeys((*self.names, *row)))
        start = int(torch.searchsorted(self.index, epoch))
        end = int(torch.searchsorted(self.index, epoch, right=True))
        widen = (0, len(names) - len(self.names))

        def splice(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old[:start], new, old[end:]])

        return ScoreCache(
            names=names,
            index=splice(self.index, self.index.new_tensor([epoch])),
            values=splice(
                pad(self.values, widen, value=math.nan),
                self.values.new_tensor([[row.get(name, math.nan) for name in names]]),
            ),
            logged=splice(pad(self.logged, widen), self.logged.new_tensor([[name in row for name in names]])),
        )

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that have a row, in ascending order."""
        return tuple(self.index.tolist())

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.index)

    def row(self, epoch: int) -> dict[str, float]:
        """Look up what `epoch` reported.

        Raises:
            ScoreError: the epoch has no row.
        """
        found = (self.index == epoch).nonzero().flatten().tolist()
        if not found:
            raise ScoreError(
                "has no scores",
                where=f"epoch {epoch}",
                expected=f"an epoch from {self.epochs[0]} to {self.epochs[-1]} that was logged" if len(self) else None,
                fix="see `epochs` for the epochs that have a row",
            )
        return self._row(found[0])

    def latest(self) -> dict[str, float]:
        """Look up the row of the highest epoch; `{}` before there is one."""
        return self._row(-1) if len(self) else {}

    def column(self, name: str) -> dict[int, float]:
        """Map each epoch that reported the score `name` to its value.

        Raises:
            ScoreError: no epoch ever reported it.
        """
        if name not in self.names:
            raise ScoreError(
                "was never logged",
                where=f"score {name!r}",
                expected=f"one of {', '.join(self.names)}" if self.names else None,
                fix="check the spelling, and that its callback was due",
            )
        j = self.names.index(name)
        cells = zip(self.epochs, self.values[:, j].tolist(), self.logged[:, j].tolist(), strict=True)
        return {epoch: value for epoch, value, logged in cells if logged}

    def to_frame(self) -> pd.DataFrame:
        """Copy into a pandas table: float64, indexed by "epoch", a column a score, NaN where missing."""
        import pandas as pd

        index = pd.Index(self.index.tolist(), name="epoch", dtype="int64")
        return pd.DataFrame(self.values.numpy(force=True).copy(), index=index, columns=list(self.names))

    def _row(self, i: int) -> dict[str, float]:
        cells = zip(self.names, self.values[i].tolist(), self.logged[i].tolist(), strict=True)
        return {name: value for name, value, logged in cells if logged}


class _Noting(Mapping[str, float]):
    """No scores at all, and a note of what is asked for; whoever goes through them asks for all."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self.known = known
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> float:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        self.asked.update(self.known)
        return iter(())

    def __len__(self) -> int:
        self.asked.update(self.known)
        return 0


def read_by(function: Callable[[Mapping[str, float]], Any], known: tuple[str, ...]) -> frozenset[str]:
    """Find out which scores a pure function reads, by calling it where there are none.

    Args:
        function: takes an epoch's scores by name.
        known: the names of all there may be, for a function that goes through them.

    Example:
        >>> sorted(read_by(lambda scores: scores.get("VAL_LOSS", 0.0), ("VAL_LOSS", "ACCURACY")))
        ['VAL_LOSS']
        >>> sorted(read_by(lambda scores: min(scores.values()), ("VAL_LOSS", "ACCURACY")))
        ['ACCURACY', 'VAL_LOSS']
    """
    noting = _Noting(known)
    with suppress(Exception):  # it may insist on a score; that it asked for it is noted
        function(noting)
    return frozenset(noting.asked)
