"""Ensembles: member i is the run of its program alone, whatever it draws, however it ends."""

import math

import attrs
import pandas as pd
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, optimizers, tracking, trees
from functorch_artifact.driver import NonfiniteLossWarning
from functorch_artifact.ensembles.vectorized import VectorizationWarning
from functorch_artifact.errors import BatchError, CallbackError, ConfigurationError, DataError, OptimizerError

torch.set_num_threads(1)
SEEDS = (3, 1, 4, 1, 5)
LR = (0.3, 0.03, 0.1, 0.01, 0.2)


def network(*extra):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), *extra, nn.Linear(8, 2)
        ).double()


def data(n=44):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return {"x": x, "y": (x.sum(1) > 0).long()}


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"])


def program(tx, net=None, **options):
    loader = fa.DataLoader(fa.ResidentDataset(data()), batch_size=16, shuffle=True)  # the last batch is smaller
    defaults = {
        "loss": loss,
        "loader_routines": [fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        "stopper": fa.EpochBoundStopper(3),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="min"),
        "train_loader": loader,
    }
    model = fa.functional(network() if net is None else net, inputs=lambda batch: batch["x"])
    return fa.Program(model=model, optimizer=tx, **(defaults | options))


def scheduled(lr, weight_decay=0.0):
    rate = optimizers.linear_warmup(optimizers.cosine(lr, total=9, per="step"), length=2, per="step")
    return program(
        optimizers.chain(optimizers.clip_by_global_norm(0.5), optimizers.adamw(rate, weight_decay=weight_decay))
    )


def assert_alike(together, alone, tolerance=1e-9):
    """Compare two states, or anything in them, leaf by leaf."""
    assert trees.differences(alone, together) == []
    for (path, one), other in zip(trees.named_leaves(alone).items(), trees.leaves(together), strict=True):
        if isinstance(one, torch.Tensor):
            torch.testing.assert_close(
                other, one, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda m, path=path: f"{path}: {m}"
            )
        else:
            assert one == other


def assert_each_is_the_run_alone(members, result, tolerance=1e-9):
    for own, together in zip(members.programs, result.members, strict=True):
        alone = fa.fit(own, progress=False)
        assert_alike(together.state, alone.state, tolerance)
        assert together.reason == alone.reason
        pd.testing.assert_frame_equal(together.scores, alone.scores, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", ["eager", "captured"])
def test_members_with_rates_of_their_own_are_the_runs_alone(mode):
    tx = optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.adam(1e-2))
    members = fa.ensemble(program(tx), seeds=SEEDS, hyperparameters={"lr": LR}, mode=mode)
    result = members.fit(progress=False)
    assert_each_is_the_run_alone(members, result)
    assert len({trees.digest(each.state.params) for each in result.members}) == len(SEEDS)


def test_members_of_a_function_of_numbers_are_the_runs_alone():
    decay = (0.0, 0.1, 0.01, 0.0, 0.3)
    members = fa.ensemble(scheduled, seeds=SEEDS, hyperparameters={"lr": LR, "weight_decay": decay})
    result = members.fit(progress=False)
    assert_each_is_the_run_alone(members, result)
    for lr, wd, seed, together in zip(LR, decay, SEEDS, result.members, strict=True):  # and of plain numbers
        alone = fa.fit(attrs.evolve(scheduled(lr, wd), seed=seed), progress=False)
        assert_alike(together.state.variables, alone.state.variables)


def test_a_number_of_the_loss_can_differ():
    def make(smoothing):
        def smooth(out, batch):
            uniform = -out.log_softmax(1).mean()
            return (1 - smoothing) * loss(out, batch) + smoothing * uniform

        return program(optimizers.sgd(0.1, momentum=0.9), loss=smooth)

    members = fa.ensemble(make, seeds=7, hyperparameters={"smoothing": (0.0, 0.1, 0.5)})
    assert members.seeds == (7, 7, 7)
    assert_each_is_the_run_alone(members, members.fit(progress=False))


