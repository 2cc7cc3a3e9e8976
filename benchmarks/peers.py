"""The same training step in every other way that a user would pick; each is a call that takes n steps."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from models import Workload

import functorch_artifact as fa
from functorch_artifact import optimizers, trees

Side = tuple[Callable[[], None], int]  # a call, and the steps it takes
STEPS = 16


def by_hand(work: Workload, *, compiled: bool | str = False, **options: Any) -> Side:
    """Make the loop body that a user would write, over torch's Adam; `compiled` may be a mode of torch.compile."""
    net = work.make()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, **options)
    called = torch.compile(net, mode=compiled if isinstance(compiled, str) else None) if compiled else net

    def step() -> None:
        optimizer.zero_grad()
        work.loss(called, work.batch).backward()
        optimizer.step()

    return step, 1


def ours(work: Workload, mode: Any, steps: int = 1, *, fused: bool = False) -> Side:
    """Make the loop body over our step; the state is donated unless the step is the eager one."""
    model, tx = fa.functional(work.make()), optimizers.adam(1e-3, fused=fused)
    pure = fa.compile(fa.train_step(model, tx), mode, donate=mode != "eager", steps=steps)
    batch = trees.map(lambda leaf: leaf.expand(steps, *leaf.shape), work.batch) if steps > 1 else work.batch
    state = [fa.init(model, tx)]

    def step() -> None:
        state[0], _ = pure(state[0], batch)

    return step, steps


def torchopt(work: Workload) -> Side:
    """Make a step of TorchOpt's functional Adam over torch.func."""
    import torchopt

    net = work.make()
    params, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    tx = torchopt.adam(1e-3)
    held = [params, tx.init(params)]
    loss = lambda params: torch.func.functional_call(net, (params, buffers), (work.batch,))["loss"]  # noqa: E731

    def step() -> None:
        grads = torch.func.grad(loss)(held[0])
        updates, held[1] = tx.update(grads, held[1], inplace=False)
        held[0] = torchopt.apply_updates(held[0], updates, inplace=False)

    return step, 1


def ignite(work: Workload) -> Side:
    """Run an ignite engine for 50 steps a call."""
    from ignite.engine import Engine

    net = work.make()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def update(engine: Engine, batch: Any) -> float:
        optimizer.zero_grad()
        loss = work.loss(net, batch)
        loss.backward()
        optimizer.step()
        return loss.item()

    engine, batches = Engine(update), [work.batch] * 50
    return lambda: engine.run(batches, max_epochs=1) and None, 50


def lightning(work: Workload) -> Side:
    """Run a Lightning trainer for 50 steps a call, with nothing logged, shown or saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = work.make()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return work.loss(self.net, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    module, data = Module(), torch.utils.data.DataLoader([work.batch] * 50, batch_size=None)
    accelerator = "gpu" if trees.leaves(work.batch)[0].is_cuda else "cpu"
    trainer = pl.Trainer(
        max_epochs=-1, accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    epochs = 0

    def call() -> None:
        nonlocal epochs
        epochs += 1
        trainer.fit_loop.max_epochs = epochs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, data)

    return call, 50


@contextlib.contextmanager
def building(name: str) -> Iterator[None]:
    """Say how long a side took to build."""
    began = time.perf_counter()
    yield
    if (took := time.perf_counter() - began) > 2:
        print(f"  (built {name} in {took:.0f} s)", flush=True)
