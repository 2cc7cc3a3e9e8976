"""What a training step costs: ours in each mode, by hand, and in every library that a user might pick.

All sides train the same model from the same weights on the same batch with Adam, in one process and
one thread, interleaved in rounds. The table shows each side's median CPU time a step (of the
process, so that other work on the machine counts less), and how many times faster than the
hand-written loop with default Adam that is. Run with `make bench`.
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
    "ours, captured, 16 steps a call": lambda work: peers.ours(work, "captured", peers.STEPS),
    "ours, compiled": lambda work: peers.ours(work, "compiled"),
    "ours, compiled, 16 steps a call": lambda work: peers.ours(work, "compiled", peers.STEPS),
}
PACKAGES = ("torch", "lightning", "pytorch-ignite", "torchopt", "jax", "optax")


def milliseconds(side: peers.Side, at_least: float) -> float:
    """Time calls for so many seconds of the process's CPU time, in milliseconds a step."""
    call, steps = side
    began, taken = time.process_time(), 0
    while time.process_time() - began < at_least:
        call()
        taken += steps
    return (time.process_time() - began) / taken * 1e3


def measure(work: Workload, rounds: int, seconds: float, only: str) -> None:
    """Print one model's table."""
    sides: dict[str, peers.Side] = {}
    for name, make in SIDES.items():
        if only in name or name.startswith("by hand, default"):
            if name.startswith("JAX") and work.name.startswith("transformer"):
                continue  # not written in JAX
            with peers.building(name):
                sides[name] = make(work)
                sides[name][0]()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            took = milliseconds(side, seconds)
            if number:  # the first round warms up
                times[name].append(took)
    hand = statistics.median(times["by hand, default Adam"])
    print(f"\n{work.name:<42}{'ms a step':>10}{'times by hand':>15}")
    for name, found in times.items():
        print(f"{name:<42}{statistics.median(found):>10.3f}{hand / statistics.median(found):>15.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each side in each round")
    parser.add_argument("--models", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--only", default="", help="sides whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(
        f"Python {platform.python_version()}, {versions}\n{platform.processor() or platform.machine()}, 1 thread, ",
        end="",
    )
    print(f"medians of {options.rounds} rounds of {options.seconds} s a side")
    for name in options.models:
        measure(workload(name), options.rounds, options.seconds, options.only)


if __name__ == "__main__":
    main()
