"""Laws of trees: flattening is an isomorphism, map a functor, digests and differences tell trees apart."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, NamedTuple

import attrs
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from functorch_artifact import trees


@trees.node
@attrs.frozen(eq=False)
class Branch:
    left: Any
    right: Any
    tag: int = attrs.field(default=0, metadata=trees.STATIC)


class Pair(NamedTuple):
    first: Any
    second: Any


def tensors() -> st.SearchStrategy[Tensor]:
    dtypes = st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "complex64"])
    shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return npst.arrays(dtypes, shapes).map(lambda array: torch.from_numpy(array.copy()))


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text("abc.[']", max_size=3)
    return st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.lists(children, max_size=3).map(deque),
        st.dictionaries(names, children, max_size=3),
        st.dictionaries(names, children, max_size=3).map(OrderedDict),
        st.builds(Branch, children, children, st.integers(0, 2)),
        st.builds(Pair, children, children),
    )


plain = st.one_of(st.integers(-3, 3), st.booleans(), st.floats(), st.text(max_size=3))
forests = st.recursive(st.one_of(tensors(), plain, st.none()), containers, max_leaves=8)


@given(forests)
def test_unflatten_inverts_flatten(tree: Any) -> None:
    leaves, structure = trees.flatten(tree)
    rebuilt = trees.unflatten(structure, leaves)
    again, same = trees.flatten(rebuilt)
    assert same == structure
    assert type(rebuilt) is type(tree)
    assert all(a is b for a, b in zip(leaves, again, strict=True))


@given(forests)
def test_map_keeps_identity_and_composition(tree: Any) -> None:
    assert trees.digest(trees.map(lambda leaf: leaf, tree)) == trees.digest(tree)
    twice = trees.map(lambda leaf: (leaf,), trees.map(lambda leaf: [leaf], tree))
    assert trees.digest(twice) == trees.digest(trees.map(lambda leaf: [(leaf,)], tree))


@given(forests)
def test_paths_are_distinct_and_reach_their_leaves(tree: Any) -> None:
    named = trees.named_leaves(tree, "tree")
    assert len(named) == len(trees.leaves(tree))
    assert all(eval(path, {"tree": tree}) is leaf for path, leaf in named.items())


@given(forests)
def test_a_snapshot_is_the_same_bits_in_other_memory(tree: Any) -> None:
    digest, copied = trees.digest(tree), trees.snapshot(tree)
    assert trees.digest(copied) == digest
    assert trees.differences(tree, copied) == []
    for tensor in trees.tensors(copied):
        tensor.zero_()
    assert trees.digest(tree) == digest


@given(forests, forests)
def test_equal_digests_mean_equal_paths_shapes_and_kinds(tree: Any, other: Any) -> None:
    def described(any_tree: Any) -> dict[str, str]:
        return {path: trees.describe(leaf) for path, leaf in trees.named_leaves(any_tree).items()}

    widened = trees.map_tensors(lambda tensor: tensor.to(torch.complex128), tree)
    reshaped = trees.map_tensors(lambda tensor: tensor[None], tree)
    for one in (widened, reshaped, other):
        if trees.digest(one) == trees.digest(tree):
            assert described(one) == described(tree)


@given(forests, st.data())
def test_one_flipped_bit_changes_the_digest(tree: Any, data: st.DataObject) -> None:
    copied = trees.snapshot(tree)
    candidates = [tensor for tensor in trees.tensors(copied) if tensor.numel() and tensor.dtype is not torch.bool]
    if candidates:
        flat = data.draw(st.sampled_from(candidates)).view(-1).view(torch.uint8)
        flat[data.draw(st.integers(0, len(flat) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        assert trees.digest(copied) != trees.digest(tree)
