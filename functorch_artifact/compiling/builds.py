"""Builds: how the steps of each signature run, and why, as values and in words.

Belongs here: modes, `Build`, `Explanation`, the warning where a mode cannot be had. Does not:
building (`compiling.steps`).
Floor 5.
"""

from __future__ import annotations

import sys
import warnings
from typing import Literal

import attrs

Mode = Literal["eager", "captured", "compiled", "cudagraph", "auto"]
"""`eager`: the function itself. `captured`: traced once, replayed as a flat graph. `compiled`: the
graph as generated code. `cudagraph`: that code, recorded as a CUDA graph. `auto`: what pays."""


class CompileWarning(UserWarning):
    """A step that cannot run in the mode asked for, and runs in another."""


@attrs.frozen
class Build:
    """How the steps of one signature run."""

    batch: str  # its leaves, e.g. float32[64, 4], int64[64]
    mode: Mode  # what they run as
    why: str
    seconds: float  # that building took
    n_operations: int  # of the graph; 0 if there is none


@attrs.frozen
class Explanation:
    """What `compile` made of a step: the mode asked for, and a build for each signature."""

    mode: Mode
    donate: bool
    builds: tuple[Build, ...]
    steps: int = 1  # a call, at most

    def __str__(self) -> str:
        several = f", up to {self.steps} steps a call" if self.steps > 1 else ""
        asked = f"asked for: {self.mode}{', donated' if self.donate else ''}{several}"
        return "\n".join([asked, *(f"{b.batch}: {b.mode} ({b.why}), built in {b.seconds:.1f} s" for b in self.builds)])


def warn(message: str) -> None:
    """Warn, once, at the line of whoever called the compiled step."""
    level = 2  # up to the caller's line, whoever of us is in between
    while sys._getframe(level).f_globals.get("__name__", "").startswith("functorch_artifact"):
        level += 1
    warnings.warn(message, CompileWarning, stacklevel=level + 1)


def reason(error: Exception) -> str:
    """Name the error, and the line of the user's code that it came from."""
    first = next(iter(str(error).strip().splitlines()), "")
    said, trace, where = f"{type(error).__name__}: {first}", error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "").split(".")[0]
        if module not in ("torch", "functorch_artifact", "optree", "contextlib"):
            where = f" (at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}, in {trace.tb_frame.f_code.co_name})"
        trace = trace.tb_next
    return said + where
