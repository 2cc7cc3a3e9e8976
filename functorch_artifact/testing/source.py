"""Values as Python that can be pasted.

Belongs here: writing a value down. Does not: what is to be written (`law`).
Floor 10.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor


class Source:
    """Write values down, and remember what has to be imported to read them.

    Example:
        >>> import torch
        >>> from functorch_artifact.testing.source import Source
        >>> source = Source()
        >>> source.of({"x": torch.tensor([1.0, float("nan")])}), source.imports
        ("{'x': torch.tensor([1.0, float('nan')])}", ['import torch'])
    """

    def __init__(self) -> None:
        self._imports: dict[str, set[str]] = {}
        self.complete = True
        """Whether everything could be written down; what could not stands as `...`."""

    @property
    def imports(self) -> list[str]:
        """The import statements, in order."""
        return [
            f"import {module}" if not names else f"from {module} import {', '.join(sorted(names))}"
            for module, names in sorted(self._imports.items(), key=lambda item: (bool(item[1]), item[0]))
        ]

    def need(self, module: str, *names: str) -> None:
        """Import a module, or names of it."""
        self._imports.setdefault(module, set()).update(names)

    def of(self, value: Any) -> str:
        """Write one value."""
        if value is None or (isinstance(value, bool | int | str | bytes) and not isinstance(value, enum.Enum)):
            return repr(value)
        if isinstance(value, float):
            return repr(value) if math.isfinite(value) else f"float({str(float(value))!r})"
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            self.need("numpy as np")
            return f"np.array({self.of(value.tolist())}, dtype={value.dtype.str!r})"
        if isinstance(value, torch.dtype | torch.device):
            self.need("torch")
            return repr(value) if isinstance(value, torch.dtype) else f"torch.{value!r}"
        if isinstance(value, Path):
            return self.of(str(value))
        if isinstance(value, Mapping) and type(value) is dict:
            return "{" + ", ".join(f"{self.of(key)}: {self.of(each)}" for key, each in value.items()) + "}"
        if type(value) in (list, tuple, set):
            return self._sequence(value)
        if isinstance(value, tuple) and hasattr(type(value), "_fields"):
            return self._call(type(value), dict(zip(vars(type(value))["_fields"], value, strict=True)))
        if isinstance(value, enum.Enum):
            return f"{self._name(type(value))}.{value.name}"
        if isinstance(value, type):
            return self._name(value)
        if attrs.has(type(value)):
            arguments = {f.alias: getattr(value, f.name) for f in attrs.fields(type(value)) if f.init}
            return self._call(type(value), arguments)
        if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
            return self._name(value)
        self.complete = False
        return "..."

    def _sequence(self, value: Any) -> str:
        items = ", ".join(self.of(each) for each in value)
        if isinstance(value, list):
            return f"[{items}]"
        if isinstance(value, tuple):
            return f"({items},)" if len(value) == 1 else f"({items})"
        return f"{{{items}}}" if value else "set()"

    def _tensor(self, value: Tensor) -> str:
        self.need("torch")
        plain = value.detach().cpu().resolve_conj().resolve_neg()
        numbers = (plain.double() if plain.is_floating_point() else plain).tolist()
        if value.numel() == 0 and value.ndim > 1:
            return f"torch.zeros({tuple(value.shape)}, dtype={value.dtype})"
        dtype = "" if value.dtype is torch.float32 else f", dtype={value.dtype}"
        return f"torch.tensor({self.of(numbers)}{dtype})"

    def _call(self, cls: type[Any], arguments: Mapping[str, Any]) -> str:
        return f"{self._name(cls)}({', '.join(f'{name}={self.of(each)}' for name, each in arguments.items())})"

    def _name(self, named: Any) -> str:
        module, name = named.__module__, named.__qualname__
        if module not in ("builtins", "__main__") and "<" not in name:
            self.need(module, name.split(".")[0])
        if "<" in name:  # made in a function: whoever pastes has it at hand
            return str(named.__name__)
        return str(name)
