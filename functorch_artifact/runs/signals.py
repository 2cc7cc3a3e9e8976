"""Being asked to stop: what SIGINT (Ctrl-C) and SIGTERM (preemption) do to a run.

Belongs here: `Interrupts` and what it raises. Does not: what is saved before a run leaves (`driver`).
Floor 8.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Final, Self

_ASKED: Final = (signal.SIGINT, signal.SIGTERM)


class Terminated(SystemExit):
    """A run was told to end by SIGTERM; a script that lets it pass ends with status 143."""

    def __init__(self, message: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Interrupts:
    """Take note of the first SIGINT or SIGTERM, and stop at once at the second.

    A context manager; it takes over the signals in the main thread, where Python handles them, and
    gives them back. In any other thread it never notices anything.

    Example:
        >>> import signal
        >>> from functorch_artifact.runs.signals import Interrupts
        >>> with Interrupts() as interrupts:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interrupts.asked
        <Signals.SIGTERM: 15>
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # One that is ignored, as under nohup, is meant to be.
            wanted = [number for number in _ASKED if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def interruption(self, message: str) -> KeyboardInterrupt | Terminated:
        """Make what is to be raised for the signal that came.

        For SIGINT that is `KeyboardInterrupt` itself: of a subclass, Python would make status 1.
        """
        return Terminated(message) if self.asked == signal.SIGTERM else KeyboardInterrupt(message)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # in a loader's worker, which its parent ends
            return
        again, self.asked = self.asked is not None, signal.Signals(number)
        if again:
            raise self.interruption(f"stopped at once by a second {self.asked.name}")
