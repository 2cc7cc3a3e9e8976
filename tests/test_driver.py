"""Whole runs through `fit`: order of events, records, policies, directories, results."""

from collections.abc import Sequence

import pandas as pd
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import callbacks, checkpoint, folds, optimizers, records, tracking, trees
from functorch_artifact.callbacks import BatchLossCallback, CheckpointCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.compiling import CompileWarning
from functorch_artifact.driver import CallbackWarning, NonfiniteLossWarning, ScoreWarning
from functorch_artifact.errors import (
    CallbackError,
    ConfigurationError,
    DataError,
    LossError,
    RunDirectoryError,
    ScoreError,
)
from functorch_artifact.model_tracking import ModelSnapshot, ModelTracker, ModelTrackingCriterion

X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
DATA = {"x": X, "y": X.sum(1, keepdim=True)}


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))

    def forward(self, batch):
        return {"loss": (self.body(batch["x"]) - batch["y"]).square().mean()}


def loader(data=DATA, batch_size=20, **options):
    return fa.DataLoader(fa.ResidentDataset(data), batch_size=batch_size, **options)


def program(**changes):
    torch.manual_seed(0)
    parts = {
        "model": Regressor(),
        "optimizer": optimizers.adam(1e-2),
        "train_loader": loader(shuffle=True),
        "stopper": fa.EpochBoundStopper(4),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="min"),
        "batch_routine": fa.BatchRoutine([BatchLossCallback(period=3)]),
        "loader_routines": [
            fa.DataLoaderRoutine(loader(), [TrainLossCallback(period=2)], split="TRAIN"),
            fa.DataLoaderRoutine(loader(batch_size=30), [ValLossCallback()], split="VALIDATION"),
        ],
    }
    return fa.Program(**(parts | changes))


def fit(program, **options):
    return fa.fit(program, progress=False, **options)


class Spread(fa.ArtifactRoutine[Regressor]):
    """Logs the spread of some noise, to see that the generators are seeded."""

    score_names = ("NOISE",)

    def artifacts(self, model, epoch):
        assert not model.training
        noise = torch.randn(3)
        return [("NOISE", lambda: records.Score.of(noise.sum()))]


