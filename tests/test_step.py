"""Steps against hand-written eager PyTorch, and everything a step promises."""

import copy
from typing import NamedTuple

import attrs
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import errors, keys, optimizers, trees
from functorch_artifact.errors import BatchError, ConfigurationError, LossError, OptimizerError
from functorch_artifact.model_tracking import ScoreTracker
from functorch_artifact.stoppers import EpochBoundStopper, Stop, StopperUpdateData

N_STEPS = 200


def batches(n=N_STEPS, width=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(n):
        x = torch.randn(16, width, generator=generator)
        yield {"x": x, "y": x.sum(1, keepdim=True) + 0.1 * torch.randn(16, 1, generator=generator)}


class Net(nn.Module):
    """BatchNorm, dropout, a frozen parameter and an unused buffer; its output is a dict."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
        self.offset = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_buffer("unused", torch.arange(3))

    def forward(self, batch):
        prediction = self.body(batch["x"]) + self.offset
        return {"loss": (prediction - batch["y"]).square().mean(), "prediction": prediction}


def net():
    torch.manual_seed(0)
    return Net()


def eager_loop(module, optimizer, seed=0):
    """What a user writes by hand, with this library's keys for the dropout."""
    losses = []
    for index, batch in enumerate(batches()):
        with keys.seeded(keys.derive(seed, "step", index)):
            loss = module(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def run(step, state, data=None):
    losses = []
    for batch in data or batches():
        state, output = step(state, batch)
        losses.append(output["loss"].item())
    return state, losses


@pytest.mark.parametrize("lifted", [False, True], ids=["adam", "from_torch(Adam)"])
def test_training_agrees_bitwise_with_the_hand_written_loop(lifted):
    reference = net()
    expected_losses = eager_loop(reference, torch.optim.Adam(reference.parameters(), lr=1e-2))
    module = net()
    tx = optimizers.from_torch(torch.optim.Adam(module.parameters(), lr=1e-2)) if lifted else optimizers.adam(1e-2)
    state, losses = run(fa.train_step(module, tx), fa.init(module, tx, seed=0))
    assert losses == expected_losses
    found = fa.functional(module).bind(state.variables).state_dict()
    expected = reference.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert expected["body.1.num_batches_tracked"] == N_STEPS


def test_a_step_changes_neither_its_arguments_nor_the_module_nor_the_global_generator():
    module, tx = net(), optimizers.adam(1e-2)
    step, state, batch = fa.train_step(module, tx), fa.init(module, tx), next(batches())
    before = trees.digest((state, batch, dict(module.state_dict())))
    generator = torch.get_rng_state()
    first, second = step(state, batch), step(state, batch)
    assert trees.digest((state, batch, dict(module.state_dict()))) == before
    assert torch.equal(torch.get_rng_state(), generator)
    assert trees.digest(first) == trees.digest(second)


def test_randomness_is_a_function_of_seed_and_step_alone():
    module, tx = net(), optimizers.sgd(0.0)
    step, batch = fa.train_step(module, tx), next(batches())
    state = fa.init(module, tx, seed=3)
    torch.manual_seed(123)
    _, losses = run(step, state, [batch] * 4)
    torch.manual_seed(456)
    _, again = run(step, fa.init(module, tx, seed=3), [batch] * 4)
    assert losses == again
    assert len(set(losses)) == 4  # another step, another mask
    _, other = run(step, fa.init(module, tx, seed=4), [batch] * 4)
    assert losses != other


def test_the_state_is_immutable():
    state = fa.init(net(), optimizers.sgd(0.1))
    with pytest.raises(AttributeError):
        state.step = torch.tensor(3)


def test_the_state_says_what_it_is_in_a_line():
    state = fa.init(net(), optimizers.sgd(0.1))
    assert repr(state) == "TrainState(epoch 0, step 0, 65 parameters in 6 tensors)"


def test_frozen_parameters_stay_and_all_counters_count():
    module, tx = net(), optimizers.adam(1e-2)
    start = fa.init(module, tx)
    state, _ = run(fa.train_step(module, tx), start, list(batches(3)))
    assert torch.equal(state.frozen["offset"], start.frozen["offset"])
    assert (int(state.step), int(state.batch), int(state.epoch)) == (3, 3, 0)
    assert torch.equal(state.buffers["unused"], torch.arange(3))


class Pair(NamedTuple):
    prediction: torch.Tensor
    extra: torch.Tensor


class Outputs(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.linear, self.kind = nn.Linear(2, 1), kind

    def forward(self, batch):
        y = self.linear(batch)
        return {"tensor": y, "tuple": (y, y), "named": Pair(y, y), "dict": {"y": y}}[self.kind]


@pytest.mark.parametrize(
    ("kind", "loss", "at"),
    [
        ("tensor", lambda out, batch: out.mean(), lambda output: output["output"]),
        ("tuple", lambda out, batch: out[0].mean(), lambda output: output["output"][1]),
        ("named", lambda out, batch: out.prediction.mean(), lambda output: output["output"].extra),
        ("dict", lambda out, batch: out["y"].mean(), lambda output: output["y"]),
    ],
)
def test_any_output_trains_with_a_loss_function(kind, loss, at):
    module, tx = Outputs(kind), optimizers.sgd(0.1)
    batch = torch.ones(3, 2)
    state, output = fa.train_step(module, tx, loss)(fa.init(module, tx), batch)
    assert torch.equal(at(output), module.linear(batch).detach())
    assert not at(output).requires_grad
    assert not torch.equal(state.params["linear.weight"], module.linear.weight)


def test_a_ten_line_loop_is_a_complete_training_program():
    module = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    model, tx = fa.functional(module, inputs=lambda batch: batch["x"]), optimizers.adam(1e-2)
    step = fa.train_step(model, tx, loss=lambda out, batch: (out - batch["y"]).square().mean())
    state = fa.init(model, tx, seed=0)
    for batch in batches():
        state, output = step(state, batch)
    assert output["loss"] < 0.3
    assert fa.eval_step(model)(state, batch)["output"].shape == (16, 1)


def test_evaluation_is_pure_repeatable_and_in_eval_mode():
    module, tx = net(), optimizers.sgd(0.1)
    state, batch = fa.init(module, tx), next(batches())
    before = trees.digest(state)
    evaluate = fa.eval_step(module)
    output = evaluate(state, batch)
    expected = copy.deepcopy(module).eval()(batch)
    assert torch.equal(output["prediction"], expected["prediction"].detach())
    assert not output["loss"].requires_grad
    assert trees.digest(state) == before
    assert trees.digest(evaluate(state.variables, batch)) == trees.digest(output)


class Sampling(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return {"loss": (self.scale * torch.randn(4)).square().mean()}


def test_a_model_that_samples_in_eval_mode_scores_the_same_each_time():
    state = fa.init(Sampling(), optimizers.sgd(0.1))
    evaluate = fa.eval_step(Sampling())
    assert evaluate(state, {})["loss"] == evaluate(state, {})["loss"]
    assert evaluate(state, {})["loss"] != fa.eval_step(Sampling(), seed=1)(state, {})["loss"]


def test_the_kernel_compiles_whole_and_vmaps_over_seeds_of_parameters():
    module = nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 1))
    model, tx = fa.functional(module, inputs=lambda batch: batch["x"]), optimizers.adam(1e-2)
    step = fa.train_step(model, tx, loss=lambda out, batch: (out - batch["y"]).square().mean())
    state, batch = fa.init(model, tx), next(batches())
    expected, _ = step(state, batch)
    compiled, _ = torch.compile(step.kernel, fullgraph=True, backend="eager")(state, batch)
    for got, want in zip(trees.leaves(compiled), trees.leaves(expected), strict=True):
        torch.testing.assert_close(got, want)
    members = trees.map(lambda leaf: torch.stack([leaf, leaf]), state)
    found, _ = torch.vmap(step.kernel, in_dims=(0, None))(members, batch)
    for got, want in zip(trees.leaves(found), trees.leaves(expected), strict=True):
        torch.testing.assert_close(got[1], want)


class Poisoned(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.linear = nn.Linear(2, 1)

    def forward(self, batch):
        return {"loss": self.linear(self.norm(batch)).mean() * batch[0, 0]}


GOOD, BAD = torch.randn(4, 2), torch.full((4, 2), float("nan"))


def test_a_loss_that_is_not_finite_raises_with_its_place():
    module, tx = Poisoned(), optimizers.sgd(0.1)
    step, state = fa.train_step(module, tx), fa.init(module, tx)
    state, _ = step(state, GOOD)
    with pytest.raises(
        LossError, match=r"step 2 \(epoch 1, batch 2\): the loss is nan\n  expected: a finite number\n  do this: lower"
    ):
        step(state, BAD)


@pytest.mark.parametrize("policy", ["skip", "stop"])
def test_a_skipped_batch_leaves_everything_but_the_count(policy):
    module, tx = Poisoned(), optimizers.adam(0.1)
    step = fa.train_step(module, tx, nonfinite=policy)
    state, _ = step(fa.init(module, tx), GOOD)
    after, _ = step(state, BAD)
    for field in ("params", "buffers", "opt_state"):
        assert trees.digest(getattr(after, field)) == trees.digest(getattr(state, field))
    assert int(after.step) == 2
    onward, _ = step(after, GOOD)
    assert trees.digest(onward.params) != trees.digest(after.params)


class Growing(torch.optim.Adam):
    """A class of the user's own, whose state appears at the first step."""


def test_an_optimizer_that_cannot_be_held_back_is_refused():
    module = Poisoned()
    tx = optimizers.from_torch(Growing(module.parameters()))
    with pytest.raises(
        OptimizerError,
        match=r"the optimizer: cannot be held back at a loss that is not finite\n"
        r"  expected: a state of tensors whose structure stays\n  do this: pass nonfinite='raise'",
    ):
        fa.train_step(module, tx, nonfinite="skip")(fa.init(module, tx), GOOD)
    state, _ = fa.train_step(module, tx)(fa.init(module, tx), GOOD)
    assert int(state.step) == 1


class Fixed(nn.Module):
    """Returns what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.weight, self.make = nn.Parameter(torch.ones(2)), output

    def forward(self, batch):
        return self.make(self.weight)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (
            lambda w: {"y": w},
            r"the model's output: there is no loss\n  expected: a dict with the key 'loss', or a loss function\n"
            r"  got: a dict with the keys \['y'\]\n  do this: return",
        ),
        (lambda w: w, r"there is no loss\n.*\n  got: Tensor"),
        (
            lambda w: {"loss": w},
            r"the loss: is not a scalar\n  expected: a floating-point tensor of shape \[\]\n  got: float32\[2\]",
        ),
        (lambda w: {"loss": 1.0}, r"is not a scalar\n.*\n  got: float 1.0"),
        (lambda w: {"loss": torch.tensor(1)}, r"is not a scalar\n.*\n  got: int64\[\]"),
        (
            lambda w: {"loss": w.detach().sum()},
            r"the loss: does not depend on any trainable parameter\n  do this: check",
        ),
    ],
)
def test_a_wrong_loss_is_explained(output, text):
    module, tx = Fixed(output), optimizers.sgd(0.1)
    with pytest.raises(LossError, match=text):
        fa.train_step(module, tx)(fa.init(module, tx), {})


def test_a_batch_without_a_key_is_explained():
    module, tx = net(), optimizers.sgd(0.1)
    with pytest.raises(BatchError, match=r"Net.forward: asks the batch for the key 'y'"):
        fa.train_step(module, tx)(fa.init(module, tx), {"x": torch.ones(2, 4)})


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ConfigurationError, match=r"the model: has no trainable parameter\n  got: 0 frozen ones"):
        fa.init(nn.ReLU(), optimizers.sgd(0.1))


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(ConfigurationError, match=r"seed: is out of range\n  expected: a signed 64-bit integer"):
        fa.init(net(), optimizers.sgd(0.1), seed=2**64)


def test_advance_ends_an_epoch_purely():
    module, tx = net(), optimizers.adam(1e-2)
    stopper, tracker = EpochBoundStopper(2), ScoreTracker("VAL_LOSS", mode="min")
    parts = {
        "tx": tx,
        "tracker": tracker,
        "criterion": lambda state: tracker.criterion(state.scores.latest()),
        "stopper": stopper,
        "stopper_data": lambda state: StopperUpdateData(int(state.epoch), state.scores.latest()),
    }
    step, state = fa.train_step(module, tx), fa.init(module, tx, stopper=stopper, tracker=tracker)
    state, _ = run(step, state, list(batches(3)))
    before = trees.digest(state)
    first = fa.advance(state, {"VAL_LOSS": 1.0}, **parts)
    assert trees.digest(state) == before
    second = fa.advance(run(step, first, list(batches(3)))[0], {"VAL_LOSS": 2.0}, **parts)
    assert (int(second.epoch), int(second.batch), int(second.step)) == (2, 0, 6)
    assert second.scores.column("VAL_LOSS") == {1: 1.0, 2: 2.0}
    assert isinstance(stopper.verdict(second.stopper), Stop)
    best = tracker.best(second.tracker)
    assert int(best.epoch) == 1
    assert trees.digest(best.model) == trees.digest(state.variables)


def meta(tx):
    """A loss of the parameters after a step, as a function of those before it."""
    net = torch.nn.Linear(3, 1, dtype=torch.float64)
    step = fa.train_step(net, tx, loss=lambda output, batch: output.tanh().square().mean())
    state, batch = fa.init(net, tx), torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)

    def after(params):
        following, _ = step.kernel(attrs.evolve(state, params=params), batch)
        return following.params["weight"].square().sum()

    return after, state.params


@pytest.mark.parametrize(
    "tx", [optimizers.sgd(0.5), optimizers.chain(optimizers.clip_by_value(9.0), optimizers.adam(0.1))]
)
def test_the_kernel_of_a_step_can_be_differentiated(tx):
    after, params = meta(tx)
    found = torch.func.grad(after)(params)["weight"]
    for place in range(3):
        nudge = torch.zeros(1, 3, dtype=torch.float64)
        nudge[0, place] = 1e-6
        above, below = (after(params | {"weight": params["weight"] + sign * nudge}) for sign in (1, -1))
        assert float(found[0, place]) == pytest.approx(float(above - below) / 2e-6, rel=1e-5)


MISTAKES = {
    "the batch first": (
        lambda step, state, batch: step(batch, state),
        r"the state of a step: is not one\n  expected: a TrainState.*\n  got: dict\n  do this: call it as step\(sta",
    ),
    "under vmap": (
        lambda step, state, batch: torch.func.vmap(step, in_dims=(0, None))(trees.map(lambda t: t[None], state), batch),
        r"got: a state under torch.func\n  do this: transform step.kernel",
    ),
    "the state of another optimizer": (
        lambda step, state, batch: step(fa.init(step.model, optimizers.sgd(0.1)), batch),
        r"the state: is that of another optimizer\n  expected: what init\(model, tx\) makes for adam\(0.01",
    ),
    "the state of another model": (
        lambda step, state, batch: step(fa.init(torch.nn.Sequential(torch.nn.Linear(3, 1)), step.tx), batch),
        r"the variables given to Linear: are those of another model\n.*\n  got: none named \['bias', 'weight'\]",
    ),
    "a batch without what inputs takes": (
        lambda step, state, batch: step(state, {"y": batch["y"]}),
        r"inputs: asks the batch for the key 'x', which it does not have\n.*\n  got: the keys \['y'\]",
    ),
    "a batch without what the loss takes": (
        lambda step, state, batch: step(state, {"x": batch["x"]}),
        r"the loss function: asks the batch for the key 'y', which it does not have",
    ),
}


def stepping():
    model = fa.functional(torch.nn.Linear(3, 1), inputs=lambda batch: batch["x"])
    tx = optimizers.adam(0.01)
    step = fa.train_step(model, tx, lambda output, batch: (output - batch["y"]).square().mean())
    return step, fa.init(model, tx), {"x": torch.ones(4, 3), "y": torch.ones(4, 1)}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistaken_call_is_told_what_was_expected(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises(errors.FunctorchArtifactError, match=message):
        call(*stepping())


def test_an_error_of_torch_is_noted_with_the_batch_it_came_of():
    step, state, batch = stepping()
    with pytest.raises(RuntimeError, match="same dtype") as caught:
        step(state, batch | {"x": batch["x"].double()})
    assert caught.value.__notes__ == ["Linear.forward was given the batch {'x': float64[4, 3], 'y': float32[4, 1]}"]
    with pytest.raises(AttributeError) as caught:
        fa.train_step(step.model, step.tx, torch.nn.MSELoss())(state, batch)
    assert caught.value.__notes__[0].startswith(
        "the loss function was given the model's output float32[4, 1], and the b"
    )


@pytest.mark.parametrize(
    ("tx", "got"),
    [
        (torch.optim.SGD([torch.zeros(1)], 0.1), "SGD\n  do this: wrap a torch optimizer in optimizers.from_torch"),
        (optimizers.adam, r"the function adam\n  do this: call it: adam\(...\)"),
    ],
)
def test_what_is_no_optimizer_is_refused(tx, got):
    net = torch.nn.Linear(3, 1)
    for make in (lambda: fa.init(net, tx), lambda: fa.train_step(net, tx), lambda: optimizers.chain(tx)):
        with pytest.raises(ConfigurationError, match=f"is not a gradient transformation\n  got: {got}"):
            make()


@pytest.mark.parametrize(
    ("update", "problem"),
    [
        (lambda g: g, "the update of the optimizer \\(custom\\): does not return a pair"),
        (lambda g: (trees.map(lambda t: t.double(), g), ()), "would change its shape or dtype\n.*\n  got: float64"),
        (lambda g: (trees.map(lambda t: t.sum(), g), ()), r"would change its shape or dtype\n.*\n  got: float32\[\]"),
    ],
)
def test_an_optimizer_that_would_change_the_parameters_kind_is_refused(update, problem):
    step, state, batch = stepping()
    tx = optimizers.GradientTransformation(lambda params: (), lambda grads, state, params: update(grads))
    with pytest.raises(errors.OptimizerError, match=problem):
        attrs.evolve(step, tx=tx)(attrs.evolve(state, opt_state=()), batch)


def test_a_functional_model_can_be_given_other_inputs():
    model = fa.functional(torch.nn.Linear(3, 1))
    other = fa.functional(model, inputs=lambda batch: batch["x"])
    x = torch.ones(2, 3)
    assert torch.equal(
        other.apply(other.variables, {"x": x}, train=True)[0], model.apply(model.variables, x, train=True)[0]
    )
    assert fa.functional(model) is model
    assert repr(other) == "functional(Linear(...))"
