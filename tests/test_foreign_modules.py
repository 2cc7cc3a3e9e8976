"""Modules that nobody here wrote: each runs in each mode, or says which construct does not and which mode does."""

import warnings

import attrs
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees
from functorch_artifact.compiling import CompileWarning


class Pooled(nn.Module):
    """Average what a module gives over all but the batch."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        out = self.module(x)
        return {"loss": (out[0] if isinstance(out, tuple) else out).square().mean()}


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x).tanh()) - x


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(5, 8, dtype=torch.complex64))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x.flatten(1)[:, :8])[:, :, None] * self.mix, dim=1)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else -self.linear(x)


def convolutional():
    return nn.Sequential(
        nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Conv1d(8, 4, 3), nn.InstanceNorm1d(4)
    )


MODULES = {
    "LSTM": lambda: nn.LSTM(8, 6, batch_first=True),
    "TransformerEncoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.1, batch_first=True), 1
    ),
    "MultiheadAttention": Attending,
    "BatchNorm": convolutional,
    "EmbeddingBag": lambda: nn.EmbeddingBag(10, 4, mode="mean"),
    "tied weights": Tied,
    "parametrization": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)),
    "complex parameters": Complex,
    "in-place activations": lambda: nn.Sequential(
        nn.Linear(8, 8), nn.ELU(inplace=True), nn.Linear(8, 8), nn.Hardtanh(inplace=True)
    ),
    "data-dependent control flow": Branching,
}
# What a mode does not do, the construct that its warning names, and the mode that the step runs in.
REFUSED = {
    ("data-dependent control flow", "captured"): ("data-dependent expression.*in forward", "eager"),
    ("data-dependent control flow", "compiled"): ("data-dependent expression.*in forward", "eager"),
}


@pytest.mark.parametrize("mode", ["captured", "compiled"])
@pytest.mark.parametrize("name", MODULES)
def test_it_runs_or_says_what_does(name, mode):
    torch.manual_seed(0)
    net, tx = Pooled(MODULES[name]()).double(), optimizers.sgd(1e-2, momentum=0.9)
    batch = torch.randint(0, 10, (3, 4)) if name == "EmbeddingBag" else torch.randn(3, 4, 8, dtype=torch.float64)
    step = fa.train_step(net, tx)
    fast = fa.compile(step, mode, donate=True)
    start = fa.init(net, tx, seed=1)
    before = trees.digest(start)
    eager, state = start, attrs.evolve(start)
    construct, runs = REFUSED.get((name, mode), (None, mode))
    with pytest.warns(CompileWarning, match=construct) if construct else warnings.catch_warnings():
        for _ in range(3):
            eager, expected = step(eager, batch)
            state, output = fast(state, batch)
    assert [build.mode for build in fa.explain(fast).builds] == [runs]
    assert trees.digest(start) == before
    if runs == "compiled":
        for found, wanted in zip(trees.leaves((state, output)), trees.leaves((eager, expected)), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
    else:
        assert trees.digest((state, output)) == trees.digest((eager, expected))


def test_an_lstm_in_float32_agrees_to_rounding_only():
    """Eager torch runs it by a kernel of oneDNN's that it does not trace; in float64 it has none."""
    torch.manual_seed(0)
    net, tx = Pooled(nn.LSTM(8, 6, batch_first=True)), optimizers.sgd(1e-2)
    step, batch = fa.train_step(net, tx), torch.randn(3, 4, 8)
    start = fa.init(net, tx)
    (eager, _), (captured, _) = step(start, batch), fa.compile(step)(start, batch)
    torch.testing.assert_close(captured.params, eager.params, rtol=1e-4, atol=1e-6)
