"""Laws of the loader: each example once, an order that (seed, epoch) alone fixes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functorch_artifact import keys, trees
from functorch_artifact.data import DataLoader, Dataset, ResidentDataset

sizes = st.integers(1, 40)
indices = st.integers(0, 2**31)


class Rows(Dataset[dict[str, torch.Tensor]]):
    """The rows of a resident dataset, one by one."""

    def __init__(self, tree: dict[str, torch.Tensor]) -> None:
        self.tree = tree

    def __len__(self) -> int:
        return len(self.tree["i"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return trees.map(lambda leaf: leaf[index], self.tree)


def rows(n: int) -> dict[str, torch.Tensor]:
    return {"i": torch.arange(n), "x": torch.arange(n * 3, dtype=torch.float64).reshape(n, 3)}


@settings(deadline=None, max_examples=60)
@given(n=sizes, batch_size=sizes, shuffle=st.booleans(), epoch=indices, seed=indices)
def test_an_epoch_holds_each_example_once(n: int, batch_size: int, shuffle: bool, epoch: int, seed: int) -> None:
    loader = DataLoader(ResidentDataset(rows(n)), batch_size, shuffle=shuffle)
    batches = list(loader.batches(epoch, seed))
    assert sorted(torch.cat([batch["i"] for batch in batches]).tolist()) == list(range(n))
    assert [len(batch["i"]) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == len(loader) == -(-n // batch_size)


@settings(deadline=None, max_examples=40)
@given(n=sizes, batch_size=sizes, shuffle=st.booleans(), drop=st.booleans(), epoch=indices, seed=indices)
def test_resident_and_collated_batches_are_the_same(
    n: int, batch_size: int, shuffle: bool, drop: bool, epoch: int, seed: int
) -> None:
    drop_last = drop and n >= batch_size
    loaders = [
        DataLoader(dataset, batch_size, shuffle=shuffle, drop_last=drop_last)
        for dataset in (ResidentDataset(rows(n)), Rows(rows(n)))
    ]
    resident, collated = ([trees.digest(batch) for batch in loader.batches(epoch, seed)] for loader in loaders)
    assert resident == collated


@settings(deadline=None, max_examples=40)
@given(n=sizes, epochs=st.lists(st.integers(1, 50), min_size=1, max_size=4), seed=indices)
def test_an_order_depends_on_no_earlier_epoch(n: int, epochs: list[int], seed: int) -> None:
    loader = DataLoader(ResidentDataset(torch.arange(n)), batch_size=n, shuffle=True)
    found = {epoch: next(loader.batches(epoch, seed)) for epoch in epochs}
    for epoch, order in found.items():
        assert torch.equal(order, keys.permutation(keys.derive(seed, "order", epoch), n))


@settings(deadline=None, max_examples=40)
@given(n=sizes, batch_size=sizes, shuffle=st.booleans(), drop=st.booleans(), epoch=indices, seed=indices)
def test_batches_are_those_of_torchs_loader_in_the_same_order(
    n: int, batch_size: int, shuffle: bool, drop: bool, epoch: int, seed: int
) -> None:
    drop_last = drop and n >= batch_size
    ours = DataLoader(Rows(rows(n)), batch_size, shuffle=shuffle, drop_last=drop_last)
    order = keys.permutation(keys.derive(seed, "order", epoch), n).tolist() if shuffle else list(range(n))
    theirs = torch.utils.data.DataLoader(Rows(rows(n)), batch_size, sampler=order, drop_last=drop_last)
    expected = [trees.digest(batch) for batch in theirs]
    assert [trees.digest(batch) for batch in ours.batches(epoch, seed)] == expected
    assert len(ours) == len(theirs)
