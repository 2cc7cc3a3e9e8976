"""Laws of the folds, and what NumPy and pandas compute of the concatenated data."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given

from functorch_artifact import folds
from functorch_artifact.testing import laws


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
# What the rest depend on besides their rows is how these were cut into elements.
ROWS = [name for name in FOLDS if name not in ("count", "product")]
LAWS = [
    pytest.param(law, id=f"{name}-{law.__name__}")
    for name, fold in FOLDS.items()
    for law in laws(fold, rows=name in ROWS)
]
values = st.floats(-1e3, 1e3, width=32)
streams = st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=6)
IN_NUMPY = {
    "count": lambda flat, stream: len(stream),
    "sum": lambda flat, stream: flat.sum(),
    "mean": lambda flat, stream: flat.mean(),
    "weighted mean": lambda flat, stream: flat.mean(),
    "variance": lambda flat, stream: flat.var(),
    "min": lambda flat, stream: flat.min(),
    "max": lambda flat, stream: flat.max(),
    "last": lambda flat, stream: flat[-1],
    "concatenate": lambda flat, stream: flat[:7],
}


@pytest.mark.parametrize("law", LAWS)
def test_laws(law):
    law()


@pytest.mark.parametrize("name", IN_NUMPY)
@given(data=streams)
def test_a_fold_is_what_numpy_computes_of_all_data_at_once(name, data):
    stream = [torch.tensor(batch, dtype=torch.float32) for batch in data]
    flat = np.concatenate([batch.double().numpy() for batch in stream])
    np.testing.assert_allclose(FOLDS[name].run(stream), IN_NUMPY[name](flat, stream), rtol=1e-9, atol=1e-6)


@given(data=streams, ddof=st.integers(0, 1))
def test_means_by_column_are_those_of_pandas(data, ddof):
    width = 2
    stream = [torch.tensor([batch[:1] * width, batch[-1:] * width], dtype=torch.float64) for batch in data]
    table = pd.DataFrame(np.concatenate([batch.numpy() for batch in stream]))
    means = folds.product(
        {"mean": folds.mean(identity, each=True), "var": folds.variance(identity, each=True, ddof=ddof)}
    )
    found = means.run(stream)
    np.testing.assert_allclose(found["mean"], table.mean(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found["var"], table.var(ddof=ddof), rtol=1e-9, atol=1e-6)


@given(data=streams, edges=st.lists(values, min_size=2, max_size=5, unique=True).map(sorted))
def test_a_histogram_is_numpys_and_loses_nothing(data, edges):
    stream = [torch.tensor(batch, dtype=torch.float64) for batch in data]
    flat = np.concatenate([batch.numpy() for batch in stream])
    found = folds.histogram(identity, edges).run(stream)
    np.testing.assert_array_equal(found.counts, np.histogram(flat, edges)[0])
    assert int(found.counts.sum()) + found.below + found.above + found.nan == len(flat)
