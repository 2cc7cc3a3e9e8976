"""What comparing tables costs, beside artifact-core 0.2.1: CPU seconds, interleaved, medians.

    python benchmarks/validation.py            # or: make bench-tables
    python benchmarks/validation.py --quick    # 918 rows alone

artifact-core needs pandas 2, so both sides run in the environment of `requirements-artifact-core.txt`,
in the same process, one thread each, on the same tables, which have 5 numeric and 5 categorical
columns; each round has a synthetic table of its own. Ours is measured with the real side prepared,
as it is in training, and beside it with everything made anew (`cold`). Both sides' pictures are made
to PNG files.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

import numpy as np
import pandas as pd
import torch
from artifact_core import table_comparison as core
from threadpoolctl import threadpool_limits

from functorch_artifact.table_comparison import Reference, TableComparisonPlan, TabularSpec

DEMO = {
    "score": ["MEAN_JS_DISTANCE", "CORRELATION_DISTANCE"],
    "score_collection": ["JS_DISTANCE"],
    "array_collection": ["MEAN_JUXTAPOSITION", "STD_JUXTAPOSITION", "MIN_JUXTAPOSITION", "MAX_JUXTAPOSITION"],
    "plot": ["PDF", "CDF", "DESCRIPTIVE_STATS_ALIGNMENT", "PCA_JUXTAPOSITION", "CORRELATION_HEATMAP_JUXTAPOSITION"],
    "plot_collection": ["PDF", "CORRELATION_HEATMAPS"],
}
TYPES = {
    "score": "ScoreType",
    "score_collection": "ScoreCollectionType",
    "array_collection": "ArrayCollectionType",
    "plot": "PlotType",
    "plot_collection": "PlotCollectionType",
}


def table(n: int, seed: int) -> pd.DataFrame:
    """Draw dependent columns: normal, log-normal, counts; categories of 2 to 40 values."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, n))
    k = random.choice([f"c{i}" for i in range(8)], n)
    return pd.DataFrame(
        {
            "a": a,
            "b": a + b,
            "c": np.exp(b),
            "d": random.poisson(3 + (a > 0)),
            "e": random.uniform(size=n),
            "k": k,
            "l": np.where(b > 0, k, "other"),
            "m": random.choice(["x", "y"], n),
            "n": np.where(a > 1, "high", np.where(a < -1, "low", "middle")),
            "o": random.choice([f"place {i}" for i in range(40)], n),
        }
    )


def theirs(names: dict[str, list[str]], real: pd.DataFrame, synthetic: Sequence[pd.DataFrame]) -> Callable[[], None]:
    """Compute artifacts as artifact-core does, through its engine, of one synthetic table after another."""
    spec = core.TabularDataSpec.from_df(real, cts_features=list("abcde"), cat_features=list("klmno"))
    engine = core.TableComparisonEngine.build(resource_spec=spec)
    tables = cycle(synthetic)

    def run() -> None:
        table = next(tables)
        for kind, members in names.items():
            for member in members:
                chosen = getattr(core, f"TableComparison{TYPES[kind]}")[member]
                made = getattr(engine, f"produce_dataset_comparison_{kind}")(chosen, real, table)
                for figure in made.values() if kind == "plot_collection" else [made] if kind == "plot" else []:
                    figure.savefig(io.BytesIO(), format="png")

    return run


def own(
    names: dict[str, list[str]], real: pd.DataFrame, synthetic: Sequence[pd.DataFrame]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Compute artifacts as we do: with the real side prepared, and without."""
    from functorch_artifact import table_comparison as ours

    members = [getattr(ours, f"TableComparison{TYPES[kind]}")[name] for kind, each in names.items() for name in each]
    plan, spec = TableComparisonPlan.of(*members), TabularSpec.from_frame(real)
    reference = Reference(real, spec)
    tables, others = cycle(synthetic), cycle(synthetic)

    def warm() -> None:
        report = plan.report(reference.compare(next(tables)), noise=False)
        if report.failures:
            raise next(iter(report.failures.values()))

    return warm, lambda: plan.evaluate(real, next(others), spec, noise=False) and None


def cpu(run: Callable[[], object]) -> float:
    """Measure CPU seconds, of all threads."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(what: str, sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run the sides in turn, so many rounds after one to warm up; print medians and ratios."""
    for run in sides.values():
        run()
    spent: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            spent[side].append(cpu(run))
    medians = {side: statistics.median(each) for side, each in spent.items()}
    base = medians["artifact-core"]
    told = ", ".join(f"{side} {value:.4f} s ({base / value:.1f}x)" for side, value in medians.items())
    print(f"{what}: {told}", flush=True)
    return medians


def growth(plan: TableComparisonPlan, sizes: list[int]) -> None:
    """Measure CPU time and peak memory by rows; the real side as long as the synthetic one."""
    for n in sizes:
        real, synthetic = table(n, 0), table(n, 1)
        spec = TabularSpec.from_frame(real)
        size = int(real.memory_usage(deep=True).sum() + synthetic.memory_usage(deep=True).sum())
        run = partial(plan.evaluate, real, synthetic, spec, noise=False)
        seconds = min(cpu(run) for _ in range(3))
        tracemalloc.start()
        run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        each = 1e6 * seconds / n
        print(f"{n} rows: {seconds:.3f} s, {each:.2f} us a row; peak {peak / size:.2f} x both tables", flush=True)


def main() -> None:
    """Print every comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    config = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    warnings.simplefilter("ignore")
    print(f"pandas {pd.__version__}, numpy {np.__version__}, torch {torch.__version__}; CPU seconds")
    scores = {"score": DEMO["score"]}
    for n in [918] if config.quick else [918, 50_000]:
        real, synthetic = table(n, 0), [table(n, seed + 1) for seed in range(config.rounds + 1)]
        for what, names in (("MEAN_JS_DISTANCE + CORRELATION_DISTANCE", scores), ("the demo's whole plan", DEMO)):
            warm, cold = own(names, real, synthetic)
            sides = {"artifact-core": theirs(names, real, synthetic), "ours": warm, "ours, cold": cold}
            compare(f"{what}, {n} rows", sides, config.rounds)
    growth(TableComparisonPlan.of(*DEMO["score"], *DEMO["score_collection"]), [10_000, 100_000, 1_000_000])


if __name__ == "__main__":
    main()
