"""The laws of what can be checkpointed.

Belongs here: that saving and loading change nothing. Does not: our own state files.
Floor 10.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import attrs
from hypothesis import strategies as st

from functorch_artifact import checkpoint, trees
from functorch_artifact.testing.agreement import show
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect


@attrs.frozen(eq=False)
class CheckpointCase(Case):
    """A tree, or a strategy of trees."""

    values: st.SearchStrategy[Any]


CHECKPOINTABLE: Family[CheckpointCase] = Family("tree", "check_checkpointable")


def check_checkpointable(tree: Any, *, strict: bool = True, without: Collection[str] = ()) -> Report:
    """Hold a state to the laws of what can be saved and loaded.

    - `loading_inverts_saving`

    Args:
        tree: the state, or a strategy that draws states.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> import torch
        >>> from functorch_artifact.testing import check_checkpointable
        >>> report = check_checkpointable({"w": torch.ones(2), "rate": 0.1})
        >>> report.holding
        ('loading_inverts_saving',)
    """
    return checkpoint_laws(tree).check(strict=strict, without=without)


def checkpoint_laws(tree: Any) -> Laws:
    """List the laws of a state, or of a strategy of states."""
    drawn = tree if isinstance(tree, st.SearchStrategy) else st.just(tree)
    return CHECKPOINTABLE.bind(CheckpointCase(tree, drawn))


def _values(case: CheckpointCase) -> st.SearchStrategy[Any]:
    return case.values


@CHECKPOINTABLE.law(
    usual_cause="a leaf that is no tensor or plain data, or a class that is not a @trees.node", value=_values
)
def loading_inverts_saving(case: CheckpointCase, value: Any) -> None:
    """What is loaded has the structure and the bits of what was saved, asked for by its like or not."""
    with tempfile.TemporaryDirectory() as directory:
        path = checkpoint.save(Path(directory) / "state", value)
        loaded = checkpoint.load(path, like=value)
    expect(trees.flatten(loaded)[1] == trees.flatten(value)[1], trees.flatten(value)[1], trees.flatten(loaded)[1])
    expect(trees.digest(loaded) == trees.digest(value), show(value), show(loaded))