class Noisy(nn.Module):
    """Draws in every way that one kernel can serve."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, h):
        return h + self.draw(h)


DRAWS = {
    "normal": torch.randn_like,
    "reparametrised": lambda h: torch.distributions.Normal(h, h.exp(), validate_args=False).rsample(),
    "of a shape": lambda h: torch.rand(8, dtype=torch.float64) + torch.empty(h.shape).uniform_(),
    "in a layout": lambda h: torch.rand_like(h.t()).t(),
    "normal of tensors": lambda h: torch.normal(h, h.abs()) + torch.normal(h, 2.0) + torch.normal(0.0, h.abs()),
    "coins": lambda h: torch.bernoulli(h.sigmoid()).detach() + torch.empty_like(h).bernoulli_(0.3),
    "permuted": lambda h: h[torch.randperm(len(h))],
    "gumbel": nn.functional.gumbel_softmax,
    "dropped whole": lambda h: nn.functional.dropout1d(h[:, :, None], 0.3)[:, :, 0],
}


@pytest.mark.parametrize("draw", DRAWS)
def test_noise_is_each_members_own(draw):
    members = fa.ensemble(program(optimizers.sgd(0.1), network(Noisy(DRAWS[draw]))), seeds=(0, 1, 2))
    assert_each_is_the_run_alone(members, members.fit(progress=False))


def test_attention_with_dropout():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
    net = network(nn.Unflatten(0, (-1, 4)), layer.double(), nn.Flatten(0, 1))
    members = fa.ensemble(program(optimizers.adam(1e-2), net), seeds=(0, 1), hyperparameters={"lr": (0.01, 0.1)})
    assert_each_is_the_run_alone(members, members.fit(progress=False))


def test_draws_that_depend_on_values_are_made_in_their_turn():
    def draw(h):
        return h[:, torch.multinomial(h[0].softmax(0), 1)] + torch.poisson(h.abs()).detach() + torch.rand_like(h)

    members = fa.ensemble(program(optimizers.sgd(0.1), network(Noisy(draw))), seeds=(0, 1, 2))
    assert_each_is_the_run_alone(members, members.fit(progress=False))


def test_what_vmap_cannot_do_is_done_one_by_one():
    members = fa.ensemble(program(optimizers.sgd(0.1), network(nn.RReLU())), seeds=(0, 1))
    with pytest.warns(VectorizationWarning, match="the members take their steps one after the other: RuntimeError"):
        result = members.fit(progress=False)
    assert_each_is_the_run_alone(members, result)


def test_a_number_that_is_no_tensor_operation_is_served_one_by_one():
    members = fa.ensemble(
        lambda p: program(optimizers.sgd(0.1), network(nn.Dropout(float(p)))),
        seeds=2,
        hyperparameters={"p": (0.1, 0.5)},
    )
    with pytest.warns(VectorizationWarning, match="one after the other"):
        result = members.fit(progress=False)
    assert_each_is_the_run_alone(members, result)


def test_a_step_at_fault_says_so_itself():
    members = fa.ensemble(program(optimizers.sgd(0.1), loss=lambda out, batch: batch["z"]), seeds=(0, 1))
    with pytest.raises(BatchError, match="z"):
        members.fit(progress=False)


def test_accumulated_averaged_members_in_half_precision():
    tx = optimizers.accumulate(optimizers.ema(optimizers.adam(1e-2), 0.8), steps=2)
    half = program(tx, network().float(), precision="bf16", evaluate="ema", train_loader=floats())
    half = attrs.evolve(half, loader_routines=[fa.DataLoaderRoutine(floats(), [fa.ValLossCallback()])])
    members = fa.ensemble(half, seeds=(0, 1), hyperparameters={"lr": (0.01, 0.02)})
    for own, together in zip(members.programs, members.fit(progress=False).members, strict=True):
        alone = fa.fit(own, progress=False)  # products in bfloat16 round differently in a batch of them
        assert_alike(together.state.params, alone.state.params, 0.05)
        assert int(together.state.opt_state.inner.count) == int(alone.state.opt_state.inner.count)


def test_each_member_has_a_loss_scale_of_its_own():
    tx = optimizers.sgd(1e-3)
    half = program(tx, network().float(), precision="fp16", train_loader=floats())
    half = attrs.evolve(half, loader_routines=[fa.DataLoaderRoutine(floats(), [fa.ValLossCallback()])])

    def make(scale):
        return attrs.evolve(half, loss=lambda out, batch: loss(out.float(), batch) * scale)

    members = fa.ensemble(make, seeds=0, hyperparameters={"scale": (1.0, 1e6)})
    first, second = members.fit(progress=False).members
    assert float(first.state.loss_scale.scale) == 65536.0
    assert float(second.state.loss_scale.scale) < 65536.0


def floats():
    found = data()
    return fa.DataLoader(fa.ResidentDataset({"x": found["x"].float(), "y": found["y"]}), batch_size=16, shuffle=True)


def test_members_stop_each_in_its_time_and_leave_the_kernel():
    stopper = fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=8, patience=1, min_delta=0.02)
    rates = (1e-6, 0.1, 0.2, 1e-6, 0.3, 1e-7)
    members = fa.ensemble(program(optimizers.sgd(0.1), stopper=stopper), seeds=range(6), hyperparameters={"lr": rates})
    result = members.fit(progress=False)
    assert_each_is_the_run_alone(members, result)
    epochs = list(result.table["n_epochs"])
    assert epochs[0] == epochs[3] == epochs[5] == 2 < max(epochs)
    assert len(result.scores) == sum(epochs)


@pytest.mark.parametrize("chunk_size", [2, 4])
def test_chunks_change_nothing(chunk_size):
    members = fa.ensemble(program(optimizers.adam(1e-2)), seeds=range(5), chunk_size=chunk_size)
    assert_each_is_the_run_alone(members, members.fit(progress=False))


def bursting(nonfinite):
    """Members whose weighted loss overflows, or not, at an example that each meets in its own order."""

    def make(weight):
        def burst(out, batch):
            peak = (batch["x"][:, 0] > 2).to(out.dtype)  # one example
            return loss(out, batch) + (out[:, 0].square() * peak).sum() * weight * weight

        return program(optimizers.sgd(0.05), loss=burst, nonfinite=nonfinite, loader_routines=[routine()])

    return fa.ensemble(make, seeds=(0, 1, 2), hyperparameters={"weight": (0.0, 1e200, 0.0)})


def routine():
    loader = fa.DataLoader(fa.ResidentDataset(data(20)), batch_size=20)
    accuracy = folds.mean(lambda b: (b.output["output"].argmax(1) == b.input["y"]).double(), each=True)
    return fa.DataLoaderRoutine(loader, [callbacks.score("VAL_LOSS", accuracy)])


def test_a_member_that_diverges_leaves_the_others_alone():
    members = bursting("raise")
    result = members.fit(progress=False)
    first, bad, last = result.members
    assert "the loss is inf" in bad.reason or "the loss is nan" in bad.reason
    assert bad.reason.startswith("step ")
    assert_alike(bad.state, members.programs[1].init())  # as it was when the epoch began
    assert first.reason == last.reason != bad.reason
    for i in (0, 2):
        assert_alike(result.members[i].state, fa.fit(members.programs[i], progress=False).state)


def test_a_member_that_is_to_stop_stops_as_it_does_alone():
    members = bursting("stop")
    assert_each_is_the_run_alone(members, members.fit(progress=False))


def test_a_member_that_is_to_skip_skips_as_it_does_alone():
    members = bursting("skip")
    with pytest.warns(NonfiniteLossWarning, match=r"member 1: skipped \d of 3 batches"):
        result = members.fit(progress=False)
    with pytest.warns(NonfiniteLossWarning):
        assert_each_is_the_run_alone(members, result)


def test_each_member_can_have_weights_of_its_own():
    members = fa.ensemble(
        program(optimizers.sgd(0.1)),
        seeds=(0, 1, 0),
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 2)).double(),
    )
    starts = [trees.digest(each.init().params) for each in members.programs]
    assert starts[0] == starts[2] != starts[1]
    assert_each_is_the_run_alone(members, members.fit(progress=False))


def test_a_function_may_make_the_model():
    members = fa.ensemble(
        lambda lr: program(optimizers.sgd(lr), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()),
        seeds=(0, 1),
        hyperparameters={"lr": (0.1, 0.2)},
    )
    result = members.fit(progress=False)
    assert trees.digest(members.programs[0].init().params) != trees.digest(members.programs[1].init().params)
    assert_each_is_the_run_alone(members, result)


def test_batches_that_are_prepared_one_by_one_are_the_same():
    class Rows(fa.Dataset):
        def __len__(self):
            return 44

        def __getitem__(self, index):
            return {name: rows[index] for name, rows in data().items()}

    loader = fa.DataLoader(Rows(), batch_size=16, shuffle=True)
    members = fa.ensemble(program(optimizers.sgd(0.1), train_loader=loader), seeds=(0, 1))
    resident = fa.ensemble(program(optimizers.sgd(0.1)), seeds=(0, 1))
    pairs = zip(members.fit(progress=False).members, resident.fit(progress=False).members, strict=True)
    for one, other in pairs:
        assert trees.digest(one.state) == trees.digest(other.state)


def test_each_members_records_go_to_its_own_client():
    clients = {}

    def client(member):
        clients[member] = tracking.InMemory()
        return clients[member]

    observed = fa.BatchRoutine([fa.BatchLossCallback(period=2)])
    members = fa.ensemble(
        program(optimizers.sgd(0.1), batch_routine=observed), seeds=(0, 1), hyperparameters={"lr": (0.1, 0.2)}
    )
    members.fit(tracking_client=client, progress=False)
    for member, own in enumerate(members.programs):
        alone = tracking.InMemory()
        fa.fit(own, tracking_client=alone, progress=False)
        pd.testing.assert_frame_equal(clients[member].scores(), alone.scores(), rtol=1e-9, atol=1e-9)
        assert clients[member].run.parameters == {"seed": member, "lr": (0.1, 0.2)[member]}


def test_results_are_tables_and_the_best_is_found():
    members = fa.ensemble(program(optimizers.sgd(0.1)), seeds=SEEDS, hyperparameters={"lr": LR})
    assert members.table.to_dict("list") == {"seed": list(SEEDS), "lr": list(LR)}
    result = members.fit(progress=False)
    assert result.scores.index.names == ["member", "epoch"]
    assert len(result.scores) == 15
    assert list(result.table.columns) == ["seed", "lr", "n_epochs", "best_epoch", "reason", "VAL_LOSS"]
    lowest = result.scores["VAL_LOSS"].idxmin()
    assert (result.best_member, int(result.best.best.epoch)) == lowest
    assert (
        fa.evaluate(result.best.program, result.best.best.model).scores["VAL_LOSS"]
        == result.scores.loc[lowest, "VAL_LOSS"]
    )


def test_a_run_leaves_the_world_as_it_was():
    members = fa.ensemble(program(optimizers.adam(1e-2)), seeds=range(3))
    before, generator = trees.digest(members.programs[0].model.variables), torch.get_rng_state()
    first = members.fit(progress=False)
    again = members.fit(progress=False)
    assert torch.equal(torch.get_rng_state(), generator)
    assert trees.digest(members.programs[0].model.variables) == before
    assert [trees.digest(m.state) for m in first.members] == [trees.digest(m.state) for m in again.members]


def test_a_compiled_kernel_agrees():
    net, stopper = nn.Linear(3, 2).double(), fa.EpochBoundStopper(2)
    members = fa.ensemble(
        program(optimizers.sgd(0.1), net, stopper=stopper),
        seeds=(0, 1),
        hyperparameters={"lr": (0.01, 0.1)},
        mode="compiled",
    )
    assert_each_is_the_run_alone(members, members.fit(progress=False), 1e-7)


def test_a_callback_that_raises_names_the_member():
    broken = fa.DataLoaderRoutine(
        fa.DataLoader(fa.ResidentDataset(data()), batch_size=44),
        [callbacks.score("VAL_LOSS", folds.mean(lambda batch: 1 / 0))],
        split="VALIDATION",
    )
    members = fa.ensemble(program(optimizers.sgd(0.1), loader_routines=[broken]), seeds=(0, 1))
    with pytest.raises(CallbackError, match=r"member 0, callback 'VAL_LOSS', epoch 1, split VALIDATION: raised"):
        members.fit(progress=False)


def test_what_cannot_work_is_refused():
    plain = program(optimizers.sgd(0.1))
    with pytest.raises(ConfigurationError, match=r"do not agree on the number of members(.|\n)*got: lr: 2, seeds: 3"):
        fa.ensemble(plain, seeds=range(3), hyperparameters={"lr": (0.1, 0.2)})
    with pytest.raises(ConfigurationError, match="do not agree on the number"):
        fa.ensemble(plain, seeds=())
    with pytest.raises(ConfigurationError, match="chunk_size: is too small"):
        fa.ensemble(plain, seeds=range(3), chunk_size=0)
    with pytest.raises(
        OptimizerError, match=r"'momentum': is not a constant rate of the optimizer\n  expected: one of"
    ):
        fa.ensemble(plain, seeds=0, hyperparameters={"momentum": (0.1, 0.2)})
    with pytest.raises(OptimizerError, match="'lr': is not a constant rate"):
        rate = optimizers.cosine(0.1, total=9, per="step")
        fa.ensemble(program(optimizers.sgd(rate)), seeds=0, hyperparameters={"lr": (0.1, 0.2)})
    with pytest.raises(OptimizerError, match="learning_rate is out of range"):
        fa.ensemble(lambda lr: program(optimizers.sgd(lr)), seeds=0, hyperparameters={"lr": (0.1, -0.2)})
    untracked = fa.ensemble(program(optimizers.sgd(0.1), tracker=None), seeds=(0, 1)).fit(progress=False)
    with pytest.raises(ConfigurationError, match="the members: cannot be ranked"):
        _ = untracked.best
    wide = fa.ensemble(
        lambda width: program(optimizers.sgd(0.1), nn.Linear(3, int(width)).double()),
        seeds=0,
        hyperparameters={"width": (2, 3)},
    )
    with pytest.raises(ConfigurationError, match=r"the members: differ in structure(.|\n)*float64\[2, 3\]"):
        wide.fit(progress=False)


def test_a_loader_without_batches_is_refused():
    class Empty:
        def __len__(self):
            return 0

        def batches(self, epoch, seed):
            return iter(())

    with pytest.raises(DataError, match="the train loader: is empty"):
        fa.ensemble(program(optimizers.sgd(0.1), train_loader=Empty()), seeds=(0, 1)).fit(progress=False)


def test_a_weight_decay_that_is_a_tensor_is_a_rate():
    decay = torch.tensor(0.1)
    params = {"w": torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)}
    grads = {"w": torch.tensor([0.5, 0.25, -1.0], dtype=torch.float64)}
    for make in (optimizers.sgd, optimizers.adam, optimizers.adamw, optimizers.lion):
        number, tensor = make(0.1, weight_decay=float(decay)), make(0.1, weight_decay=decay)
        assert math.isclose(tensor.init(params).rates["weight_decay"], float(decay))
        (one, _), (other, _) = (tx.update(grads, tx.init(params), params) for tx in (number, tensor))
        torch.testing.assert_close(one["w"].value, other["w"].value, rtol=1e-12, atol=0)
