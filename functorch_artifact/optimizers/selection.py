"""Choosing which leaves a transformation sees: partition by label, masks, freezing.

Belongs here: labels, masks, and the wrappers that need them. Does not: what is done to the leaves.
Floor 2.

Labels are settled once, in `init`, and kept in the state's structure, so that `update` needs no
paths and traces. A transformation that sees some leaves gets trees of the parameters' own shape
with `()` in the other places, which holds no leaf for optree and for `torch.func`; paths stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import optree

from functorch_artifact import trees
from functorch_artifact.errors import OptimizerError
from functorch_artifact.optimizers.transformation import (
    GradientTransformation,
    OptState,
    Params,
    Scores,
    Updates,
    aligned,
    check_transformation,
    identity,
    stateless,
    told,
    unchanged,
)
from functorch_artifact.trees import STATIC, node

Labels: TypeAlias = Any
"""A tree of labels shaped like the parameters, or a function of (path, leaf) to a label."""
Mask: TypeAlias = Any
"""A tree of bools shaped like the parameters, or a function of (path, leaf) to a bool."""


@node
@attrs.frozen(eq=False)
class Partitioned:
    """The labels of the leaves, in the tree's order, and a state for each label that a leaf has."""

    states: dict[str, Any]
    labels: tuple[str, ...] = attrs.field(metadata=STATIC)


def partition(transformations: Mapping[str, GradientTransformation], labels: Labels) -> GradientTransformation:
    """Give each leaf to the transformation of its label.

    Args:
        transformations: a transformation a label.
        labels: a tree of labels shaped like the parameters, or a function `(path, leaf) -> label`
            where the path joins the keys with dots, e.g. `encoder.0.weight`.

    Raises:
        ConfigurationError: one is no transformation.
        OptimizerError: in `init`, when a leaf's label has no transformation or the tree of labels
            is not shaped like the parameters.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> tx = optimizers.partition(
        ...     {"slow": optimizers.sgd(0.1), "fast": optimizers.sgd(1.0)},
        ...     lambda path, leaf: "slow" if path.startswith("encoder") else "fast",
        ... )
        >>> params = {"encoder.w": torch.ones(1), "head.w": torch.ones(1)}
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> optimizers.apply_updates(params, updates)
        {'encoder.w': tensor([0.9000]), 'head.w': tensor([0.])}
    """

    for label, each in transformations.items():
        check_transformation(each, f"partition: {label!r}")
    allowed = frozenset(transformations)
    described = ", ".join(f"{label}: {each.description}" for label, each in transformations.items())
    return partition_by(
        transformations, lambda params: _resolve(labels, params, allowed, "label"), f"partition({described})"
    )


def masked(transformation: GradientTransformation, mask: Mask) -> GradientTransformation:
    """Apply a transformation where the mask is true; elsewhere updates pass through.

    Raises:
        OptimizerError: in `init`, when the mask is not shaped like the parameters or gives
            something other than bools.
    """
    check_transformation(transformation, "masked")
    parts = {"masked": transformation, "passed": identity()}
    return partition_by(parts, _two(mask, "masked", "passed"), f"masked({transformation.description})")


def freeze(mask: Mask) -> GradientTransformation:
    """Leave parameters unchanged where the mask is true; place it last in a `chain`.

    Raises:
        OptimizerError: in `init`, as for `masked`.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> tx = optimizers.chain(optimizers.adamw(0.1), optimizers.freeze(lambda path, leaf: path == "b"))
        >>> params = {"a": torch.ones(1), "b": torch.ones(1)}
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> optimizers.apply_updates(params, updates)["b"]
        tensor([1.])
    """
    return partition_by({"frozen": unchanged(), "passed": identity()}, _two(mask, "frozen", "passed"), "freeze()")


def add_decayed_weights(weight_decay: float, mask: Mask | None = None) -> GradientTransformation:
    """Add `weight_decay * param` to the updates, as torch's coupled weight decay (bitwise).

    Args:
        weight_decay: the factor.
        mask: where to decay; everywhere by default.
    """
    decay = stateless(
        lambda deltas, params: [u.add(p, alpha=weight_decay) for u, p in zip(deltas, params, strict=True)],
        f"add_decayed_weights({told(weight_decay)})",
    )
    return decay if mask is None else masked(decay, mask)


def leaf_names(tree: Any) -> list[str]:
    """Name each leaf by its keys joined with dots: what label functions and masks are given."""
    return [".".join(map(str, path)) for path in optree.tree_paths(tree, namespace=trees.NAMESPACE)]


def partition_by(
    transformations: Mapping[str, GradientTransformation],
    choose: Callable[[Params], list[str]],
    description: str = "custom",
) -> GradientTransformation:
    """Give each leaf to the transformation of the label that `choose` gives it, in the tree's order."""

    def init(params: Params) -> OptState:
        found = tuple(choose(params))
        leaves, structure = trees.flatten(params)
        return Partitioned(
            {
                label: each.init(_only(label, found, leaves, structure))
                for label, each in transformations.items()
                if label in found
            },
            found,
        )

    def update(updates: Updates, state: Partitioned, params: Params) -> tuple[Updates, OptState]:
        leaves, changes, structure = aligned(updates, params)
        states, merged = {}, list(changes)
        for label in state.states:
            own = _only(label, state.labels, leaves, structure)
            given, states[label] = transformations[label].update(
                _only(label, state.labels, changes, structure), state.states[label], own
            )
            places = [index for index, name in enumerate(state.labels) if name == label]
            for place, change in zip(places, aligned(given, own)[1], strict=True):
                merged[place] = change
        return trees.unflatten(structure, merged), attrs.evolve(state, states=states)

    def on_epoch(state: Partitioned, scores: Scores) -> OptState:
        return attrs.evolve(
            state,
            states={label: transformations[label].on_epoch(each, scores) for label, each in state.states.items()},
        )

    return GradientTransformation(init, update, on_epoch, description)


def _only(label: str, labels: tuple[str, ...], leaves: list[Any], structure: Any) -> Any:
    return trees.unflatten(
        structure, [leaf if name == label else () for leaf, name in zip(leaves, labels, strict=True)]
    )


def _two(mask: Mask, inside: str, outside: str) -> Callable[[Params], list[str]]:
    allowed = frozenset({True, False})
    return lambda params: [inside if chosen else outside for chosen in _resolve(mask, params, allowed, "mask")]


def _resolve(chooser: Any, params: Params, allowed: frozenset[Any], what: str) -> list[Any]:
    leaves, structure = trees.flatten(params)
    names = leaf_names(params)
    if callable(chooser):
        found = [chooser(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
    else:
        found, given = trees.flatten(chooser)
        if given != structure:
            raise OptimizerError(
                f"the tree of {what}s is not shaped like the parameters",
                expected=names,
                got=leaf_names(chooser),
                fix=f"pass a {what} for each, or a function of (path, leaf), e.g. lambda path, leaf: path in names",
            )
    for name, choice in zip(names, found, strict=True):
        if choice not in allowed:
            raise OptimizerError(
                f"has an unknown {what}",
                where=f"parameter {name!r}",
                expected=f"one of {sorted(allowed)}",
                got=repr(choice),
            )
    return found
