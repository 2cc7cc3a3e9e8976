"""Pace: how many optimizer steps a call of the compiled step takes, and which.

Belongs here: choosing their number, cutting batches into calls. Does not: taking them (`driver.loop`).
Floor 9.

The number changes no bits. It is a function of the program alone, whatever is found on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import torch

from functorch_artifact import trees
from functorch_artifact.data import DataLoader, ResidentDataset
from functorch_artifact.program import Program

T = TypeVar("T")

_SEVERAL: Final = 16  # by then, little is left of what a call costs
_SMALL: Final = 2**20  # bytes, of a model and of a call's batches together


def steps_per_call(program: Program, device: torch.device) -> int:
    """Say how many steps a call takes at most; see `Program.steps_per_call`.

    `auto` is several where nobody could tell but by the clock: steps are over in no time, since the model
    and the batches of a call are small, and batches are cut from a table that is on the device.

    Args:
        program: what runs, its loaders on the device.
        device: where it runs.
    """
    looked_at = program.nonfinite == "stop" and device.type == "cpu"  # after each step
    if program.mode == "eager" or program.purity == "check" or looked_at:
        return 1
    if program.steps_per_call != "auto":
        return program.steps_per_call
    loader = program.train_loader
    if type(loader) is not DataLoader or not isinstance(loader.dataset, ResidentDataset):
        return 1
    if not loader.dataset.device == loader.placed == device:
        return 1
    batch = _n_bytes(loader.dataset.tree) * loader.batch_size // len(loader.dataset)
    return max(1, min(_SEVERAL, (_SMALL - _n_bytes(program.model.variables)) // max(1, batch)))


def calls(batches: Iterable[T], most: int, look: Callable[[int], bool]) -> Iterator[list[T]]:
    """Cut batches into those of one call each.

    Args:
        batches: in their order.
        most: so many a call.
        look: whether somebody has to look at the state after so many further steps, which ends a call.

    Example:
        >>> from functorch_artifact.driver import pace
        >>> list(pace.calls("abcdefg", 3, lambda n: False))
        [['a', 'b', 'c'], ['d', 'e', 'f'], ['g']]
    """
    several: list[T] = []
    for batch in batches:
        several.append(batch)
        if len(several) == most or look(len(several)):
            yield several
            several = []
    if several:
        yield several


def _n_bytes(tree: Any) -> int:
    return sum(each.nbytes for each in trees.tensors(tree))
