"""Laws of the routines."""

from __future__ import annotations

import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, records
from functorch_artifact.testing import laws
from functorch_artifact.testing.law import BoundLaw

loader = fa.DataLoader(fa.ResidentDataset({"x": torch.zeros(4, 2)}), batch_size=2)
LARGEST = callbacks.score("LARGEST", folds.max(lambda batch: batch.output["loss"]), period=3)
BOTH = callbacks.score_collection(
    "BOTH", folds.product({"a": folds.min(lambda batch: batch.output["loss"]), "b": folds.count()}), period=2
)


class Norm(fa.ArtifactRoutine[torch.nn.Module]):
    score_names = ("NORM", "NOISE", "EACH/*")

    def artifacts(self, model, epoch):
        flat = torch.cat([parameter.flatten() for parameter in model.parameters()])
        yield "NORM", lambda: records.Score.of(flat.norm())
        yield "NOISE", lambda: records.Score.of(torch.randn(1))
        yield "EACH", lambda: records.ScoreCollection.of({"least": flat.min(), "most": flat.max()})


MEMBERS = {
    "batch": (fa.BatchRoutine([fa.BatchLossCallback(period=2), LARGEST]), {}),
    "validation": (fa.DataLoaderRoutine(loader, [fa.ValLossCallback(period=2), LARGEST, BOTH], split="VALIDATION"), {}),
    "no split": (fa.DataLoaderRoutine(loader, [fa.TrainLossCallback()]), {}),
    "artifacts": (Norm(split="VALIDATION"), {"model": torch.nn.Linear(2, 1).eval()}),
}
LAWS = [
    pytest.param(law, id=f"{name}-{law.__name__}")
    for name, (member, options) in MEMBERS.items()
    for law in laws(member, **options)
]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()
