"""Modules taken apart and put together again."""

import copy

import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import trees
from functorch_artifact.errors import BatchError, ConfigurationError


class Tied(nn.Module):
    """An auto-encoder whose decoder is its encoder's weight."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(4, 4, bias=False)
        self.decode = nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x).relu())


class Counting(nn.Module):
    """Replaces a buffer instead of writing into it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return x * self.weight


def test_apply_agrees_with_the_module_and_writes_nothing():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model, x = fa.functional(net), torch.randn(5, 3)
    before = trees.digest(model.variables)
    output, buffers = model.apply(model.variables, x, train=True)
    assert trees.digest(model.variables) == before
    assert torch.equal(output, net(x))  # the module's own call updates its buffers in place
    assert all(torch.equal(buffers[name], buffer) for name, buffer in net.named_buffers())


def test_eval_mode_is_eval_mode_whatever_the_modules_own():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    model, x = fa.functional(net), torch.randn(5, 3)
    output, _ = model.apply(model.variables, x, train=False)
    assert torch.equal(output, net.eval()(x))
    net.train()
    assert not torch.equal(model.apply(model.variables, x, train=True)[0], output)


def test_a_submodule_put_to_eval_stays_there_in_training():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).train()
    net[0].eval()
    model = fa.functional(net)
    _, buffers = model.apply(model.variables, torch.randn(8, 3), train=True)
    assert torch.equal(buffers["0.running_mean"], torch.zeros(3))


def test_a_module_in_eval_mode_trains_in_training_mode():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).eval()
    model = fa.functional(net)
    _, buffers = model.apply(model.variables, torch.randn(8, 3) + 5, train=True)
    assert not torch.equal(buffers["0.running_mean"], torch.zeros(3))
    assert not net.training


def test_frozen_parameters_stand_apart():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    variables = fa.functional(net).variables
    assert (list(variables.params), list(variables.frozen)) == (["weight"], ["bias"])


def test_tied_weights_are_one_variable_and_stay_tied_when_bound():
    net = Tied()
    model = fa.functional(net)
    assert list(model.variables.params) == ["encode.weight"]
    x = torch.randn(2, 4)
    changed = trees.map(lambda t: t + 1, model.variables)
    output, _ = model.apply(changed, x, train=False)
    bound = model.bind(changed)
    assert bound.decode.weight is bound.encode.weight
    assert torch.equal(bound(x), output)
    assert not torch.equal(net(x), output)


def test_bind_copies():
    model = fa.functional(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    bound = model.bind(model.variables)
    assert not bound.training
    before = trees.digest(model.variables)
    with torch.no_grad():
        for tensor in (*bound.parameters(), *bound.buffers()):
            tensor.add_(1)
    assert trees.digest(model.variables) == before


def test_a_bound_module_keeps_what_is_frozen():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    model = fa.functional(net)
    assert [p.requires_grad for p in model.bind(model.variables).parameters()] == [True, False]


def test_buffers_that_are_replaced_are_found():
    model = fa.functional(Counting())
    _, buffers = model.apply(model.variables, torch.ones(2), train=True)
    assert (buffers["calls"].item(), model.variables.buffers["calls"].item()) == (1.0, 0.0)


def test_the_user_goes_on_using_the_module():
    net = nn.Linear(2, 1)
    model = fa.functional(net)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model.apply(trees.map(torch.zeros_like, model.variables), torch.ones(1, 2), train=True)
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in state.items())


def test_inputs_choose_what_forward_takes():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    model = fa.functional(attention, inputs=lambda batch: (batch["q"], batch["k"], batch["k"]))
    batch = {"q": torch.randn(2, 3, 4), "k": torch.randn(2, 5, 4)}
    output, _ = model.apply(model.variables, batch, train=False)
    expected = attention.eval()(batch["q"], batch["k"], batch["k"])
    torch.testing.assert_close(output[0], expected[0])


def test_a_parametrised_module_works():
    net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    model, x = fa.functional(net), torch.randn(4, 3)
    assert torch.equal(model.apply(model.variables, x, train=True)[0], net(x))
    assert torch.equal(model.bind(model.variables)(x), net(x))


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)),
        (nn.GRU(3, 4, 2, batch_first=True, bidirectional=True), torch.randn(2, 5, 3)),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 2), torch.randn(2, 3, 4)),
        (nn.EmbeddingBag(10, 3), torch.randint(0, 10, (4, 5))),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)), torch.randn(3, 1, 6, 6)),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)), torch.randn(4, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_torchs_own_modules_compute_with_the_variables_they_are_given(module, x):
    model = fa.functional(module)
    changed = trees.map(lambda t: t * 0.5 if t.is_floating_point() else t, model.variables)
    found, _ = model.apply(changed, x, train=False)
    expected, before = model.bind(changed)(x), copy.deepcopy(module).eval()(x)
    for a, b, c in zip(*map(trees.leaves, (found, expected, before)), strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, c)


class Needy(nn.Module):
    def forward(self, batch):
        return batch["features"]


def test_a_batch_without_a_key_is_named():
    model = fa.functional(Needy())
    with pytest.raises(
        BatchError,
        match=r"Needy.forward: asks the batch for the key 'features'.*\n"
        r"  expected: .*'features'\n  got: the keys \['x'\]",
    ):
        model.apply(model.variables, {"x": torch.ones(1)}, train=True)


@pytest.mark.parametrize("batch", [(torch.ones(1, 2), torch.ones(1)), {"x": torch.ones(1, 2)}])
def test_a_module_that_takes_no_whole_batch_is_explained(batch):
    model = fa.functional(nn.Linear(2, 1))
    text = (
        r"Linear.forward: fails on the whole batch as its one argument\n"
        r"  got: .*float32\[1, 2\].*; linear.*\n  do this: mend it, or say what it takes of a batch: functional\(mod"
    )
    with pytest.raises(BatchError, match=text):
        model.apply(model.variables, batch, train=True)


class Confused(nn.Module):
    def forward(self, batch):
        return {"inner": 1}["outer"]


def test_a_key_error_of_the_modules_own_is_its_own():
    model = fa.functional(Confused())
    with pytest.raises(KeyError, match="outer"):
        model.apply(model.variables, {"outer": torch.ones(1)}, train=True)


def test_a_lazy_module_must_run_once_first():
    with pytest.raises(
        ConfigurationError, match=r"parameter 'weight': is not initialised yet\n  do this: run the lazy"
    ):
        fa.functional(nn.LazyLinear(2))


class Uncopyable(nn.Module):
    def __init__(self):
        super().__init__()
        self.stream = (i for i in range(3))


def test_a_module_that_cannot_be_copied_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"Uncopyable: cannot be copied\n  expected: a module that copy.deepcopy"
    ):
        fa.functional(Uncopyable())
