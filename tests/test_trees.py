"""Nodes are immutable pytrees for optree and for torch, eagerly and compiled; trees can be compared and hashed."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import pytest
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.errors import TreeError

T = TypeVar("T")


@trees.node
@attrs.frozen(eq=False)
class Point:
    x: Tensor  # float32 [n]
    y: Tensor  # float32 [n]


@trees.node
@attrs.frozen(eq=False)
class Tagged(Generic[T]):
    inner: T
    note: str = "none"
    extra: dict[str, Any] = attrs.field(factory=dict)
    n: int = attrs.field(default=3, metadata=trees.STATIC)


class Pair(NamedTuple):
    left: Any
    right: Any


def point(scale: float = 1.0) -> Point:
    return Point(torch.arange(3.0) * scale, torch.ones(3) * scale)


def test_a_node_is_built_by_position_by_name_and_by_default() -> None:
    built = Tagged(1, extra={"a": 2})
    assert (built.inner, built.note, built.extra, built.n) == (1, "none", {"a": 2}, 3)
    assert Tagged(1).extra is not Tagged(1).extra
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'inner'"):
        Tagged()  # type: ignore[call-arg]


def test_a_node_is_frozen_and_evolves() -> None:
    before = point()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.x = torch.zeros(3)  # type: ignore[misc]
    after = attrs.evolve(before, x=torch.full((3,), 7.0))
    assert after.x.tolist() == [7.0] * 3
    assert after.y is before.y
    assert before.x.tolist() == [0.0, 1.0, 2.0]


def test_static_fields_are_structure() -> None:
    leaves, structure = trees.flatten(Tagged(torch.ones(1), n=5))
    assert len(leaves) == 2
    assert trees.unflatten(structure, leaves).n == 5
    assert trees.flatten(Tagged(torch.ones(1), n=5))[1] == structure
    assert trees.flatten(Tagged(torch.ones(1), n=6))[1] != structure


def test_every_container_is_a_tree() -> None:
    one = torch.ones(1)
    tree = {"b": [one, (one, None)], "a": OrderedDict(z=Pair(one, deque([one]))), "c": Tagged(one)}
    assert len(trees.tensors(tree)) == 5
    mapped = trees.map_tensors(lambda tensor: tensor + 1, tree)
    assert type(mapped["a"]) is OrderedDict
    assert type(mapped["a"]["z"]) is Pair
    assert type(mapped["c"]) is Tagged
    assert all(tensor.item() == 2 for tensor in trees.tensors(mapped))
    assert all(tensor.item() == 1 for tensor in trees.tensors(tree))


def test_map_takes_several_trees() -> None:
    assert trees.map(lambda a, b: a - b, {"a": 5, "b": [7]}, {"a": 1, "b": [2]}) == {"a": 4, "b": [5]}


def test_paths_are_the_python_that_reaches_a_leaf() -> None:
    tree = {"p": Tagged(point(), extra={"k": [1]})}
    assert trees.paths(tree, "tree") == [
        "tree['p'].inner.x",
        "tree['p'].inner.y",
        "tree['p'].note",
        "tree['p'].extra['k'][0]",
    ]
    for path, leaf in trees.named_leaves(tree, "tree").items():
        assert eval(path, {"tree": tree}) is leaf


def test_torch_func_takes_nodes() -> None:
    def energy(p: Point) -> Tensor:
        return (p.x**2).sum() + 3 * p.y.sum()

    gradient = torch.func.grad(energy)(point())
    assert isinstance(gradient, Point)
    assert gradient.x.tolist() == [0.0, 2.0, 4.0]
    assert gradient.y.tolist() == [3.0] * 3

    doubled = torch.func.vmap(lambda p: attrs.evolve(p, x=p.x * 2))(point())
    assert doubled.x.tolist() == [0.0, 2.0, 4.0]


def test_nodes_are_built_inside_a_compiled_function() -> None:
    def step(p: Point) -> Tagged[Point]:
        moved = Point(p.x + p.y, y=p.y)
        return Tagged(attrs.evolve(moved, y=moved.y * 2), note="moved")

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    result = compiled(point())
    assert trees.digest(result) == trees.digest(step(point()))
    assert result.inner.y.tolist() == [2.0] * 3


def test_node_refuses_what_is_not_frozen() -> None:
    with pytest.raises(TreeError, match=r"Loose: is not a frozen attrs class(.|\n)*@attrs.frozen\(eq=False\)"):

        @trees.node
        @attrs.define(eq=False)
        class Loose:
            x: int

    with pytest.raises(TreeError, match="Plain: is not a frozen attrs class"):

        @trees.node
        class Plain:
            pass


def test_node_refuses_a_generated_equality() -> None:
    with pytest.raises(TreeError, match=r"Equal: has a generated ==(.|\n)*pass eq=False"):

        @trees.node
        @attrs.frozen
        class Equal:
            x: Tensor


def test_node_refuses_validators_and_converters() -> None:
    with pytest.raises(TreeError, match=r"Checked.x: a node cannot validate or convert"):

        @trees.node
        @attrs.frozen(eq=False)
        class Checked:
            x: int = attrs.field(validator=attrs.validators.instance_of(int))

    with pytest.raises(TreeError, match=r"Converted.x: a node cannot validate or convert"):

        @trees.node
        @attrs.frozen(eq=False)
        class Converted:
            x: float = attrs.field(converter=float)


def test_node_refuses_a_post_init() -> None:
    with pytest.raises(TreeError, match=r"Late: a node cannot have __attrs_post_init__(.|\n)*where it is made"):

        @trees.node
        @attrs.frozen(eq=False)
        class Late:
            x: int

            def __attrs_post_init__(self) -> None:
                raise ValueError


def test_keyword_only_fields_and_self_taking_factories() -> None:
    @trees.node
    @attrs.frozen(eq=False)
    class Mixed:
        a: int = 1
        b: int = attrs.field(kw_only=True)
        c: int = attrs.field(default=attrs.Factory(lambda self: self.a + self.b, takes_self=True))

    built = Mixed(5, b=2)
    assert (built.a, built.b, built.c) == (5, 2, 7)
    assert trees.map(lambda leaf: -leaf, built).c == -7
    with pytest.raises(TypeError, match="positional argument"):
        Mixed(1, 2, 3)  # type: ignore[misc]


def test_snapshot_shares_nothing_and_detach_shares_all() -> None:
    live = {"w": torch.ones(2, requires_grad=True), "n": 3}
    copied, cut = trees.snapshot(live), trees.detach(live)
    with torch.no_grad():
        live["w"].mul_(5)
    assert copied["w"].tolist() == [1.0, 1.0]
    assert cut["w"].tolist() == [5.0, 5.0]
    assert not copied["w"].requires_grad
    assert not cut["w"].requires_grad
    assert copied["n"] == 3


def test_to_device_places_every_tensor() -> None:
    placed = trees.to_device({"x": [torch.ones(2)], "name": "a"}, "meta")
    assert placed["x"][0].device.type == "meta"
    assert placed["name"] == "a"


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        ({"x": torch.zeros(5, 2)}, 5),
        ({"scale": torch.zeros(()), "x": torch.zeros(4)}, 4),
        ({"name": "a", "x": (torch.zeros(3, 1),)}, 3),
        ({"scale": torch.zeros(())}, 1),
        ({}, 1),
        (torch.zeros(0, 2), 0),
    ],
)
def test_examples_are_counted(batch: Any, n: int) -> None:
    assert trees.n_examples(batch) == n


def test_leaves_are_described() -> None:
    assert trees.describe(torch.zeros(3, 4, dtype=torch.bfloat16)) == "bfloat16[3, 4]"
    assert trees.describe(torch.tensor(1)) == "int64[]"
    assert trees.describe("a") == "str 'a'"


def test_differences_name_path_and_both_sides() -> None:
    expected = {"w": torch.zeros(2), "b": torch.zeros(1), "n": 1, "old": torch.zeros(1)}
    got = {"w": torch.zeros(3), "b": torch.zeros(1, dtype=torch.float64), "n": 1.0, "new": 2}
    assert trees.differences(expected, got, "state") == [
        "state['b']: expected float32[1], got float64[1]",
        "state['n']: expected int 1, got float 1.0",
        "state['new']: unexpected int 2",
        "state['old']: missing, expected float32[1]",
        "state['w']: expected float32[2], got float32[3]",
    ]
    assert trees.differences(point(1.0), point(2.0)) == []


def test_differences_see_structure_without_leaves() -> None:
    one = torch.ones(1)
    (line,) = trees.differences([one], (one,), "state")
    assert line.startswith("state: expected the structure PyTreeSpec([*]")
    assert len(trees.differences({"a": None}, {"a": {}})) == 1
    assert trees.differences({"a": None, "b": one}, {"b": one, "a": None}) == []


def test_digest_sees_every_bit() -> None:
    tree = {"a": torch.tensor([0.0, float("nan")]), "n": 1, "s": "x"}
    same = {"s": "x", "n": 1, "a": torch.tensor([0.0, float("nan")])}
    assert trees.digest(tree) == trees.digest(same)
    for other in (
        {**tree, "a": torch.tensor([-0.0, float("nan")])},
        {**tree, "a": torch.tensor([[0.0, float("nan")]])},
        {**tree, "a": torch.tensor([0.0, float("nan")]).view(torch.int32)},
        {**tree, "n": 1.0},
        {**tree, "n": True},
        {**tree, "s": "y"},
        {**tree, "t": "x"},
    ):
        assert trees.digest(other) != trees.digest(tree)


def test_digest_takes_any_layout_and_dtype() -> None:
    square = torch.arange(6.0).reshape(2, 3)
    assert trees.digest(square.T.contiguous().T) == trees.digest(square)
    assert trees.digest(square[:, ::2]) == trees.digest(square[:, ::2].clone())
    kinds = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.complex64]
    assert len({trees.digest(torch.ones(2, dtype=kind)) for kind in kinds}) == len(kinds)
    assert trees.digest(torch.tensor([1 + 2j]).conj()) == trees.digest(torch.tensor([1 - 2j]))
    assert trees.digest(torch.zeros(0, 3)) != trees.digest(torch.zeros(0, 2))
