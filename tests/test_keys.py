"""A key is a fixed function of (seed, stream, index); running under one leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from functorch_artifact import keys
from functorch_artifact.errors import ConfigurationError


def test_keys_never_change() -> None:
    """A new version must continue an old run: these are part of the checkpoint format."""
    assert keys.derive(0, "step", 41) == 6537519916963662686
    assert keys.derive(-1, "order") == 2403020233840935620


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 0.5])
def test_a_seed_must_fit(seed: Any) -> None:
    with pytest.raises(ConfigurationError, match="stream 'step': is not a key\n  expected: a seed and indices that"):
        keys.derive(seed, "step", 1)


def test_a_stream_is_not_cut_short() -> None:
    with pytest.raises(ValueError, match="16"):
        keys.derive(0, "a stream of a long name")


def test_a_permutation_is_a_function_of_its_key() -> None:
    drawn = keys.permutation(7, 100)
    assert drawn.dtype == torch.int64
    assert drawn.sort().values.tolist() == list(range(100))
    assert torch.equal(drawn, keys.permutation(7, 100))
    assert not torch.equal(drawn, keys.permutation(8, 100))
    assert keys.permutation(7, 0).shape == (0,)


def test_a_generator_is_private() -> None:
    before = torch.get_rng_state()
    first = torch.rand(3, generator=keys.generator(5))
    assert torch.equal(first, torch.rand(3, generator=keys.generator(5)))
    assert torch.equal(before, torch.get_rng_state())


def test_seeded_serves_dropout_and_restores() -> None:
    dropout = torch.nn.Dropout(0.5)
    before = torch.get_rng_state()
    with keys.seeded(11):
        first = dropout(torch.ones(64))
    torch.rand(10)
    with keys.seeded(11):
        second = dropout(torch.ones(64))
    with keys.seeded(12):
        third = dropout(torch.ones(64))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    torch.set_rng_state(before)
    undisturbed = torch.rand(3)
    torch.set_rng_state(before)
    with keys.seeded(11):
        torch.rand(100)
    assert torch.equal(torch.rand(3), undisturbed)


def test_seeded_nests_and_restores_after_an_error() -> None:
    before = torch.get_rng_state()
    with keys.seeded(1):
        expected = (torch.rand(1), torch.rand(1))
    with pytest.raises(KeyError), keys.seeded(1):
        first = torch.rand(1)
        with keys.seeded(2):
            torch.rand(5)
        second = torch.rand(1)
        raise KeyError
    assert (first, second) == expected
    assert torch.equal(before, torch.get_rng_state())
