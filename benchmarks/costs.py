"""What surrounds a step: leaves, the driver, a warm start, memory. One table; run with `make bench`."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

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

        memory.runners[signature] = attrs.evolve(runner, run=idle, written=frozenset(range(moving)))

        def call() -> None:
            state[0], _ = fast(state[0], x)  # noqa: B023

        took = seconds(call, 20_000 // n)
        lines.append(
            f"a call beyond its code, {moving} leaves: {took * 1e6:.0f} us, {took / moving * 1e6:.2f} us a leaf"
        )
    return lines


class Watched(fa.DataLoader[Any]):
    """Notes how long each 25 steps take."""

    taken: ClassVar[list[float]] = []

    def batches(self, epoch: int, seed: int, start: int = 0) -> Iterator[Any]:
        return self.watch(super().batches(epoch, seed, start))

    def watch(self, batches: Iterable[Any]) -> Iterator[Any]:
        marks = []
        for number, batch in enumerate(batches):
            if number % 25 == 0:
                marks.append(time.process_time())
            yield batch
        self.taken.extend(end - begin for begin, end in itertools.pairwise(marks))


def driver() -> list[str]:
    """Time the steps of `fit` against bare loops over the same: on batches at hand, and fed by the loader.

    What interferes only adds, so of each the first decile is taken.
    """
    x = torch.randn(64 * 500, 4)
    loader = Watched(fa.ResidentDataset({"x": x, "y": (x.sum(1) > 0).long()}), batch_size=64, shuffle=True)
    program = fa.Program(
        model=mlp(),
        optimizer=optimizers.adam(1e-3),
        train_loader=loader,
        stopper=fa.EpochBoundStopper(2),
        mode="captured",
    )
    step, at_hand = program.compiled_step(), list(loader.batches(1, 0))

    def loop(batches: Iterable[Any]) -> None:
        state = program.init()
        for batch in batches:
            state, _ = step(state, batch)

    ways: dict[str, tuple[list[float], Callable[[], Any]]] = {
        "at hand": ([], lambda: loop(loader.watch(at_hand))),
        "fed": ([], lambda: loop(loader.batches(1, 0))),
        "fit": ([], lambda: fa.fit(program, progress=False)),
    }
    for _ in range(20):
        for found, run in ways.values():
            loader.taken.clear()
            run()
            found += loader.taken
    bare, fed, fit = (statistics.quantiles(found, n=10)[0] / 25 * 1e6 for found, _ in ways.values())
    return [f"the driver beyond the step, tiny MLP: {fit - fed:.0f} us a step; with the loader {fit - bare:.0f} us"]


def warm_start() -> list[str]:
    """Time the first compiled step of the VAE in a process that finds its code."""
    for _ in range(2):
        found = subprocess.run([sys.executable, __file__, "warm"], capture_output=True, text=True, check=True).stdout
    return [f"warm start, compiled VAE b64: {found.strip()}"]


def memory() -> list[str]:
    """Measure the peak of resident memory over steps, in processes of their own.

    There the C library hands back at once what is freed, so that what is resident is what is held.
    """
    lines, environment = [], os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    for mode in ("by hand", "eager", "captured", "captured, fused Adam", "compiled"):
        command = [sys.executable, __file__, "memory", mode]
        if mode == "compiled":  # leaves compiled code behind
            subprocess.run(command, capture_output=True, text=True, check=True)
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        lines.append(f"peak memory, {mode}: {found.strip()}")
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
    """Say how far resident memory rises above what is there before there is a state, while steps are taken."""
    net = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(6)))  # 100 MB, beside which all else is small
    parameters, x = sum(p.numel() for p in net.parameters()) * 4, torch.randn(8, 2048)
    _few_steps(mode, nn.Linear(2, 2), torch.ones(1, 2))()  # what only the first step of a process loads
    before = _resident("VmRSS")
    if mode == "by hand":
        before -= parameters  # the module's own are those that are trained
    step = _few_steps(mode, net, x)
    for _ in range(2):  # what building takes is not what running takes
        step()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held = _resident("VmRSS") - before
    for _ in range(5):
        step()
    peak = _resident("VmHWM") - before
    print(f"{peak / parameters:.2f} times the parameters, {held / parameters:.2f} between steps (the state is 3)")


def _few_steps(mode: Any, net: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    if mode == "by hand":
        optimizer = torch.optim.Adam(net.parameters())

        def by_hand() -> None:
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()

        return by_hand
    mode, _, fused = mode.partition(", ")
    tx = optimizers.adam(1e-3, fused=bool(fused))
    fast = fa.compile(fa.train_step(net, tx, lambda out, batch: out.square().mean()), mode, donate=mode != "eager")
    state = [fa.init(net, tx)]

    def step() -> None:
        state[0], _ = fast(state[0], x)

    return step


def _resident(which: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) * 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["warm"]:
        _warm()
    elif sys.argv[1:2] == ["memory"]:
        _memory(sys.argv[2])
    else:
        for cost in (call_per_leaf, driver, warm_start, memory):
            print(*cost(), sep="\n", flush=True)
