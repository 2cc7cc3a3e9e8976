"""Donation: giving up a state, so that its memory can serve the next one.

Belongs here: marking a value as given up, and telling whether a tensor has another holder. Does
not: who donates what (`compiling`).
Floor 5.

Nothing that anybody holds ever changes. Memory is reused where nobody but the donated value has the
tensor; where somebody has, the step works on a copy. So a snapshot, a tracked model or a variable of
the user's is safe without having been copied in advance, and costs a copy only if it is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import attrs
import torch

from functorch_artifact import deferral
from functorch_artifact.errors import StateError


def give_up(value: Any, by: str) -> bool:
    """Empty a frozen attrs object of ours; whoever uses it again is told who took it.

    Returns:
        Whether some of its fields were still to be fetched: nobody can have what those would have held.

    Raises (at each later use of the object):
        StateError: it was donated.

    Example:
        >>> import attrs
        >>> from functorch_artifact.compiling import donation
        >>> @attrs.frozen
        ... class Pair:
        ...     left: int
        ...     right: int
        >>> pair = Pair(1, 2)
        >>> donation.give_up(pair, by="step 3")
        False
        >>> pair.left
        Traceback (most recent call last):
        functorch_artifact.errors.StateError: Pair: was donated to step 3, which reused its memory
          do this: go on with what that call returned; pass donate=False; or keep a copy: trees.snapshot(state)
    """
    first, *others = _names(type(value))  # type: ignore[arg-type]
    unseen = deferral.forget(value)
    for name in others:
        object.__setattr__(value, name, None)
    object.__setattr__(value, first, by)
    object.__setattr__(value, "__class__", _given_up(type(value)))  # type: ignore[arg-type]
    return unseen


def given_up(value: Any) -> bool:
    """Tell whether a value was donated."""
    return getattr(type(value), "_was_given_up", False)


def own(tensors: list[Any], places: Iterable[int]) -> None:
    """Copy, of the tensors in these places of the list, those that somebody else holds as well.

    The list has to be their only holder that is meant to be: give up the value they are from first.
    Other tensors that share their memory, and arrays made of them, count as holders.
    """
    for place in held(tensors, places):
        tensors[place] = tensors[place].clone()


def held(tensors: list[Any], places: Iterable[int]) -> Iterator[int]:
    """Find, of the tensors in these places of the list, those that somebody else holds as well."""
    references, users = sys.getrefcount, torch._C._storage_Use_Count
    for place in places:
        # This list and this call; the tensor and what is asked for here.
        if references(tensors[place]) > 2 or users(tensors[place].untyped_storage()._cdata) > 2:
            yield place


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


@cache
def _given_up(cls: type[Any]) -> type[Any]:
    first = attrs.fields(cls)[0].name

    def use(self: Any, name: str) -> Any:
        if name == "__class__":  # for isinstance
            return cls
        raise StateError(
            f"was donated to {object.__getattribute__(self, first)}, which reused its memory",
            where=cls.__name__,
            fix="go on with what that call returned; pass donate=False; or keep a copy: trees.snapshot(state)",
        )

    def shown(self: Any) -> str:
        return f"<{cls.__name__}, donated to {object.__getattribute__(self, first)}>"

    members: dict[str, Any] = {"__slots__": (), "__getattribute__": use, "__repr__": shown, "_was_given_up": True}
    return type(cls.__name__, (cls,), members)
