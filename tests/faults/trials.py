"""Runs to break: one small program with everything in it, trained in child processes.

Children are forked from a server that has imported everything, so a trial costs a fraction of a
second, and each is a real process with threads, locks and files of its own.
"""

import contextlib
import multiprocessing
import sqlite3
import struct
import warnings
import zlib
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import callbacks, optimizers, records, trees

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.trials", "pandas", "sqlite3"])

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
N_EPOCHS, N_STEPS = 3, 15


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]).sum(1) - batch["x"].sum(1)).square().mean()}


def picture(values) -> bytes:
    """Make a PNG of one row of grey pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = bytes(values)
    header = struct.pack(">IIBBBBB", len(pixels), 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class Pictures(fa.ArtifactRoutine[Net]):
    """One record of each kind that becomes a file."""

    score_names = ("NOISE",)

    def artifacts(self, model, epoch):
        noise = torch.randn(4)
        weight = model.body[0].weight.detach()
        return [
            ("NOISE", lambda: records.Score.of(noise.sum())),
            ("WEIGHT", lambda: records.Array.of(weight)),
            ("PICTURE", lambda: records.Plot(picture(noise.numpy().tobytes()))),
            ("WEIGHTS", lambda: records.ArrayCollection.of({"first": weight, "second": np.arange(epoch)})),
        ]


def program(**changes):
    """Make the program: shuffling, dropout, BatchNorm, a plateau schedule, stopper, tracker, all routines."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=8, shuffle=True)
    parts = {
        "model": Net(),
        "optimizer": optimizers.adam(optimizers.reduce_on_plateau(0.05, patience=0, score="VAL_LOSS")),
        "train_loader": loader,
        "stopper": fa.stoppers.any_of(
            fa.EpochBoundStopper(N_EPOCHS),
            fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=N_EPOCHS, patience=2),
        ),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="min"),
        "batch_routine": fa.BatchRoutine([callbacks.BatchLossCallback(period=2)]),
        "loader_routines": [fa.DataLoaderRoutine(loader, [callbacks.ValLossCallback()], split="VALIDATION")],
        "artifact_routines": [Pictures()],
        "mode": "eager",
    }
    return fa.Program(**(parts | changes))


def start(target, *args) -> BaseProcess:
    """Start `target(*args)` in a child of its own."""
    process = PROCESSES.Process(target=target, args=args)
    process.start()
    return process


def run(target, *args, timeout: float = 60.0) -> int:
    """Run `target(*args)` in a child to its end; return its exit code, minus the signal that killed it."""
    process = start(target, *args)
    process.join(timeout)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{target.__name__}{args} did not end within {timeout} s")
    return process.exitcode


def train(directory: Path, **options) -> None:
    """Train the program in `directory`, beginning or going on."""
    fa.fit(program(), run=directory, progress=False, **options)


def train_warned(directory: Path, **options) -> None:
    """Train as `train` does, where warnings are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(directory, **options)


def committed(directory: Path) -> dict[tuple[int, str], tuple[int, int]]:
    """Read how far each part of each epoch is committed: its step, and whether it is complete."""
    if not (directory / "journal.sqlite").exists():
        return {}
    with contextlib.closing(sqlite3.connect(directory / "journal.sqlite")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'commits'").fetchone():
            return {}
        rows = connection.execute("SELECT epoch, part, step, complete FROM commits")
        return {(epoch, part): (step, complete) for epoch, part, step, complete in rows}


def outcome(directory: Path) -> dict[str, object]:
    """Read what a finished run came to, to the bit, verifying every payload."""
    with fa.RunReader(directory) as reader:
        rows = sorted(
            (each.epoch, each.step, each.name, str(each.split), type(each.value).__name__, trees.digest(plain(each)))
            for each in reader.records()
        )
        return {
            "state": trees.digest(reader.latest),
            "scores": reader.scores.to_csv(),
            "records": rows,
            "ended": (reader.state, reader.reason),
        }


def plain(record):
    match record.value:
        case records.Score(value):
            return repr(value)
        case records.Plot(png):
            return png.hex()
        case records.Array(value):
            return torch.tensor(value)
        case records.ArrayCollection(values):
            return {name: torch.tensor(value) for name, value in values.items()}
        case other:
            return repr(other)
