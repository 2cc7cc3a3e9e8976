"""Artifacts in the background: who computes them while training goes on.

Belongs here: `Background`, over any `concurrent.futures.Executor`, and its default, one process.
Does not: what is computed (`routines`), when its outcome is written down (`driver`).
Floor 7.

A task is pickled when it is submitted, so that nothing that happens later can change it. What the
tasks of one run have in common, such as real data, travels to a worker once; a worker that does
not have it (a new one, or another one of a cluster) says so, and the task is sent again with it.
"""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from typing import Any, Final, Literal, Self, TypeAlias
from uuid import uuid4

import attrs

from functorch_artifact import routines
from functorch_artifact.errors import BackgroundError
from functorch_artifact.routines import Outcome, Task

MOST_WAITING: Final = 4
"""Tasks that may wait at a time, by default: submitting one more waits for the oldest."""


def one_process() -> Executor:
    """Start one process of low priority, with one thread, in which nothing is running yet.

    It is loky's: a fresh interpreter that does not run the main script again, so that scripts and
    notebooks need no `if __name__ == "__main__"`.
    """
    from loky import ProcessPoolExecutor  # pyright: ignore[reportMissingImports]

    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

    class OneProcess(ProcessPoolExecutor):  # type: ignore[misc]
        def shutdown(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, wait: bool = True, *, cancel_futures: bool = False
        ) -> None:
            super().shutdown(wait, kill_workers=cancel_futures)

    executor: Executor = OneProcess(max_workers=1, initializer=_yield_to_training, env=threads)
    return executor


Choice: TypeAlias = "routines.Background | Executor | Literal['process'] | None"
"""Who computes artifacts that can wait: one process, an executor, something else, or nobody."""


class AtOnce:
    """Compute each task when it is submitted: a background that nobody has to wait for.

    Example:
        >>> from functorch_artifact.records import Score
        >>> pending = AtOnce().submit(Task((("TWO", lambda: Score(2.0)),), epoch=3, step=30, split=None), ())
        >>> pending.epoch, pending.done(), pending.result().scores
        (3, True, {'TWO': 2.0})
    """

    def submit(self, task: Task, shared: Iterable[object]) -> _Computed:
        """Compute a task; see `routines.Background`."""
        return _Computed(task.epoch, task.step, task())


@attrs.frozen(eq=False)
class _Computed:
    epoch: int
    step: int
    outcome: Outcome

    def done(self) -> bool:
        return True

    def result(self) -> Outcome:
        return self.outcome


@contextmanager
def opened(choice: Choice) -> Iterator[routines.Background]:
    """Make who was chosen ready, and shut down at the end what was started here."""
    if choice == "process":
        with Background() as made:
            yield made
    elif isinstance(choice, Executor):
        with Background(choice) as made:
            yield made
    else:
        yield AtOnce() if choice is None else choice


