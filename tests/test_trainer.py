"""The declarative face: what each hook does, and what the trainer shows."""

import attrs
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, tracking, trees
from functorch_artifact.callbacks import BatchLossCallback, CheckpointCallback, TrainLossCallback, ValLossCallback
from functorch_artifact.errors import ConfigurationError, OptimizerError
from functorch_artifact.model_tracking import ScoreCriterion
from functorch_artifact.stoppers import Continue, Stop

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


class Net(fa.Model):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, batch):
        return {"loss": (self.linear(batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean()}


def loader(**options):
    return fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=16, **options)


class Trainer(fa.CustomTrainer):
    def _get_optimizer(self):
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    def _get_early_stopper(self):
        return fa.EpochBoundStopper(n_epochs=3)

    def _get_device(self):
        return torch.device("cpu")


def build(cls=Trainer, **options):
    torch.manual_seed(0)
    return cls.build(Net(), loader(shuffle=True), **options)


def validation(**options):
    return fa.DataLoaderRoutine(loader(), [ValLossCallback()], **options)


def test_two_hooks_suffice():
    trainer = build()
    result = trainer.train(progress=False)
    assert trainer.state is result.state
    assert trainer.n_epochs_elapsed == 3
    assert trainer.epoch_scores.shape == (3, 0)


def test_both_faces_make_the_same_run():
    declared = build(val_loader_routine=validation()).train(progress=False)
    torch.manual_seed(0)
    program = fa.Program(
        model=Net(),
        optimizer=optimizers.sgd(0.1),
        train_loader=loader(shuffle=True),
        stopper=fa.EpochBoundStopper(3),
        loader_routines=[validation()],
    )
    functional = fa.fit(program, progress=False)
    assert trees.digest(declared.state.params) == trees.digest(functional.state.params)
    assert declared.scores.equals(functional.scores)


def test_splits_are_filled_in():
    class Full(Trainer):
        @staticmethod
        def _get_batch_routine(tracking_client):
            return fa.BatchRoutine([BatchLossCallback(period=4)], tracking_client)

        @staticmethod
        def _get_train_loader_routine(data_loader, tracking_client):
            return fa.DataLoaderRoutine(data_loader, [TrainLossCallback()], tracking_client)

    client = tracking.InMemory()
    build(Full, val_loader_routine=validation(), tracking_client=client).train(progress=False)
    assert {(r.name, r.split) for r in client.records} == {
        ("BATCH_LOSS", "TRAIN"),
        ("TRAIN_LOSS", "TRAIN"),
        ("VAL_LOSS", "VALIDATION"),
    }


class Tracking(Trainer):
    def _get_model_tracker(self):
        return fa.ScoreTracker("VAL_LOSS", mode="max")


def test_the_best_model_is_kept_and_latest_differs():
    trainer = build(Tracking, val_loader_routine=validation())
    assert trainer.best_model_state is None
    trainer.train(progress=False)
    column = trainer.epoch_scores["VAL_LOSS"]
    best = Net()
    best.load_state_dict(trainer.best_model_state)
    assert best({"x": X})["loss"].item() == pytest.approx(column.max(), rel=1e-5)
    assert not torch.equal(trainer.best_model_state["linear.weight"], trainer.latest_model_state["linear.weight"])


def test_hooks_see_the_epoch_that_has_just_ended():
    seen = []

    class Watching(Tracking):
        def _get_model_tracking_criterion(self):
            seen.append((self.n_epochs_elapsed, len(self.epoch_scores)))
            return ScoreCriterion(value=-self.epoch_scores["VAL_LOSS"].iloc[-1])

    trainer = build(Watching, val_loader_routine=validation())
    result = trainer.train(progress=False)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert int(result.best.epoch) == trainer.epoch_scores["VAL_LOSS"].idxmin()


@attrs.frozen(kw_only=True)
class Loss(fa.StopperUpdateData):
    loss: float


class BelowStopper(fa.EarlyStopper):
    def init(self):
        return False

    def update(self, state, data):
        return state or data.loss < 1.0

    def verdict(self, state):
        return Stop("the loss is below 1") if state else Continue()


def test_a_stopper_of_ones_own_reads_data_of_ones_own():
    class Impatient(Trainer):
        def _get_early_stopper(self):
            return BelowStopper()

        def _get_stopper_update_data(self):
            return Loss(n_epochs_elapsed=self.n_epochs_elapsed, loss=self.state.scores.latest()["VAL_LOSS"])

    trainer = build(Impatient, val_loader_routine=validation())
    assert trainer.train(progress=False).reason == "the loss is below 1"
    column = trainer.epoch_scores["VAL_LOSS"]
    assert column.iloc[-1] < 1.0
    assert (column.iloc[:-1] >= 1.0).all()


def test_hooks_may_return_pure_optimizers_and_schedules():
    class Pure(Trainer):
        def _get_optimizer(self):
            return optimizers.sgd(optimizers.schedules.step(0.1, step_size=2, gamma=0.5, per="epoch"))

    class Torch(Trainer):
        def _get_scheduler(self):
            return torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)

    class Mixed(Trainer):
        def _get_scheduler(self):
            return optimizers.schedules.step(0.1, step_size=2, gamma=0.5, per="epoch")

    digests = {trees.digest(build(cls).train(progress=False).state.params) for cls in (Pure, Torch, Mixed)}
    assert len(digests) == 1
    assert digests != {trees.digest(build().train(progress=False).state.params)}


def test_a_torch_plateau_scheduler_reads_its_score():
    class Plateau(Trainer):
        def _get_scheduler(self):
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, mode="max", factor=0.0, patience=0)
            return optimizers.from_torch_schedule(plateau, score="VAL_LOSS")

    trainer = build(Plateau, val_loader_routine=validation())
    column = trainer.train(progress=False).scores["VAL_LOSS"]
    assert column[1] != column[2] == column[3]


def test_checkpoints_are_declared(tmp_path):
    class Saving(Trainer):
        @staticmethod
        def _get_checkpoint_callback(tracking_client):
            return CheckpointCallback(period=1, keep_last=2)

    trainer = build(Saving, run=tmp_path)
    trainer.train(progress=False)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "epoch_000002.safetensors",
        "epoch_000003.safetensors",
    ]
    resumed = build(Saving, run=tmp_path)
    resumed.train(progress=False)
    assert trees.digest(resumed.state) == trees.digest(trainer.state)


def test_an_optimizer_of_other_parameters_is_refused():
    class Foreign(Trainer):
        def _get_optimizer(self):
            return torch.optim.SGD(Net().parameters(), lr=0.1)

    with pytest.raises(OptimizerError, match="parameters that are not the model's"):
        build(Foreign)


def test_a_scheduler_of_another_optimizer_is_refused():
    class Stray(Trainer):
        def _get_scheduler(self):
            return torch.optim.lr_scheduler.StepLR(torch.optim.SGD(self.model.parameters(), lr=1.0), step_size=1)

    with pytest.raises(OptimizerError, match="another optimizer"):
        build(Stray)


def test_a_schedule_beside_a_pure_optimizer_is_refused():
    class Both(Trainer):
        def _get_optimizer(self):
            return optimizers.sgd(0.1)

        def _get_scheduler(self):
            return optimizers.schedules.constant(0.1)

    with pytest.raises(
        ConfigurationError,
        match=r"Both._get_scheduler: returns a schedule that nothing would read\n.*\n  do this: pass the",
    ):
        build(Both)
