"""Runs whose plots are drawn in the background: the records are those of a run that waits for them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import optimizers, records, tracking
from functorch_artifact.errors import CallbackError

PNG = b"\x89PNG\r\n\x1a\n"


class Net(fa.Model[fa.ModelInput, fa.ModelOutput]):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, batch):
        return {"loss": self.linear(batch["x"]).square().mean()}


class Weights(fa.ArtifactRoutine[Net]):
    """A score that is there at once, and what can wait: an array and a picture."""

    score_names = ("NORM", "LATE")
    waiting = frozenset({"WEIGHT", "PICTURE", "LATE"})

    def __init__(self, draw=lambda: PNG, **options):
        super().__init__(split="VALIDATION", **options)
        self.draw = draw

    def artifacts(self, model, epoch):
        weight, draw = model.linear.weight.detach(), self.draw
        yield "NORM", lambda: records.Score.of(weight.norm())
        yield "WEIGHT", lambda: records.Array.of(weight)
        yield "PICTURE", lambda: records.Plot.of(draw())
        yield "LATE", lambda: records.Score(float(epoch))


def run(routine, n_epochs=4, tracker=None, **options):
    torch.manual_seed(0)
    client = tracking.InMemory()
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(8, 2)}), batch_size=4)
    program = fa.Program(
        model=Net(), optimizer=optimizers.sgd(0.1), train_loader=loader, stopper=fa.EpochBoundStopper(n_epochs),
        tracker=tracker, artifact_routines=[routine], on_callback_error=options.pop("policy", "raise"),
        mode="eager",
    )  # fmt: skip
    result = fa.fit(program, tracking_client=client, progress=False, **options)
    return result, {(each.name, each.split, each.epoch, each.step): repr(each.value) for each in client.records}


def test_records_are_those_of_a_run_that_waits_for_them():
    _, waited = run(Weights(), background=None)
    assert {(name, epoch) for name, _, epoch, _ in waited} == {
        (name, epoch) for name in ("NORM", "WEIGHT", "PICTURE", "LATE") for epoch in (1, 2, 3, 4)
    }
    assert run(Weights())[1] == waited
    with ThreadPoolExecutor(1) as executor:
        assert run(Weights(), background=executor)[1] == waited


def test_a_score_that_somebody_decides_by_does_not_wait():
    result, _ = run(Weights(), tracker=fa.ScoreTracker("LATE", mode="max"))
    assert int(result.best.epoch) == 4
    assert "LATE" in result.scores.columns
    assert "LATE" not in run(Weights())[0].scores.columns


def test_a_failure_in_the_background_is_told_with_its_epoch():
    def broken():
        raise OSError("no pencil")

    with pytest.raises(
        CallbackError, match=r"callback 'PICTURE', epoch 1, split VALIDATION: raised\n  got: OSError: no"
    ):
        run(Weights(broken, period=1))
    with pytest.warns(UserWarning, match="'PICTURE', epoch .*: raised OSError: no pencil"):
        result, found = run(Weights(broken), policy="warn")
    assert [each.epoch for each in result.failures] == [1, 2, 3, 4]
    assert ("WEIGHT", "VALIDATION", 4, 8) in found


def test_a_worker_that_dies_does_not_take_training_with_it():
    with pytest.warns(UserWarning, match="was lost: its worker died"):
        result, found = run(Weights(lambda: os._exit(1), period=2), policy="warn")
    assert {(each.callback, each.epoch) for each in result.failures} == {
        (name, epoch) for name in ("WEIGHT", "PICTURE", "LATE") for epoch in (2, 4)
    }
    assert {name for name, *_ in found} == {"NORM"}
    assert int(result.state.epoch) == 4


def test_the_records_of_a_run_on_disk_are_whole_when_it_ends(tmp_path):
    run(Weights(), run=tmp_path / "run")
    with fa.RunReader(tmp_path / "run") as reader:
        kept = reader.records()
    assert {(each.name, each.epoch) for each in kept} >= {("PICTURE", epoch) for epoch in (1, 2, 3, 4)}