class Background:
    """Compute tasks on an executor, in the order in which they are done.

    Use it as a context manager: at its end the executor is shut down, if it was made here. It is
    not for several threads.

    Args:
        executor: the executor, which stays yours and is not shut down, e.g. of a Dask client
            (`client.get_executor()`) or of Ray; or a function that makes one, by default
            `one_process`, which is called with the first task, and again if the executor breaks.
        most_waiting: submitting a task while so many wait, waits for the oldest of them.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from functorch_artifact.records import Score
        >>> with Background(lambda: ThreadPoolExecutor(1)) as background:
        ...     task = Task((("TWO", lambda: Score(2.0)), ("NONE", lambda: 1 / 0)), epoch=3, step=30, split=None)
        ...     outcome = background.submit(task, ()).result()
        >>> outcome.scores, outcome.failures[0].what
        ({'TWO': 2.0}, 'ZeroDivisionError: division by zero')
    """

    def __init__(
        self, executor: Executor | Callable[[], Executor] = one_process, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else None
        self._most_waiting = most_waiting
        self._waiting: list[_Sent] = []  # in order of submission
        self._tokens: dict[int, tuple[str, object]] = {}  # by id; the object is kept, so that no id is used twice
        self._shipped: set[str] = set()

    def submit(self, task: Task, shared: Iterable[object]) -> _Sent:
        """Take a snapshot of a task, and compute it; see `routines.Background`."""
        while len(self._waiting) >= self._most_waiting:
            self._waiting[0].result()
        tokens = {id(each): self._token(each) for each in shared}
        sent = _Sent(self, task, tokens)
        if not sent.done():
            self._waiting.append(sent)
        return sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(wait=kind is None)

    def _token(self, shared: object) -> str:
        return self._tokens.setdefault(id(shared), (uuid4().hex, shared))[0]

    def _send(self, payload: bytes, tokens: Iterable[str], again: bool) -> Future[bytes | None]:
        if self._executor is None and self._make is not None:
            self._executor = self._make()
        if self._executor is None:
            raise BackgroundError("is broken", where="the executor", fix="pass a function that makes one")
        needed = set(tokens) if again else set(tokens) - self._shipped
        cargo = {token: _dumps(held, {}) for token, held in self._tokens.values() if token in needed}
        try:
            future = self._executor.submit(_work, payload, cargo)
        except BrokenExecutor:
            if again or self._make is None:
                raise
            if self._waiting:  # which finds out, and makes a new one
                self._waiting[0].result()
            else:
                self._end(wait=False)
            return self._send(payload, tokens, again=True)
        self._shipped |= set(cargo)
        return future

    def _broke(self) -> None:
        """Go on with a new executor, if it is ours to make: all but the oldest task are sent again."""
        self._end(wait=False)
        if self._make is not None:
            for sent in self._waiting[1:]:
                sent.send(again=True)

    def _end(self, *, wait: bool) -> None:
        executor, self._executor = self._executor, None if self._make is not None else self._executor
        self._shipped.clear()
        if executor is not None and self._make is not None:
            executor.shutdown(wait=wait, cancel_futures=not wait)


class _Sent:
    """A task under way: what a routine's outcome holds as pending."""

    def __init__(self, background: Background, task: Task, tokens: Mapping[int, str]) -> None:
        self.epoch, self.step = task.epoch, task.step
        self._names = attrs.evolve(task, artifacts=tuple((name, _nothing) for name, _ in task.artifacts))
        self._background = background
        self._tokens = tuple(tokens.values())
        self._outcome: Outcome | None = None
        self._future: Future[bytes | None] | None = None
        try:
            self._payload = _dumps(task, tokens)
        except Exception as error:
            self._finish(self._names.failed(_as_error("cannot be sent to another process", error)))
        else:
            self.send()

    def send(self, *, again: bool = False) -> None:
        """Send it, with what it shares with others if a worker does not have that yet."""
        try:
            self._future = self._background._send(self._payload, self._tokens, again)
        except Exception as error:
            self._finish(self._names.failed(_as_error("could not be sent", error)))

    def done(self) -> bool:
        """Say whether `result` would return at once."""
        if self._outcome is None and self._future is not None and self._future.done():
            self._read(self._future)
        return self._outcome is not None

    def result(self) -> Outcome:
        """Wait for the outcome; a worker that died is a failure of each artifact in it."""
        while self._outcome is None and self._future is not None:
            self._read(self._future)
        return Outcome() if self._outcome is None else self._outcome

    def _read(self, future: Future[bytes | None]) -> None:
        try:
            answer = future.result()
        except BrokenExecutor as error:
            if self is self._background._waiting[0]:
                self._background._broke()
                self._finish(self._names.failed(_as_error("was lost: its worker died", error)))
            else:  # the oldest task was the one at work
                self._background._waiting[0].result()
        except Exception as error:
            self._finish(self._names.failed(_as_error("was lost", error)))
        else:
            if answer is None:
                self.send(again=True)
            else:
                self._finish(pickle.loads(answer))

    def _finish(self, outcome: Outcome) -> None:
        self._outcome, self._future, self._payload = outcome, None, b""
        if self in self._background._waiting:
            self._background._waiting.remove(self)


def _dumps(value: object, tokens: Mapping[int, str]) -> bytes:
    """Pickle by value what cannot be imported (lambdas, a notebook's functions), by token what is shared."""
    from cloudpickle import Pickler

    class Sharing(Pickler):  # type: ignore[misc]
        def persistent_id(self, held: object) -> str | None:
            return tokens.get(id(held))

    target = io.BytesIO()
    Sharing(target, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return target.getvalue()


# In the worker.

_HELD: dict[str, object] = {}


class _NotHereError(Exception):
    pass


class _Loading(pickle.Unpickler):
    def persistent_load(self, token: str) -> object:
        if token not in _HELD:
            raise _NotHereError
        return _HELD[token]


def _work(payload: bytes, cargo: Mapping[str, bytes]) -> bytes | None:
    """Compute a task: its pickled outcome, or `None` if something it shares with others is not here."""
    _HELD.update({token: pickle.loads(held) for token, held in cargo.items() if token not in _HELD})
    try:
        task: Task = _Loading(io.BytesIO(payload)).load()
    except _NotHereError:
        return None
    outcome = task()
    failures = tuple(attrs.evolve(each, error=_portable(each.error)) for each in outcome.failures)
    return _dumps(attrs.evolve(outcome, failures=failures), {})


def _portable(error: Exception) -> Exception:
    """Give an error that survives the way back, with the place where it was raised."""
    place = "".join(traceback.format_exception(error))
    try:
        error = pickle.loads(pickle.dumps(error))
    except Exception:
        error = BackgroundError(f"{type(error).__name__}: {error}")
    error.add_note(f"in the background:\n{place}")
    return error


def _yield_to_training() -> None:
    if hasattr(os, "nice"):
        os.nice(10)


def _nothing() -> Any:
    return None


def _as_error(problem: str, error: Exception) -> BackgroundError:
    made = BackgroundError(problem, where="a task in the background", got=f"{type(error).__name__}: {error}")
    made.__cause__ = error
    return made
