"""What tracking costs: the training's wall time with each client, scores a second to a server, the import.

Runs are interleaved in rounds, the table shows medians; each client is compared with `InMemory`. The wall
time is that from the end of the first epoch to the end of the last, and the whole call of `fit` besides.
Run with `make bench-tracking`, in the environment that has every backend.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, optimizers, tracking
from functorch_artifact.records import TrackingClient
from tests.conformance.material import losses, png, run_info
from tests.conformance.mlflow_server import server

EPOCHS, SCORES = 20, 20
IMPORT = (
    "import time, torch; t = time.process_time(); import functorch_artifact.tracking; print(time.process_time() - t)"
)


def clients(root: Path) -> dict[str, Callable[[], TrackingClient]]:
    """List how each client is made."""
    return {
        "InMemory": tracking.InMemory,
        "Filesystem": lambda: tracking.Filesystem(root / "files"),
        "TensorBoard": lambda: tracking.TensorBoard(root / "events"),
        "MLflow (server)": lambda: tracking.MLflow("benchmark", server().uri),
        "ClearML (offline)": lambda: tracking.ClearML("benchmark", offline=True),
        "Neptune (offline)": lambda: tracking.Neptune("benchmark/benchmark"),
        "WandB (offline)": lambda: tracking.WandB("benchmark", mode="offline"),
        "Trackio": lambda: tracking.Trackio("benchmark"),
    }


def train(client: TrackingClient, run: Path) -> tuple[float, float]:
    """Train with 20 scores an epoch and a plot every five; time the epochs, and all of it."""
    ends: list[float] = []
    data = {"x": torch.randn(16384, 64), "y": torch.randn(16384, 1)}
    train_loader = fa.DataLoader(fa.ResidentDataset(data), batch_size=64, shuffle=True)
    val_loader = fa.DataLoader(fa.ResidentDataset({name: each[:256] for name, each in data.items()}), batch_size=256)
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    mean = folds.mean(lambda batch: batch.output["loss"])

    def note(value: float) -> float:
        ends.append(time.perf_counter())
        return value

    made = [callbacks.score(f"S{i}", mean) for i in range(SCORES - 1)]
    made += [callbacks.score("LAST", mean.then(note)), callbacks.plot("PDF", mean.then(lambda _: png()), period=5)]
    program = fa.Program(
        model=fa.functional(net, inputs=lambda batch: batch["x"]),
        optimizer=optimizers.adam(1e-3),
        loss=lambda output, batch: (output - batch["y"]).square().mean(),
        train_loader=train_loader,
        loader_routines=[fa.DataLoaderRoutine(val_loader, made, split="VALIDATION")],
        stopper=fa.EpochBoundStopper(n_epochs=EPOCHS),
        checkpoint=None,
    )
    began = time.perf_counter()
    fa.fit(program, run=run, tracking_client=client, progress=False, background=None)
    return ends[-1] - ends[0], time.perf_counter() - began


def overhead(root: Path, rounds: int) -> None:
    """Compare the time of training with each client."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in clients(root)}
    for number in range(rounds + 1):
        for name, make in clients(root).items():
            took = train(make(), root / f"{name.split()[0]}-{number}")
            if number:  # the first round imports the backends
                times[name].append(took)
    print("| client | training | beside InMemory | all of fit |\n|---|---|---|---|")
    for name, each in times.items():
        ratio = statistics.median(a[0] / b[0] for a, b in zip(each, times["InMemory"], strict=True))
        training, whole = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"| {name} | {training:.2f} s | {100 * (ratio - 1):+.1f} % | {whole:.2f} s |")


def throughput(root: Path) -> None:
    """Compare scores a second delivered to a server with MLflow's own call in a loop."""
    import mlflow

    ours, theirs = [], []
    client = tracking.MLflow("throughput", server().uri)
    client.open(run_info(root))
    mlflow.set_tracking_uri(server().uri)
    for number in range(3):
        batch = losses(1 + 5120 * number, 5120 * (number + 1))
        began = time.perf_counter()
        for first in range(0, len(batch), 256):
            client.log(batch[first : first + 256])
        ours.append(len(batch) / (time.perf_counter() - began))
        with mlflow.start_run():
            began = time.perf_counter()
            for step in range(100):
                mlflow.log_metric("LOSS", 1.0, step=step)
            theirs.append(100 / (time.perf_counter() - began))
    client.close()
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"\n{statistics.median(ours):.0f} scores/s against {statistics.median(theirs):.0f} in a loop: {ratio:.0f}x")


def imports() -> None:
    """Compare what importing the package costs with all backends installed and, isolated, without."""
    base = Path(torch.__file__).parents[4] / "bin" / "python"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(7):
        for name, python in (("with", sys.executable), ("without", str(base))):
            done = subprocess.run([python, "-c", IMPORT], capture_output=True, text=True, check=True, env=environment)
            found[name].append(float(done.stdout))
    told = ", ".join(f"{1000 * statistics.median(each):.0f} ms {name}" for name, each in found.items())
    print(f"\nimport of the package beyond torch, all extras: {told}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        place = Path(directory)
        os.environ |= {"CLEARML_CACHE_DIR": directory, "TRACKIO_DIR": directory, "WANDB_DIR": directory}
        os.environ |= {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
        imports()
        overhead(place, arguments.parse_args().rounds)
        throughput(place)
