"""The typed contracts hold at run time where Python can hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from functorch_artifact import trees
from functorch_artifact.contracts import BatchResult, Loader, Model, ModelInput, ModelOutput


class Features(ModelInput):
    x: Tensor


class Regression(Model[Features, ModelOutput]):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, batch: Features) -> ModelOutput:
        return {"loss": self.linear(batch["x"]).square().mean()}


class Counting:
    def __len__(self) -> int:
        return 2

    def batches(self, epoch: int, seed: int) -> Iterator[Features]:
        yield from ({"x": torch.full((1, 2), float(epoch))} for _ in range(2))


def test_a_model_is_a_module_called_with_one_batch() -> None:
    model = Regression()
    assert model({"x": torch.ones(3, 2)})["loss"].shape == ()
    assert set(model.state_dict()) == {"linear.weight", "linear.bias"}


def test_a_model_needs_a_forward() -> None:
    class Unfinished(Model[Features, ModelOutput]):
        pass

    with pytest.raises(TypeError, match=r"abstract method '?forward'?"):
        Unfinished()  # type: ignore[abstract]


def test_a_batch_result_is_a_tree_whose_size_is_structure() -> None:
    result: BatchResult[Any, Any] = BatchResult({"x": torch.ones(3, 2)}, {"loss": torch.ones(())}, size=3)
    assert trees.paths(result, "result") == ["result.input['x']", "result.output['loss']"]
    assert trees.map(lambda leaf: leaf * 2, result).size == 3
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        result.size = 4  # type: ignore[misc]


def test_a_loader_is_whatever_has_its_methods() -> None:
    loader = Counting()
    assert isinstance(loader, Loader)
    assert not isinstance([1, 2], Loader)
    assert [batch["x"][0, 0].item() for batch in loader.batches(3, seed=0)] == [3.0, 3.0]
