"""Allocation: how the C library deals with memory that tensors let go of.

Belongs here: settings of the allocator, for the whole process. Does not: what is kept or reused by
name (`compiling`: donation, buffers).
Floor 1.
"""

from __future__ import annotations

from functools import cache

import torch


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to some 60 MiB, for the next step.

    A pure step makes a state and lets go of one. glibc hands large pieces back to the system each time
    and takes them again page by page, at a tenth to a third of a step's time. What it keeps grows with
    the largest piece that it has seen freed, up to 32 MiB. No page of this one is ever touched.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
