"""Clients written as text, for a command line: `KIND:WHERE?OPTION=VALUE&OPTION=VALUE`.

Belongs here: the one table of kinds, reading such a text. Does not: clients.
Floor 7.

| kind | client | WHERE is its |
|---|---|---|
| `filesystem` | `Filesystem` | directory |
| `tensorboard` | `TensorBoard` | directory |
| `mlflow` | `MLflow` | tracking URI: `http://host:port` or `sqlite:///file` |
| `clearml`, `neptune`, `wandb`, `trackio` | `ClearML`, `Neptune`, `WandB`, `Trackio` | project |

OPTION is any other argument of the client that is text, a number, `true` or `false`. WHERE ends at
the last question mark; what of VALUE would end it is percent-encoded (`%26` is `&`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import TrackingClient
from functorch_artifact.tracking.clearml import ClearML
from functorch_artifact.tracking.filesystem import Filesystem
from functorch_artifact.tracking.mlflow import MLflow
from functorch_artifact.tracking.neptune import Neptune
from functorch_artifact.tracking.tensorboard import TensorBoard
from functorch_artifact.tracking.trackio import Trackio
from functorch_artifact.tracking.wandb import WandB

KINDS: Final[dict[str, tuple[type[TrackingClient], str]]] = {
    "filesystem": (Filesystem, "directory"),
    "tensorboard": (TensorBoard, "directory"),
    "mlflow": (MLflow, "tracking_uri"),
    "clearml": (ClearML, "project"),
    "neptune": (Neptune, "project"),
    "wandb": (WandB, "project"),
    "trackio": (Trackio, "project"),
}
_TRUTH: Final = {"true": True, "false": False}


def client_of(target: str) -> TrackingClient:
    """Make the client that a text names.

    Raises:
        TrackingError: the kind or an option is unknown, or a value is not of the option's type.

    Example:
        >>> from functorch_artifact import tracking
        >>> type(tracking.client_of("tensorboard:runs/curves")).__name__
        'TensorBoard'
    """
    kind, _, rest = target.partition(":")
    if kind not in KINDS:
        raise TrackingError(
            "is no kind of tracking client",
            where=repr(kind),
            expected=f"one of {', '.join(sorted(KINDS))}",
            fix="write KIND:WHERE, e.g. tensorboard:runs/curves",
        )
    make, place = KINDS[kind]
    where, mark, query = rest.rpartition("?")
    if not mark:
        where, query = rest, ""
    types = options(make)
    given: dict[str, Any] = {place: where} if where else {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise TrackingError("cannot be read", where=repr(query), expected="OPTION=VALUE&OPTION=VALUE") from error
    for name, text in pairs:
        if name not in types or name in given:
            raise TrackingError(
                "is given twice" if name in given else "is no option",
                where=f"{name!r} of {kind}",
                expected=f"one of {', '.join(sorted(set(types) - {place}))}" if set(types) > {place} else "none",
            )
        given[name] = _value(text, types[name], f"{name!r} of {kind}")
    return make(**given)


def options(make: Callable[..., TrackingClient]) -> dict[str, type]:
    """List the arguments that can be written as text, with their types."""
    found: dict[str, type] = {}
    for name, parameter in inspect.signature(make).parameters.items():
        words = set(re.findall(r"\w+", str(parameter.annotation)))
        kind = next((each for each in (bool, int, float, str) if each.__name__ in words), None)
        if kind is None and "Literal" in words:
            kind = str
        if kind is not None:
            found[name] = kind
    return found


def _value(text: str, kind: type, where: str) -> Any:
    try:
        return _TRUTH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        expected = "true or false" if kind is bool else f"one {kind.__name__}"
        raise TrackingError("has a value of another type", where=where, expected=expected, got=repr(text)) from error
