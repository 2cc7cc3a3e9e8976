"""Datasets and the loader: the values of torch's own, in an order that is a function of (seed, epoch)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
import torch
import torch.utils.data as torch_data

from functorch_artifact import contracts, keys, trees
from functorch_artifact.data import DataLoader, Dataset, IterableDataset, ResidentDataset, collate
from functorch_artifact.errors import DataError


@trees.node
@attrs.frozen(eq=False)
class Pair:
    left: torch.Tensor  # float32 [2]
    right: Any


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Rows(Dataset[dict[str, Any]]):
    """Rows of mixed leaves."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.full((2,), float(index)), "n": index, "f": index / 3, "a": np.arange(2) + index}


class Noisy(Dataset[torch.Tensor]):
    """Rows that draw from torch's global generator."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> torch.Tensor:
        return index + torch.rand(2)


class Together(Rows):
    """Rows that can be fetched a batch at a time."""

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        return [{"x": torch.tensor(index), "fetched": len(indices)} for index in indices]


class Stream(IterableDataset[torch.Tensor]):
    def __init__(self, n: int, noisy: bool = False) -> None:
        self.n, self.noisy = n, noisy

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[torch.Tensor]:
        shift = torch.rand(()) if self.noisy else 0.0
        return (index + shift + (torch.rand(()) if self.noisy else 0.0) for index in range(self.n))


def stacked(batches: Any) -> list[str]:
    return [trees.digest(batch) for batch in batches]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_equal_those_of_torch_given_the_same_order(shuffle: bool, drop_last: bool, workers: int) -> None:
    loader = DataLoader(Rows(11), batch_size=4, shuffle=shuffle, drop_last=drop_last, num_workers=workers)
    order = keys.permutation(keys.derive(7, "order", 3), 11).tolist() if shuffle else list(range(11))
    reference = torch_data.DataLoader(Rows(11), batch_size=4, sampler=order, drop_last=drop_last)
    assert stacked(loader.batches(epoch=3, seed=7)) == stacked(reference)
    assert len(loader) == len(reference) == (2 if drop_last else 3)


def test_a_resident_dataset_gives_the_batches_of_its_rows() -> None:
    tree = {"x": torch.arange(22.0).reshape(11, 2), "deep": [torch.arange(11), (torch.rand(11, 3, 1),)]}
    resident = ResidentDataset(tree)
    loader = DataLoader(resident, batch_size=4, shuffle=True)
    order = keys.permutation(keys.derive(0, "order", 1), 11)
    expected = [collate([resident[int(i)] for i in part]) for part in order.split(4)]
    assert stacked(loader) == stacked(expected)


def test_a_resident_batch_does_not_share_memory_with_the_dataset() -> None:
    source = torch.zeros(4)
    for batch in DataLoader(ResidentDataset(source), batch_size=4):
        batch += 1
    assert source.sum() == 0


def test_resident_batches_that_are_gathered_together_are_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functorch_artifact.data._GATHERED_AT_ONCE", 3 * 2 * 4)  # three batches of two float32
    loader = DataLoader(ResidentDataset(torch.arange(15.0)), batch_size=2)
    found = loader.batches(epoch=1, seed=0)
    first, second = next(found), next(found)
    first.mul_(torch.ones((), requires_grad=True) * 9)  # in place, under autograd
    assert (first.requires_grad, second.requires_grad, second._version) == (True, False, 0)
    assert second.tolist() == [2, 3]
    for start in range(9):
        assert stacked(loader.batches(1, 0, start)) == stacked(list(loader.batches(1, 0))[start:])
        offsets = [batch.storage_offset() for batch in loader.batches(1, 0, start)]
        assert offsets == [0, 2, 4, 0, 2, 4, 0, 2][start:]  # bits may depend on how a batch lies in memory


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    loader = DataLoader(ResidentDataset(torch.arange(100)), batch_size=100, shuffle=True)
    orders = {stacked(loader.batches(epoch, seed))[0] for epoch in (1, 2, 3) for seed in (0, 1)}
    assert len(orders) == 6
    assert stacked(loader) == stacked(loader.batches(epoch=1, seed=0))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_what_examples_draw_depends_on_neither_workers_nor_the_global_generator(workers: int) -> None:
    before = torch.get_rng_state()
    expected = stacked(DataLoader(Noisy(), batch_size=4, shuffle=True).batches(2, 5))
    torch.manual_seed(99)
    found = stacked(DataLoader(Noisy(), batch_size=4, shuffle=True, num_workers=workers).batches(2, 5))
    assert found == expected
    assert found != stacked(DataLoader(Noisy(), batch_size=4, shuffle=True).batches(3, 5))
    torch.manual_seed(0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "dataset", [Rows(5), Noisy(), Stream(5), Stream(5, noisy=True), ResidentDataset(torch.arange(5))]
)
def test_iterating_leaves_the_global_generator_alone(dataset: Any) -> None:
    before = torch.get_rng_state()
    list(DataLoader(dataset, batch_size=2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [2, 2, 1]), (True, [2, 2])])
def test_a_stream_is_read_in_its_own_order(drop_last: bool, sizes: list[int]) -> None:
    loader = DataLoader(Stream(5), batch_size=2, drop_last=drop_last)
    batches = list(loader)
    assert [len(batch) for batch in batches] == sizes
    assert torch.cat(batches).tolist() == list(range(sum(sizes)))
    assert len(loader) == len(sizes)


def test_what_a_stream_draws_is_a_function_of_seed_and_epoch() -> None:
    loader = DataLoader(Stream(5, noisy=True), batch_size=2)
    first = stacked(loader.batches(1, 0))
    torch.manual_seed(5)
    assert stacked(loader.batches(1, 0)) == first
    assert stacked(loader.batches(2, 0)) != first


def test_examples_of_any_nesting_are_stacked_and_placed() -> None:
    def example(i: int) -> Any:
        t = torch.full((2,), float(i))
        return {"list": [t, t], "tuple": (t,), "point": Point(t, t), "node": Pair(t, {"k": t}), "none": None}

    class Nested(Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return example(index)

    (batch,) = DataLoader(Nested(), batch_size=3, device="meta")
    assert {leaf.device.type for leaf in trees.tensors(batch)} == {"meta"}
    assert len(trees.tensors(batch)) == 7
    (batch,) = DataLoader(Nested(), batch_size=3)
    assert isinstance(batch["tuple"], tuple)
    assert isinstance(batch["point"], Point)
    assert batch["none"] is None
    assert torch.equal(batch["node"].right["k"], torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))


def test_on_moves_a_resident_dataset_once_and_leaves_the_loader_as_it_was() -> None:
    loader = DataLoader(ResidentDataset({"x": torch.zeros(4, 2)}), batch_size=2)
    moved = loader.on("meta")
    assert isinstance(moved.dataset, ResidentDataset)
    assert moved.dataset.tree["x"].is_meta
    assert [batch["x"].shape for batch in moved] == [(2, 2), (2, 2)]
    assert all(not batch["x"].is_meta for batch in loader)


def test_a_dataset_that_fetches_batches_is_asked_for_batches() -> None:
    batches = list(DataLoader(Together(5), batch_size=2))
    assert [batch["fetched"].tolist() for batch in batches] == [[2, 2], [2, 2], [1]]


def test_a_collate_of_the_users_own_is_used() -> None:
    assert list(DataLoader(Rows(3), batch_size=2, collate=len)) == [2, 1]
    assert list(DataLoader(Stream(3), batch_size=2, collate=len)) == [2, 1]


def test_torch_datasets_are_taken() -> None:
    dataset = torch_data.TensorDataset(torch.arange(3), torch.arange(3) * 2)
    ((x, y),) = DataLoader(dataset, batch_size=3)
    assert torch.equal(x * 2, y)


def test_the_loader_fulfils_its_contract() -> None:
    assert isinstance(DataLoader(Rows(3), batch_size=2), contracts.Loader)


class Unsized(torch_data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dataset": Rows(0), "batch_size": 2}, "the dataset is empty"),
        ({"dataset": ResidentDataset(torch.zeros(0, 2)), "batch_size": 2}, "the dataset is empty"),
        ({"dataset": ResidentDataset({}), "batch_size": 2}, "the dataset is empty"),
        ({"dataset": Rows(3), "batch_size": 0}, "batch_size is too small\n  expected: at least 1\n  got: 0"),
        ({"dataset": Rows(3), "batch_size": 1, "num_workers": -1}, "num_workers is negative"),
        (
            {"dataset": Rows(3), "batch_size": 4, "drop_last": True},
            "leaves no batch\n  expected: a batch_size of at most 3",
        ),
        ({"dataset": Stream(3), "batch_size": 1, "shuffle": True}, "an iterable dataset cannot be shuffled"),
        ({"dataset": Stream(3), "batch_size": 1, "num_workers": 1}, "an iterable dataset is read in this process"),
        ({"dataset": Unsized(), "batch_size": 1}, "Unsized: has no length"),
        (
            {"dataset": ResidentDataset(torch.zeros(2)), "batch_size": 1, "collate": len},
            "a resident dataset is never collated",
        ),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError) as raised:
        DataLoader(**arguments)
    assert text in str(raised.value)


def test_leaves_of_unequal_length_are_named() -> None:
    with pytest.raises(DataError, match=r"(?s)unequal length.*tree\['x'\]: 3, tree\['y'\]: 2"):
        ResidentDataset({"x": torch.zeros(3), "y": torch.zeros(2, 3)})


@pytest.mark.parametrize("leaf", [torch.tensor(1.0), 3])
def test_a_leaf_without_examples_is_named(leaf: Any) -> None:
    with pytest.raises(DataError, match=r"tree\['y'\]: has no examples"):
        ResidentDataset({"x": torch.zeros(3), "y": leaf})


def test_examples_of_another_structure_are_named() -> None:
    with pytest.raises(DataError, match="example 1 of a batch: differs in structure from the first"):
        collate([{"x": torch.zeros(1)}, {"y": torch.zeros(1)}])


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 50])
@pytest.mark.parametrize("dataset", [Rows, lambda n: ResidentDataset({"x": torch.arange(n)})], ids=["rows", "resident"])
@pytest.mark.parametrize("n", [7, 24, 26])
def test_stacks_are_the_batches_in_their_order(n, dataset, steps, drop_last):
    loader = DataLoader(dataset(n), batch_size=6, shuffle=True, drop_last=drop_last)
    stacks = list(loader.stacks(epoch=2, seed=1, steps=steps))
    assert all(len(stack["x"]) <= steps for stack in stacks)
    found = [batch for stack in stacks for batch in torch_data.StackDataset(**stack)]
    expected = list(loader.batches(epoch=2, seed=1))
    assert [trees.digest(each) for each in found] == [trees.digest(each) for each in expected]


def test_a_batch_smaller_than_the_batch_size_is_a_stack_of_its_own():
    (stack,) = DataLoader(ResidentDataset(torch.arange(3)), batch_size=6).stacks(1, 0, steps=4)
    assert torch.equal(stack, torch.arange(3)[None])


def test_tensors_are_resident_by_themselves_and_that_is_said():
    tensors = torch_data.TensorDataset(torch.randn(10, 2), torch.arange(10))
    loader = DataLoader(tensors, batch_size=4, shuffle=True)
    assert loader.feeding == "gathered from tensors on cpu"
    collated = DataLoader(tensors, batch_size=4, shuffle=True, collate=collate)
    assert collated.feeding == "collated from examples in no worker processes"
    for one, other in zip(loader.batches(3, 1), collated.batches(3, 1), strict=True):
        assert trees.digest(one) == trees.digest(other)
