"""Deferral: an immutable value some of whose fields are fetched when one of them is first read.

Belongs here: making such values, fetching, letting go. Does not: where the fields are meanwhile
(`compiling`: in buffers that a CUDA graph writes to).
Floor 1.

A deferred value has the class, and once looked at the content, of any other; only the first look
takes longer. Its class has `look_up` as its `__getattr__`, which Python asks for missing fields alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_FETCH: Final[WeakKeyDictionary[Any, Callable[[], Mapping[str, Any]]]] = WeakKeyDictionary()
_LOCK: Final = threading.Lock()  # held while it is decided whether a value is looked at or let go of


def deferred(cls: type[T], known: Mapping[str, Any], fetch: Callable[[], Mapping[str, Any]]) -> T:
    """Make a value of which some fields are known; `fetch` gives the others.

    Example:
        >>> from functorch_artifact import deferral
        >>> class Pair:
        ...     __getattr__ = deferral.look_up
        >>> pair = deferral.deferred(Pair, {"left": 1}, lambda: {"right": print("fetched") or 2})
        >>> pair.left, deferral.pending(pair)
        (1, True)
        >>> pair.right, pair.right, deferral.pending(pair)
        fetched
        (2, 2, False)
    """
    value = object.__new__(cls)
    for name, each in known.items():
        object.__setattr__(value, name, each)
    _FETCH[value] = fetch
    return value


def pending(value: Any) -> bool:
    """Tell whether a value's fields are still to be fetched."""
    return value in _FETCH


def settle(value: Any) -> None:
    """Fetch a value's fields now, if that is still to be done."""
    fetch = _FETCH.get(value)
    if fetch is None:
        return
    found = fetch()
    with _LOCK:
        if value in _FETCH:  # else another thread was faster, and what was fetched here may be torn
            for name, each in found.items():
                object.__setattr__(value, name, each)
            del _FETCH[value]


def forget(value: Any) -> bool:
    """Never fetch a value's fields, for nobody will ask for any; tell whether they were still to be fetched."""
    with _LOCK:
        return _FETCH.pop(value, None) is not None


def look_up(value: Any, name: str) -> Any:
    """Give a field that is not there yet.

    Raises:
        AttributeError: it is no field, or nothing is to be fetched.
    """
    if name.startswith("__") or name not in getattr(type(value), "__slots__", (name,)) or not pending(value):
        raise AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
    settle(value)
    return object.__getattribute__(value, name)
