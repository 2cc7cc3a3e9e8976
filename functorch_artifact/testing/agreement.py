"""Comparing results, and taking them apart to see what they are.

Belongs here: bit-equality and closeness of any two values, disturbing the global generators, going
through a checkpoint. Does not: laws.
Floor 10.
"""

from __future__ import annotations

import random
import tempfile
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor

from functorch_artifact import checkpoint, trees
from functorch_artifact.fs import Fs, Operation, Sync, SyncDirectory
from functorch_artifact.records import Plot

T = TypeVar("T")


def opened(value: Any) -> Any:
    """Take apart what `trees` takes for a leaf: attrs classes that are not nodes, arrays, pictures."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(np.array(value))
    if isinstance(value, Plot | bytes):
        return "a picture"
    if isinstance(value, dict):
        return {key: opened(each) for key, each in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [opened(each) for each in value]
    if attrs.has(type(value)) and f"{type(value).__module__}.{type(value).__qualname__}" not in trees.NODES:
        return {f.name: opened(getattr(value, f.name)) for f in attrs.fields(type(value))}
    return value


def digest(value: Any) -> str:
    """Hash any result: equal hashes mean equal bits."""
    return trees.digest(opened(value))


def close(expected: Any, got: Any, *, rtol: float, atol: float) -> bool:
    """Say whether two results agree: structure and dtypes exactly, numbers within a tolerance."""
    one, other = trees.named_leaves(opened(expected)), trees.named_leaves(opened(got))
    return one.keys() == other.keys() and all(_close(one[path], other[path], rtol, atol) for path in one)


def _close(one: Any, other: Any, rtol: float, atol: float) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and _near(one, other, rtol, atol)
    if isinstance(one, float) and isinstance(other, float):
        return _near(torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64), rtol, atol)
    return type(one) is type(other) and bool(one == other)


def _near(one: Tensor, other: Tensor, rtol: float, atol: float) -> bool:
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True)


def show(value: Any) -> str:
    """Write a result on one line, shortened."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 300 else text[:297] + "..."


def disturb_generators(seed: int) -> None:
    """Put the global generators of torch, NumPy and Python somewhere else."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


class _Unsynced(Fs):
    """A disk that nobody waits for: what is read back at once need not survive a cut of power."""

    def perform(self, operation: Operation) -> None:
        if not isinstance(operation, Sync | SyncDirectory):
            super().perform(operation)


def through_a_checkpoint(tree: T) -> T:
    """Write a tree to a file and read it back.

    Raises:
        CheckpointError: it holds what a checkpoint does not.
    """
    with tempfile.TemporaryDirectory() as directory:
        loaded: T = checkpoint.load(checkpoint.save(f"{directory}/state", tree, fs=_Unsynced()), like=tree)
    return loaded
