"""What is not finite is found, and named."""

import pytest
import torch

from functorch_artifact.finiteness import all_finite, nonfinite_loss, nonfinite_parameter

FINE, BAD = torch.ones(3), torch.tensor([1.0, float("inf"), 2.0])


@pytest.mark.parametrize(
    ("grads", "also", "expected"),
    [({"a": FINE, "b": FINE}, True, True), ({"a": FINE, "b": BAD}, True, False), ({"a": FINE}, False, False)],
)
def test_all_gradients_and_the_loss_have_to_be_finite(grads, also, expected):
    assert bool(all_finite(grads, torch.tensor(also))) is expected


def test_the_first_parameter_that_is_not_finite_is_named():
    assert nonfinite_parameter({"a": FINE}, 7, 2) is None
    assert nonfinite_parameter({}, 7, 2) is None
    error = nonfinite_parameter({"a": FINE, "b": BAD, "c": BAD}, 7, 2)
    assert str(error).startswith("parameter 'b' after step 7 (epoch 2): is not finite\n  expected: finite numbers")


def test_a_loss_is_named_or_else_its_gradient():
    assert str(nonfinite_loss(7, 2, 1, float("nan"))).startswith("step 7 (epoch 2, batch 1): the loss is nan")
    assert str(nonfinite_loss(7, 2, 1, 0.5)).startswith("step 7 (epoch 2, batch 1): a gradient is not finite")
