"""Accumulated gradients and averaged parameters: against torch, traced, composed, in a program, resumed."""

import attrs
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.checkpoint import Checkpoints
from functorch_artifact.errors import ConfigurationError, OptimizerError

torch.set_num_threads(1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"])


def batches(n, size=8):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(size, 3, generator=generator) for _ in range(n)]
    return [{"x": each, "y": (each.sum(1) > 0).long()} for each in x]


def trained(tx, given, *, captured=False):
    model = fa.functional(network(), inputs=lambda batch: batch["x"])
    step = fa.train_step(model, tx, loss)
    step, state = fa.compile(step) if captured else step, fa.init(model, tx, seed=1)
    for batch in given:
        state, _ = step(state, batch)
    return state


def test_accumulating_is_torchs_loop_over_micro_batches():
    net, given = network(), batches(12)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for number, batch in enumerate(given, start=1):
        (loss(net(batch["x"]), batch) / 4).backward()
        if number % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
    state = trained(optimizers.accumulate(optimizers.sgd(0.1, momentum=0.9), steps=4), given)
    for name, tensor in net.named_parameters():
        # A running mean and a sum of quarters round differently.
        torch.testing.assert_close(state.params[name], tensor.detach(), rtol=1e-5, atol=1e-6)


def test_between_steps_nothing_moves_and_one_step_is_the_step_itself():
    given = batches(3)
    tx = optimizers.accumulate(optimizers.adam(1e-2), steps=4)
    start, state = trained(tx, []), trained(tx, given)
    assert trees.digest(state.params) == trees.digest(start.params)
    assert trees.digest(state.opt_state.inner) == trees.digest(start.opt_state.inner)
    assert int(state.opt_state.count) == 3
    once = trained(optimizers.accumulate(optimizers.adam(1e-2), steps=1), given)
    assert trees.digest(once.params) == trees.digest(trained(optimizers.adam(1e-2), given).params)


def test_updates_that_are_added_are_zero_between_steps():
    tx = optimizers.accumulate(optimizers.scale(-1.0), steps=2)
    params = {"w": torch.ones(2)}
    updates, state = tx.update({"w": torch.tensor([1.0, 2.0])}, tx.init(params), params)
    assert updates["w"].tolist() == [0.0, 0.0]
    updates, state = tx.update({"w": torch.tensor([3.0, 4.0])}, state, params)
    assert updates["w"].tolist() == [-2.0, -3.0]
    assert state.mean["w"].tolist() == [0.0, 0.0]


def test_a_schedule_counts_the_steps_that_are_taken():
    rate = optimizers.step(1.0, step_size=1, gamma=0.1, per="step")
    tx = optimizers.accumulate(optimizers.sgd(rate), steps=2)
    params = {"w": torch.zeros(1, dtype=torch.float64)}
    state, seen = tx.init(params), []
    for _ in range(6):
        updates, state = tx.update({"w": torch.ones(1, dtype=torch.float64)}, state, params)
        params = optimizers.apply_updates(params, updates)
        seen.append(params["w"].item())
    assert seen == pytest.approx([0, -1, -1, -1.1, -1.1, -1.11])


def test_the_average_has_the_bits_of_torchs():
    net, given = network(), batches(10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, foreach=False)
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for batch in given:
        optimizer.zero_grad()
        loss(net(batch["x"]), batch).backward()
        optimizer.step()
        averaged.update_parameters(net)
    state = trained(optimizers.ema(optimizers.adam(1e-2), 0.9), given)
    expected = {name: tensor.detach() for name, tensor in averaged.module.named_parameters()}
    assert trees.digest(optimizers.ema_params(state.opt_state)) == trees.digest(expected)
    assert trees.digest(state.params) == trees.digest({n: p.detach() for n, p in net.named_parameters()})


def test_the_average_is_the_parameters_before_and_after_the_first_update():
    tx = optimizers.ema(optimizers.sgd(0.1))
    start, (batch, *_) = trained(tx, []), batches(1)
    assert trees.digest(optimizers.ema_params(start.opt_state)) == trees.digest(start.params)
    after = trained(tx, [batch])
    assert trees.digest(optimizers.ema_params(after.opt_state)) == trees.digest(after.params)
    assert trees.digest(after.params) != trees.digest(start.params)


def test_a_decay_can_follow_a_schedule():
    decay = optimizers.Schedule(lambda count: (1 + count) / (10 + count), per="step")
    tx = optimizers.ema(optimizers.sgd(1.0), decay)
    params, expected = {"w": torch.zeros((), dtype=torch.float64)}, 0.0
    state = tx.init(params)
    for n in range(5):
        updates, state = tx.update({"w": -torch.ones((), dtype=torch.float64)}, state, params)
        params = optimizers.apply_updates(params, updates)
        kept = (1 + n) / (10 + n) if n else 0.0
        expected = kept * expected + (1 - kept) * float(params["w"])
    assert optimizers.ema_params(state)["w"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "tx",
    [
        optimizers.accumulate(optimizers.ema(optimizers.adamw(1e-2), 0.9), steps=3),
        optimizers.ema(optimizers.accumulate(optimizers.sgd(0.1, momentum=0.9), steps=2), 0.5),
        optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.accumulate(optimizers.lion(1e-2), steps=2)),
    ],
)
def test_captured_steps_have_the_same_bits(tx):
    given = batches(7)
    assert trees.digest(trained(tx, given, captured=True)) == trees.digest(trained(tx, given))


