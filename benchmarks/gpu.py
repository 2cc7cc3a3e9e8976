"""What steps cost on a CUDA device: ours in each mode, by hand, `torch.compile`, Lightning and JAX.

Runs whole on a machine that has torch, with what else it has: a side that is missing, or that fails, is
named in the table and left out. All sides train the same model from the same weights on the same batch
with Adam, in one process, interleaved in rounds. Besides: an ensemble beside loops of its members,
whether bits repeat, and whether memory grows. Run with `make bench-gpu`, or from the sources alone:

    PYTHONPATH=. python benchmarks/gpu.py

All of it takes more than ten minutes, most of that compiling; `--only` takes a part. On a machine
without CUDA `--device cpu` runs all of it there, to try the script.
"""

from __future__ import annotations

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for bits that repeat, and read at the start
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX is not alone on the device

import argparse
import contextlib
import copy
import importlib.metadata
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import attrs
import ensemble
import peers
import torch
from models import COLUMNWISE, NAMES, Workload, workload

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.compiling import Mode

PACKAGES = ("torch", "triton", "lightning", "jax", "optax", "numpy")
MODES: tuple[Mode, ...] = ("eager", "captured", "compiled", "cudagraph")
EPOCH = 50  # batches


def on_device(work: Workload, device: torch.device) -> Workload:
    """Move a workload."""
    return attrs.evolve(work, make=lambda: work.make().to(device), batch=trees.to_device(work.batch, device))


def synchronize(device: torch.device) -> None:
    """Wait until a device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(side: peers.Side, device: torch.device, at_least: float) -> float:
    """Time calls for so many seconds, in milliseconds a step."""
    call, steps = side
    synchronize(device)
    began, taken = time.perf_counter(), 0
    while time.perf_counter() - began < at_least:
        call()
        taken += steps
    synchronize(device)
    return (time.perf_counter() - began) / taken * 1e3


def fed(work: Workload, mode: Mode) -> peers.Side:
    """Make epochs over a table that lives on the device: shuffled, gathered, stepped on."""
    n = trees.n_examples(work.batch)
    rows = trees.map(lambda leaf: leaf.repeat(EPOCH, *[1] * (leaf.ndim - 1)), work.batch)
    loader = fa.DataLoader(fa.ResidentDataset(rows), batch_size=n, shuffle=True)
    model, tx = fa.functional(work.make()), optimizers.adam(1e-3)
    step = fa.compile(fa.train_step(model, tx), mode, donate=mode != "eager")
    held, epoch = [fa.init(model, tx)], [0]

    def call() -> None:
        epoch[0] += 1
        for batch in loader.batches(epoch[0], seed=0):
            held[0], _ = step(held[0], batch)

    return call, EPOCH


def jax_side(work: Workload, device: torch.device, *, scanned: bool) -> peers.Side:
    """Make JAX's step, in full float32 as torch's."""
    import jax
    import jax_models

    jax.config.update("jax_default_matmul_precision", "highest")
    if (found := jax.devices()[0].platform) != {"cuda": "gpu"}.get(device.type, "cpu"):
        raise RuntimeError(f"JAX computes on {found}")
    return jax_models.side(work.make().cpu(), trees.to_device(work.batch, "cpu"), scanned=scanned)


def sides(work: Workload, device: torch.device, modes: list[Mode]) -> dict[str, Callable[[], peers.Side]]:
    """List what is compared."""
    found: dict[str, Callable[[], peers.Side]] = {
        "by hand, default Adam": lambda: peers.by_hand(work),
        "by hand, fused Adam": lambda: peers.by_hand(work, fused=True),
        "torch.compile, reduce-overhead, fused Adam": lambda: peers.by_hand(
            work, compiled="reduce-overhead", fused=True
        ),
        "Lightning": lambda: peers.lightning(work),
        "JAX jit": lambda: jax_side(work, device, scanned=False),
        "JAX lax.scan": lambda: jax_side(work, device, scanned=True),
    }
    if device.type == "cpu":
        del found["torch.compile, reduce-overhead, fused Adam"]
    if work.name.startswith(("transformer", "columnwise")):  # not written in JAX
        del found["JAX jit"], found["JAX lax.scan"]
    for mode in modes:
        found[f"ours, {mode}"] = lambda mode=mode: peers.ours(work, mode)
    last = modes[-1]
    found[f"ours, {last}, {peers.STEPS} steps a call"] = lambda: peers.ours(work, last, peers.STEPS)
    found[f"ours, {last}, epochs over a resident table"] = lambda: fed(work, last)
    return found


def compare(work: Workload, device: torch.device, options: argparse.Namespace) -> None:
    """Print one model's table."""
    made: dict[str, peers.Side] = {}
    print(f"\n{work.name}")
    for name, make in sides(work, device, options.modes).items():
        with told(name):
            began = time.perf_counter()
            side = make()
            side[0]()
            synchronize(device)
            made[name] = side
            if (took := time.perf_counter() - began) > 2:
                print(f"  (built {name} in {took:.0f} s)", flush=True)
    times: dict[str, list[float]] = {name: [] for name in made}
    for number in range(options.rounds + 1):
        for name, side in made.items():
            took = milliseconds(side, device, options.seconds)
            if number:  # the first round warms up
                times[name].append(took)
    medians = {name: statistics.median(found) for name, found in times.items()}
    hand = medians.get("by hand, default Adam", float("nan"))
    print(f"{'':<48}{'ms a step':>10}{'steps a second':>16}{'times by hand':>15}")
    for name, took in medians.items():
        print(f"{name:<48}{took:>10.3f}{1e3 / took:>16.0f}{hand / took:>15.2f}", flush=True)


