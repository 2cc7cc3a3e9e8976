"""What is measured: three models with a batch each, in torch, and two of them in JAX.

`workload(name)` gives a module, a batch and a loss; the peers in `peers.py` train exactly that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pandas as pd
import torch
from torch import Tensor, nn

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
NAMES = ("VAE b64", "VAE b512", "MLP b64", "transformer b16")
COLUMNWISE = "columnwise VAE b512"  # the VAE with a table and a head a column; measured by `gpu.py`


@attrs.frozen
class Workload:
    """A module, what it is trained on, and how a batch is judged."""

    name: str
    make: Callable[[], nn.Module]  # the same weights each time
    batch: dict[str, Tensor]
    loss: Callable[[nn.Module, dict[str, Tensor]], Tensor]


class Batched(nn.Module):
    """A module that takes the batch `x` and gives the cross-entropy to `y`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.net(batch["x"]), batch["y"])}


def mlp() -> nn.Module:
    """Make the tiny classifier 4-64-64-2."""
    torch.manual_seed(0)
    return Batched(nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)))


class Encoder(nn.Module):
    """Six layers of a transformer encoder over 32 tokens of width 64, four heads, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, dim_feedforward=128, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.layers(x).mean(dim=1))
        return scores


def transformer() -> nn.Module:
    """Make the transformer encoder."""
    torch.manual_seed(0)
    return Batched(Encoder())


def vae() -> nn.Module:
    """Make the demo's tabular VAE for the diamonds table: one embedding table, one head."""
    from tabular_vae_model import TabularVAE

    torch.manual_seed(0)
    return TabularVAE(_codec()[0])


class Tables(nn.Module):
    """An embedding table for each column, in place of one for all."""

    def __init__(self, embed: nn.Embedding, n: int) -> None:
        super().__init__()
        parts = embed.weight.detach().chunk(n)
        self.tables = nn.ModuleList(nn.Embedding.from_pretrained(part.clone(), freeze=False) for part in parts)

    def forward(self, codes: Tensor) -> Tensor:
        columns = [code % len(table.weight) for code, table in zip(codes.unbind(1), self.tables, strict=True)]
        return torch.stack([table(code) for code, table in zip(columns, self.tables, strict=True)], 1)


class Heads(nn.Module):
    """A linear head for each column, in place of one for all."""

    def __init__(self, head: nn.Linear, n: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(head.in_features, head.out_features // n) for _ in range(n))
        parts = zip(self.heads, head.weight.detach().chunk(n), head.bias.detach().chunk(n), strict=True)
        for own, weight, bias in parts:
            own.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self.heads], -1)


def columnwise_vae() -> nn.Module:
    """Make the same VAE, from the same weights, as it is usually written: a table and a head a column."""
    net: Any = vae()
    n = len(net.missing)
    net.embed, net.decoder[-1] = Tables(net.embed, n), Heads(net.decoder[-1], n)
    module: nn.Module = net
    return module


def workload(name: str) -> Workload:
    """Find a workload by its name."""
    kind, size = name.rsplit(" b", 1)
    n, torch_random = int(size), torch.Generator().manual_seed(0)
    loss = lambda net, batch: net(batch)["loss"]  # noqa: E731
    if kind in ("VAE", "columnwise VAE"):
        return Workload(name, vae if kind == "VAE" else columnwise_vae, {"codes": _codec()[1][:n]}, loss)
    shape, classes, make = ((n, 4), 2, mlp) if kind == "MLP" else ((n, 32, 64), 10, transformer)
    x = torch.randn(shape, generator=torch_random)
    return Workload(name, make, {"x": x, "y": torch.randint(0, classes, (n,), generator=torch_random)}, loss)


def _codec() -> tuple[Any, Tensor]:
    from tabular_vae_model import TableCodec

    table = pd.read_csv(EXAMPLES / "data" / "diamonds.csv.gz").iloc[:20_000]
    codec = TableCodec.fit(table)
    return codec, codec.encode(table)
