"""What an epoch costs, data loading and all: ours, by hand, in Lightning and in artifact-torch.

The tiny classifier on 4,096 examples in shuffled batches of 64: 64 steps an epoch. The others load rows
by torch's DataLoader, as their users do; ours gathers them. Each side is a process of its own, in the
environment that has its library, and runs when told to; so they take turns. The time of an epoch is
what ten more epochs add to a run of one. Run with `make bench`.

    python benchmarks/epochs.py --peers PYTHON --artifact-torch PYTHON
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from models import mlp

N, SIZE, MORE = 4096, 64, 10
Run = Callable[[int], Any]  # trains so many epochs


def table() -> dict[str, torch.Tensor]:
    """Make the examples."""
    x = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    return {"x": x, "y": (x.sum(1) > 0).long()}


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """The examples one by one."""

    def __init__(self) -> None:
        self.table = table()

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: column[index] for name, column in self.table.items()}


def by_hand() -> Run:
    """Write the loop that a user would write."""
    loader = torch.utils.data.DataLoader(Rows(), batch_size=SIZE, shuffle=True)

    def run(n_epochs: int) -> None:
        net = mlp()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(n_epochs):
            for batch in loader:
                optimizer.zero_grad()
                net(batch)["loss"].backward()
                optimizer.step()

    return run


def lightning() -> Run:
    """Let Lightning train, with nothing logged, shown or saved."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return self.net(batch)["loss"]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    def run(n_epochs: int) -> None:
        trainer = pl.Trainer(
            max_epochs=n_epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(Rows(), batch_size=SIZE, shuffle=True))

    return run


def artifact_torch() -> Run:
    """Let artifact-torch train, with no routine, tracker or checkpoint."""
    from artifact_torch.nn import DataLoader, Dataset, Model, Trainer
    from artifact_torch.nn.early_stopping import EpochBoundStopper, StopperUpdateData

    class Classifier(Model[Any, Any]):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, model_input: Any, *args: Any, **kwargs: Any) -> Any:
            return {"t_loss": self.net(model_input)["loss"]}

    class Table(Rows, Dataset[Any]):
        pass

    class Training(Trainer[Any, Any, Any, Any, Any]):
        n_epochs = 0
        _get_optimizer = staticmethod(lambda model: torch.optim.Adam(model.parameters(), lr=1e-3))
        _get_scheduler = staticmethod(lambda optimizer: None)
        _get_device = staticmethod(lambda: torch.device("cpu"))
        _get_checkpoint_period = staticmethod(lambda: None)
        _get_model_tracker = staticmethod(lambda: None)

        @classmethod
        def _get_early_stopper(cls) -> Any:
            return EpochBoundStopper(max_n_epochs=cls.n_epochs)

        def _get_stopper_update_data(self) -> Any:
            return StopperUpdateData(n_epochs_elapsed=self.n_epochs_elapsed)

        def _get_model_tracking_criterion(self) -> None:
            return None

    loader: Any = DataLoader(Table(), batch_size=SIZE, shuffle=True)

    def run(n_epochs: int) -> None:
        Training.n_epochs = n_epochs
        Training.build(model=Classifier(), train_loader=loader).train()

    return run


def ours(mode: Any) -> Run:
    """Fit a program over resident data."""
    import functorch_artifact as fa
    from functorch_artifact import optimizers

    loader = fa.DataLoader(fa.ResidentDataset(table()), batch_size=SIZE, shuffle=True)

    def run(n_epochs: int) -> None:
        program = fa.Program(
            model=mlp(),
            optimizer=optimizers.adam(1e-3),
            train_loader=loader,
            stopper=fa.EpochBoundStopper(n_epochs),
            mode=mode,
        )
        fa.fit(program, progress=False)

    return run


SIDES: dict[str, Callable[[], Run]] = {
    "by hand": by_hand,
    "Lightning": lightning,
    "artifact-torch": artifact_torch,
    "ours, captured": lambda: ours("captured"),
    "ours, compiled": lambda: ours("compiled"),
}


def serve(side: str) -> None:
    """Time an epoch for each line that comes; say what libraries print to nobody."""
    said = os.fdopen(os.dup(1), "w", buffering=1)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    torch.set_num_threads(1)
    run = SIDES[side]()
    for _ in sys.stdin:
        taken = []
        for n_epochs in (1, 1 + MORE):
            began = time.process_time()
            run(n_epochs)
            taken.append(time.process_time() - began)
        print((taken[1] - taken[0]) / MORE, file=said)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", default=sys.executable, help="the Python that has Lightning")
    parser.add_argument("--artifact-torch", default=None, help="the Python that has artifact-torch")
    parser.add_argument("--side", choices=SIDES, help="be that side, for this program's own use")
    options = parser.parse_args()
    if options.side:
        serve(options.side)
        return
    pythons = {"artifact-torch": options.artifact_torch}
    sides = {
        name: subprocess.Popen(
            [python, "-W", "ignore", __file__, "--side", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in SIDES
        if (python := pythons.get(name, options.peers)) is not None
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(options.rounds + 1):
        for name, side in sides.items():
            assert side.stdin is not None and side.stdout is not None
            side.stdin.write("\n")
            side.stdin.flush()
            took = float(side.stdout.readline())
            if round_:  # the first round warms up
                times[name].append(took)
    for side in sides.values():
        side.communicate()
    print(f"an epoch of {N // SIZE} steps, tiny MLP b{SIZE}, median CPU time of {options.rounds} rounds")
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:<42}{median * 1e3:>10.1f} ms{medians['by hand'] / median:>10.2f} times by hand")


if __name__ == "__main__":
    main()
