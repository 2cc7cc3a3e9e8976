"""The guard names what a call did besides giving a value, and lets everything else pass."""

from __future__ import annotations

import cProfile
import datetime as dt
import os
import random
import time
import warnings
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, optimizers, purity, trees
from functorch_artifact.errors import CallbackError, ConfigurationError, PurityError


def found(function: Any, *arguments: Any) -> str:
    """Call under the guard; give what it says, or an empty text."""
    with purity.checking():
        try:
            purity.call("it", function, *arguments)
        except PurityError as error:
            return "\n".join(error.impurities)
    return ""


@attrs.define
class Counter:
    n: int = 0
    seen: list[float] = attrs.field(factory=list)

    def count(self, value: float) -> int:
        self.n += 1
        self.seen.append(value)
        return self.n


def overwrite(tensor: torch.Tensor) -> None:
    tensor.add_(1)


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (overwrite, torch.zeros(2), "`tensor` was written to in place (its bytes changed)"),
        (lambda x: x["w"].mul_(1), {"w": torch.ones(2)}, "`x['w']` was written to in place (version 0, then 1)"),
        (lambda x: x.data.fill_(3), torch.zeros(2), "`x` was written to in place (its bytes changed)"),
        (lambda x: x.numpy().fill(3), torch.zeros(2), "`x` was written to in place"),
        (lambda x: x.requires_grad_(), torch.zeros(2), "requires_grad"),
        (lambda x: x.fill(1), np.zeros(3), "`x` was changed"),
        (lambda x: x.update(a=1), {"a": 0}, "`x['a']` was changed: 0, then 1"),
        (lambda x: x.pop("a"), {"a": 0}, "`x['a']` was removed"),
        (lambda x: x[0].append(1), [[]], "`x[0]` was changed: a list of 0, then a list of 1"),
        (lambda x: x.clear(), {1}, "`x` was changed: a set of 1, then a set of 0"),
        (lambda x: x.__setitem__("b", 1), pd.DataFrame({"a": [1]}), "`x` was changed"),
        (lambda x: setattr(x, "n", 2), Counter(), "`x.n` was changed: 0, then 2"),
        (lambda x: torch.rand(1), 0, "torch's global generator was used"),
        (lambda x: torch.manual_seed(5), 0, "torch's global generator was used"),
        (lambda x: np.random.rand(), 0, "NumPy's global generator was used"),  # noqa: NPY002
        (lambda x: random.random(), 0, "Python's global generator was used"),
        (lambda x: os.urandom(1), 0, "the system's randomness was used: os.urandom"),
        (lambda x: time.time(), 0, "the clock was read: time.time (test_purity.py:"),
        (lambda x: time.perf_counter_ns(), 0, "the clock was read: time.perf_counter_ns"),
        (lambda x: dt.datetime.now(), 0, "the clock was read: datetime.now"),
        (lambda x: dt.date.today(), 0, "the clock was read: date.today"),
        (lambda x: time.sleep(0), 0, "the clock was waited for: time.sleep"),
        (lambda x: print(end=""), 0, "a stream was touched: print"),
        (lambda x: Path("nothing").mkdir(), 0, "the outside world was touched: os.mkdir 'nothing'"),
    ],
)
def test_what_is_not_pure_is_named(function, argument, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in found(function, argument)


def test_writing_and_reading_files_is_named(tmp_path):
    (tmp_path / "data.txt").write_text("1")
    assert f"open '{tmp_path}/data.txt'" in found(lambda path: path.read_text(), tmp_path / "data.txt")
    assert f"open '{tmp_path}/new.txt'" in found(lambda path: path.write_text(""), tmp_path / "new.txt")


def test_an_object_that_keeps_what_it_saw_is_named():
    said = found(Counter().count, 1.0)
    assert "`self.n` was changed: 0, then 1" in said
    assert "`self.seen` was changed: a list of 0, then a list of 1" in said


def test_what_a_function_closes_over_is_watched_through_other_functions():
    kept: list[float] = []

    def lift(x):
        kept.append(x)

    assert "`lift.kept` was changed" in found(lambda x: lift(x), 1.0)


def test_a_value_that_is_changed_after_it_was_returned_is_named():
    class Pool:
        """An object of its own, which nothing else reaches into."""

        def __init__(self):
            self.buffer = torch.zeros(2)

    class Reusing:
        def __init__(self):
            self.pool = Pool()

        def make(self, n):
            return self.pool.buffer.fill_(n)

    reuse = Reusing()
    with purity.checking():
        purity.call("it", reuse.make, 1)
        with pytest.raises(PurityError, match="`the value it returned before` was written to in place"):
            purity.call("it", reuse.make, 2)


def pure(x: dict[str, Any]) -> dict[str, Any]:
    return {"w": x["w"] + 1, "frame": x["frame"].mean(), "z": np.cumsum(x["z"])}


def warned(x: float) -> float:
    warnings.warn("look", UserWarning, stacklevel=1)
    return x


def imported(x: float) -> float:
    import sndhdr  # noqa: F401  # any module that nothing else imports

    return x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (pure, {"w": torch.ones(2, requires_grad=True), "z": np.ones(3), "frame": pd.DataFrame({"a": [1.0]})}),
        (warned, 1.0),
        (imported, 1.0),
        (lambda x: torch.rand(2, generator=torch.Generator().manual_seed(x)), 3),
        (lambda x: torch.func.grad(lambda y: y.square().sum())(x), torch.ones(2)),
        (lambda x: torch.vmap(lambda y: y + 1)(x), torch.ones(2)),
        (lambda x: x, [torch.ones(2).to_sparse(), torch.empty(0, 2), torch.ones(2).bfloat16(), object(), None]),
    ],
)
def test_what_is_pure_passes(function, argument):
    assert found(function, argument) == ""


