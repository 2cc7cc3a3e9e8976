"""Packages that a client needs and the library does not.

Belongs here: importing them when they are used. Does not: using them.
Floor 7.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from functorch_artifact.errors import MissingExtraError


def load(module: str, extra: str, **settings: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: its dotted name.
        extra: the extra that installs it.
        settings: environment variables that the package reads, set where they are not set already.

    Raises:
        MissingExtraError: the package is not installed.
    """
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is there, and lacks something itself
            raise
        raise MissingExtraError(package, extra=extra, purpose=f"tracking with {package}") from error
