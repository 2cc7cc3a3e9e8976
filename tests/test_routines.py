"""Routines: what is due, one sweep for all, and failures that stay where they are."""

from collections.abc import Callable, Iterable

import pytest
import torch

from functorch_artifact import callbacks, folds, records
from functorch_artifact.callbacks import BatchLossCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.contracts import BatchResult
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.routines import ArtifactRoutine, BatchRoutine, DataLoaderRoutine


def result(loss: float, size: int = 1) -> BatchResult:
    return BatchResult({"x": torch.zeros(size)}, {"loss": torch.tensor(loss)}, size)


RESULTS = [result(1.0, 3), result(5.0)]


class Once:
    """A loader-like thing that is never iterated by a routine itself."""

    def __len__(self):
        return 2

    def batches(self, epoch, seed):
        raise AssertionError("a routine does not iterate")


class Declared(DataLoaderRoutine):
    @staticmethod
    def _get_score_callbacks():
        return [TrainLossCallback(period=2)]

    @staticmethod
    def _get_score_collection_callbacks():
        return [callbacks.score_collection("LOSSES", folds.product({"max": folds.max(lambda r: r.output["loss"])}))]


def broken(result):
    raise RuntimeError("broken on purpose")


def test_hooks_declare_callbacks():
    routine = Declared.build(data_loader=Once())
    assert routine.score_names == ("TRAIN_LOSS", "LOSSES/*")
    first, second = (routine.run(RESULTS, epoch, step=7) for epoch in (1, 2))
    assert first.scores == {"LOSSES/max": 5.0}
    assert second.scores == {"TRAIN_LOSS": 2.0, "LOSSES/max": 5.0}
    assert {(r.epoch, r.step) for r in second.records} == {(2, 7)}


def test_due_is_any_callback_due():
    routine = DataLoaderRoutine(Once(), [ValLossCallback(period=2), TrainLossCallback(period=3)])
    assert [epoch for epoch in range(1, 7) if routine.due(epoch)] == [2, 3, 4, 6]
    assert not DataLoaderRoutine(Once()).due(1)


def test_one_sweep_serves_all_callbacks():
    swept = []

    def sweep():
        for each in RESULTS:
            swept.append(each)
            yield each

    routine = DataLoaderRoutine(Once(), [ValLossCallback(), callbacks.score("N", folds.count())])
    assert routine.run(sweep(), 1, 1).scores == {"VAL_LOSS": 2.0, "N": 4.0}
    assert len(swept) == 2


def test_a_callback_that_raises_is_isolated_and_named():
    routine = DataLoaderRoutine(
        Once(),
        [
            callbacks.score("IN_UPDATE", folds.mean(broken)),
            ValLossCallback(),
            callbacks.score("IN_FINISH", folds.count().then(broken)),
            callbacks.score("WRONG_TYPE", folds.last(lambda r: "high")),
        ],
        split="VALIDATION",
    )
    outcome = routine.run(RESULTS, 3, 9)
    assert outcome.scores == {"VAL_LOSS": 2.0}
    assert [failure.where for failure in outcome.failures] == [
        f"callback '{name}', epoch 3, split VALIDATION" for name in ("IN_UPDATE", "IN_FINISH", "WRONG_TYPE")
    ]
    assert outcome.failures[0].what == "RuntimeError: broken on purpose"
    assert "WRONG_TYPE: is not a score" in outcome.failures[2].what


def test_a_hook_that_returns_another_modality_is_refused():
    class Wrong(DataLoaderRoutine):
        @staticmethod
        def _get_plot_callbacks():
            return [ValLossCallback()]

    with pytest.raises(
        ConfigurationError,
        match=r"Wrong._get_plot_callbacks: returns a callback of another modality\n"
        r"  expected: Plot\n  got: 'VAL_LOSS', which logs Score",
    ):
        Wrong.build(Once())


def test_batch_callbacks_see_each_due_step_alone():
    routine = BatchRoutine([BatchLossCallback(period=2)])
    observations = []
    for step, loss in enumerate([1.0, 2.0, 3.0, 4.0], start=1):
        seen, failures = routine.observe(result(loss), epoch=1, step=step)
        observations += seen
        assert not failures
    found = routine.finish(observations, epoch=1)
    assert [(r.name, r.step, r.value.value, r.split) for r in found.records] == [
        ("BATCH_LOSS", 2, 2.0, "TRAIN"),
        ("BATCH_LOSS", 4, 4.0, "TRAIN"),
    ]


