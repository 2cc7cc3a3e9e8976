"""What an ensemble saves: 32 members in vmapped kernels against 32 loops written by hand, one after the other.

Both sides take the same number of steps at batch 64 with Adam (the loops: torch.optim.Adam as it
comes), interleaved in rounds; the table shows medians of the process's CPU time. A first run takes some
minutes, to build; a later one finds what was built. Run with `make bench-ensemble`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import functorch_artifact as fa
from functorch_artifact import optimizers
from functorch_artifact.compiling import Mode
from functorch_artifact.ensembles import vectorized

BATCH = 64


@attrs.frozen(eq=False)
class Case:
    """A model, a batch for it, and its loss."""

    net: nn.Module
    batch: dict[str, Tensor]
    inputs: Callable[[Any], Any] | None
    loss: Callable[[Any, Any], Tensor] | None


def mlp() -> Case:
    """Make the classifier 4-64-64-2."""
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    batch = {"x": torch.randn(BATCH, 4), "y": torch.randint(0, 2, (BATCH,))}
    return Case(net, batch, lambda b: b["x"], lambda out, b: nn.functional.cross_entropy(out, b["y"]))


def vae() -> Case:
    """Make the demo's model, for ten columns of the diamonds' numbers of bins."""
    from tabular_vae_model import TabularVAE

    bins = [96, 5, 7, 8, 96, 96, 96, 96, 96, 96]
    net = TabularVAE(SimpleNamespace(bins=bins))  # type: ignore[arg-type]  # for a fitted codec
    codes = torch.stack([torch.randint(0, n, (BATCH,)) for n in bins], 1)
    return Case(net, {"codes": codes}, None, None)


def by_hand(case: Case, members: int) -> Callable[[], None]:
    """Make one step of each of the loops that a user would write."""
    nets = [copy.deepcopy(case.net) for _ in range(members)]
    rates = torch.logspace(-4, -3, members).tolist()
    adams = [torch.optim.Adam(net.parameters(), lr=lr) for net, lr in zip(nets, rates, strict=True)]

    def step() -> None:
        for net, adam in zip(nets, adams, strict=True):
            adam.zero_grad()
            out = net(case.batch if case.inputs is None else case.inputs(case.batch))
            (out["loss"] if case.loss is None else case.loss(out, case.batch)).backward()
            adam.step()

    return step


def together(case: Case, members: int, chunk: int, mode: Mode) -> Callable[[], None]:
    """Make one step of each member, in kernels of `chunk` members."""
    model = fa.functional(case.net, inputs=case.inputs)
    rates = torch.logspace(-4, -3, members, dtype=torch.float64)
    alone = fa.train_step(model, optimizers.adam(1e-3), case.loss)
    joint = vectorized.JointStep(lambda own: alone, mode=mode)
    batch = vectorized.stack([case.batch] * chunk)
    held = []
    for start in range(0, members, chunk):
        states = [fa.init(model, optimizers.adam(rates[i]), seed=i) for i in range(start, min(members, start + chunk))]
        held.append(attrs.evolve(states[0], **vectorized.stack([vectorized.moving(each) for each in states])))
    taken = 0

    def step() -> None:
        nonlocal taken
        for place in range(len(held)):
            seeds = range(place * chunk, (place + 1) * chunk)
            held[place], _ = joint([alone] * chunk, held[place], batch, {}, seeds, taken)
        taken += 1

    return step


def seconds(step: Callable[[], None], n: int) -> float:
    """Time n steps of all members, in seconds of CPU time a step."""
    began = time.process_time()
    for _ in range(n):
        step()
    return (time.process_time() - began) / n


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=("mlp", "vae"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, 1 thread, {options.members} members, medians of {options.rounds} rounds")
    print(f"{'model':<8}{'by hand':>12}{'mode':>12}{'chunk':>7}{'built':>9}{'together':>12}{'faster':>9}{'goal':>7}")
    for name, make, steps, sides, goal in (
        ("MLP", mlp, 10, ((32, "captured"), (32, "compiled")), 14),
        ("VAE", vae, 1, ((4, "captured"), (4, "compiled")), 2.4),
    ):
        if options.only not in (None, name.lower()):
            continue
        case = make()
        runs = [by_hand(case, options.members)]
        built = [0.0]
        for chunk, mode in sides:
            runs.append(together(case, options.members, min(chunk, options.members), mode))  # type: ignore[arg-type]
            began = time.perf_counter()
            runs[-1]()
            built.append(time.perf_counter() - began)
        times: list[list[float]] = [[] for _ in runs]
        for round_ in range(options.rounds + 1):
            for run, found in zip(runs, times, strict=True):
                took = seconds(run, steps)
                if round_:  # the first round warms up
                    found.append(took)
        hand, *others = (statistics.median(found) for found in times)
        for (chunk, mode), spent, took in zip(sides, built[1:], others, strict=True):
            print(
                f"{name:<8}{hand * 1e3:>10.2f}ms{mode:>12}{chunk:>7}{spent:>8.1f}s"
                f"{took * 1e3:>10.2f}ms{hand / took:>8.1f}x{goal:>6}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
