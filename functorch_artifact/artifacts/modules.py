"""Modules of the user's that define artifacts, in the folder that the settings name.

Belongs here: importing them. Does not: finding the folder (`settings`), artifacts (`artifact`).
Floor 3.

Importing runs code: whoever can write to the folder can run what they like in this process, as with
any module on Python's path.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from functorch_artifact.errors import ConfigurationError


def import_modules(folder: Path, where: str) -> tuple[str, ...]:
    """Import the modules of a folder and of the packages in it, each once in a process, and name them.

    They form a package of a name of their own, whatever the folder is called, so they may import
    each other relatively (`from .helpers import mean`); nothing is added to Python's path. One that
    is imported already, under whatever name, stays as it is.

    Args:
        folder: where they are.
        where: what named the folder, for errors.

    Raises:
        ConfigurationError: there is no such folder, or a module raised.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            "names a folder that is not there", where=where, got=str(folder), fix="make the folder, or remove the key"
        )
    package = _package(folder.resolve())
    return tuple(_import(name, path, where) for name, path in _listed(package))


def _package(folder: Path) -> ModuleType:
    """Make the package that the folder's modules are imported from, or give the one that is there."""
    import cloudpickle

    name = f"artifacts_in_{folder.name}_{sha256(str(folder).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        package = sys.modules[name] = ModuleType(name, f"Artifacts in {folder}.")
        package.__path__ = [str(folder)]
        # Another process, which computes artifacts in the background, cannot import them by name.
        cloudpickle.register_pickle_by_value(package)
    return sys.modules[name]


def _listed(package: ModuleType) -> Iterator[tuple[str, Path]]:
    for finder, name, is_package in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        path = Path(getattr(finder, "path", "")) / name.rpartition(".")[2]
        yield name, path / "__init__.py" if is_package else path.with_name(f"{path.name}.py")
        if is_package:
            inner = ModuleType(name)
            inner.__path__ = [str(path)]
            yield from _listed(inner)


def _import(name: str, path: Path, where: str) -> str:
    for known, module in list(sys.modules.items()):
        # Not by getattr, at which modules that load lazily would begin to.
        if isinstance(module, ModuleType) and vars(module).get("__file__") == str(path):
            return known
    try:
        return importlib.import_module(name).__name__
    except Exception as error:
        raise ConfigurationError(
            "names a folder with a module that cannot be imported",
            where=where,
            expected="modules that define artifacts, e.g. with @table_comparison.score(...)",
            got=f"{path}: {type(error).__name__}: {error}",
            fix="mend the module, or move it out of the folder",
        ) from error
