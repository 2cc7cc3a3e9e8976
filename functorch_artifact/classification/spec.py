"""Which classes there are.

Belongs here: `ClassSpec`. Does not: labels and predictions (`evaluation`).
Floor 6.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import attrs

from functorch_artifact.metrics.labels import check_classes, distinct


def _names(names: Iterable[Hashable]) -> tuple[Hashable, ...]:
    return check_classes(names, "ClassSpec")


@attrs.frozen
class ClassSpec:
    """Name the classes, as they stand in the labels; their order is that of probabilities.

    Args:
        class_names: two or more: strings, numbers, booleans.

    Raises:
        PredictionError: there are fewer than two different names.

    Example:
        >>> ClassSpec(["setosa", "versicolor", "virginica"]).n_classes
        3
    """

    class_names: tuple[Hashable, ...] = attrs.field(converter=_names)

    @property
    def n_classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    @property
    def by_code(self) -> tuple[Hashable, ...]:
        """The classes by their code in an evaluation: in their order."""
        return self.class_names

    @classmethod
    def from_labels(cls, labels: Any) -> ClassSpec:
        """Find the classes among labels, sorted if they can be.

        Args:
            labels: at least one label of each class; missing ones are passed over.

        Raises:
            PredictionError: there are fewer than two classes among the labels.

        Example:
            >>> ClassSpec.from_labels(["b", "a", "b"]).class_names
            ('a', 'b')
        """
        found: list[Any] = distinct(labels, "the labels")
        try:
            return cls(sorted(found))
        except TypeError:  # names of several types
            return cls(found)
