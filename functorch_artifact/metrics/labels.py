"""Class names, labels and probabilities, of any dtype, as arrays.

Belongs here: reading what users and models give. Does not: judging it.
Floor 2.

Labels are class names, equal by value as in a dictionary (so 1, 1.0 and True are one class): a
list, a numpy array, a tensor, or a pandas column of strings, objects, booleans, integers or
categories, nullable or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor

from functorch_artifact.errors import PredictionError, UndefinedError
from functorch_artifact.metrics.statistics import Bools, Floats, Ints

MISSING: Final = -1
"""The code of a missing label."""

_ROUNDING: Final = 1e-6  # how far float32 sigmoids and softmaxes leave [0, 1]
_MOST_SHOWN: Final = 5


def check_classes(names: Iterable[Hashable], where: str) -> tuple[Hashable, ...]:
    """Take class names.

    Raises:
        PredictionError: there are fewer than two, one stands twice, or one cannot be a name.
    """
    if isinstance(names, str):
        raise PredictionError("is one name, not a list of names", where=where, got=names)
    classes = tuple(names.tolist() if isinstance(names, np.ndarray | Tensor) else names)
    try:
        distinct = min(len(set(classes)), len({str(each) for each in classes}))
    except TypeError as error:
        raise PredictionError("has a class that cannot be a name", where=where, got=error) from error
    if distinct < 2 or distinct < len(classes) or any(each is None or each != each for each in classes):
        raise PredictionError(
            "has unusable classes", where=where, expected="two or more names that look different", got=classes
        )
    return classes


def encode(labels: Any, classes: Sequence[Hashable], where: str) -> Ints:
    """Encode labels as places in `classes`: int64 [n], -1 where a label is missing.

    Args:
        labels: n class names, one dimension.
        classes: the names, each of them once.
        where: how to call the labels in an error.

    Raises:
        PredictionError: the labels have another shape, or one is not among the classes.

    Example:
        >>> encode(["no", "yes", "no"], ("yes", "no"), "labels")
        array([1, 0, 1])
    """
    own_codes, names = _factorize(labels, where)
    places = {name: place for place, name in enumerate(classes)}
    if unknown := [name for name in names if name not in places]:
        raise PredictionError(
            "has labels that are no class",
            where=where,
            expected=_shorten(classes),
            got=_shorten(unknown),
            fix="name the classes as they stand in the labels",
        )
    # Code -1, missing, takes the last place.
    return np.array([*(places[name] for name in names), MISSING], dtype=np.int64)[own_codes]


def distinct(labels: Any, where: str) -> list[Hashable]:
    """List the different labels that are not missing, in the order in which they come.

    Raises:
        PredictionError: the labels have another shape.

    Example:
        >>> import torch
        >>> distinct(torch.tensor([2, 0, 2]), "labels")
        [2, 0]
    """
    return _factorize(labels, where)[1]


def known(codes: Ints, where: str) -> Ints:
    """Refuse codes of no label, and missing ones.

    Raises:
        PredictionError: there is no label, or one is missing.
    """
    missing = int(np.count_nonzero(codes == MISSING))
    if missing or codes.size == 0:
        raise PredictionError(
            "has missing labels" if missing else "is empty",
            where=where,
            expected="a label for each example, at least one",
            got=f"{missing} of {len(codes)} missing" if missing else "no labels",
        )
    return codes


def need_all(missing: Bools, what: str) -> None:
    """Refuse to score examples of which something is missing: leaving them out would flatter the model.

    Raises:
        UndefinedError: any is missing; the reason says how many.
    """
    if missing.any():
        raise UndefinedError(f"{np.count_nonzero(missing)} of {len(missing)} {what} are missing")


def check_lengths(n: int, **given: Floats | Ints | None) -> None:
    """Check that results are of as many examples as there are labels.

    Raises:
        PredictionError: some are not.
    """
    for what, values in given.items():
        if values is not None and len(values) != n:
            raise PredictionError(
                "are of another length",
                where=f"the results' {what}",
                expected=f"{n}, as the labels",
                got=len(values),
            )


def probabilities(raw: Any, where: str, n_dimensions: int = 1) -> Floats:
    """Copy probabilities as float64, NaN where one is missing.

    Values that leave 0 to 1 by up to 1e-6 are rounding, and moved to the bound.

    Raises:
        PredictionError: the shape is another, or a value is not between 0 and 1.
    """
    if isinstance(raw, Tensor):
        raw = raw.detach().to("cpu").double().numpy()
    try:
        if hasattr(raw, "to_numpy"):
            values = np.array(raw.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            values = np.array(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionError("is not an array of numbers", where=where, got=error) from error
    if values.ndim != n_dimensions:
        shape = "[n]" if n_dimensions == 1 else "[n, classes]"
        raise PredictionError("has another shape", where=where, expected=shape, got=list(values.shape))
    outside = (values < -_ROUNDING) | (values > 1 + _ROUNDING)
    if outside.any():
        raise PredictionError(
            "has values that are no probabilities",
            where=where,
            expected="0 to 1",
            got=_shorten(values[outside].tolist()),
            fix="if these are logits, pass them through a sigmoid or a softmax",
        )
    return np.clip(values, 0.0, 1.0, out=values)


def _factorize(labels: Any, where: str) -> tuple[Ints, list[Hashable]]:
    import pandas as pd

    try:
        codes, names = pd.factorize(_one_dimensional(labels, where))
    except TypeError as error:
        raise PredictionError("has labels that cannot be names", where=where, got=error) from error
    return codes, names.astype(object).tolist()


def _one_dimensional(labels: Any, where: str) -> Any:
    if isinstance(labels, Tensor):
        labels = labels.detach().to("cpu").numpy()
    if not hasattr(labels, "dtype"):
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise PredictionError("is no list of labels", where=where, expected="n class names", got=repr(labels))
        items = list(labels)
        labels = np.empty(len(items), dtype=object)
        labels[:] = items
    if getattr(labels, "ndim", 1) != 1:
        raise PredictionError("has another shape", where=where, expected="[n]", got=list(labels.shape))
    return labels


def _shorten(items: Sequence[Any]) -> str:
    shown = ", ".join(map(repr, items[:_MOST_SHOWN]))
    return shown + (f", ... ({len(items)} in all)" if len(items) > _MOST_SHOWN else "")