def test_nothing_is_watched_outside():
    values = [1]
    assert purity.call("it", values.append, 2) is None
    with purity.checking(on=False):
        purity.call("it", values.append, 3)
    assert values == [1, 2, 3]


def test_a_profiler_goes_on():
    profiler = cProfile.Profile()
    profiler.enable()
    assert found(lambda: torch.rand(1))
    assert not found(lambda: torch.ones(1))
    profiler.disable()
    assert any("ones" in str(entry.code) for entry in profiler.getstats())


def test_the_hooks_own_errors_come_through():
    with purity.checking(), pytest.raises(ZeroDivisionError):
        purity.call("it", lambda x: 1 / x, 0)


class Impure(torch.nn.Module):
    def __init__(self, spoil):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.1))
        self.spoil = spoil

    def forward(self, batch):
        self.spoil(batch)
        return {"loss": self.body(batch["x"]).square().mean()}


def nothing(batch):
    return None


class Slow(fa.EpochBoundStopper):
    def update(self, state, data):
        time.time()
        return super().update(state, data)


class Sharing(fa.ScoreTracker):
    def update(self, state, criterion, candidate):
        candidate.model.params["body.0.bias"].zero_()
        return super().update(state, criterion, candidate)


def run(spoil=nothing, stopper=None, tracker=None, fold=None, purity="check", **options):
    torch.manual_seed(0)
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(8, 2)}), batch_size=4, shuffle=True)
    kept = [] if fold is None else [callbacks.score("MINE", fold)]
    return fa.fit(
        fa.Program(
            model=Impure(spoil),
            optimizer=optimizers.adamw(optimizers.exponential(0.1, gamma=0.9, per="epoch")),
            train_loader=loader,
            stopper=stopper or fa.EpochBoundStopper(2),
            tracker=tracker or fa.ScoreTracker("VAL_LOSS", "min"),
            batch_routine=fa.BatchRoutine([fa.BatchLossCallback()]),
            loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback(), *kept])],
            purity=purity,
            **options,
        ),
        progress=False,
    )


def test_a_run_whose_hooks_are_pure_is_the_run_without_the_guard():
    checked, trusted = run(), run(purity="trust")
    assert trees.digest(checked.state) == trees.digest(trusted.state)
    assert trees.digest(run(mode="captured").state) == trees.digest(trusted.state)


@pytest.mark.parametrize(
    ("faults", "error", "said"),
    [
        (
            {"spoil": lambda batch: batch["x"].mul_(2)},
            PurityError,
            r"the training step: is not pure[^`]*`batch\['x'\]` was",
        ),
        ({"spoil": lambda batch: random.random()}, PurityError, "Python's global generator was used"),
        ({"stopper": Slow(2)}, PurityError, r"Slow.update: is not pure[^`]*the clock was read: time.time"),
        (
            {"tracker": Sharing("VAL_LOSS", "min")},
            PurityError,
            r"`candidate.model.params\['body.0.bias'\]` was written",
        ),
        (
            {"fold": folds.mean(lambda result: result.output["loss"].mul_(2))},
            CallbackError,
            r"callback 'MINE'[^`]*`x.output\['loss'\]` was written to in place",
        ),
    ],
)
def test_a_run_names_the_hook_that_is_not_pure(faults, error, said):
    with pytest.raises(error, match=said):
        run(**faults)
    assert len(run(purity="trust", **faults).scores) == 2


def test_an_unknown_policy_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"Program.purity: is unknown\n  expected: one of \('trust', 'check'\)"
    ):
        run(purity="maybe")
