"""Feeding: batches on their way to a device, one ahead of the one that is computed on.

Belongs here: copying batches to a device, in time; whether a table fits there. Does not: making
batches (`data`).
Floor 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from functorch_artifact import trees

T = TypeVar("T")

_SHARE: Final = 0.5  # of the free memory that a table may take: the rest is for states and activations


def one_ahead(batches: Iterable[T], begin: Callable[[T], Callable[[], T]]) -> Iterator[T]:
    """Give batches in order, each when its successor is on its way.

    An error in making a batch is raised when that batch's turn has come, not its predecessor's.
    Closing the iterator closes the one below. How far it has read tells nobody how far training is.

    Args:
        batches: what is to be fed.
        begin: starts a batch's way, without waiting for it, and gives what waits for it.

    Example:
        >>> from functorch_artifact import feeding
        >>> def begin(batch):
        ...     print(f"{batch} leaves")
        ...     return lambda: f"{batch} is here"
        >>> for batch in feeding.one_ahead(["first", "second"], begin):
        ...     print(batch)
        first leaves
        second leaves
        first is here
        second is here
    """
    source = iter(batches)
    under_way: list[Callable[[], T]] = []
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                under_way.append(begin(next(source)))
            except StopIteration:
                break
            except Exception as error:
                failure = error
            if len(under_way) > 1:
                yield under_way.pop(0)()
        for finish in under_way:
            yield finish()
        if failure is not None:
            raise failure
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def on_device(batches: Iterable[T], device: torch.device | str, *, ahead: bool = True) -> Iterator[T]:
    """Give batches on a device.

    To CUDA they go through pinned memory on a stream of their own, one batch `ahead`, so that
    copying overlaps computing; what is on the device already is left alone.
    """
    place = exact(device)
    if ahead and place.type == "cuda":
        return one_ahead(batches, _Transfers(place).begin)
    return (trees.to_device(batch, place) for batch in batches)


def exact(device: torch.device | str) -> torch.device:
    """Name a device with its number, as its tensors do."""
    place = torch.device(device)
    if place.type == "cuda" and place.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return place


def fits(tree: Any, device: torch.device) -> bool:
    """Tell whether a table fits on a device beside a model: on CUDA, in half of what is free."""
    free = free_memory(device)
    return free is None or sum(leaf.nbytes for leaf in trees.tensors(tree)) <= _SHARE * free


def free_memory(device: torch.device) -> int | None:
    """Count the free bytes of a CUDA device; None for any other."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


class _Transfers:
    """Copies from pinned memory on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def begin(self, batch: T) -> Callable[[], T]:
        leaves, structure = trees.flatten(batch)
        with torch.cuda.stream(self._stream):
            # Pinned memory is reused when its copy is done, which torch sees to.
            sent = {
                place: (leaf if leaf.is_pinned() else leaf.pin_memory()).to(self._device, non_blocking=True)
                for place, leaf in enumerate(leaves)
                if isinstance(leaf, Tensor) and leaf.device.type == "cpu"
            }
            arrived = self._stream.record_event()

        def finish() -> T:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(arrived)
            for leaf in sent.values():
                leaf.record_stream(current)  # else the next batch might be copied into its memory too early
            got: T = trees.unflatten(structure, [sent.get(place, leaf) for place, leaf in enumerate(leaves)])
            return trees.to_device(got, self._device)

        return finish