def compare_ensemble(device: torch.device, options: argparse.Namespace) -> None:
    """Print what vmapped members save beside loops written by hand, one after the other."""
    torch.manual_seed(0)
    case = ensemble.mlp()
    case = attrs.evolve(case, net=case.net.to(device), batch=trees.to_device(case.batch, device))
    n, makers = options.members, {"by hand": lambda: ensemble.by_hand(case, options.members)}
    for mode in options.modes:
        makers[f"ours, {mode}"] = lambda mode=mode: ensemble.together(case, n, n, mode)
    medians: dict[str, float] = {}
    print(f"\nensemble of {n} MLPs 4-64-64-2, batch {ensemble.BATCH}")
    for name, make in makers.items():
        with told(name):
            side = make(), 1
            milliseconds(side, device, options.seconds)
            times = [milliseconds(side, device, options.seconds) for _ in range(options.rounds)]
            medians[name] = statistics.median(times)
    print(f"{'':<48}{'ms a step':>10}{'times by hand':>15}")
    for name, took in medians.items():
        print(f"{name:<48}{took:>10.3f}{medians.get('by hand', float('nan')) / took:>15.2f}", flush=True)


def repeat(work: Workload, device: torch.device, options: argparse.Namespace) -> None:
    """Say whether the same steps come to the same bits, in each mode, as torch comes and as it can be told."""
    print(f"\n{work.name}: bits after {options.steps} steps, twice")
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        for mode in options.modes:
            name = f"ours, {mode}{', deterministic algorithms' if deterministic else ''}"
            with told(name):
                model, tx = fa.functional(work.make()), optimizers.adam(1e-3)
                step = fa.compile(fa.train_step(model, tx), mode, donate=mode != "eager")
                digests = []
                began = time.perf_counter()
                for _ in range(2):
                    state = fa.init(model, tx, seed=3)
                    for _ in range(options.steps):
                        state, _ = step(state, work.batch)
                    digests.append(trees.digest(state))
                took = (time.perf_counter() - began) / options.steps / 2 * 1e3
                verdict = "the same" if digests[0] == digests[1] else "OTHER"
                print(f"{name:<48}{verdict:>10}{took:>10.3f} ms a step", flush=True)
    torch.use_deterministic_algorithms(False)


def grow(work: Workload, device: torch.device, options: argparse.Namespace) -> None:
    """Say how much more memory is held after many steps than after a few."""
    print(f"\n{work.name}: memory after {options.steps} more steps")
    for mode in options.modes:
        with told(f"ours, {mode}"):
            call, taken = peers.ours(work, mode)
            for _ in range(20):
                call()
            before = held_bytes(device)
            for _ in range(0, options.steps, taken):
                call()
            grown = held_bytes(device) - before
            print(f"{f'ours, {mode}':<48}{grown:>+12,} bytes of {before:,}", flush=True)


def held_bytes(device: torch.device) -> int:
    """Count what is allocated on a CUDA device; elsewhere the most that was ever resident."""
    synchronize(device)
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Say what is left out and why, and what our steps warn of; go on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", fa.compiling.CompileWarning)
        try:
            yield
        except Exception as error:
            first = next(iter(str(error).strip().splitlines()), "")
            print(f"  ({name} is left out: {type(error).__name__}: {first})", flush=True)
    for text in dict.fromkeys(str(each.message) for each in caught):
        print(f"  ({name}: {text})", flush=True)


def version(package: str) -> str:
    """Give a package's version, or say that it is missing."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} is not installed"


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    models = ["VAE b512", COLUMNWISE, "MLP b64", "transformer b16"]
    parser.add_argument("--models", nargs="*", default=models, choices=(*NAMES, COLUMNWISE))
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each side in each round")
    parser.add_argument("--steps", type=int, default=10_000, help="after which bits and memory are compared")
    parser.add_argument("--members", type=int, default=128)
    parser.add_argument("--only", choices=("steps", "ensemble", "bits", "memory"))
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu tries the script")
    torch.set_num_threads(1)
    print(f"Python {platform.python_version()}, {', '.join(map(version, PACKAGES))}")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        print(
            f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, {free >> 30} of {total >> 30} GiB free"
        )
    else:
        print(f"{platform.processor() or platform.machine()}, 1 thread")
    print(f"float32 products in {torch.get_float32_matmul_precision()!r}; medians of {options.rounds} rounds")
    for section in ("steps", "bits", "memory"):
        for name in options.models[: None if section == "steps" else 1]:
            if options.only in (None, section):
                with told(f"{section} of {name}"):
                    work = on_device(workload(name), device)
                    {"steps": compare, "bits": repeat, "memory": grow}[section](work, device, copy.copy(options))
    if options.only in (None, "ensemble"):
        with told("the ensemble"):
            compare_ensemble(device, options)


if __name__ == "__main__":
    main()
