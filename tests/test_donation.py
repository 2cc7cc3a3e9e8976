"""Giving up values: what is emptied, what is told, and who else is noticed to hold a tensor."""

import attrs
import pytest
import torch

from functorch_artifact.compiling import donation
from functorch_artifact.errors import StateError


@attrs.frozen(eq=False)
class Pair:
    left: torch.Tensor
    right: torch.Tensor


def test_a_value_that_was_given_up_lets_go_and_tells_whom_it_went_to():
    pair = Pair(torch.zeros(2), torch.ones(2))
    donation.give_up(pair, by="step 7")
    assert isinstance(pair, Pair)
    assert repr(pair) == "<Pair, donated to step 7>"
    for use in (lambda: pair.left, lambda: pair.right, lambda: attrs.evolve(pair)):
        with pytest.raises(StateError, match="Pair: was donated to step 7, which reused its memory"):
            use()


@pytest.mark.parametrize(
    "hold",
    [
        lambda t: t,
        lambda t: {"kept": t},
        lambda t: t.view(-1),
        lambda t: t[1:],
        lambda t: t.detach(),
        lambda t: t.numpy(),
    ],
    ids=["itself", "container", "view", "slice", "detached", "array"],
)
def test_what_somebody_else_holds_is_copied(hold):
    tensors = [torch.zeros(3), torch.zeros(3)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    kept = hold(tensors[1])
    donation.own(tensors, [0, 1])
    assert tensors[0].data_ptr() == addresses[0]
    assert tensors[1].data_ptr() != addresses[1]
    del kept


def test_a_tensor_that_stands_in_two_places_becomes_two():
    tensors = [torch.zeros(3)] * 2
    donation.own(tensors, [0, 1])
    assert tensors[0].data_ptr() != tensors[1].data_ptr()
