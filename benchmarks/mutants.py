"""Plant faults in a copy of the package and count how many of them the law checkers alone find.

    python benchmarks/mutants.py              all of them
    python benchmarks/mutants.py stoppers     those of some families
    python benchmarks/mutants.py --check      only see whether each fault can still be planted

Each fault is a replacement of text, with the reason why somebody could write it. Each is tried in a
process of its own, forked after torch was imported, on a copy of the package; the checkers of its
family run there on our own members with hypothesis' profile of the test suite.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.extra.numpy  # noqa: F401  # imported once, for all that are forked
import pandas as pd
import torch
from hypothesis import settings
from hypothesis import strategies as st

PACKAGE = Path(__file__).parent.parent / "functorch_artifact"
LIMIT_SECONDS = 300


class Mutant(NamedTuple):
    """One fault: the file, what stands there, what is planted, and how it comes about."""

    family: str
    file: str
    old: str
    new: str
    why: str


def stoppers() -> Iterator[Any]:
    import functorch_artifact as fa
    from functorch_artifact.stoppers import all_of, any_of
    from functorch_artifact.testing import laws

    class TakesBack(fa.EpochBoundStopper):
        """A member that has stopped only after its second epoch, and takes that back."""

        def verdict(self, state):
            return fa.stoppers.Stop("two") if int(state) == 2 else fa.stoppers.Continue()

        def update(self, state, data):
            return torch.tensor(data.n_epochs_elapsed)

    for member in (
        fa.EpochBoundStopper(1),
        fa.EpochBoundStopper(5),
        any_of(fa.ScoreMinimizationStopper("A", max_n_epochs=9, patience=2), fa.EpochBoundStopper(8)),
        all_of(fa.ScoreMinimizationStopper("A", max_n_epochs=9, patience=1), fa.EpochBoundStopper(3)),
        all_of(TakesBack(9), fa.EpochBoundStopper(4)),
    ):
        yield from laws(member)
    # What is better is said, not found out by trying: a stopper that looks the wrong way is no stopper.
    yield from laws(fa.ScoreMinimizationStopper("LOSS", max_n_epochs=9, patience=2), mode="min")
    yield from laws(fa.ScoreMaximizationStopper("ACCURACY", max_n_epochs=12, patience=3, min_delta=0.25), mode="max")


def trackers() -> Iterator[Any]:
    import functorch_artifact as fa
    from functorch_artifact.testing import laws

    for tracker in (fa.ScoreTracker("LOSS", "min"), fa.ScoreTracker("ACCURACY", "max")):
        yield from laws(tracker)


def folds() -> Iterator[Any]:
    from functorch_artifact import folds as room
    from functorch_artifact.testing import laws

    def it(x: torch.Tensor) -> torch.Tensor:
        return x

    by_rows = {
        "sum": room.sum(it, each=True),
        "mean": room.mean(it, each=True),
        "weighted": room.mean(lambda x: x.double().mean(), weight=len),
        "variance": room.variance(it, each=True),
        "max": room.max(it, each=True),
        "last": room.last(lambda x: x[-1]),
        "histogram": room.histogram(it, [-10.0, 0.0, 1.0]),
        "concatenate": room.concatenate(it, bound=3),
        "then": room.max(it, each=True).then(lambda value: value + 1),
        "premap": room.last(lambda x: x[-1]).premap(torch.neg),
        "product": room.product({"a": room.mean(it, each=True), "b": room.max(it, each=True)}),
    }
    for fold in by_rows.values():
        yield from laws(fold, rows=True)
    yield from laws(room.count())


def callbacks() -> Iterator[Any]:
    import functorch_artifact as fa
    from functorch_artifact import callbacks as room
    from functorch_artifact import folds
    from functorch_artifact.testing import laws

    for callback in (
        fa.ValLossCallback(period=2),
        fa.BatchLossCallback(period=3),
        room.score("MEAN", folds.mean(lambda batch: batch.output["loss"]), period=5),
    ):
        yield from laws(callback)


def schedules() -> Iterator[Any]:
    from torch.optim import lr_scheduler as theirs

    from functorch_artifact import optimizers as room
    from functorch_artifact.testing import laws

    def warmed(optimizer: torch.optim.Optimizer) -> theirs.LRScheduler:
        rising = theirs.LinearLR(optimizer, start_factor=0.25, end_factor=1.0, total_iters=4)
        return theirs.SequentialLR(optimizer, [rising, theirs.ExponentialLR(optimizer, gamma=0.5)], [4])

    tail: dict[str, Any] = {"threshold": 0.0, "patience": 1, "cooldown": 2, "factor": 0.5}
    for per in ("step", "epoch"):
        for schedule, like in (
            (room.step(1.0, step_size=3, per=per), lambda o: theirs.StepLR(o, 3)),
            (room.exponential(1.0, gamma=0.9, per=per), lambda o: theirs.ExponentialLR(o, 0.9)),
            (room.piecewise(1.0, milestones=[2, 5], per=per), lambda o: theirs.MultiStepLR(o, [2, 5])),
            (room.cosine(1.0, total=30, minimum=0.1, per=per), lambda o: theirs.CosineAnnealingLR(o, 30, 0.1)),
            (
                room.linear_warmup(room.exponential(1.0, gamma=0.5, per=per), length=4, start_factor=0.25, per=per),
                warmed,
            ),
            (
                room.one_cycle(1.0, total=40, per=per),
                lambda o: theirs.OneCycleLR(o, 1.0, total_steps=40, cycle_momentum=False),
            ),
        ):
            yield from laws(schedule, like=like)
    for plateau in ({"patience": 2}, tail):
        schedule = room.reduce_on_plateau(1.0, **plateau)
        yield from laws(schedule, like=lambda o, plateau=plateau: theirs.ReduceLROnPlateau(o, **plateau))


def optimizers() -> Iterator[Any]:
    from functorch_artifact import optimizers as room
    from functorch_artifact.testing import laws

    rate: Any = {"lr": 0.1, "foreach": False}
    for tx, like in (
        (
            room.adam(0.1, weight_decay=0.1, amsgrad=True),
            lambda p: torch.optim.Adam(p, weight_decay=0.1, amsgrad=True, **rate),
        ),
        (room.adamw(0.1), lambda p: torch.optim.AdamW(p, **rate)),
        (
            room.sgd(0.1, momentum=0.9, dampening=0.5),
            lambda p: torch.optim.SGD(p, momentum=0.9, dampening=0.5, **rate),
        ),
        (room.rmsprop(0.1, centered=True), lambda p: torch.optim.RMSprop(p, centered=True, **rate)),
        (room.adagrad(0.1, lr_decay=0.1), lambda p: torch.optim.Adagrad(p, lr_decay=0.1, **rate)),
    ):
        yield from laws(tx, like=like)
    yield from laws(room.chain(room.clip_by_global_norm(1.0), room.sgd(room.exponential(0.1, gamma=0.5, per="epoch"))))


def scores() -> Iterator[Any]:
    from functorch_artifact.scores import ScoreCache
    from functorch_artifact.testing import laws

    yield from laws(ScoreCache.empty())


def steps() -> Iterator[Any]:
    import functorch_artifact as fa
    from functorch_artifact import optimizers
    from functorch_artifact.testing import laws
    from functorch_artifact.testing import strategies as fas

    batches = st.fixed_dictionaries({"x": fas.tensors(shapes=(3, 2))})
    for policy in ("raise", "skip", "stop"):
        torch.manual_seed(0)
        body = torch.nn.Sequential(
            torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.3), torch.nn.Linear(2, 1)
        )
        model = fa.functional(body, inputs=lambda batch: batch["x"])
        tx = optimizers.adam(0.1)
        step = fa.train_step(model, tx, loss=lambda out, batch: out.square().mean(), nonfinite=policy)
        state, _ = step(fa.init(model, tx, seed=7), {"x": torch.ones(3, 2)})
        yield from laws(step, state=state, batches=batches)


def programs() -> Iterator[Any]:
    import functorch_artifact as fa
    from functorch_artifact import optimizers
    from functorch_artifact.testing import laws

    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(4, 2)}), batch_size=2)
    yield from laws(
        fa.Program(
            model=fa.functional(torch.nn.Linear(2, 1), inputs=lambda batch: batch["x"]),
            optimizer=optimizers.sgd(optimizers.exponential(0.1, gamma=0.5, per="epoch"), momentum=0.9),
            loss=lambda out, batch: out.square().mean(),
            train_loader=loader,
            stopper=fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=9, patience=2),
            tracker=fa.ScoreTracker("VAL_LOSS", "min"),
            loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()], split="VALIDATION")],
        )
    )


def routines() -> Iterator[Any]:
    import functorch_artifact as fa
    from functorch_artifact import callbacks, folds
    from functorch_artifact.testing import laws

    loader: Any = fa.DataLoader(fa.ResidentDataset({"x": torch.zeros(4, 2)}), batch_size=2)
    largest = callbacks.score("LARGEST", folds.max(lambda batch: batch.output["loss"]), period=3)
    yield from laws(fa.BatchRoutine([fa.BatchLossCallback(period=2), largest]))
    yield from laws(fa.DataLoaderRoutine(loader, [fa.ValLossCallback(period=2), largest], split="VALIDATION"))


SUITES: dict[str, Callable[[], Iterator[Any]]] = {
    each.__name__: each
    for each in (stoppers, trackers, folds, callbacks, schedules, optimizers, scores, steps, programs, routines)
}


def mutants() -> list[Mutant]:
    found: list[Mutant] = []
    for line in (Path(__file__).parent / "mutants.txt").read_text().split("\n\n"):
        if line.strip() and not line.startswith("#"):
            head, *rest = line.strip("\n").split("\n")
            family, file, why = (part.strip() for part in head.split("|"))
            body = "\n".join(rest)
            old, new = body.split("\n=>\n") if "\n=>\n" in body else (body.removesuffix("\n=>"), "")
            found.append(Mutant(family, file, old, new, why))
    return found


def planted(mutant: Mutant, text: str) -> str:
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.why!r}: {mutant.file} holds {text.count(mutant.old)} times:\n{mutant.old}")
    return text.replace(mutant.old, mutant.new)


def judge(mutant: Mutant, package: Path) -> str:
    """Run the checkers on a copy with the fault; give the law that found it, or an empty text."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "functorch_artifact"
        shutil.copytree(package, copy)
        target = copy / mutant.file
        target.write_text(planted(mutant, target.read_text()))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.write(write, _search(directory, mutant.family).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as answer:
            text = answer.read()
        os.waitpid(child, 0)
    return text


def _search(directory: str, family: str) -> str:
    signal.alarm(LIMIT_SECONDS)
    sys.dont_write_bytecode = True
    sys.path.insert(0, directory)
    from functorch_artifact.errors import LawViolation  # of the copy

    assert sys.modules["functorch_artifact"].__file__.startswith(directory)
    settings.register_profile("mutants", derandomize=True, deadline=None, max_examples=60)
    settings.load_profile("mutants")
    for law in SUITES[family]():
        try:
            law()
        except LawViolation as violation:
            return violation.law
    return "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*SUITES, []], default=[])
    parser.add_argument("--check", action="store_true", help="only see whether each fault can be planted")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pd.DataFrame()
    chosen = [each for each in mutants() if not arguments.families or each.family in arguments.families]
    for mutant in chosen:
        compile(planted(mutant, (PACKAGE / mutant.file).read_text()), mutant.file, "exec")
    if arguments.check:
        print(f"{len(chosen)} faults can be planted")
        return
    begin, survivors, crashed = time.perf_counter(), [], []
    holder = tempfile.TemporaryDirectory()
    package = Path(holder.name) / "package"  # as it is now, whatever is edited meanwhile
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for mutant in chosen:
        law = judge(mutant, package)
        print(f"{'SURVIVES' if law == '-' else law or 'CRASHED':55} {mutant.family:10} {mutant.why}", flush=True)
        if law == "-":
            survivors.append(mutant)
        elif not law:
            crashed.append(mutant)
    found = len(chosen) - len(survivors) - len(crashed)
    print(f"\n{found} of {len(chosen)} found by a law ({found / len(chosen):.1%}), {time.perf_counter() - begin:.0f} s")
    for mutant in survivors:
        print(f"survives: {mutant.family}: {mutant.why}")
    for mutant in crashed:
        print(f"ended in an error that is no law's: {mutant.family}: {mutant.why}")


if __name__ == "__main__":
    main()
