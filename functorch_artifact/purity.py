"""Purity, checked: what a call did besides giving a value.

Belongs here: the guard around a call, and what it found, by name. Does not: which hooks are to be
pure (those who call them say so, with `call`).
Floor 1.

Hooks of stoppers, trackers, folds and optimizers are run through `call`, which costs nothing until
`checking` is entered. Then each call is watched for

- arguments, the hook's own object and values it returned before that were written to: tensors by
  version and bytes, arrays by bytes, containers by content;
- global generators that were used: torch's, NumPy's, Python's;
- clocks that were read, and files, sockets, processes or streams that were touched.

What is read from where Python's packages live, and what an import does, is nobody's effect.
"""

from __future__ import annotations

import datetime as dt
import functools
import gc
import hashlib
import inspect
import io
import os
import random
import sys
import sysconfig
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from functorch_artifact.errors import PurityError

R = TypeVar("R")
Marks: TypeAlias = dict[str, tuple[Any, ...]]
"""For each place in a value, what must not change there."""

_CLOCKS: Final = frozenset(
    vars(time)[name]
    for name in (
        *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"),
        *("process_time_ns", "thread_time", "thread_time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime"),
    )
)
_TODAY: Final = frozenset({"now", "utcnow", "today"})
_EFFECTS: Final = ("open", "os.", "shutil.", "socket.", "subprocess.", "sqlite3.", "tempfile.", "urllib.")
_EXEMPT: Final = frozenset({"importlib._bootstrap", "importlib._bootstrap_external", "linecache", "warnings"})
_PACKAGES: Final = tuple({*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix})


def call(where: str, function: Callable[..., R], *arguments: Any) -> R:
    """Call a hook that is to be pure; under `checking`, find out whether it is.

    Raises:
        PurityError: it is not, and `checking` is on.

    Example:
        >>> from functorch_artifact import purity
        >>> history = [1.0]
        >>> with purity.checking():
        ...     purity.call("mine", history.append, 2.0)
        Traceback (most recent call last):
        functorch_artifact.errors.PurityError: mine: is not pure
          expected: a value that depends on the arguments alone, and nothing else touched
          got: `self` was changed: a list of 1, then a list of 2
          do this: return a new value instead, and pass in what is needed as an argument
    """
    watch = _ACTIVE.get()
    return function(*arguments) if watch is None else watch.call(where, function, *arguments)


@contextmanager
def checking(on: bool = True) -> Iterator[Watch | None]:
    """Check every `call` made from here on (in this thread or task), unless `on` is false."""
    watch = Watch() if on else None
    token = _ACTIVE.set(watch)
    try:
        yield watch
    finally:
        _ACTIVE.reset(token)


@attrs.define(eq=False)
class Watch:
    """One run under the guard; it remembers what each hook returned last."""

    _returned: dict[str, Any] = attrs.field(factory=dict, init=False)

    def call(self, where: str, function: Callable[..., R], *arguments: Any) -> R:
        """Call `function`, then compare everything it could reach with what it was before.

        Raises:
            PurityError: it changed, used or touched something.
        """
        reach = _reach(function, arguments)
        if where in self._returned:
            reach["the value it returned before"] = self._returned[where]
        before, generators = _mark_all(reach), _generators()
        with _listening() as heard:
            result = function(*arguments)
        found = [*_changes(before, _mark_all(reach)), *_drawn(generators, _generators()), *dict.fromkeys(heard)]
        if found:
            raise PurityError(where, tuple(found))
        self._returned[where] = result
        return result


_ACTIVE: ContextVar[Watch | None] = ContextVar("purity", default=None)


