"""Laws of keys: functions of their arguments alone, spread over 63 bits, and without a trace."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import keys

seeds = st.integers(-(2**63), 2**63 - 1)
streams = st.sampled_from(["step", "order", "generate", "validation", "bootstrap"])
indices = st.lists(st.integers(0, 2**40), max_size=3).map(tuple)
places = st.tuples(seeds, streams, indices)


@given(places, places)
def test_keys_are_equal_exactly_when_their_places_are(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    def key(place: tuple) -> int:  # type: ignore[type-arg]
        seed, stream, index = place
        return keys.derive(seed, stream, *index)

    assert (key(one) == key(other)) == (one == other)
    assert 0 <= key(one) < 2**63


@given(seeds, streams, st.integers(0, 2**40))
def test_neighbouring_steps_share_nothing_visible(seed: int, stream: str, step: int) -> None:
    one, other = keys.derive(seed, stream, step), keys.derive(seed, stream, step + 1)
    assert 8 <= (one ^ other).bit_count() <= 55
    assert keys.derive(seed, stream, step) != keys.derive(seed, stream)


@given(st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_a_permutation_permutes(key: int, n: int) -> None:
    assert sorted(keys.permutation(key, n).tolist()) == list(range(n))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_seeded_is_repeatable_and_leaves_no_trace(key: int, other: int, n: int) -> None:
    before = torch.get_rng_state()
    with keys.seeded(key):
        first = torch.randn(4)
        with keys.seeded(other):
            torch.randn(n)
        second = torch.randn(4)
    assert torch.equal(torch.get_rng_state(), before)
    with keys.seeded(key):
        assert torch.equal(torch.randn(4), first)
        assert torch.equal(torch.randn(4), second)
