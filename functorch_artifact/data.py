"""Data as batches whose order is a value: datasets, tensors held on a device, one loader.

Belongs here: `Dataset`, `IterableDataset`, `ResidentDataset`, `DataLoader`, device placement.
Does not: what the examples mean, transformations of tables.
Floor 7.

The batches of an epoch are a function of (seed, epoch) alone: of how many workers prepare them,
of earlier epochs and of the global generator they are independent, and they leave it alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Any, Final, Generic

import attrs
import torch
import torch.utils.data as torch_data
from torch import Tensor

from functorch_artifact import feeding, keys, trees
from functorch_artifact.contracts import Loader, T_co
from functorch_artifact.errors import DataError

_GATHERED_AT_ONCE: Final = 2**18  # bytes: few enough to be in the processor's cache still when their turn comes


class Dataset(torch_data.Dataset[T_co], ABC, Generic[T_co]):
    """Examples by index. What `__getitem__` draws from torch's global generator is reproducible."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the examples."""

    @abstractmethod
    def __getitem__(self, index: int) -> T_co:
        """Get one example: any tree of tensors, arrays and numbers, without the batch dimension."""


class IterableDataset(torch_data.IterableDataset[T_co], ABC, Generic[T_co]):
    """Examples in an order of their own, the same each time it is iterated over."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the examples of one pass."""

    @abstractmethod
    def __iter__(self) -> Iterator[T_co]:
        """Iterate over the examples of one pass."""


@attrs.frozen(eq=False)
class ResidentDataset(Dataset[T_co]):
    """A tree of tensors that share their first dimension, the examples; a batch is a gather.

    Ten to thirty times cheaper than collating rows where everything fits in (device) memory.

    Raises:
        DataError: a leaf that is not a tensor with a dimension, or leaves of unequal length.

    Example:
        >>> import torch
        >>> from functorch_artifact import data
        >>> rows = data.ResidentDataset({"x": torch.arange(6.0).reshape(3, 2), "y": torch.tensor([0, 1, 0])})
        >>> len(rows), rows[1]
        (3, {'x': tensor([2., 3.]), 'y': tensor(1)})
    """

    tree: T_co  # leaves [n, ...]

    def __attrs_post_init__(self) -> None:
        found = trees.named_leaves(self.tree, "tree")
        for path, leaf in found.items():
            if not isinstance(leaf, Tensor) or leaf.ndim == 0:
                raise DataError(
                    "has no examples", where=path, expected="a tensor of shape [n, ...]", got=trees.describe(leaf)
                )
        if len({len(leaf) for leaf in found.values()}) > 1:
            raise DataError(
                "leaves are of unequal length",
                where="ResidentDataset",
                expected="the same first dimension everywhere",
                got=", ".join(f"{path}: {len(leaf)}" for path, leaf in found.items()),
            )

    def __len__(self) -> int:
        return trees.n_examples(self.tree) if trees.leaves(self.tree) else 0

    def __getitem__(self, index: int) -> T_co:
        return trees.map(lambda leaf: leaf[index], self.tree)

    @property
    def device(self) -> torch.device:
        """The device that the examples are on."""
        device: torch.device = trees.leaves(self.tree)[0].device
        return device

    def select(self, indices: Tensor) -> T_co:
        """Gather the examples at `indices` (int64 [k], on the tensors' device): leaves [k, ...]."""
        return trees.map(lambda leaf: leaf.index_select(0, indices), self.tree)

    def batches(self, indices: Tensor, size: int) -> Iterator[T_co]:
        """Gather the examples at `indices` and cut them into batches of `size`, the last one maybe smaller.

        Batches share memory in which no two overlap, and are none of each other's views.
        """
        leaves, structure = trees.flatten(self.select(indices))
        for parts in zip(*(torch.unsafe_split(leaf, size) for leaf in leaves), strict=True):
            yield trees.unflatten(structure, parts)

    def on(self, device: torch.device | str) -> ResidentDataset[T_co]:
        """Hold the same examples on `device`."""
        return ResidentDataset(trees.to_device(self.tree, device))


