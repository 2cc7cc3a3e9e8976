"""What models take and give, as types: TypedDict contracts and the variance of their users.

Belongs here: `ModelInput`, `ModelOutput`, `Model`, what a fold over batches sees, what a loader
promises, and every TypeVar that more than one room needs. Does not: any behaviour.
Floor 1.

Variance in one table (`In` is a model's input, `Out` its output):

| who | In | Out | so that |
|---|---|---|---|
| `Model` | contravariant | covariant | a model that needs less, or gives more, fits |
| callbacks, routines | contravariant, of any type | contravariant | one that asks for less fits a richer model |
| `Loader` | covariant | | a loader of richer batches feeds a modest model |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, Protocol, TypedDict, TypeVar, runtime_checkable

import attrs
from torch import Tensor, nn

from functorch_artifact.trees import STATIC, node

T_co = TypeVar("T_co", covariant=True)


class ModelInput(TypedDict):
    """Base of every batch that a model's `forward` takes; extend it with your tensors."""


class ModelOutput(TypedDict):
    """Base of every dictionary that a model's `forward` gives."""

    loss: Tensor
    """The scalar to minimise: floating point, shape []."""


ModelInputT = TypeVar("ModelInputT", bound=ModelInput)
ModelOutputT = TypeVar("ModelOutputT", bound=ModelOutput)
ModelInputTContr = TypeVar("ModelInputTContr", bound=ModelInput, contravariant=True)
ModelOutputTContr = TypeVar("ModelOutputTContr", bound=ModelOutput, contravariant=True)
ModelOutputTCov = TypeVar("ModelOutputTCov", bound=ModelOutput, covariant=True)
BatchTContr = TypeVar("BatchTContr", contravariant=True)
"""What reads batches and no model bounds: a `ModelInput`, a plain dictionary, a pair of tensors."""


class Model(nn.Module, ABC, Generic[ModelInputTContr, ModelOutputTCov]):
    """A torch module whose `forward` takes one typed batch and gives one typed output."""

    @abstractmethod
    def forward(self, batch: ModelInputTContr) -> ModelOutputTCov:
        """Compute the output, `loss` included, for one batch."""

    if TYPE_CHECKING:  # nn.Module types __call__ as Any

        def __call__(self, batch: ModelInputTContr) -> ModelOutputTCov: ...


ModelT = TypeVar("ModelT", bound=nn.Module)
ModelTContr = TypeVar("ModelTContr", bound=nn.Module, contravariant=True)


@node
@attrs.frozen(eq=False)
class BatchResult(Generic[T_co, ModelOutputTCov]):
    """What a callback's fold sees of one batch."""

    input: T_co
    output: ModelOutputTCov  # detached
    size: int = attrs.field(metadata=STATIC)  # examples in the batch


@runtime_checkable
class Loader(Protocol[T_co]):
    """A source of batches whose order is a function of (seed, epoch) alone."""

    def __len__(self) -> int:
        """Count the batches of one epoch."""
        ...

    def batches(self, epoch: int, seed: int) -> Iterator[T_co]:
        """Iterate over the batches of one epoch (counted from 1)."""
        ...
