"""Progress: what a person sees while a run goes on.

Belongs here: the bar on a terminal, the line per epoch elsewhere. Does not: records.
Floor 7.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Progress:
    """Report to standard error: a bar within each epoch on a terminal, then one line an epoch.

    Args:
        enabled: whether to report at all.
        n_batches: batches an epoch.
    """

    def __init__(self, enabled: bool, n_batches: int) -> None:
        self._enabled = enabled
        self._n_batches = n_batches
        self._began = time.perf_counter()

    def batches(self, batches: Iterable[T], epoch: int) -> Iterator[T]:
        """Pass an epoch's batches through, showing how far it is."""
        self._began = time.perf_counter()
        if not (self._enabled and sys.stderr.isatty()):
            yield from batches
            return
        from tqdm import tqdm

        yield from tqdm(batches, f"epoch {epoch}", total=self._n_batches, leave=False, unit="batch", dynamic_ncols=True)
        print(f"epoch {epoch}  validating ...", end="\r", file=sys.stderr, flush=True)

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Report an epoch's end."""
        if self._enabled:
            took = time.perf_counter() - self._began
            plain = [f"{name} {value:.4g}" for name, value in scores.items() if "/" not in name]
            self.say(f"epoch {epoch}  {took:5.1f} s  " + "  ".join(plain))

    def say(self, *parts: Any) -> None:
        """Report one line."""
        if self._enabled:
            print(*parts, file=sys.stderr, flush=True)
