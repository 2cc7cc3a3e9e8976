"""Progress: what a person sees while a run goes on.

Belongs here: a bar on a terminal or in a notebook, plain lines in a log. Does not: records.
Floor 7.

A terminal and a notebook show a bar within an epoch, gone at its end. Anything else (a file, a
pipe, a scheduler's log) gets whole lines without control characters: within a long epoch one a
minute. All of them get a line an epoch, but no more than two a second: of epochs that take
milliseconds some go unmentioned, though never the first and the last.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

_SECONDS_BETWEEN_LINES: Final = 60.0  # within an epoch, in a log
_SECONDS_BETWEEN_EPOCHS: Final = 0.5
_SECONDS_BEFORE_A_BAR: Final = 0.5  # what is over sooner would only flicker
_VALIDATING: Final = "epoch {}  validating ..."


class Progress:
    """Report how far a run is: to standard error, in a notebook to the cell's output.

    A reader that goes away (a closed pipe, a full disk) ends the reports, never the run.

    Args:
        enabled: whether to report at all.
        n_batches: batches an epoch.
        every: seconds between two lines within an epoch, where there is no terminal.
    """

    def __init__(self, enabled: bool, n_batches: int, *, every: float = _SECONDS_BETWEEN_LINES) -> None:
        self._notebook = _in_notebook()
        self._stream = sys.stdout if self._notebook else sys.stderr
        # A program without a console has no stream at all.
        self._enabled = enabled and not getattr(self._stream, "closed", True)
        self._terminal = self._enabled and not self._notebook and self._stream.isatty()
        self._n_batches = n_batches
        self._every = every
        self._began = time.perf_counter()
        self._wrote = -float("inf")  # when the last epoch's line was written
        self._held_back: str | None = None
        self._transient = 0  # characters on the terminal's line that the next ones must cover

    def batches(
        self, batches: Iterable[T], epoch: int, start: int = 0, size: Callable[[T], int] = lambda batch: 1
    ) -> Iterator[T]:
        """Pass the rest of an epoch's batches through, showing how far it is.

        Args:
            batches: them, or lists of some of them.
            epoch: which one.
            start: how many came before.
            size: how many batches one of these is.
        """
        self._began = time.perf_counter()
        if not self._enabled:
            yield from batches
        elif self._notebook or self._terminal:
            yield from self._bar(batches, epoch, start, size)
        else:
            yield from self._lines(batches, epoch, start, size)

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Report an epoch's end."""
        if not self._enabled:
            return
        now = time.perf_counter()
        plain = [f"{_printable(name)} {value:.4g}" for name, value in scores.items() if "/" not in name]
        line = f"epoch {epoch}  {now - self._began:5.1f} s  " + "  ".join(plain)
        if now - self._wrote < _SECONDS_BETWEEN_EPOCHS:
            self._held_back = line
        else:
            self._held_back, self._wrote = None, now
            self._print(line)

    def say(self, *parts: Any) -> None:
        """Report one line."""
        if self._held_back is not None:
            self._print(self._held_back)
            self._held_back = None
        self._print(" ".join(map(str, parts)))

    def _bar(self, batches: Iterable[T], epoch: int, start: int, size: Callable[[T], int]) -> Iterator[T]:
        if self._notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
        with tqdm(
            desc=f"epoch {epoch}",
            total=self._n_batches,
            initial=start,
            leave=False,
            unit="batch",
            dynamic_ncols=True,
            delay=_SECONDS_BEFORE_A_BAR,
        ) as bar:
            for batch in batches:
                yield batch
                bar.update(size(batch))
        if self._terminal and time.perf_counter() - self._began > _SECONDS_BEFORE_A_BAR:
            text = _VALIDATING.format(epoch)
            self._print(text, end="\r")
            self._transient = len(text)

    def _lines(self, batches: Iterable[T], epoch: int, start: int, size: Callable[[T], int]) -> Iterator[T]:
        last, done = self._began, start
        for batch in batches:
            now = time.perf_counter()
            if done > start and now - last >= self._every:
                last = now
                share, rate = done / max(self._n_batches, done), (done - start) / (now - self._began)
                self._print(f"epoch {epoch}  batch {done}/{self._n_batches}  {share:4.0%}  {rate:.3g} batches/s")
            yield batch
            done += size(batch)

    def _print(self, line: str, end: str = "\n") -> None:
        if not self._enabled:
            return
        cover = " " * (self._transient - len(line))
        self._transient = 0
        try:
            print(line + cover, end=end, file=self._stream, flush=True)
        except (OSError, ValueError):  # ValueError: the stream was closed from within
            self._enabled = False


def _in_notebook() -> bool:
    # Asked of IPython itself, and only where it runs already: VS Code and Colab are kernels as well.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
