"""What the bits of a run depend on besides its program: versions, device, threads, flags.

Belongs here: reading them, and saying how two differ. Does not: deciding what follows (`driver`).
Floor 8.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import optree
import torch

from functorch_artifact.precision import of_products

Fingerprint: TypeAlias = dict[str, str | int | float | bool]


class FingerprintWarning(UserWarning):
    """A run that continues where other bits may come out."""


def fingerprint(device: torch.device, mode: str) -> Fingerprint:
    """Read what bit-identity depends on.

    Args:
        device: where the run computes.
        mode: how its steps run; see `compile`.

    Example:
        >>> import torch
        >>> from functorch_artifact.runs.fingerprint import fingerprint
        >>> fingerprint(torch.device("cpu"), "eager")["mode"]
        'eager'
    """
    found: Fingerprint = {
        "mode": mode,
        "device": device.type,
        "machine": f"{platform.system()} {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": of_products(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "optree": optree.__version__,
        "functorch_artifact": _version(),
    }
    if device.type == "cuda":
        found |= {
            "accelerator": torch.cuda.get_device_name(device),
            "cuda": str(torch.version.cuda),
            "cudnn": int(torch.backends.cudnn.version() or 0),  # type: ignore[no-untyped-call]
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
        }
    return found


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """List what changed, e.g. `threads: 1, now 2`."""
    names = sorted({*before, *now})
    return [f"{name}: {before.get(name)}, now {now.get(name)}" for name in names if before.get(name) != now.get(name)]


def _version() -> str:
    try:
        return importlib.metadata.version("functorch-artifact")
    except importlib.metadata.PackageNotFoundError:  # used from its source, not installed
        return "source"
