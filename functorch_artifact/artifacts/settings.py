"""What the reference keeps in `.artifact-ml/<toolkit>.json`: parameters, and a folder of one's own artifacts.

Belongs here: finding and reading that file. Does not: what the parameters mean (the artifacts),
importing the folder's modules (`modules`).
Floor 3. It reads a file, as its name says; nothing else below floor 7 but `report` touches the disk.

The file maps a kind ("scores", "plots", ...) to artifacts, and these to keyword arguments:

    {"custom_artifacts_dir": "my_artifacts", "scores": {"MEAN_JS_DISTANCE": {"n_bins_cts_histogram": 50}}}

It is looked for in the working directory and its parents, up to the first `.artifact-ml`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from functorch_artifact.errors import ConfigurationError

DIRECTORY: Final = ".artifact-ml"
_FOLDER: Final = "custom_artifacts_dir"
_KINDS: Final = ("scores", "arrays", "plots", "score_collections", "array_collections", "plot_collections")


class SettingsWarning(UserWarning):
    """Something in `.artifact-ml/<toolkit>.json` has no effect."""


@attrs.frozen
class Settings:
    """What is set for a toolkit."""

    path: Path | None = None
    """The file; `None` if there is none."""
    parameters: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    """Keyword arguments by artifact, of all kinds."""
    folder: Path | None = None
    """Where the modules are that define artifacts of the user's own; relative to where `.artifact-ml` is."""


def settings(toolkit: str) -> Settings:
    """Read what is set for a toolkit; nothing if there is no such file.

    Raises:
        ConfigurationError: the file is not such a mapping, or has other keys.
    """
    here = Path.cwd()
    directory = next((each / DIRECTORY for each in (here, *here.parents) if (each / DIRECTORY).is_dir()), None)
    if directory is None or not (path := directory / f"{toolkit}.json").is_file():
        return Settings()
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(read.keys() - {_FOLDER, *_KINDS})
        parameters = {str(name): dict(given) for kind in _KINDS for name, given in (read.get(kind) or {}).items()}
        folder = None if read.get(_FOLDER) is None else directory.parent / read[_FOLDER]
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            "does not hold parameters of artifacts",
            where=str(path),
            expected='{"scores": {"NAME": {"parameter": value}}, ...}',
            got=f"{type(error).__name__}: {error}",
        ) from error
    if unknown:
        raise ConfigurationError("has unknown keys", where=str(path), expected=[_FOLDER, *_KINDS], got=unknown)
    return Settings(path, parameters, folder)