def _reach(function: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Name what the function is given, the object it belongs to, and what it closes over."""
    try:
        names = list(inspect.signature(function).bind(*arguments).arguments)
    except (TypeError, ValueError):
        names = []
    if len(names) != len(arguments):
        names = [f"argument {index}" for index in range(len(arguments))]
    reach = dict(zip(names, arguments, strict=True))
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        reach["self"] = owner
    return _cells(function) | reach


def _cells(function: Any) -> dict[str, Any]:
    """Name what a function closes over."""
    code, found = getattr(function, "__code__", None), {}
    for name, cell in zip(code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # a cell that is filled later
            found[name] = cell.cell_contents
    return found


def _fields(value: Any) -> dict[str, Any]:
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    held = {name: getattr(value, name) for name in slots if name != "__weakref__" and hasattr(value, name)}
    return {f".{name}": each for name, each in (held | getattr(value, "__dict__", {})).items()}


def _mark_all(reach: Mapping[str, Any]) -> Marks:
    marks: Marks = {}
    for name, value in reach.items():
        _mark(value, name, marks, set())
    return marks


def _mark(value: Any, path: str, marks: Marks, seen: set[int]) -> None:
    if id(value) in seen:
        return
    if isinstance(value, Tensor):
        marks[path] = _of_tensor(value)
        return
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()) if value.dtype.hasobject else value.tobytes()
        marks[path] = ("an array", value.shape, value.dtype.str, _hash(content))
        return
    if isinstance(value, bytearray):
        marks[path] = ("bytes", _hash(bytes(value)))
        return
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series):
        marks[path] = ("a table", value.shape, repr(list(value.axes)), _hash(repr(value.to_dict())))
        return
    children: dict[str, Any]
    if isinstance(value, Mapping):
        children = {f"[{key!r}]": each for key, each in value.items()}
    elif isinstance(value, list | tuple | set | frozenset) or type(value).__name__ == "deque":
        children = {f"[{index}]": each for index, each in enumerate(value)}
    elif isinstance(value, types.FunctionType):
        children = {f".{name}": each for name, each in _cells(value).items()}
    elif attrs.has(type(value)) or path == "self":  # other objects are opaque: a memo in one is its own affair
        children = _fields(value)
    else:
        plain = isinstance(value, int | float | complex | str | bytes | None)
        marks[path] = ("the value", repr(value)) if plain else ("an object", id(value))
        return
    seen = seen | {id(value)}
    marks[path] = (f"a {type(value).__name__} of {len(children)}",)
    for entry, child in children.items():
        _mark(child, f"{path}{entry}", marks, seen)


def _of_tensor(tensor: Tensor) -> tuple[Any, ...]:
    if is_functorch_wrapped_tensor(tensor) or tensor.is_meta:
        return ("a tensor", id(tensor))
    version = -1 if tensor.is_inference() else tensor._version
    dense = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
    flat = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    form = (tuple(tensor.shape), tensor.dtype, tensor.requires_grad, id(tensor.grad))
    return ("a tensor", form, version, _hash(content))


def _hash(content: bytes | str) -> str:
    return hashlib.blake2b(content.encode() if isinstance(content, str) else content, digest_size=12).hexdigest()


def _changes(before: Marks, after: Marks) -> Iterator[str]:
    for path, mark in before.items():
        now = after.get(path)
        if now == mark:
            continue
        if now is None:
            yield f"`{path}` was removed"
        elif mark[0] == now[0] == "a tensor" and len(mark) == len(now) == 4:
            if mark[-1] == now[-1] and mark[-2] == now[-2]:
                yield f"`{path}` had its shape, dtype, requires_grad or grad changed"
            else:
                how = "its bytes changed" if mark[-1] != now[-1] else f"version {mark[-2]}, then {now[-2]}"
                yield f"`{path}` was written to in place ({how})"
        elif mark[0] == now[0]:
            shown = f": {mark[1]}, then {now[1]}" if mark[0] == "the value" else ""
            yield f"`{path}` was changed{shown}"
        else:
            yield f"`{path}` was changed: {mark[0]}, then {now[0]}"
    for path in sorted(after.keys() - before.keys()):
        if path.rpartition("[")[0] not in before and path.rpartition(".")[0] not in before:
            yield f"`{path}` was added"


def _generators() -> dict[str, Any]:
    _, key, place, *rest = np.random.get_state()  # noqa: NPY002
    found: dict[str, Any] = {
        "torch's": _hash(torch.default_generator.get_state().numpy().tobytes()),
        "NumPy's": (_hash(np.asarray(key).tobytes()), place, *rest),
        "Python's": hash(random.getstate()),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for index, generator in enumerate(torch.cuda.default_generators):
            found[f"torch's (cuda:{index})"] = _hash(generator.get_state().numpy().tobytes())
    return found


def _drawn(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name, state in before.items():
        if after[name] != state:
            yield f"{name} global generator was used"


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect, by name and place, the clocks and the outside world that this thread touches."""
    _add_audit_hook()
    heard: list[str] = []
    outer, profile, collecting = getattr(_THREAD, "heard", None), sys.getprofile(), gc.isenabled()
    gc.disable()  # what a collection does, at whatever moment, is not the hook's doing
    _THREAD.heard = heard
    replaceable = profile is None or callable(profile)  # a profiler written in C could not be put back
    if replaceable:
        sys.setprofile(functools.partial(_profile, heard))
    try:
        yield heard
    finally:
        if replaceable:
            sys.setprofile(profile)
        _THREAD.heard = outer
        if collecting:
            gc.enable()


_THREAD: Final = threading.local()


def _profile(heard: list[str], frame: Any, event: str, function: Any) -> None:
    if event != "c_call":
        return
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    if owner is time and function in _CLOCKS:
        said = f"the clock was read: time.{name}"
    elif name in _TODAY and isinstance(owner, type) and issubclass(owner, dt.date):
        said = f"the clock was read: {owner.__name__}.{name}"
    elif function is time.sleep:
        said = "the clock was waited for: time.sleep"
    elif function is os.urandom:
        said = "the system's randomness was used: os.urandom"
    elif function is print or function is input or (name == "write" and isinstance(owner, _STREAMS)):
        said = f"a stream was touched: {name}"
    else:
        return
    if (place := _place(frame)) is not None:
        heard.append(said + place)


_STREAMS: Final = (io.TextIOWrapper, io.BufferedWriter, io.FileIO)


@functools.cache
def _add_audit_hook() -> None:
    # It cannot be removed again; outside a guard it costs one attribute look-up an event.
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    heard = getattr(_THREAD, "heard", None)
    if heard is None or not event.startswith(_EFFECTS):
        return
    if event == "open" and _is_own_reading(*arguments):
        return
    _THREAD.heard = None  # asking for the frame is an event as well
    try:
        if (place := _place(sys._getframe(1))) is not None:
            shown = f" {arguments[0]!r}" if arguments and isinstance(arguments[0], str | bytes) else ""
            heard.append(f"the outside world was touched: {event}{shown}{place}")
    finally:
        _THREAD.heard = heard


def _is_own_reading(path: Any, mode: Any, flags: int) -> bool:
    reads = not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return reads and isinstance(path, str) and (path.startswith(_PACKAGES) or path.endswith((".py", ".pyc")))


def _place(frame: Any) -> str | None:
    """Say where, e.g. ` (stopper.py:12, in update)`; None where an import or a warning does it."""
    innermost, each = frame, frame
    while each is not None:
        if each.f_globals.get("__name__") in _EXEMPT:
            return None
        if each.f_code is Watch.call.__code__:
            break
        each = each.f_back
    file = innermost.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f" ({file}:{innermost.f_lineno}, in {innermost.f_code.co_name})"
