"""Parameters of artifacts as the reference keeps them, in `.artifact-ml/<toolkit>.json`.

Belongs here: finding and reading that file. Does not: what the parameters mean (the artifacts).
Floor 3. It reads a file, as its name says; nothing else below floor 7 but `report` touches the disk.

The file maps a kind ("scores", "plots", ...) to artifacts, and these to keyword arguments:

    {"scores": {"MEAN_JS_DISTANCE": {"n_bins_cts_histogram": 50}}}

It is looked for in the working directory and its parents, up to the first `.artifact-ml`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from functorch_artifact.errors import ConfigurationError

DIRECTORY: Final = ".artifact-ml"
_KINDS: Final = ("scores", "arrays", "plots", "score_collections", "array_collections", "plot_collections")


def settings(toolkit: str) -> Mapping[str, Mapping[str, Any]]:
    """Read the parameters by artifact, of all kinds; none if there is no such file.

    Raises:
        ConfigurationError: the file is not such a mapping.
    """
    here = Path.cwd()
    directory = next((each / DIRECTORY for each in (here, *here.parents) if (each / DIRECTORY).is_dir()), None)
    if directory is None or not (path := directory / f"{toolkit}.json").is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(parameters) for kind in _KINDS for name, parameters in (read.get(kind) or {}).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            "does not hold parameters of artifacts",
            where=str(path),
            expected='{"scores": {"NAME": {"parameter": value}}, ...}',
            got=f"{type(error).__name__}: {error}",
        ) from error
