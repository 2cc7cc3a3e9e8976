"""Deferred values: fetched once, when they are looked at, and told from no other by anything but time."""

import copy

import attrs
import pytest

from functorch_artifact import deferral


@attrs.frozen(eq=False)
class Pair:
    left: int
    right: int
    __getattr__ = deferral.look_up


def made(fetched):
    def fetch():
        fetched.append(True)
        return {"right": 2}

    return deferral.deferred(Pair, {"left": 1}, fetch)


def test_what_is_known_is_there_and_the_rest_is_fetched_once():
    fetched = []
    pair = made(fetched)
    assert (pair.left, fetched, deferral.pending(pair)) == (1, [], True)
    assert (pair.right, pair.right, fetched, deferral.pending(pair)) == (2, 2, [True], False)
    deferral.settle(pair)
    assert fetched == [True]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        pair.right = 3


def test_what_is_no_field_is_not_fetched_for():
    fetched = []
    pair = made(fetched)
    for name in ("middle", "__array__", "_repr_html_"):
        with pytest.raises(AttributeError, match=f"'Pair' object has no attribute '{name}'"):
            getattr(pair, name)
    assert fetched == []
    with pytest.raises(AttributeError, match="no attribute 'middle'"):
        _ = Pair(1, 2).middle


@pytest.mark.parametrize("look", [copy.copy, attrs.evolve, attrs.astuple, repr])
def test_whoever_looks_sees_a_value_like_any_other(look):
    pair = made([])
    found, expected = look(pair), look(Pair(1, 2))
    assert found == expected if isinstance(found, str | tuple) else (found.left, found.right) == (1, 2)


def test_what_is_forgotten_is_never_fetched():
    fetched = []
    pair = made(fetched)
    assert deferral.forget(pair)
    assert (pair.left, deferral.pending(pair), fetched) == (1, False, [])
    with pytest.raises(AttributeError, match="'Pair' object has no attribute 'right'"):
        _ = pair.right
    assert not deferral.forget(pair)
    whole = Pair(1, 2)
    assert not deferral.forget(whole)  # was never deferred
    assert (whole.left, whole.right) == (1, 2)


def test_of_two_who_fetch_at_once_the_first_to_finish_is_believed():
    values = iter(["torn", "whole"])

    def fetch():
        value = next(values)
        if value == "torn":  # and while it is fetched, somebody else settles
            deferral.settle(pair)
        return {"right": value}

    pair = deferral.deferred(Pair, {"left": 1}, fetch)
    assert pair.right == "whole"
