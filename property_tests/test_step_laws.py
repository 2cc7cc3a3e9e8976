"""The laws of steps, over drawn modules, optimizers and batches."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.testing import laws
from functorch_artifact.testing import strategies as fas

LAYERS = {
    "linear": lambda: nn.Linear(3, 3),
    "norm": lambda: nn.BatchNorm1d(3),
    "dropout": lambda: nn.Dropout(0.3),
    "in place": lambda: nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)),
    "frozen": lambda: nn.Linear(3, 3).requires_grad_(False),
}
TRANSFORMATIONS = {
    "sgd": lambda net: optimizers.sgd(0.1, momentum=0.9),
    "adamw": lambda net: optimizers.adamw(0.01),
    "chain": lambda net: optimizers.chain(optimizers.clip_by_global_norm(0.5), optimizers.lion(0.01)),
    "schedule": lambda net: optimizers.adam(optimizers.schedules.step(0.1, step_size=1, per="step")),
    "lifted": lambda net: optimizers.from_torch(torch.optim.RMSprop(net.parameters(), lr=0.01)),
    "opaque": lambda net: optimizers.from_torch(Own(net.parameters(), lr=0.01)),
}


class Own(torch.optim.Adam):
    """A class that is run as it is."""


@st.composite
def steps(draw):
    """Draw a step, its first state, and a function from a count to that many batches."""
    torch.manual_seed(draw(st.integers(0, 99)))
    names = draw(st.lists(st.sampled_from(sorted(LAYERS)), max_size=4))
    net = nn.Sequential(nn.Linear(3, 3), *(LAYERS[name]() for name in names), nn.Linear(3, 1))
    tx = TRANSFORMATIONS[draw(st.sampled_from(sorted(TRANSFORMATIONS)))](net)
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    step = fa.train_step(model, tx, loss=lambda out, batch: (out.sum(1) - batch["y"]).square().mean())
    state = fa.init(model, tx, seed=draw(st.integers(-(2**63), 2**63 - 1)))
    return step, state, lambda n: [{"x": torch.randn(5, 3), "y": torch.randn(5)} for _ in range(n)]


def run(step, state, batches):
    for batch in batches:
        state, _ = step(state, batch)
    return state


def member(layers, transformation, **options):
    """Make the laws of a step over some layers, which begin after one step: what is opaque then has its state."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), *(LAYERS[name]() for name in layers), nn.Linear(3, 1))
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    tx = TRANSFORMATIONS[transformation](net)
    step = fa.train_step(model, tx, loss=lambda out, batch: out.square().mean(), **options)
    state, _ = step(fa.init(model, tx, seed=7), {"x": torch.ones(3, 3)})
    sizes = st.integers(2, 4).map(lambda n: (n, 3))
    return laws(step, state=state, batches=st.fixed_dictionaries({"x": fas.tensors(shapes=sizes)}))


LAWS = [
    pytest.param(law, id=f"{name}-{law.__name__}")
    for name, each in {
        "norm": member(["norm"], "adamw"),
        "dropout": member(["dropout", "in place"], "chain", nonfinite="skip"),
        "frozen": member(["frozen"], "schedule", nonfinite="stop"),
        "lifted": member(["norm", "dropout"], "lifted"),
    }.items()
    for law in each
]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law):
    law()


@settings(max_examples=25)
@given(drawn=steps(), elsewhere=st.integers(0, 99))
def test_a_run_does_not_depend_on_the_global_generator_or_on_other_runs(drawn, elsewhere):
    step, state, make = drawn
    batches = make(3)
    alone = trees.digest(run(step, state, batches))
    other = state
    mixed = state
    for batch in batches:
        torch.manual_seed(elsewhere)
        torch.randn(elsewhere)
        other, _ = step(other, {"x": batch["x"] + 1, "y": batch["y"]})
        mixed, _ = step(mixed, batch)
    assert trees.digest(mixed) == alone


@settings(max_examples=25)
@given(drawn=steps(), cut=st.integers(0, 3))
def test_a_state_that_went_through_a_copy_goes_on_the_same(drawn, cut):
    step, state, make = drawn
    batches = make(3)
    whole = trees.digest(run(step, state, batches))
    half = trees.snapshot(run(step, state, batches[:cut]))
    assert trees.digest(run(step, half, batches[cut:])) == whole


@settings(max_examples=25)
@given(drawn=steps())
def test_a_loss_that_is_not_finite_changes_only_the_counts_when_skipped(drawn):
    step, state, make = drawn
    held = fa.train_step(step.model, step.tx, step.loss, nonfinite="skip")
    good, bad = make(2)
    state, _ = step(state, good)  # what an opaque optimizer remembers appears at its first step
    assume(all(isinstance(leaf, torch.Tensor) for leaf in trees.leaves(state.opt_state)))
    after, _ = held(state, {**bad, "y": torch.full((5,), torch.nan)})
    for field in ("params", "frozen", "buffers", "opt_state"):
        assert trees.digest(getattr(after, field)) == trees.digest(getattr(state, field))
    assert int(after.step) == int(state.step) + 1
