"""A variational autoencoder for tables, and the codes that it reads and writes.

Belongs here: `TableCodec` (a table as whole numbers and back) and `TabularVAE` (an ordinary torch
module that fulfils the contract of a table synthesizer). Does not: training it; that is
`tabular_vae.py`. Copy this file as the start of a model of your own.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from functorch_artifact.contracts import ModelInput, ModelOutput
from functorch_artifact.table_comparison import GenerationParams, TableSynthesizer


class VAEInput(ModelInput):
    """One batch of coded rows."""

    codes: Tensor  # int64 [B, C]: the bin of each cell


class VAEOutput(ModelOutput):
    """The negative evidence lower bound and its two parts, in nats a row."""

    reconstruction: Tensor  # float32 []
    kl: Tensor  # float32 []


@attrs.frozen(eq=False)
class _Column:
    """One column's training values in order, cut into bins."""

    values: np.ndarray[Any, Any]  # [N], sorted
    starts: np.ndarray[Any, Any]  # int64 [bins + 1]: bin b holds values[starts[b]:starts[b + 1]]

    @classmethod
    def fit(cls, column: pd.Series[Any], max_bins: int) -> _Column:
        values = np.sort(column.to_numpy())
        edges = np.unique(values)
        if len(edges) > max_bins:
            # Narrow bins in both tails: rare sizes must stay paired with rare prices.
            levels = (1 - np.cos(np.linspace(0, np.pi, max_bins + 1)[:-1])) / 2
            edges = np.unique(values[(levels * len(values)).astype(np.int64)])
        return cls(values, np.append(np.searchsorted(values, edges), len(values)))

    def encode(self, column: pd.Series[Any]) -> np.ndarray[Any, Any]:
        edges, cells = self.values[self.starts[:-1]], column.to_numpy()
        codes: np.ndarray[Any, Any] = np.searchsorted(edges, cells, side="right").clip(min=1) - 1
        if not pd.api.types.is_numeric_dtype(column) and (unseen := set(cells[edges[codes] != cells])):
            raise ValueError(f"column {column.name!r}: categories {sorted(unseen)} were not in the training table")
        return codes

    def decode(self, codes: np.ndarray[Any, Any], position: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        start, stop = self.starts[codes], self.starts[codes + 1]
        cells: np.ndarray[Any, Any] = self.values[start + (position * (stop - start)).astype(np.int64)]
        return cells


@attrs.frozen(eq=False)
class TableCodec:
    """Code every cell of a table as the bin of its column's training values that it falls into.

    A column of few distinct values, text or numbers, has a bin a value. Any other has bins of
    quantiles. Decoding draws from the empirical quantile function inside the bin, so it returns
    only values that the column can take, at the column's own precision and type.
    """

    columns: dict[str, _Column]

    @classmethod
    def fit(cls, table: pd.DataFrame, max_bins: int = 96) -> TableCodec:
        """Learn the bins of a training table without missing cells."""
        return cls({str(name): _Column.fit(table[name], max_bins) for name in table})

    @property
    def bins(self) -> list[int]:
        """Count the bins of each column."""
        return [len(column.starts) - 1 for column in self.columns.values()]

    def encode(self, table: pd.DataFrame) -> Tensor:
        """Code a table: int64 [rows, C]. A category that training never saw raises ValueError."""
        codes = [column.encode(table[name]) for name, column in self.columns.items()]
        return torch.from_numpy(np.stack(codes, axis=1))

    def decode(self, codes: Tensor, position: Tensor) -> pd.DataFrame:
        """Turn bins int64 [rows, C], and positions in them in [0, 1) of the same shape, into a table."""
        cells = zip(self.columns.items(), codes.T.numpy(), position.T.numpy(), strict=True)
        return pd.DataFrame({name: column.decode(code, at) for (name, column), code, at in cells})


class Residual(nn.Module):
    """Add a two-layer correction to what comes in: [..., width] to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.correction = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        corrected: Tensor = x + self.correction(x)
        return corrected


class TabularVAE(TableSynthesizer[VAEInput, VAEOutput, GenerationParams]):
    """Encode a row into a Gaussian latent and decode it into a distribution over bins a column.

    Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), with categorical likelihoods.
    """

    missing: Tensor
    offsets: Tensor

    def __init__(self, codec: TableCodec, *, latent: int = 6, hidden: int = 256) -> None:
        super().__init__()
        self.codec = codec
        self.latent = latent
        n_columns, width = len(codec.bins), max(codec.bins)
        bins, place = torch.tensor(codec.bins)[:, None], torch.arange(width)
        # Every column is padded to the widest. One table then embeds all cells in one gather, and
        # one head scores all bins in one product. A table and a head for each of ten columns give the
        # same numbers in twice the operations a step, 526 for 258: a tenth more time on a CPU, and
        # on a GPU each is a kernel to launch, which takes longer than the padding to compute.
        # Summed embeddings of width `hidden` are a linear layer over one-hot cells.
        self.register_buffer("missing", torch.zeros(n_columns, width).masked_fill(place >= bins, -torch.inf))
        self.register_buffer("offsets", torch.arange(n_columns) * width)
        self.embed = nn.Embedding(n_columns * width, hidden)
        # Bins start along a line in their order. From random places, training folds neighbouring
        # values onto distant latents, and latents in between then decode to rows that mix the two.
        line = (2 * place / (bins - 1).clamp(min=1) - 1)[..., None] * torch.randn(n_columns, 1, hidden)
        noise = 0.05 * torch.randn(n_columns, width, hidden)
        self.embed.weight.data = ((line + noise) * (3 / n_columns) ** 0.5).flatten(end_dim=1)
        self.encoder = nn.Sequential(Residual(hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden),
            Residual(hidden),
            Residual(hidden),
            nn.SiLU(),
            nn.Linear(hidden, n_columns * width),
        )

    def forward(self, batch: VAEInput) -> VAEOutput:
        """Compute the negative evidence lower bound of a batch, in nats a row."""
        codes = batch["codes"]
        mean, log_std = self.encoder(self.embed(codes + self.offsets).sum(dim=1)).chunk(2, dim=-1)
        noise = torch.randn_like(mean)
        log_probs = self._log_probs(mean + noise * log_std.exp())
        reconstruction = -log_probs.gather(-1, codes[..., None]).sum() / len(codes)
        kl = (0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std).sum() / len(codes)
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    def generate(self, generation_params: GenerationParams) -> pd.DataFrame:
        """Decode latents drawn from the prior into rows."""
        n_rows = generation_params.n_records
        with torch.no_grad():
            latent = torch.randn(n_rows, self.latent, device=self.offsets.device)
            probs = self._log_probs(latent).exp()
            codes = torch.multinomial(probs.flatten(end_dim=1), 1).view(probs.shape[:2]).cpu()
        return self.codec.decode(codes, torch.rand(codes.shape, dtype=torch.float64))

    def _log_probs(self, latent: Tensor) -> Tensor:
        scores: Tensor = self.decoder(latent).unflatten(-1, self.missing.shape) + self.missing
        return scores.log_softmax(dim=-1)  # [B, C, bins]