def test_both_trace_under_vmap_and_make_fx():
    tx = optimizers.accumulate(optimizers.ema(optimizers.adam(1e-2), 0.9), steps=2)
    params = {"w": torch.randn(3, 4, generator=torch.Generator().manual_seed(0))}

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optimizers.apply_updates(params, updates), state

    states = [tx.init({"w": row}) for row in params["w"]]
    state = trees.map(lambda *rows: torch.stack(rows), *states)
    graph = make_fx(lambda p, s, g: trees.leaves(torch.func.vmap(step)(p, s, g)))(params, state, params)
    moved = graph(params, state, params)
    alone = [step({"w": row}, each, {"w": row}) for row, each in zip(params["w"], states, strict=True)]
    for together, *rows in zip(moved, *map(trees.leaves, alone), strict=True):
        torch.testing.assert_close(together, torch.stack(rows))


def test_an_average_among_accumulated_steps_moves_with_the_parameters():
    given = batches(4)
    inside = trained(optimizers.accumulate(optimizers.ema(optimizers.sgd(0.1), 0.5), steps=2), given)
    outside = trained(optimizers.ema(optimizers.accumulate(optimizers.sgd(0.1), steps=2), 0.5), given)
    assert int(inside.opt_state.inner.count) == 2
    assert int(outside.opt_state.count) == 4
    assert trees.digest(inside.params) == trees.digest(outside.params)


def program(evaluate="ema", **options):
    (data,) = batches(1, size=40)
    loader = fa.DataLoader(fa.ResidentDataset(data), batch_size=8, shuffle=True)
    return fa.Program(
        model=fa.functional(network(), inputs=lambda batch: batch["x"]),
        optimizer=optimizers.accumulate(optimizers.ema(optimizers.sgd(0.5), 0.8), steps=2),
        loss=loss,
        train_loader=loader,
        stopper=fa.EpochBoundStopper(4),
        tracker=fa.ScoreTracker("VAL_LOSS", mode="min"),
        loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        evaluate=evaluate,
        **options,
    )


def test_a_program_validates_tracks_and_returns_the_average():
    result = fa.fit(program(), progress=False)
    plain = fa.fit(program("latest"), progress=False)
    assert trees.digest(result.state.params) == trees.digest(plain.state.params)
    average = optimizers.ema_params(result.state.opt_state)
    assert trees.digest(dict(result.latest_model.named_parameters())) == trees.digest(average)
    found = fa.evaluate(result.program, with_params(result.state, average)).scores
    assert found["VAL_LOSS"] == result.scores["VAL_LOSS"].iloc[-1]
    assert list(result.scores["VAL_LOSS"]) != list(plain.scores["VAL_LOSS"])
    best = fa.evaluate(result.program, result.best.model).scores["VAL_LOSS"]
    assert best == result.scores["VAL_LOSS"].min()


def with_params(state, params):
    return fa.Variables(params, state.frozen, state.buffers)


def test_an_interrupted_accumulation_resumes(tmp_path):
    tx = optimizers.accumulate(optimizers.ema(optimizers.adam(1e-2), 0.9), steps=4)
    given = batches(9)
    whole, half = trained(tx, given), trained(tx, given[:6])  # in the middle of a mean
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, half)
    _, state = checkpoints.latest(trained(tx, []), free=(".scores",))
    step = fa.train_step(fa.functional(network(), inputs=lambda batch: batch["x"]), tx, loss)
    for batch in given[6:]:
        state, _ = step(state, batch)
    assert trees.digest(state) == trees.digest(whole)


def test_what_cannot_work_is_refused():
    with pytest.raises(
        OptimizerError, match=r"accumulate: steps is out of range\n  expected: an integer >= 1\n  got: 0"
    ):
        optimizers.accumulate(optimizers.sgd(0.1), steps=0)
    with pytest.raises(OptimizerError, match="ema: decay is out of range"):
        optimizers.ema(optimizers.sgd(0.1), 1.0)
    with pytest.raises(OptimizerError, match=r"is not the state of one average\n  expected: exactly one.*\n  got: 0"):
        optimizers.ema_params(optimizers.sgd(0.1).init({"w": torch.ones(1)}))
    with pytest.raises(OptimizerError, match="is not the state of one average"):
        attrs.evolve(program(), optimizer=optimizers.sgd(0.1))
    with pytest.raises(ConfigurationError, match=r"Program.evaluate: is unknown"):
        program("mean")


def test_an_optimizer_that_runs_as_it_is_cannot_be_held():
    net = network()
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    tx = optimizers.accumulate(optimizers.from_torch(torch.optim.Adafactor(net.parameters())), steps=2)
    with pytest.raises(OptimizerError, match="accumulate: cannot be held between steps"):
        fa.train_step(model, tx, loss)(fa.init(model, tx), batches(1)[0])
