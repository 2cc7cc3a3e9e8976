"""What purity costs: our eager step against the loop a user writes by hand, as ratios.

Both sides take the same steps on the same data, interleaved in rounds; the table shows medians.
Run with `make bench`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers
from functorch_artifact.compiling import Mode


def mlp(width: int, depth: int, *, norm: bool) -> nn.Sequential:
    """Make a classifier of `depth` hidden layers."""
    layers: list[nn.Module] = []
    for size in (4, *[width] * (depth - 1)):
        layers += [nn.Linear(size, width), *([nn.BatchNorm1d(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def by_hand(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """Make the loop body that a user would write."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def ours(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor, *, lifted: bool = False, mode: Mode = "eager"
) -> Callable[[], None]:
    """Make the loop body over our step."""
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    tx = optimizers.from_torch(adam) if lifted else optimizers.adam(1e-3)
    model = fa.functional(net, inputs=lambda batch: batch[0])
    loss = lambda out, batch: nn.functional.cross_entropy(out, batch[1])  # noqa: E731
    pure = fa.compile(fa.train_step(model, tx, loss), mode)
    state = fa.init(model, tx)

    def step() -> None:
        nonlocal state
        state, _ = pure(state, (x, y))

    return step


def seconds(step: Callable[[], None], n: int) -> float:
    """Time n steps, in seconds a step."""
    began = time.perf_counter()
    for _ in range(n):
        step()
    return (time.perf_counter() - began) / n


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, medians of {options.rounds} rounds of {options.steps} steps\n")
    print(f"{'model':<34}{'by hand':>10}", end="")
    print(*(f"{side:>10}{'ratio':>7}" for side in ("adam", "lifted", "captured")), sep="")
    for name, batch, make in (
        ("MLP 4-64-64-2, batch 64", 64, lambda: mlp(64, 2, norm=False)),
        ("MLP 4-64-64-2, BatchNorm, batch 64", 64, lambda: mlp(64, 2, norm=True)),
        ("MLP 4-(256 x 6)-2, batch 512", 512, lambda: mlp(256, 6, norm=True)),
    ):
        x, y = torch.randn(batch, 4), torch.randint(0, 2, (batch,))
        sides = [
            by_hand(make(), x, y),
            ours(make(), x, y),
            ours(make(), x, y, lifted=True),
            ours(make(), x, y, mode="captured"),
        ]
        times: list[list[float]] = [[] for _ in sides]
        for round_ in range(options.rounds + 1):
            for side, found in zip(sides, times, strict=True):
                took = seconds(side, options.steps)
                if round_:  # the first round warms up
                    found.append(took)
        hand, *others = (statistics.median(found) for found in times)
        print(f"{name:<34}{hand * 1e3:>8.3f}ms", end="")
        print(*(f"{each * 1e3:>8.3f}ms{each / hand:>7.2f}" for each in others), sep="")


if __name__ == "__main__":
    main()
