"""What a training step costs: ours in each mode, by hand, and in every library that a user might pick.

All sides train the same model from the same weights on the same batch with Adam, in one process and
one thread, interleaved in rounds. The table shows each side's median CPU time a step (of the
process, so that other work on the machine counts less), and how many times faster than the
hand-written loop with default Adam that is. Run with `make bench`.

A model's table is printed when it is measured. Rounds end when the model's share of the budget is
spent, but not before the third; building comes first and is not bounded (a torch.compile takes
10 to 60 s). All of `make bench` takes some ten minutes of CPU, a third of them to build.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable

import jax_models
import peers
import torch
from models import NAMES, Workload, workload

SIDES: dict[str, Callable[[Workload], peers.Side]] = {
    "by hand, default Adam": peers.by_hand,
    "by hand, fused Adam": lambda work: peers.by_hand(work, fused=True),
    "torch.compile of the model, fused Adam": lambda work: peers.by_hand(work, compiled=True, fused=True),
    "Lightning": peers.lightning,
    "ignite": peers.ignite,
    "TorchOpt": peers.torchopt,
    "JAX jit": lambda work: jax_models.side(work.make(), work.batch, scanned=False),
    "JAX lax.scan": lambda work: jax_models.side(work.make(), work.batch, scanned=True),
    "ours, eager": lambda work: peers.ours(work, "eager"),
    "ours, captured": lambda work: peers.ours(work, "captured"),
    "ours, captured, fused Adam": lambda work: peers.ours(work, "captured", fused=True),
    "ours, captured, 16 steps a call": lambda work: peers.ours(work, "captured", peers.STEPS),
    "ours, compiled": lambda work: peers.ours(work, "compiled"),
    "ours, compiled, 16 steps a call": lambda work: peers.ours(work, "compiled", peers.STEPS),
}
WITHOUT = {"transformer": ("JAX", "TorchOpt")}  # not written in JAX; TorchOpt takes seconds a round
LEAST = 3  # rounds that are measured whatever they take
PACKAGES = ("torch", "lightning", "pytorch-ignite", "torchopt", "jax", "optax")


def milliseconds(side: peers.Side, at_least: float) -> float:
    """Time calls for so many seconds of the process's CPU time, in milliseconds a step."""
    call, steps = side
    began, taken = time.process_time(), 0
    while time.process_time() - began < at_least:
        call()
        taken += steps
    return (time.process_time() - began) / taken * 1e3


def measure(work: Workload, rounds: int, seconds: float, only: str, budget: float) -> None:
    """Print one model's table, measured within so many seconds."""
    print(f"\n{work.name}", flush=True)
    sides: dict[str, peers.Side] = {}
    without = WITHOUT.get(work.name.split()[0], ("nothing",))
    for name, make in SIDES.items():
        if (only in name or name.startswith("by hand, default")) and not name.startswith(without):
            with peers.building(name):
                sides[name] = make(work)
                sides[name][0]()
    times: dict[str, list[float]] = {name: [] for name in sides}
    began = time.perf_counter()
    for number in range(rounds + 1):
        if number > LEAST and time.perf_counter() - began > budget:
            break
        for name, side in sides.items():
            took = milliseconds(side, seconds)
            if number:  # the first round warms up
                times[name].append(took)
    hand = statistics.median(times["by hand, default Adam"])
    n = len(times["by hand, default Adam"])
    print(f"{f'medians of {n} rounds of {seconds} s a side':<42}{'ms a step':>10}{'times by hand':>15}")
    for name, found in times.items():
        print(f"{name:<42}{statistics.median(found):>10.3f}{hand / statistics.median(found):>15.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="at most")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each side in each round")
    parser.add_argument("--budget", type=float, default=75, help="seconds to measure a model")
    parser.add_argument("--models", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--only", default="", help="sides whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"Python {platform.python_version()}, {versions}\n{platform.processor() or platform.machine()}, 1 thread")
    for name in options.models:
        measure(workload(name), options.rounds, options.seconds, options.only, options.budget)


if __name__ == "__main__":
    main()
