"""The laws of folds: monoid, agreement of update and lift, independence of the partition, purity."""

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from functorch_artifact import folds, trees


def identity(x):
    return x


FOLDS = {
    "count": folds.count(),
    "sum": folds.sum(identity, each=True),
    "mean": folds.mean(identity, each=True),
    "weighted mean": folds.mean(lambda x: x.double().mean(), weight=len),
    "variance": folds.variance(identity, each=True),
    "min": folds.min(identity, each=True),
    "max": folds.max(identity, each=True),
    "last": folds.last(lambda x: x[-1]),
    "histogram": folds.histogram(identity, [-10.0, 0.0, 1.0, 50.0]),
    "concatenate": folds.concatenate(identity, bound=7),
    "product": folds.product(folds.mean(identity, each=True), folds.last(lambda x: x[0])),
    "mapped": folds.product({"m": folds.max(identity, each=True)}).premap(lambda x: x * 2).then(lambda r: r["m"]),
}
PARTITION_FREE = ("sum", "mean", "weighted mean", "variance", "min", "max", "last", "histogram", "concatenate")

values = st.floats(-1e3, 1e3, width=32)
batches = st.lists(values, min_size=1, max_size=5).map(lambda xs: torch.tensor(xs, dtype=torch.float32))
streams = st.lists(batches, max_size=5)
any_fold = pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS.keys())


def folded(fold, stream):
    accumulator = fold.init()
    for element in stream:
        accumulator = fold.update(accumulator, element)
    return accumulator


def assert_close(a, b):
    if a is None or b is None:
        assert a is b
        return
    assert type(a) is type(b)
    left = trees.leaves([*vars_of(a)])
    right = trees.leaves([*vars_of(b)])
    for x, y in zip(left, right, strict=True):
        torch.testing.assert_close(torch.as_tensor(x), torch.as_tensor(y), rtol=1e-9, atol=1e-6)


def vars_of(result):
    if isinstance(result, folds.Histogram):
        return [result.counts, result.below, result.above, result.nan]
    return [result]


@any_fold
@settings(max_examples=20)
@given(stream=streams)
def test_the_empty_accumulator_is_the_identity_of_merge(fold, stream):
    a = folded(fold, stream)
    assert_close(fold.finish(fold.merge(fold.init(), a)), fold.finish(a))
    assert_close(fold.finish(fold.merge(a, fold.init())), fold.finish(a))


@any_fold
@settings(max_examples=20)
@given(streams=st.tuples(streams, streams, streams))
def test_merge_is_associative(fold, streams):
    a, b, c = (folded(fold, stream) for stream in streams)
    assert_close(fold.finish(fold.merge(fold.merge(a, b), c)), fold.finish(fold.merge(a, fold.merge(b, c))))


@any_fold
@settings(max_examples=20)
@given(stream=streams, element=batches)
def test_update_is_merge_with_the_lifted_element(fold, stream, element):
    a = folded(fold, stream)
    assert_close(fold.finish(fold.update(a, element)), fold.finish(fold.merge(a, fold.lift(element))))


@any_fold
@settings(max_examples=20)
@given(left=streams, right=streams)
def test_merge_commutes_where_declared(fold, left, right):
    if fold.commutative:
        a, b = folded(fold, left), folded(fold, right)
        assert_close(fold.finish(fold.merge(a, b)), fold.finish(fold.merge(b, a)))


@any_fold
@settings(max_examples=20)
@given(left=streams, right=streams, element=batches)
def test_no_argument_is_mutated(fold, left, right, element):
    a, b = folded(fold, left), folded(fold, right)
    before = trees.digest((a, b, element))
    fold.update(a, element)
    fold.merge(a, b)
    fold.finish(a)
    assert trees.digest((a, b, element)) == before


@pytest.mark.parametrize("name", PARTITION_FREE)
@given(data=st.lists(values, min_size=1, max_size=20), cuts=st.sets(st.integers(1, 19)))
def test_the_result_does_not_depend_on_the_partition_into_batches(name, data, cuts):
    whole = torch.tensor(data, dtype=torch.float32)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parts = [whole[i:j] for i, j in pairwise(places)]
    assert_close(FOLDS[name].run(parts), FOLDS[name].run([whole]))


@given(data=st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=6))
def test_mean_and_variance_agree_with_numpy(data):
    stream = [torch.tensor(batch, dtype=torch.float32) for batch in data]
    flat = np.concatenate([batch.double().numpy() for batch in stream])
    np.testing.assert_allclose(folds.mean(identity, each=True).run(stream), flat.mean(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(folds.variance(identity, each=True).run(stream), flat.var(), rtol=1e-9, atol=1e-6)
