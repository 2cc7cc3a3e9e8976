"""Which two classes there are, and which one is the positive one.

Belongs here: `BinaryClassSpec`. Does not: labels and predictions (`evaluation`).
Floor 6.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import attrs

from functorch_artifact.errors import PredictionError
from functorch_artifact.metrics.labels import check_classes, distinct


def _names(names: Iterable[Hashable]) -> tuple[Hashable, ...]:
    return check_classes(names, "BinaryClassSpec")


@attrs.frozen
class BinaryClassSpec:
    """Name two classes, as they stand in the labels.

    Args:
        class_names: the two, in any order: strings, numbers, booleans.
        positive_class: the one that is to be detected.

    Raises:
        PredictionError: there are not two different classes, or the positive one is not among them.

    Example:
        >>> spec = BinaryClassSpec(["benign", "malignant"], positive_class="malignant")
        >>> spec.negative_class
        'benign'
    """

    class_names: tuple[Hashable, ...] = attrs.field(converter=_names)
    positive_class: Hashable

    def __attrs_post_init__(self) -> None:
        if len(self.class_names) != 2:
            raise PredictionError(
                "has more than two classes", where="BinaryClassSpec", expected="two", got=self.class_names
            )
        if self.positive_class not in self.class_names:
            raise PredictionError(
                "has a positive class that is no class",
                where="BinaryClassSpec",
                expected=f"one of {self.class_names}",
                got=repr(self.positive_class),
            )

    @property
    def negative_class(self) -> Hashable:
        """The other class."""
        first, second = self.class_names
        return second if first == self.positive_class else first

    @property
    def by_code(self) -> tuple[Hashable, Hashable]:
        """The classes by their code in an evaluation: the positive one comes first."""
        return self.positive_class, self.negative_class

    @classmethod
    def from_labels(cls, labels: Any, positive_class: Hashable) -> BinaryClassSpec:
        """Find the classes among labels.

        Args:
            labels: at least one label of each class; missing ones are passed over.
            positive_class: the one that is to be detected.

        Raises:
            PredictionError: there are not two classes among the labels, or `positive_class` is none of them.

        Example:
            >>> BinaryClassSpec.from_labels([0, 1, 1, 0], positive_class=1).class_names
            (0, 1)
        """
        return cls(distinct(labels, "the labels"), positive_class)
