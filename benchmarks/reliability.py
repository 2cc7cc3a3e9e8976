"""What keeping everything costs: journal and checkpoint an epoch, and a journal of a million records.

    python benchmarks/reliability.py [--epochs 12] [--records 1000000]

The same run is trained without a directory, with its journal alone, and with a checkpoint an epoch
too, in turns, so that whatever else the machine does meets all of them; medians over the turns.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, records
from functorch_artifact.tracking.journal import Journal, Part

N_ROWS, WIDTH, TURNS = 16_384, 512, 7
X = torch.randn(N_ROWS, 32, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 32)
        )

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]) - batch["x"]).square().mean()}


def program(n_epochs, checkpoint):
    torch.manual_seed(0)
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=128, shuffle=True)
    return fa.Program(
        model=Net(),
        optimizer=optimizers.adam(1e-3),
        train_loader=loader,
        stopper=fa.EpochBoundStopper(n_epochs),
        batch_routine=fa.BatchRoutine([fa.BatchLossCallback()]),
        checkpoint=checkpoint,
    )


def seconds(n_epochs, checkpoint, run):
    made = program(n_epochs, checkpoint)
    began = time.perf_counter()
    fa.fit(made, run=run, progress=False, tracking_client=[])
    return (time.perf_counter() - began) / n_epochs


def cost_of_an_epoch(n_epochs):
    ways = {
        "no directory": lambda parent: seconds(n_epochs, None, None),
        "journal": lambda parent: seconds(n_epochs, None, parent / "run"),
        "journal and checkpoint": lambda parent: seconds(n_epochs, fa.every(epochs=1), parent / "run"),
    }
    taken = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir=".") as parent:
                taken[name].append(way(Path(parent)))
    size = sum(leaf.numel() * leaf.element_size() for leaf in fa.trees.tensors(program(1, None).init()))
    print(
        f"an epoch of {N_ROWS // 128} steps, a state of {size / 2**20:.1f} MiB, 128 records; medians of {TURNS} turns"
    )
    base = taken["no directory"]
    for name, each in taken.items():
        more = statistics.median(a - b for a, b in zip(each, base, strict=True))
        ratio = statistics.median(a / b for a, b in zip(each, base, strict=True))
        print(f"  {name:24} {1e3 * statistics.median(each):8.1f} ms   {1e3 * more:+7.1f} ms   {ratio:5.3f} x")


def a_large_journal(n_records):
    per_epoch = 1000
    with tempfile.TemporaryDirectory(dir=".") as parent:
        before, took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
        with Journal(Path(parent)) as journal:
            for epoch in range(1, n_records // per_epoch + 1):
                steps = range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1)
                made = [
                    (records.Record("BATCH_LOSS", records.Score(step / 7), epoch, step, "TRAIN"), None)
                    for step in steps
                ]
                began = time.perf_counter()
                journal.commit(epoch, epoch * per_epoch, Part("epoch", made))
                took.append(time.perf_counter() - began)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        size = sum(path.stat().st_size for path in Path(parent).iterdir())
        print(f"a journal of {n_records:,} records, {per_epoch} a commit")
        print(f"  appended in {sum(took):.1f} s: {1e6 * sum(took) / n_records:.1f} us a record,")
        first, last = (1e3 * statistics.median(part) for part in (took[:100], took[-100:]))
        print(f"    a commit {first:.1f} ms at first, {last:.1f} ms at last")
        print(f"  {size / 2**20:.0f} MiB on disk, {grown / 1024:.0f} MiB of memory")
        with fa.RunReader(parent) as reader:
            began = time.perf_counter()
            assert len(reader.numbers) == n_records
            print(f"  read back as a table in {time.perf_counter() - began:.1f} s")
            began = time.perf_counter()
            assert sum(1 for _ in reader.records(records.Score)) == n_records
            print(f"  read back as records in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, python {sys.version.split()[0]}, 1 thread")
    cost_of_an_epoch(options.epochs)
    a_large_journal(options.records)
