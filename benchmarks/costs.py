"""What surrounds a step: leaves, the driver, a warm start, memory. One table; run with `make bench`."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import attrs
import torch
from models import mlp, workload
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees


class Many(nn.Module):
    """So many parameters of one element."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.values = nn.ParameterList(torch.zeros(1) for _ in range(n))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.cat(list(self.values)).sum() + x.sum()}


def seconds(call: Callable[[], Any], n: int, rounds: int = 9) -> float:
    """Take the median CPU time of a call."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(n):
            call()
        found.append((time.process_time() - began) / n)
    return statistics.median(found)


def call_per_leaf() -> list[str]:
    """Time what a compiled step does besides running its code, for states of more and more leaves."""
    lines = []
    for n in (10, 100, 1000):
        net, tx, x = Many(n), optimizers.sgd(0.1, momentum=0.9), torch.zeros(1)
        fast = fa.compile(fa.train_step(net, tx), donate=True)
        state = [fast(fa.init(net, tx), x)[0]]
        memory: Any = fast._memory  # type: ignore[union-attr]
        ((signature, runner),) = memory.runners.items()
        moving = len(trees.leaves((state[0].params, state[0].opt_state, state[0].step, state[0].batch)))

        def idle(leaves: list[Any], n: int = moving) -> list[Any]:
            return [*leaves[:n], leaves[-1].sum()]

        memory.runners[signature] = attrs.evolve(runner, run=idle, written=list(range(moving)))

        def call() -> None:
            state[0], _ = fast(state[0], x)  # noqa: B023

        took = seconds(call, 20_000 // n)
        lines.append(
            f"a call beyond its code, {moving} leaves: {took * 1e6:.0f} us, {took / moving * 1e6:.2f} us a leaf"
        )
    return lines


def driver() -> list[str]:
    """Time `fit` against a bare loop over the same steps on the same batches."""
    x = torch.randn(64 * 500, 4)
    loader = fa.DataLoader(fa.ResidentDataset({"x": x, "y": (x.sum(1) > 0).long()}), batch_size=64, shuffle=True)
    programs = {
        epochs: fa.Program(
            model=mlp(),
            optimizer=optimizers.adam(1e-3),
            train_loader=loader,
            stopper=fa.EpochBoundStopper(epochs),
            mode="captured",
        )
        for epochs in (1, 3)
    }
    step = programs[1].compiled_step()

    def loop() -> None:
        state = programs[1].init()
        for batch in loader.batches(1, 0):
            state, _ = step(state, batch)

    bare, fit = [], []
    for _ in range(6):
        bare.append(seconds(loop, 1, 1))
        one, three = (seconds(lambda: fa.fit(programs[epochs], progress=False), 1, 1) for epochs in (1, 3))  # noqa: B023
        fit.append((three - one) / 2)
    over = (statistics.median(fit) - statistics.median(bare[1:])) / 500
    return [f"the driver beyond the step, tiny MLP: {over * 1e6:.0f} us a step"]


def warm_start() -> list[str]:
    """Time the first compiled step of the VAE in a process that finds its code."""
    for _ in range(2):
        found = subprocess.run([sys.executable, __file__, "warm"], capture_output=True, text=True, check=True).stdout
    return [f"warm start, compiled VAE b64: {found.strip()}"]


def memory() -> list[str]:
    """Measure the peak of resident memory over 5 steps, in processes of their own."""
    lines = []
    for mode in ("by hand", "eager", "captured", "compiled"):
        command = [sys.executable, __file__, "memory", mode]
        subprocess.run(command, capture_output=True, text=True, check=True)  # leaves compiled code behind
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines.append(f"peak memory, {mode}: {found.strip()} (4 is one state and the gradients)")
    return lines


def _warm() -> None:
    work = workload("VAE b64")
    model, tx = fa.functional(work.make()), optimizers.adam(1e-3)
    began, cpu = time.perf_counter(), time.process_time()
    fast = fa.compile(fa.train_step(model, tx), "compiled", donate=True)
    fast(fa.init(model, tx), work.batch)
    took = f"{time.process_time() - cpu:.1f} s of CPU, {time.perf_counter() - began:.1f} s"
    print(f"{took}; {fa.explain(fast).builds[0].why}")


def _memory(mode: Any) -> None:
    net = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(6)))
    parameters, x = sum(p.numel() for p in net.parameters()) * 4, torch.randn(8, 2048)
    if mode == "by hand":
        optimizer = torch.optim.Adam(net.parameters())

        def step() -> None:
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    else:
        tx = optimizers.adam(1e-3)
        warm = nn.Linear(2, 2)  # what only the first step of a process loads
        fast = fa.compile(fa.train_step(net, tx, lambda out, batch: out.square().mean()), mode, donate=mode != "eager")
        fa.compile(fa.train_step(warm, tx, lambda out, batch: out.sum()), mode)(fa.init(warm, tx), torch.ones(1, 2))
        state = [fa.init(net, tx)]
        del warm

        def step() -> None:
            state[0], _ = fast(state[0], x)

    held = 1 if mode == "by hand" else 4  # what was allocated already, in sizes of the parameters
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for _ in range(5):
        step()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    extra = 0 if mode == "by hand" else 1  # the module's own initial parameters, which the caller keeps
    print(f"{held - extra + grown / parameters:.2f} times the parameters")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["warm"]:
        _warm()
    elif sys.argv[1:2] == ["memory"]:
        _memory(sys.argv[2])
    else:
        print(*call_per_leaf(), *driver(), *warm_start(), *memory(), sep="\n")
