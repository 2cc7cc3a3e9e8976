"""Runs whose plots are drawn in the background: the records are those of a run that waits for them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import optimizers, records, tracking, trees
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


def run(routine, n_epochs=4, tracker=None, program=None, **options):
    torch.manual_seed(0)
    client = tracking.InMemory()
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(8, 2)}), batch_size=4)
    arguments = {
        "model": Net(), "optimizer": optimizers.sgd(0.1), "train_loader": loader,
        "stopper": fa.EpochBoundStopper(n_epochs), "tracker": tracker, "artifact_routines": [routine],
        "on_callback_error": options.pop("policy", "raise"), "mode": "eager",
    }  # fmt: skip
    program = fa.Program(**{**arguments, **(program or {})})
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
    assert result.state.scores.column("LATE") == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    assert "LATE" not in run(Weights())[0].state.scores.names


@pytest.mark.parametrize(
    "options",
    [
        {"stopper_data": lambda state: fa.StopperUpdateData(int(state.epoch), state.scores.latest())},
        {"optimizer": optimizers.sgd(optimizers.schedules.reduce_on_plateau(0.1, score="LATE"))},
        {"nonfinite_scores": "stop"},
    ],
    ids=["told the state", "read by the rate", "may end the run"],
)
def test_a_score_that_something_else_decides_by_does_not_wait(options):
    assert run(Weights(), program=options)[0].state.scores.column("LATE") == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}


class Listening(fa.EarlyStopper[tuple[str, ...], fa.StopperUpdateData]):
    """Stops after four epochs, and keeps the names of all it was told."""

    def init(self):
        return ()

    def update(self, state, data):
        return (*state, ",".join(data.scores))

    def verdict(self, state):
        return fa.stoppers.Stop("enough") if len(state) == 4 else fa.stoppers.Continue()


def test_late_scores_are_columns_of_the_result_and_nobody_decides_by_them():
    expected = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    results = [run(Weights(), program={"stopper": Listening()}, background=None)[0]]
    results.append(run(Weights(), program={"stopper": Listening()})[0])
    with ThreadPoolExecutor(1) as executor:
        results.append(run(Weights(), program={"stopper": Listening()}, background=executor)[0])
    for result in results:
        assert result.state.stopper == ("NORM",) * 4
        assert result.scores.columns.tolist() == ["NORM", "LATE"]
        assert result.scores["LATE"].to_dict() == expected
        assert trees.digest(result.state) == trees.digest(results[0].state)


def test_late_scores_are_in_the_rows_of_the_epochs_they_belong_to():
    (result, _) = run(Weights(period=2))
    assert result.scores["LATE"].dropna().to_dict() == {2: 2.0, 4: 4.0}
    assert result.scores.index.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("background", ["process", None])
def test_late_scores_are_stored_and_read_again(tmp_path, background):
    whole, _ = run(Weights(), run=tmp_path / "whole", background=background)
    run(Weights(), n_epochs=2, run=tmp_path / "parts", background=background)
    parts, _ = run(Weights(), run=tmp_path / "parts", background=background)
    again, _ = run(Weights(), run=tmp_path / "parts", background=background)
    for result in (parts, again):
        pd.testing.assert_frame_equal(result.scores, whole.scores)
    for name in ("whole", "parts"):
        with fa.RunReader(tmp_path / name) as reader:
            pd.testing.assert_frame_equal(reader.scores, whole.scores)


def test_late_scores_from_before_somebody_decided_by_them_stay(tmp_path):
    run(Weights(), n_epochs=2, run=tmp_path / "run")
    result, _ = run(Weights(), run=tmp_path / "run", program={"nonfinite_scores": "stop"})
    assert result.state.scores.column("LATE") == {3: 3.0, 4: 4.0}
    assert result.scores["LATE"].to_dict() == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}


def test_late_scores_that_are_not_finite_are_skipped_if_the_policy_says_so():
    class Sometimes(Weights):
        def artifacts(self, model, epoch):
            yield "LATE", lambda: records.Score(float("nan") if epoch == 2 else float(epoch))

    assert run(Sometimes(), program={"nonfinite_scores": "skip"})[0].late[2, "artifacts:0:0"] == {}
    assert list(run(Sometimes())[0].late[2, "artifacts:0:0"]) == ["LATE"]


def test_a_trainer_has_the_late_scores_when_it_has_trained():
    class Trainer(fa.CustomTrainer[Net, fa.ModelInput, fa.ModelOutput, fa.ScoreCriterion, fa.StopperUpdateData]):
        def _get_optimizer(self):
            return optimizers.sgd(0.1)

        def _get_early_stopper(self):
            return fa.EpochBoundStopper(2)

    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(8, 2)}), batch_size=4)
    trainer = Trainer.build(Net(), loader, artifact_routine=Weights())
    trainer.train(progress=False, background=None)
    assert trainer.epoch_scores["LATE"].to_dict() == {1: 1.0, 2: 2.0}


def test_members_of_an_ensemble_have_late_scores_as_alone():
    alone, _ = run(Weights())
    (member,) = fa.ensemble(alone.program, seeds=[alone.program.seed]).fit(progress=False).members
    pd.testing.assert_frame_equal(member.scores, alone.scores)
    assert member.state.scores.names == alone.state.scores.names == ("NORM",)


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
