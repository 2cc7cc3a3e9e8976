"""Strategies for all that a test of a run needs: `from functorch_artifact.testing import strategies as fas`.

Belongs here: their names. Does not: code.
Floor 10.

Names are plural, bounds are keywords, as in `hypothesis.extra.numpy`. Tensors are small, dense and
on the CPU unless asked otherwise.

| draws | with |
|---|---|
| tensors, arrays | `tensors`, `arrays`, `params` |
| batches of a contract | `batches` |
| what epochs report | `score_histories` |
| configurations | `schedules`, `optimizers`, `stoppers`, `folds`, `loaders`, `models`, `programs` |
| states of a run | `train_states` |
"""

from functorch_artifact.testing.configurations import (
    folds,
    loaders,
    models,
    optimizers,
    programs,
    schedules,
    stoppers,
    train_states,
)
from functorch_artifact.testing.values import arrays, batches, numbers, params, score_histories, tensors

__all__ = [
    "arrays",
    "batches",
    "folds",
    "loaders",
    "models",
    "numbers",
    "optimizers",
    "params",
    "programs",
    "schedules",
    "score_histories",
    "stoppers",
    "tensors",
    "train_states",
]