def test_a_batch_callback_that_raises_is_isolated():
    routine = BatchRoutine([callbacks.score("BROKEN", folds.mean(broken)), BatchLossCallback()])
    seen, failures = routine.observe(result(1.0), epoch=2, step=5)
    assert (len(seen), failures[0].where) == (1, "callback 'BROKEN', epoch 2, split TRAIN")


class Artifacts(ArtifactRoutine[torch.nn.Module]):
    score_names = ("BIAS", "NEVER")

    def artifacts(self, model: torch.nn.Module, epoch: int) -> Iterable[tuple[str, Callable[[], records.Value]]]:
        yield "BIAS", lambda: records.Score.of(model.bias.sum())
        yield "NEVER", lambda: broken(None)


class Ungenerated(Artifacts):
    def artifacts(self, model, epoch):
        raise ValueError("cannot generate")


def test_artifacts_are_isolated_one_by_one():
    model = torch.nn.Linear(1, 1)
    outcome = Artifacts(split="VALIDATION").run(model, 2, 8)
    assert outcome.scores == {"BIAS": pytest.approx(model.bias.item())}
    assert [failure.where for failure in outcome.failures] == ["callback 'NEVER', epoch 2, split VALIDATION"]


def test_a_failed_generation_is_the_routines_failure():
    (failure,) = Ungenerated().run(torch.nn.Linear(1, 1), 2, 8).failures
    assert (failure.where, failure.what) == ("callback 'Ungenerated', epoch 2", "ValueError: cannot generate")


def test_an_artifact_routines_period():
    assert [epoch for epoch in range(1, 7) if Artifacts(period=3).due(epoch)] == [3, 6]
    with pytest.raises(ConfigurationError, match=r"Artifacts.period: is too small\n  expected: .*\n  got: 0"):
        Artifacts(period=0)


class Later:
    """A background that computes when it is asked for the result, and remembers what it was given."""

    def __init__(self):
        self.submitted = []

    def submit(self, task, shared):
        self.submitted.append(([name for name, _ in task.artifacts], tuple(shared)))
        return Waiting(task)


class Waiting:
    def __init__(self, task):
        self.task, self.epoch, self.step = task, task.epoch, task.step

    def done(self):
        return True

    def result(self):
        return self.task()


class Patient(Artifacts):
    score_names = ("BIAS", "LATE", "MANY/*")
    waiting = frozenset({"NEVER", "LATE", "MANY"})
    shared = ("data",)

    def artifacts(self, model, epoch):
        yield from super().artifacts(model, epoch)
        yield "LATE", lambda: records.Score(1.0)
        yield "MANY", lambda: records.ScoreCollection({"a": 2.0})


def test_what_can_wait_is_handed_over_and_comes_back_with_its_place():
    background = Later()
    outcome = Patient(split="TEST").run(torch.nn.Linear(1, 1), 3, 9, executor=background)
    assert background.submitted == [(["NEVER", "LATE", "MANY"], ("data",))]
    assert (set(outcome.scores), outcome.failures) == ({"BIAS"}, ())
    (pending,) = outcome.pending
    assert (pending.epoch, pending.step, pending.done()) == (3, 9, True)
    later = pending.result()
    assert later.scores == {"LATE": 1.0, "MANY/a": 2.0}
    assert [failure.where for failure in later.failures] == ["callback 'NEVER', epoch 3, split TEST"]


def test_scores_that_are_needed_do_not_wait():
    background = Later()
    outcome = Patient().run(torch.nn.Linear(1, 1), 1, 1, executor=background, needed=["MANY/a", "LATE"])
    assert set(outcome.scores) == {"BIAS", "LATE", "MANY/a"}
    assert background.submitted == [(["NEVER"], ("data",))]


def test_without_a_background_nothing_waits():
    outcome = Patient().run(torch.nn.Linear(1, 1), 1, 1)
    assert (set(outcome.scores), len(outcome.failures), outcome.pending) == ({"BIAS", "LATE", "MANY/a"}, 1, ())
