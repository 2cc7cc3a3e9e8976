"""A run's directory: who owns it, and whether this program may use it.

Belongs here: claiming a directory for a run. Does not: what is kept in it (`tracking`,
`checkpoint`).
Floor 7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import attrs

from functorch_artifact.errors import RunDirectoryError

_MARKER = "run.json"


@attrs.frozen
class RunDirectory:
    """A directory that belongs to one run."""

    path: Path

    @classmethod
    def claim(cls, path: str | Path, identity: Mapping[str, str | int], *, resume: bool = False) -> RunDirectory:
        """Make the directory for a run of this identity, or find it again to `resume` it.

        Raises:
            RunDirectoryError: the directory holds a run already; with `resume`, one of another
                identity, or none at all; or it holds files that are no run's.
        """
        path = Path(path)
        marker = path / _MARKER
        if marker.exists():
            found = json.loads(marker.read_text())
            if not resume:
                raise RunDirectoryError(
                    "already holds a run", where=str(path), fix="choose another directory, or pass resume=True"
                )
            if found != dict(identity):
                raise RunDirectoryError(
                    "belongs to another run",
                    where=str(path),
                    expected=dict(identity),
                    got=found,
                    fix="resume with the model, optimizer and seed it was started with, or choose another directory",
                )
            return cls(path)
        if resume:
            raise RunDirectoryError("holds no run to resume", where=str(path), fix="start it without resume=True")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunDirectoryError(
                "is in use by something that is no run", where=str(path), fix="choose a directory that is new or empty"
            )
        path.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(dict(identity), indent=1) + "\n")
        return cls(path)
