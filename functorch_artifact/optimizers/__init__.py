"""Pure optimizers: transformations, learning rates, and `torch.optim` lifted to them.

Belongs here: the names of the family. Does not: code.
Floor 2.

| to | use |
|---|---|
| choose an optimizer | `sgd`, `adam`, `adamw`, `rmsprop`, `adagrad`, `lion` |
| keep the one you have | `from_torch`, `from_torch_schedule` |
| change gradients or steps | `chain` with `clip_by_global_norm`, `clip_by_value`, `add_decayed_weights`, `scale` |
| step once in several batches, average the parameters | `accumulate`, `ema` |
| treat leaves differently | `partition`, `masked`, `freeze` |
| change the rate over time | `constant`, `step`, `piecewise`, `exponential`, `cosine`, `one_cycle`, `linear_warmup` |
| follow a score | `reduce_on_plateau` |
| change a rate in a state | `with_rates` |
| write your own | `GradientTransformation`, `Schedule`, `LearningRate` |
"""

from functorch_artifact.optimizers.algorithms import (
    adagrad,
    adam,
    adamw,
    lion,
    rmsprop,
    scale_by_learning_rate,
    sgd,
)
from functorch_artifact.optimizers.averaging import accumulate, ema, ema_params
from functorch_artifact.optimizers.lifted_schedules import from_torch_schedule
from functorch_artifact.optimizers.lifting import from_torch
from functorch_artifact.optimizers.rule import with_rates
from functorch_artifact.optimizers.schedules import (
    LearningRate,
    Schedule,
    constant,
    cosine,
    exponential,
    linear_warmup,
    one_cycle,
    piecewise,
    reduce_on_plateau,
    step,
)
from functorch_artifact.optimizers.selection import add_decayed_weights, freeze, masked, partition
from functorch_artifact.optimizers.transformation import (
    Assigned,
    GradientTransformation,
    apply_updates,
    chain,
    clip_by_global_norm,
    clip_by_value,
    identity,
    scale,
)

__all__ = [
    "Assigned",
    "GradientTransformation",
    "LearningRate",
    "Schedule",
    "accumulate",
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "ema",
    "ema_params",
    "exponential",
    "freeze",
    "from_torch",
    "from_torch_schedule",
    "identity",
    "linear_warmup",
    "lion",
    "masked",
    "one_cycle",
    "partition",
    "piecewise",
    "reduce_on_plateau",
    "rmsprop",
    "scale",
    "scale_by_learning_rate",
    "sgd",
    "step",
    "with_rates",
]