def test_a_run_logs_every_due_record_once_with_its_epoch_and_step():
    client = tracking.InMemory()
    result = fit(program(), tracking_client=client)
    place = {(r.name, r.split, r.epoch, r.step) for r in client.records}
    expected = {("BATCH_LOSS", "TRAIN", (s - 1) // 5 + 1, s) for s in range(3, 21, 3)}
    expected |= {("TRAIN_LOSS", "TRAIN", e, 5 * e) for e in (2, 4)}
    expected |= {("VAL_LOSS", "VALIDATION", e, 5 * e) for e in (1, 2, 3, 4)}
    assert place == expected
    assert len(client.records) == len(expected)
    assert result.reason == "the run has reached its bound of 4 epochs"
    assert (int(result.state.epoch), int(result.state.step), int(result.state.batch)) == (4, 20, 0)


def test_scores_keep_their_epochs():
    scores = fit(program()).scores
    assert scores.index.tolist() == [1, 2, 3, 4]
    assert scores["TRAIN_LOSS"].notna().tolist() == [False, True, False, True]
    assert scores["VAL_LOSS"].notna().all()


def test_fit_is_the_loop_over_its_parts():
    made = program()
    state = made.init()
    for epoch in (1, 2, 3, 4):
        for batch in made.train_loader.batches(epoch, made.seed):
            state, _ = made.step(state, batch)
        scores = {}
        for routine in made.loader_routines:
            if routine.due(epoch):
                results = [
                    fa.BatchResult(batch, made.eval_step(state, batch), trees.n_examples(batch))
                    for batch in routine.data_loader.batches(1, made.seed)
                ]
                scores |= routine.run(results, epoch, int(state.step)).scores
        state = made.advance(state, scores)
    assert trees.digest(state) == trees.digest(fit(program()).state)


def test_the_best_model_reproduces_its_own_score():
    made = program(optimizer=optimizers.adam(0.3), stopper=fa.EpochBoundStopper(8))
    result = fit(made)
    column = result.scores["VAL_LOSS"]
    assert column.idxmin() != 8  # a later epoch was worse
    assert int(result.best.epoch) == column.idxmin()
    assert fa.evaluate(made, result.best.model).scores["VAL_LOSS"] == column.min()
    batch = next(loader(batch_size=100).batches(1, 0))
    again = result.best_model(batch)["loss"].item()
    assert again == pytest.approx(column.min(), rel=1e-5)
    assert result.latest_model(batch)["loss"].item() == pytest.approx(column[8], rel=1e-5)


def test_a_run_disturbs_neither_the_model_nor_the_global_generators():
    made = program()
    module = Regressor()
    made = program(model=module, artifact_routines=[Spread()])
    before = trees.digest(dict(module.state_dict()))
    generator = torch.get_rng_state()
    fit(made)
    assert torch.equal(torch.get_rng_state(), generator)
    assert trees.digest(dict(module.state_dict())) == before


def test_artifacts_draw_the_same_noise_at_each_epoch_and_run_when_due():
    noise = fit(program(artifact_routines=[Spread(period=2)])).state.scores.column("NOISE")
    assert list(noise) == [2, 4]
    assert noise[2] == noise[4]


def test_an_improving_score_stops_when_it_no_longer_improves():
    stopper = fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=50, patience=2)
    result = fit(program(stopper=stopper, optimizer=optimizers.adam(0.3)))
    column = result.scores["VAL_LOSS"]
    assert column.index[-1] == column.idxmin() + 2 < 50
    assert result.reason.startswith("VAL_LOSS has not improved on")


def broken(result):
    raise RuntimeError("broken on purpose")


BROKEN = fa.DataLoaderRoutine(
    loader(), [callbacks.score("BROKEN", folds.mean(broken)), ValLossCallback()], split="TEST"
)


def test_a_callback_that_raises_ends_the_run_with_its_name_and_loses_no_record():
    client = tracking.InMemory()
    text = (
        r"callback 'BROKEN', epoch 1, split TEST: raised\n  got: RuntimeError: broken on purpose\n"
        r"  do this: mend it, or pass on_callback_error='warn'"
    )
    with pytest.raises(CallbackError, match=text) as caught:
        fit(program(loader_routines=[BROKEN]), tracking_client=client)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert [r.name for r in client.records] == ["BATCH_LOSS", "VAL_LOSS"]


def test_a_callback_that_raises_can_be_a_warning():
    made = program(loader_routines=[BROKEN], on_callback_error="warn", stopper=fa.EpochBoundStopper(2))
    with pytest.warns(
        CallbackWarning, match="callback 'BROKEN', epoch ., split TEST: raised RuntimeError: broken"
    ) as seen:
        result = fit(made)
    assert len(seen) == 2
    assert [failure.epoch for failure in result.failures] == [1, 2]
    assert len(result.scores) == 2


def test_a_batch_callback_that_raises_is_named_once_an_epoch():
    routine = fa.BatchRoutine([callbacks.score("BROKEN", folds.mean(broken))])
    made = program(batch_routine=routine, on_callback_error="warn", stopper=fa.EpochBoundStopper(1))
    with pytest.warns(CallbackWarning, match="callback 'BROKEN', epoch 1, split TRAIN") as seen:
        result = fit(made)
    assert len(seen) == 1
    assert len(result.failures) == 5


POISONED = {name: torch.cat([tensor[:50], torch.full_like(tensor[:10], torch.nan)]) for name, tensor in DATA.items()}


def poisoned(policy):
    return program(train_loader=loader(POISONED, batch_size=10), nonfinite=policy, batch_routine=None)


def test_a_loss_that_is_not_finite_raises_with_its_place():
    with pytest.raises(LossError, match=r"step 6 \(epoch 1, batch 6\): the loss is nan"):
        fit(poisoned("raise"))


def test_batches_whose_loss_is_not_finite_can_be_skipped():
    with pytest.warns(NonfiniteLossWarning, match="skipped 1 of 6 batches; the first: step"):
        result = fit(poisoned("skip"))
    assert int(result.state.step) == 24
    assert all(tensor.isfinite().all() for tensor in trees.tensors(result.state.params))


def test_a_run_can_stop_at_a_loss_that_is_not_finite():
    client = tracking.InMemory()
    routine = fa.BatchRoutine([BatchLossCallback()])
    made = program(train_loader=loader(POISONED, batch_size=10), nonfinite="stop", batch_routine=routine)
    result = fit(made, tracking_client=client)
    assert result.reason == "step 6 (epoch 1, batch 6): the loss is nan"
    assert len(result.scores) == 0
    assert [r.step for r in client.records] == [1, 2, 3, 4, 5, 6]
    assert all(tensor.isfinite().all() for tensor in trees.tensors(result.state.params))


def test_a_run_that_stops_within_an_epoch_leaves_the_checkpoint_of_the_last_whole_one(tmp_path):
    whole = fit(program(train_loader=loader(batch_size=10), stopper=fa.EpochBoundStopper(1)), run=tmp_path)
    result = fit(poisoned("stop"), run=tmp_path)
    assert result.reason == "step 16 (epoch 2, batch 6): the loss is nan"
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert trees.digest(checkpoint.load(saved)) == trees.digest(whole.state)


def test_an_empty_loader_is_refused():
    empty = loader({"x": X[:5], "y": X[:5]}, batch_size=10, drop_last=False)
    exhausted = fa.Program(
        model=Regressor(),
        optimizer=optimizers.sgd(0.1),
        train_loader=_Exhausted(empty),
        stopper=fa.EpochBoundStopper(1),
    )
    with pytest.raises(DataError, match=r"the train loader: is empty\n  do this: give it at least one batch"):
        fit(exhausted)


class _Exhausted:
    """Says that it has batches, and has none."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def batches(self, epoch, seed):
        return iter(())


def test_a_criterion_score_that_nothing_logs_is_refused_before_training():
    with pytest.raises(
        ScoreError,
        match=r"Program.tracker: reads the score 'VAL_LOS', which no routine logs\n"
        r"  expected: one of \['TRAIN_LOSS', 'VAL_LOSS'\]",
    ):
        program(tracker=fa.ScoreTracker("VAL_LOS", mode="min"))
    with pytest.raises(
        ScoreError, match=r"Program.stopper: reads the score 'F1'.*\n  expected: a routine that logs it"
    ):
        program(stopper=fa.ScoreMaximizationStopper("F1", max_n_epochs=3, patience=1), tracker=None, loader_routines=[])


def test_a_score_of_a_collection_can_be_tracked():
    named = callbacks.score_collection("LOSSES", folds.product({"max": folds.max(lambda r: r.output["loss"])}))
    made = program(
        loader_routines=[fa.DataLoaderRoutine(loader(), [named])], tracker=fa.ScoreTracker("LOSSES/max", mode="min")
    )
    assert fit(made).best is not None


def test_a_score_that_was_never_logged_is_named_at_the_end():
    named = callbacks.score_collection("LOSSES", folds.product({"max": folds.max(lambda r: r.output["loss"])}))
    made = program(
        loader_routines=[fa.DataLoaderRoutine(loader(), [named])], tracker=fa.ScoreTracker("LOSSES/min", mode="min")
    )
    with pytest.warns(ScoreWarning, match="the score 'LOSSES/min' was never logged"):
        assert fit(made).best is None


def test_two_callbacks_of_one_name_are_refused():
    twice = [fa.DataLoaderRoutine(loader(), [ValLossCallback()]) for _ in range(2)]
    with pytest.raises(ScoreError, match=r"score 'VAL_LOSS': is logged twice.*\n  do this: rename one"):
        program(loader_routines=twice)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1.0)},
            r"Program.optimizer: is not a gradient transf.*\n.*SGD\n",
        ),
        (
            {"train_loader": [1, 2]},
            r"Program.train_loader: has no batches\(epoch, seed\)\n  got: list\n  do this: wrap",
        ),
        (
            {"nonfinite": "ignore"},
            r"Program.nonfinite: is unknown\n  expected: one of \('raise', 'skip', 'stop', 'record'\)",
        ),
        ({"on_callback_error": "hide"}, r"Program.on_callback_error: is unknown"),
    ],
)
def test_a_wrong_argument_is_explained(changes, text):
    with pytest.raises(ConfigurationError, match=text):
        program(**changes)


class Newest(ModelTracker[ModelTrackingCriterion]):
    """Keeps the newest model whatever the criterion."""

    def init(self):
        return None

    def update(self, state, criterion, candidate):
        return trees.snapshot(candidate)

    def best(self, state) -> ModelSnapshot | None:
        return state


def test_a_users_own_tracker_needs_a_criterion():
    with pytest.raises(
        ConfigurationError, match=r"Program.tracker \(Newest\): has nothing to read\n  do this: pass crit"
    ):
        program(tracker=Newest())
    result = fit(program(tracker=Newest(), criterion=lambda state: ModelTrackingCriterion()))
    assert int(result.best.epoch) == 4


def test_schedules_by_epoch_follow_the_epochs_of_the_run():
    schedule = optimizers.schedules.step(0.1, step_size=1, gamma=0.0, per="epoch")
    result = fit(program(optimizer=optimizers.sgd(schedule), stopper=fa.EpochBoundStopper(1)))
    later = fit(program(optimizer=optimizers.sgd(schedule), stopper=fa.EpochBoundStopper(3)))
    assert trees.digest(result.state.params) == trees.digest(later.state.params)


def test_a_run_directory_holds_scores_and_checkpoints(tmp_path):
    result = fit(program(checkpoint=CheckpointCallback(period=2)), run=tmp_path / "run")
    assert result.directory == tmp_path / "run"
    scores = pd.read_csv(tmp_path / "run" / "scores.csv")
    column = scores[scores["name"] == "VAL_LOSS"].set_index("epoch")["value"]
    pd.testing.assert_series_equal(column, result.scores["VAL_LOSS"], check_names=False, rtol=1e-15)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "epoch_000002.safetensors",
        "epoch_000004.safetensors",
    ]


def test_a_run_resumes_from_its_newest_checkpoint_to_the_same_bits(tmp_path):
    whole = fit(program(stopper=fa.EpochBoundStopper(4)))
    fit(program(stopper=fa.EpochBoundStopper(2)), run=tmp_path)
    resumed = fit(program(stopper=fa.EpochBoundStopper(4)), run=tmp_path)
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores[scores["name"] == "VAL_LOSS"]["epoch"].tolist() == [1, 2, 3, 4]


def test_a_run_directory_of_another_run_is_refused(tmp_path):
    fit(program(stopper=fa.EpochBoundStopper(1)), run=tmp_path / "a")
    with pytest.raises(
        RunDirectoryError, match=r"a: already holds a run\n  do this: choose another directory, or pass res"
    ):
        fit(program(), run=tmp_path / "a", resume="never")
    with pytest.raises(
        RunDirectoryError, match=r"a: belongs to another run\n  expected: .*'seed': 1.*\n  got: .*'seed': 0"
    ):
        fit(program(seed=1), run=tmp_path / "a")
    with pytest.raises(RunDirectoryError, match=r"b: holds no run to resume"):
        fit(program(), run=tmp_path / "b", resume="must")
    assert not (tmp_path / "b").exists()
    with pytest.raises(ConfigurationError, match=r"fit: has nothing to resume\n  do this: pass run="):
        fit(program(), resume="must")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"c: is in use by something that is no run"):
        fit(program(), run=tmp_path / "c")


class Unreachable(fa.TrackingClient):
    """A server that is down for the first epochs."""

    def __init__(self, down_until):
        self.down_until, self.taken, self.closed = down_until, [], False

    def open(self, run):
        self.run = run

    def log(self, offered: Sequence[fa.Record]):
        if max(r.epoch for r in offered) < self.down_until:
            raise ConnectionError("no route to host")
        self.taken += offered

    def close(self):
        self.closed = True


def test_a_client_that_fails_stops_nothing_and_gets_everything_later():
    late, steady = Unreachable(down_until=3), tracking.InMemory()
    assert fit(program(), tracking_client=[late, steady]).owed == ()
    assert late.closed
    assert [(r.name, r.step) for r in late.taken] == [(r.name, r.step) for r in steady.records]


def test_a_routines_own_client_takes_its_records():
    own, everyone = tracking.InMemory(), tracking.InMemory()
    routine = fa.DataLoaderRoutine(loader(), [ValLossCallback()], tracking_client=own)
    fit(program(loader_routines=[routine]), tracking_client=everyone)
    assert {r.name for r in own.records} == {"VAL_LOSS"}
    assert {r.name for r in everyone.records} == {"BATCH_LOSS"}


def test_progress_is_a_line_an_epoch_where_there_is_no_terminal(capsys):
    fa.fit(program(stopper=fa.EpochBoundStopper(2)))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["epoch", "1"], ["epoch", "2"]]
    assert "VAL_LOSS" in lines[0]
    assert lines[2] == "stopped: the run has reached its bound of 2 epochs"


class Branching(torch.nn.Module):
    """Decides by a value, which cannot be traced."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, batch):
        out = self.linear(batch["x"])
        return {"loss": out.square().mean() if out.sum() > 0 else out.abs().mean()}


def test_a_model_that_cannot_be_traced_runs_as_it_is_and_says_so_once():
    rows = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(8, 3)}), batch_size=4)
    parts = {"model": Branching(), "train_loader": rows, "loader_routines": [], "tracker": None}
    held = program(**parts, stopper=fa.EpochBoundStopper(3))
    assert held.mode == "captured"
    with pytest.warns(CompileWarning) as told:
        result = fit(held)
    assert ["runs as it is, in mode 'eager'" in str(each.message) for each in told] == [True]
    expected = fit(program(**parts, stopper=fa.EpochBoundStopper(3), mode="eager"))
    assert trees.digest(result.state) == trees.digest(expected.state)
