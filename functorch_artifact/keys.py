"""Randomness as a value: a key is a hash of (seed, stream, index), never a hidden counter.

Belongs here: deriving keys, generators made from them, running code under a key.
Does not: drawing anything in particular (orders are drawn in `data`, noise in models).
Floor 1.

The state stores only (seed, step, epoch). Dropout at step 41 is a function of (seed, 41), an
epoch's order a function of (seed, epoch), so nothing has to be replayed to get there.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from functorch_artifact.errors import ConfigurationError


def derive(seed: int, stream: str, *indices: int) -> int:
    """Derive a 63-bit key from a seed, the name of a stream, and indices such as the step.

    Different streams ("step", "order", "generate", ...) never share randomness. A stream's name has
    at most 16 bytes.

    Raises:
        ConfigurationError: the seed or an index is not an int of 64 bits.

    Example:
        >>> from functorch_artifact import keys
        >>> keys.derive(0, "step", 41) == keys.derive(0, "step", 41)
        True
        >>> keys.derive(0, "step", 41) == keys.derive(0, "order", 41)
        False
    """
    try:
        packed = struct.pack(f"<{1 + len(indices)}q", seed, *indices)
    except struct.error as error:
        raise ConfigurationError(
            "is not a key",
            where=f"stream {stream!r}",
            expected="a seed and indices that are ints from -2**63 to 2**63 - 1",
            got=(seed, *indices),
            fix="pass another seed",
        ) from error
    digest = hashlib.blake2b(packed, digest_size=8, person=stream.encode()).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a private generator that starts at `key`."""
    made = torch.Generator(device=device)
    made.manual_seed(key)
    return made


def permutation(key: int, n: int) -> Tensor:
    """Draw an order of `n` items: int64 [n] on the CPU, a function of the key alone."""
    return torch.randperm(n, generator=generator(key))


def seeded(key: int, device: torch.device | str = "cpu") -> AbstractContextManager[Any]:
    """Run torch's global randomness from `key`, then leave the generators as they were found.

    This serves modules that draw from the global generator, such as `torch.nn.Dropout`. On a
    CUDA device its generator is seeded and restored as well, without a host synchronisation.
    """
    return _Preserved(device, key)


def preserved(device: torch.device | str = "cpu") -> AbstractContextManager[list[torch.Generator]]:
    """Give torch's global generators, of the CPU and of a CUDA device, and leave them as they were found."""
    return _Preserved(device, None)


class _Preserved(AbstractContextManager[list[torch.Generator]]):
    """What these give; around each eager step, where a generator function takes twice as long."""

    def __init__(self, device: torch.device | str, key: int | None) -> None:
        self._key, self._generators = key, [torch.default_generator]
        device = torch.device(device)
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            self._generators.append(torch.cuda.default_generators[index])

    def __enter__(self) -> list[torch.Generator]:
        self._found = [each.get_state() for each in self._generators]
        if self._key is not None:
            for each in self._generators:
                each.manual_seed(self._key)
        return self._generators

    def __exit__(self, *error: object) -> None:
        for each, state in zip(self._generators, self._found, strict=True):
            each.set_state(state)
