"""Tables to draw: mixed columns with everything that makes comparing hard."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

DTYPES = {"a": ["float64", "float32", "Float64"], "n": ["int64", "Int64"], "k": ["object", "string", "category"]}


def table(n: int, seed: int, *, missing: float = 0.0) -> pd.DataFrame:
    """Two numeric and two categorical columns that depend on each other."""
    random = np.random.default_rng(seed)
    a = random.normal(size=n)
    k = random.choice(["x", "y", "z"], n, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame({"a": a, "n": random.poisson(3 + (k == "x")), "k": k, "flag": a + random.normal(size=n) > 0})
    frame["k"] = frame["k"].astype(object)
    for name in ("a", "k"):
        frame.loc[random.random(n) < missing, name] = None if name == "k" else np.nan
    return frame


numbers = st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0]), st.just(np.nan))
categories = st.one_of(st.sampled_from(["x", "y", "z", "new"]), st.none())


@st.composite
def pairs(draw, values, *, finite_first: bool = False):
    """Two columns of one kind, of 1 to 60 rows each."""
    sides = [draw(st.lists(values, min_size=1, max_size=60)) for _ in range(2)]
    return tuple(pd.Series(side, dtype=object if values is categories else np.float64) for side in sides)
