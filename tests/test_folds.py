"""Folds, each against numpy on the concatenated data."""

import numpy as np
import pytest
import torch

from functorch_artifact import folds
from functorch_artifact.contracts import BatchResult
from functorch_artifact.errors import ConfigurationError

BATCHES = [torch.tensor([1.0, 2.0, 4.0]), torch.tensor([8.0]), torch.tensor([-1.0, 0.5])]
DATA = np.concatenate([batch.numpy() for batch in BATCHES]).astype(np.float64)


def identity(x):
    return x


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (folds.sum(identity, each=True), DATA.sum()),
        (folds.mean(identity, each=True), DATA.mean()),
        (folds.variance(identity, each=True), DATA.var()),
        (folds.variance(identity, each=True, ddof=1), DATA.var(ddof=1)),
        (folds.min(identity, each=True), DATA.min()),
        (folds.max(identity, each=True), DATA.max()),
        (folds.mean(lambda x: x.double().mean(), weight=len), DATA.mean()),
        (folds.mean(identity, weight=lambda x: x.abs(), each=True), np.average(DATA, weights=np.abs(DATA))),
    ],
)
def test_numeric_folds_agree_with_numpy(fold, expected):
    assert fold.run(BATCHES).item() == pytest.approx(expected, rel=1e-12)


def test_one_observation_keeps_its_shape():
    observations = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[3.0, 6.0], [5.0, 0.0]])]
    stacked = torch.stack(observations).double()
    assert torch.equal(folds.mean(identity).run(observations), stacked.mean(0))
    assert torch.equal(folds.sum(identity).run(observations), stacked.sum(0))
    assert torch.equal(folds.max(identity).run(observations), stacked.amax(0).float())
    assert torch.allclose(folds.variance(identity, ddof=1).run(observations), stacked.var(0))


def test_the_mean_of_a_batch_result_is_weighted_by_its_examples():
    results = [
        BatchResult({}, {"loss": torch.tensor(1.0)}, 30),
        BatchResult({}, {"loss": torch.tensor(5.0)}, 10),
    ]
    assert folds.mean(lambda r: r.output["loss"]).run(results).item() == 2.0
    assert folds.count().run(results) == 40


def test_variance_is_stable_far_from_zero():
    values = [torch.tensor([1e9 + v for v in (4.0, 7.0, 13.0, 16.0)], dtype=torch.float64)] * 3
    assert folds.variance(identity, each=True).run(values).item() == pytest.approx(22.5, rel=1e-12)


def test_integers_are_summed_exactly():
    big = torch.tensor(2**53 + 1)
    assert folds.sum(identity).run([big, torch.tensor(1)]).item() == 2**53 + 2


def test_histogram_counts_as_numpy_and_loses_nothing():
    edges = [-1.0, 0.0, 2.0, 4.0]
    batches = [*BATCHES, torch.tensor([float("nan"), float("inf"), -float("inf"), 4.0, -1.0])]
    found = folds.histogram(identity, edges).run(batches)
    values = torch.cat(batches)
    expected, _ = np.histogram(values[values.isfinite()].numpy(), edges)
    assert found.counts.tolist() == expected.tolist()
    assert (found.below, found.above, found.nan) == (1, 2, 1)
    assert int(found.counts.sum()) + found.below + found.above + found.nan == len(values)


@pytest.mark.parametrize("edges", [[1.0], [0.0, 0.0], [1.0, 0.0]])
def test_histogram_refuses_edges_that_make_no_bins(edges):
    with pytest.raises(ConfigurationError, match=r"folds.histogram: cannot make bins\n  expected: two or more incr"):
        folds.histogram(identity, edges)


def test_concatenation_keeps_the_first_rows_up_to_its_bound():
    assert folds.concatenate(identity, bound=100).run(BATCHES).tolist() == DATA.tolist()
    assert folds.concatenate(identity, bound=4).run(BATCHES).tolist() == DATA[:4].tolist()


def test_concatenation_refuses_to_keep_nothing():
    with pytest.raises(ConfigurationError, match=r"concatenate\(bound=...\): keeps no rows"):
        folds.concatenate(identity, bound=0)


def test_last_keeps_the_last_and_is_not_commutative():
    fold = folds.last(identity)
    assert fold.run([1, 2, 3]) == 3
    assert not fold.commutative


def test_products_run_in_one_pass():
    seen = []

    def observe(x):
        seen.append(x)
        return x

    pair = folds.product(folds.sum(lambda x: x), folds.count()).premap(observe)
    total, n = pair.run([1.0, 2.0, 3.0])
    assert (total.item(), n, seen) == (6.0, 3, [1.0, 2.0, 3.0])
    named = folds.product({"low": folds.min(identity), "high": folds.max(identity)})
    assert {name: value.item() for name, value in named.run([3.0, 1.0]).items()} == {"low": 1.0, "high": 3.0}


@pytest.mark.parametrize(
    "fold",
    [
        folds.count(),
        folds.sum(identity),
        folds.mean(identity),
        folds.variance(identity),
        folds.min(identity),
        folds.max(identity),
        folds.last(identity),
        folds.histogram(identity, [0.0, 1.0]),
        folds.concatenate(identity, bound=3),
        folds.product(folds.count(), folds.sum(identity)),
        folds.product({"n": folds.count()}),
        folds.mean(identity).then(float),
        folds.mean(identity).premap(identity),
    ],
)
def test_the_empty_fold_is_none(fold):
    assert fold.run([]) is None


def test_a_users_own_monoid():
    longest = folds.fold_map("", identity, lambda a, b: b if len(b) > len(a) else a, lambda a: a or None)
    assert longest.run(["a", "abc", "de"]) == "abc"
    assert longest.then(len).premap(str).run([1, 1000]) == 4


def test_folding_keeps_no_graph():
    weight = torch.ones(3, requires_grad=True)
    assert not folds.mean(lambda x: (x * weight).sum()).run([torch.ones(3)]).requires_grad