def collate(examples: Sequence[T_co]) -> T_co:
    """Stack examples leaf by leaf, keeping their nesting: dict, list, tuple, NamedTuple, nodes.

    Leaves become what `torch.utils.data.default_collate` makes of them.

    Raises:
        DataError: examples that differ in structure.
    """
    first, *rest = examples
    for position, other in enumerate(rest, start=1):
        if (got := trees.flatten(other)[1]) != (expected := trees.flatten(first)[1]):
            raise DataError(
                "differs in structure from the first",
                where=f"example {position} of a batch",
                expected=expected,
                got=got,
            )
    return trees.map(lambda *leaves: torch_data.default_collate(list(leaves)), first, *rest)


@attrs.frozen(eq=False)
class DataLoader(Generic[T_co]):
    """Batches of a dataset, on a device, in an order that (seed, epoch) fixes.

    A shuffled epoch follows `keys.permutation(keys.derive(seed, "order", epoch), n)`. Batches
    equal those of `torch.utils.data.DataLoader` given that order, bit for bit, except that a
    tuple stays a tuple. Iterating over the loader itself gives epoch 1 of seed 0.

    Args:
        dataset: map-style, iterable or resident, ours or torch's, with a length. A `TensorDataset`
            of torch is taken as resident; `feeding` says so.
        batch_size: examples in a batch.
        shuffle: reorder the examples each epoch.
        drop_last: leave out the last batch where it would be smaller.
        device: where the batches are to be (None: where the dataset makes them). A resident
            dataset is moved there at once, if it takes at most half of the free memory there; other
            batches are copied to CUDA through pinned memory, each while its predecessor is computed on.
        num_workers: processes that prepare the batches of a map-style dataset.
        collate: makes a batch of a list of examples; resident batches need none.

    Raises:
        DataError: a combination that gives no batches, or that cannot work.

    Example:
        >>> import torch
        >>> from functorch_artifact import data
        >>> loader = data.DataLoader(data.ResidentDataset(torch.arange(5)), batch_size=2)
        >>> list(loader)
        [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """

    dataset: torch_data.Dataset[T_co]
    batch_size: int
    shuffle: bool = False
    drop_last: bool = False
    device: torch.device | str | None = None
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None

    def __attrs_post_init__(self) -> None:
        if not hasattr(self.dataset, "__len__"):
            raise DataError("has no length", where=type(self.dataset).__name__, fix="give it a __len__")
        for wrong, problem, expected, got in (
            (self.batch_size < 1, "batch_size is too small", "at least 1", self.batch_size),
            (self.num_workers < 0, "num_workers is negative", "at least 0", self.num_workers),
            (self._n == 0, "the dataset is empty", "at least one example", "none"),
            (
                self.drop_last and self._n < self.batch_size,
                "drop_last leaves no batch",
                f"a batch_size of at most {self._n}",
                self.batch_size,
            ),
            (
                self._iterable and self.shuffle,
                "an iterable dataset cannot be shuffled",
                "shuffle=False, or a map-style dataset",
                "shuffle=True",
            ),
            (
                self._iterable and self.num_workers > 0,
                "an iterable dataset is read in this process",
                "num_workers=0, or a map-style dataset",
                self.num_workers,
            ),
            (
                isinstance(self.dataset, ResidentDataset) and self.collate is not None,
                "a resident dataset is never collated",
                "collate=None",
                self.collate,
            ),
        ):
            if wrong:
                raise DataError(problem, where="DataLoader", expected=expected, got=got)
        plain = type(self.dataset) is torch_data.TensorDataset and self.collate is None and self.num_workers == 0
        if plain and all(tensor.ndim for tensor in self.dataset.tensors):  # type: ignore[attr-defined]
            tensors: Any = self.dataset
            object.__setattr__(self, "dataset", ResidentDataset(tensors.tensors))
        if self.device is not None and isinstance(self.dataset, ResidentDataset):
            device, dataset = feeding.exact(self.device), self.dataset
            if dataset.device != device and feeding.fits(dataset.tree, device):
                object.__setattr__(self, "dataset", dataset.on(device))

    @property
    def feeding(self) -> str:
        """Say how batches are made, e.g. `gathered from tensors on cpu`."""
        made = f"collated from examples in {self.num_workers or 'no'} worker processes"
        if isinstance(self.dataset, ResidentDataset):
            made = f"gathered from tensors on {self.dataset.device}"
        if not self._copied:
            return made
        ahead = ", one batch ahead" if self._on_cuda else ""
        return f"{made}, copied to {self.device}{ahead}"

    @property
    def placed(self) -> torch.device | None:
        """The device that every batch is on, if that is known before there is one."""
        if self.device is None and isinstance(self.dataset, ResidentDataset):
            return self.dataset.device
        return None if self.device is None else feeding.exact(self.device)

    @property
    def _copied(self) -> bool:
        """Whether batches are made elsewhere than they are to be."""
        if self.device is None:
            return False
        return not isinstance(self.dataset, ResidentDataset) or self.dataset.device != feeding.exact(self.device)

    @property
    def _on_cuda(self) -> bool:
        return self.device is not None and torch.device(self.device).type == "cuda"

    @property
    def _n(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def _iterable(self) -> bool:
        return isinstance(self.dataset, torch_data.IterableDataset)

    def __len__(self) -> int:
        """Count the batches of one epoch."""
        whole, rest = divmod(self._n, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[T_co]:
        """Iterate over the batches of epoch 1 under seed 0."""
        return self.batches(epoch=1, seed=0)

    def on(self, device: torch.device | str) -> DataLoader[T_co]:
        """Make the same loader with its batches on `device`."""
        return attrs.evolve(self, device=device)

    def batches(self, epoch: int, seed: int, start: int = 0) -> Iterator[T_co]:
        """Iterate over the batches of `epoch` (counted from 1) under `seed`, from the `start`-th on.

        Those before it are not prepared, except by an iterable dataset, which has to be read, and of a
        resident one those that are gathered together with it.

        Raises:
            DataError: a worker died.
        """
        if isinstance(self.dataset, ResidentDataset):
            batches = self._resident(self.dataset, epoch, seed, start)
        elif self._iterable:
            batches = islice(self._streamed(keys.derive(seed, "examples", epoch)), start, None)
        else:
            batches = self._prepared(epoch, seed, start)
        return batches if self.device is None or not self._copied else feeding.on_device(batches, self.device)

    def stacks(self, epoch: int, seed: int, steps: int) -> Iterator[T_co]:
        """Iterate over the same batches in stacks of `steps` (leaves [steps, batch, ...]).

        The last whole batches make a smaller stack, and a batch that is smaller one of its own. A
        resident dataset is gathered once a stack. For steps compiled with `steps`.
        """
        stack: list[T_co] = []
        if isinstance(self.dataset, ResidentDataset) and not self._copied:
            whole = self._n // self.batch_size * self.batch_size
            order = self.order(epoch, seed).to(self.dataset.device)
            for rows in torch.split(order[:whole], self.batch_size * steps) if whole else ():
                found = self.dataset.select(rows)
                yield trees.map(lambda leaf: leaf.unflatten(0, (-1, self.batch_size)), found)
            if whole < self._n and not self.drop_last:
                yield trees.map(lambda leaf: leaf[None], self.dataset.select(order[whole:]))
            return
        for batch in self.batches(epoch, seed):
            if stack and (len(stack) == steps or trees.n_examples(batch) != trees.n_examples(stack[0])):
                yield _stacked(stack)
                stack = []
            stack.append(batch)
        if stack:
            yield _stacked(stack)

    def order(self, epoch: int, seed: int) -> Tensor:
        """Give the order of an epoch's examples: int64 [n], on the CPU; the batches are cut from it."""
        return keys.permutation(keys.derive(seed, "order", epoch), self._n) if self.shuffle else torch.arange(self._n)

    def _slices(self, order: Tensor, start: int) -> Iterator[Tensor]:
        return islice(torch.split(order, self.batch_size), start, len(self))

    def _resident(self, dataset: ResidentDataset[T_co], epoch: int, seed: int, start: int) -> Iterator[T_co]:
        order = self.order(epoch, seed)[: len(self) * self.batch_size].to(dataset.device)
        example = sum(leaf.element_size() * leaf[0].numel() for leaf in trees.leaves(dataset.tree))
        several = max(1, _GATHERED_AT_ONCE // max(1, example * self.batch_size))
        begun = start // several * several  # so that a batch lies in memory as it does when none before it is left out
        chunks = torch.split(order[begun * self.batch_size :], several * self.batch_size)
        batches = chain.from_iterable(dataset.batches(rows, self.batch_size) for rows in chunks if len(rows))
        return islice(batches, start - begun, None)

    def _streamed(self, key: int) -> Iterator[T_co]:
        with keys.seeded(key):
            examples = iter(self.dataset)
        for number in count():
            with keys.seeded(keys.derive(key, "batch", number)):
                found = list(islice(examples, self.batch_size))
            if not found or (self.drop_last and len(found) < self.batch_size):
                return
            yield (self.collate or collate)(found)

    def _prepared(self, epoch: int, seed: int, start: int) -> Iterator[T_co]:
        key = keys.derive(seed, "examples", epoch)
        loader = torch_data.DataLoader(
            _Keyed(self.dataset, key),
            batch_sampler=[indices.tolist() for indices in self._slices(self.order(epoch, seed), start)],
            num_workers=self.num_workers,
            collate_fn=self.collate or collate,
            pin_memory=self._on_cuda,  # with workers, in a thread of torch's own
            generator=keys.generator(key),  # else each epoch would draw from the global one
        )
        try:
            yield from loader
        except (RuntimeError, OSError, EOFError) as error:
            if self.num_workers and _died(error):
                raise DataError(
                    "a worker died",
                    where=f"DataLoader, epoch {epoch}",
                    got=f"{type(error).__name__}: {error}",
                    fix="look for what kills it: too little memory, or native code; num_workers=0 shows where",
                ) from error
            raise


def _died(error: Exception) -> bool:
    """Tell a worker that is gone from an exception of the dataset's, which torch marks as caught in a worker."""
    return "exited unexpectedly" in str(error) or (not isinstance(error, RuntimeError) and "Caught" not in str(error))


def placing(device: torch.device) -> Callable[[Loader[Any]], Loader[Any]]:
    """Make what puts the loaders of a run on its device: each table once, however many loaders read it.

    Loaders that were told where their batches are to be, and those that are not `DataLoader`s, stay.
    """
    loaders: dict[int, tuple[Loader[Any], Loader[Any]]] = {}  # the first keeps its identity from being reused
    tables: dict[int, Any] = {}

    def place(loader: Loader[Any]) -> Loader[Any]:
        if not isinstance(loader, DataLoader) or loader.device is not None or device.type == "cpu":
            return loader
        if id(loader) not in loaders:
            held = attrs.evolve(loader, dataset=tables.get(id(loader.dataset), loader.dataset), device=device)
            tables[id(loader.dataset)] = held.dataset
            loaders[id(loader)] = (loader, held)
        return loaders[id(loader)][1]

    return place


def _stacked(batches: list[T_co]) -> T_co:
    return trees.map(lambda *leaves: torch.stack(leaves), batches[0], *batches[1:])


@attrs.frozen(eq=False)
class _Keyed(torch_data.Dataset[T_co]):
    """Gets each example under a key of its own, in whatever process that happens.

    Where the dataset gets a whole batch at once, the batch has the key of its first example.
    """

    dataset: torch_data.Dataset[T_co]
    key: int

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        together = getattr(self.dataset, "__getitems__", None)
        if together:
            with keys.seeded(keys.derive(self.key, "batch", indices[0])):
                return list(together(indices))
        found = []
        for index in indices:
            with keys.seeded(keys.derive(self.key, "example", index)):
                found.append(self.dataset[index])
        return found
