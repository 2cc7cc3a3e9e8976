"""What judging predictions costs: CPU seconds of ours against artifact-core 0.2.1, and how ours grow.

Both sides get what their users hold: theirs dictionaries by example, ours arrays. Run it with
`make bench-classes`, in the environment that has artifact-core.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from functorch_artifact import binary_classification, classification
from functorch_artifact.binary_classification import BinaryClassificationPlan, BinaryClassSpec

SCORES = (
    "ACCURACY", "BALANCED_ACCURACY", "PRECISION", "NPV", "RECALL", "TNR", "FPR", "FNR", "F1", "MCC",
    "ROC_AUC", "PR_AUC",
)  # fmt: skip


def drawn(n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Draw labels, 30 % of them positive, and the probabilities of a fair classifier."""
    random = np.random.default_rng(0)
    positive = random.random(n) < 0.3
    probabilities = 1 / (1 + np.exp(1 - 1.6 * positive - random.normal(size=n)))
    return np.where(positive, "yes", "no").astype(object), probabilities


def ours(n: int, plan: BinaryClassificationPlan, noise: bool = False) -> Callable[[], object]:
    """Evaluate a plan on n examples, as in training or with what chance does to the scores."""
    labels, probabilities = drawn(n)
    spec = BinaryClassSpec(["no", "yes"], positive_class="yes")
    return lambda: plan.evaluate(labels, probabilities, spec, noise=noise)


def theirs(n: int) -> Callable[[], object]:
    """Produce the same scores by artifact-core."""
    from artifact_core.binary_classification import (
        BinaryClassificationEngine,
        BinaryClassificationScoreType,
        BinaryClassSpec,
    )

    labels, probabilities = drawn(n)
    engine = BinaryClassificationEngine.build(BinaryClassSpec(["no", "yes"], "yes"))
    resources: dict[str, Any] = {
        "true": dict(enumerate(labels.tolist())),
        "predicted": dict(enumerate(np.where(probabilities >= 0.5, "yes", "no").tolist())),
        "probs_pos": dict(enumerate(probabilities.tolist())),
    }
    types = [BinaryClassificationScoreType[name] for name in SCORES]
    return lambda: [engine.produce_binary_classification_score(each, **resources) for each in types]


def cpu_seconds(run: Callable[[], object]) -> float:
    """Measure one run, in CPU seconds of this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Measure what judging predictions costs.")
    parser.add_argument("--rows", type=int, default=80_000, help="examples to compare on (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    plan = BinaryClassificationPlan.of(*SCORES)
    sides = {"artifact-core": theirs(arguments.rows), "ours": ours(arguments.rows, plan)}
    sides["ours"]()  # imports
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, run in sides.items():
            spent[name].append(cpu_seconds(run))
    medians = {name: statistics.median(each) for name, each in spent.items()}
    print(f"ACCURACY..PR_AUC, {arguments.rows:,} examples, median CPU seconds of {arguments.rounds} rounds:")
    print(f"  artifact-core {medians['artifact-core']:.3f}   ours {medians['ours']:.4f}", end="   ")
    print(f"{medians['artifact-core'] / medians['ours']:,.0f} times less")

    print("\nours by examples, CPU seconds (best of 3):")
    every_score = BinaryClassificationPlan.of(*binary_classification.BinaryClassificationScoreType)
    everything = BinaryClassificationPlan.of(*binary_classification.toolkit)
    for n in (10_000, 100_000, 1_000_000):
        runs = ours(n, plan), ours(n, every_score), ours(n, every_score, noise=True), ours(n, everything)
        seconds = [min(cpu_seconds(run) for _ in range(3)) for run in runs]
        print(f"  {n:>9,}   twelve scores {seconds[0]:.4f}   all scores {seconds[1]:.4f}", end="   ")
        print(f"with standard errors {seconds[2]:.4f}   everything {seconds[3]:.3f}")

    print("\nall scores of several classes, 20,000 examples:")
    random = np.random.default_rng(0)
    for k in (3, 10, 100):
        true, scores = random.integers(0, k, 20_000), random.random((20_000, k))
        probabilities, spec = scores / scores.sum(axis=1, keepdims=True), classification.ClassSpec(range(k))
        alone, told = (
            min(cpu_seconds(partial(classification.evaluate, true, probabilities, spec, noise=noise)) for _ in range(3))
            for noise in (False, True)
        )
        print(f"  {k:>4} classes   {alone:.3f}   with standard errors {told:.3f}")


if __name__ == "__main__":
    main()
