"""Captured steps: the bits of the eager ones, for every kind of model, and a fall-back that says why."""

import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.compiling import CompileWarning
from functorch_artifact.errors import ConfigurationError, LossError

TRANSFORMATIONS = {
    "adam": lambda net: optimizers.adam(1e-2),
    "clipped, scheduled": lambda net: optimizers.chain(
        optimizers.clip_by_global_norm(0.5),
        optimizers.adamw(optimizers.schedules.cosine(0.1, total=20, per="step")),
    ),
    "lifted groups": lambda net: optimizers.from_torch(
        torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.1}, {"params": net[1:].parameters()}], momentum=0.9)
    ),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 2, bias=False)
    )


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"])


def batches(n, size=16):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(size, 3, generator=generator) for _ in range(n)]
    return [{"x": each, "y": (each.sum(1) > 0).long()} for each in x]


def steps(tx="adam", **options):
    net = network()
    net[4].weight.requires_grad_(tx != "frozen")
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    made = TRANSFORMATIONS.get(tx, TRANSFORMATIONS["adam"])(net)
    step = fa.train_step(model, made, loss, **options)
    return step, fa.compile(step), fa.init(model, made, seed=5)


@pytest.mark.parametrize("tx", [*TRANSFORMATIONS, "frozen"])
def test_captured_steps_have_the_bits_of_eager_ones(tx):
    step, fast, start = steps(tx)
    eager = captured = start
    for batch in batches(20) + batches(1, size=5):  # a smaller last batch is a second signature
        eager, expected = step(eager, batch)
        captured, output = fast(captured, batch)
        assert trees.digest(output) == trees.digest(expected)
    assert trees.digest(captured) == trees.digest(eager)
    assert len(fast._graphs) == 2


def test_a_captured_step_changes_neither_its_arguments_nor_the_global_generator():
    _, fast, state = steps()
    (batch,) = batches(1)
    before, generator = trees.digest((state, batch)), torch.get_rng_state()
    first = trees.digest(fast(state, batch))
    assert trees.digest(fast(state, batch)) == first
    assert trees.digest((state, batch)) == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_state_whose_scores_grew_is_no_new_signature():
    _, fast, state = steps()
    (batch,) = batches(1)
    state, _ = fast(state, batch)
    fast(fa.advance(state, {"VAL_LOSS": 1.0}), batch)
    assert len(fast._graphs) == 1


def test_a_loss_that_is_not_finite_raises_as_it_does_eagerly():
    _, fast, state = steps()
    (batch,) = batches(1)
    state, _ = fast(state, batch)
    with pytest.raises(LossError, match=r"step 2 \(epoch 1, batch 2\): the loss is nan"):
        fast(state, batch | {"x": batch["x"] * torch.nan})


def test_a_loss_that_is_not_finite_is_skipped_as_it_is_eagerly():
    step, fast, state = steps(nonfinite="skip")
    (batch,) = batches(1)
    bad = batch | {"x": batch["x"] * torch.nan}
    assert trees.digest(fast(state, bad)) == trees.digest(step(state, bad))


class Branching(nn.Module):
    """Decides by a value."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, batch):
        out = self.linear(batch)
        return {"loss": out.square().mean() if out.sum() > 0 else out.abs().mean()}


def test_a_step_that_reads_values_on_the_host_runs_as_it_is_and_says_so():
    net, tx = Branching(), optimizers.sgd(0.1)
    step = fa.train_step(net, tx)
    fast, state = fa.compile(step), fa.init(net, tx)
    with pytest.warns(
        CompileWarning, match="the step is not captured and runs as it is: .*data-dependent|tracing tensor"
    ):
        found = fast(state, torch.ones(2, 3))
    assert trees.digest(found) == trees.digest(step(state, torch.ones(2, 3)))
    for sign in (1, -1):  # no second warning, and both branches
        batch = sign * torch.ones(2, 3)
        assert trees.digest(fast(state, batch)) == trees.digest(step(state, batch))


def test_a_schedule_that_is_read_on_the_host_is_not_captured():
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = optimizers.from_torch_schedule(torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), per="step")
    tx = optimizers.from_torch(optimizer, schedule)
    step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
    fast, eager = fa.compile(step), fa.init(net, tx)
    captured = eager
    with pytest.warns(CompileWarning, match="not captured"):
        captured, _ = fast(captured, torch.ones(2, 3))
    eager, _ = step(eager, torch.ones(2, 3))
    for _ in range(3):
        captured, _ = fast(captured, torch.ones(2, 3))
        eager, _ = step(eager, torch.ones(2, 3))
    assert trees.digest(captured) == trees.digest(eager)


def test_a_batch_with_more_than_tensors_is_not_captured():
    step, fast, state = steps()
    (batch,) = batches(1)
    with pytest.warns(CompileWarning, match="it has arguments that are not tensors"):
        found = fast(state, batch | {"name": "first"})
    assert trees.digest(found) == trees.digest(step(state, batch))


def test_a_step_that_is_at_fault_says_so_as_it_does_eagerly():
    _, fast, state = steps()
    (batch,) = batches(1)
    with pytest.raises(KeyError, match="y"):
        fast(state, {"x": batch["x"]})


def test_modes():
    step, _, _ = steps()
    assert fa.compile(step, mode="eager") is step
    with pytest.raises(
        ConfigurationError, match=r"mode: is unknown\n  expected: 'eager' or 'captured'\n  got: 'turbo'"
    ):
        fa.compile(step, mode="turbo")


def test_a_captured_program_is_the_eager_run():
    def program(mode):
        loader = fa.DataLoader(fa.ResidentDataset(batches(1, size=50)[0]), batch_size=16, shuffle=True)
        return fa.Program(
            model=fa.functional(network(), inputs=lambda batch: batch["x"]),
            optimizer=optimizers.adam(optimizers.schedules.step(0.1, step_size=1, per="epoch")),
            loss=loss,
            train_loader=loader,
            stopper=fa.EpochBoundStopper(3),
            loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
            mode=mode,
        )

    eager, captured = (fa.fit(program(mode), progress=False).state for mode in ("eager", "captured"))
    assert trees.digest(captured) == trees.digest(eager)
