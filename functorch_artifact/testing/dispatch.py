"""`laws`: the laws of any object, by what it is.

Belongs here: which family is whose. Does not: laws.
Floor 10.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from functorch_artifact.callbacks import Callback
from functorch_artifact.compiling import CompiledStep
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.folds import Fold
from functorch_artifact.model_tracking import ModelTracker
from functorch_artifact.optimizers import GradientTransformation, LearningRate
from functorch_artifact.program import Program
from functorch_artifact.routines import ArtifactRoutine, BatchRoutine, DataLoaderRoutine
from functorch_artifact.scores import ScoreCache
from functorch_artifact.step import TrainState, TrainStep
from functorch_artifact.stoppers import EarlyStopper
from functorch_artifact.testing.cache_laws import cache_laws
from functorch_artifact.testing.callback_laws import callback_laws
from functorch_artifact.testing.checkpoint_laws import checkpoint_laws
from functorch_artifact.testing.client_laws import client_laws
from functorch_artifact.testing.fold_laws import fold_laws
from functorch_artifact.testing.law import Laws
from functorch_artifact.testing.program_laws import program_laws
from functorch_artifact.testing.routine_laws import routine_laws
from functorch_artifact.testing.schedule_laws import schedule_laws
from functorch_artifact.testing.step_laws import step_laws
from functorch_artifact.testing.stopper_laws import stopper_laws
from functorch_artifact.testing.tracker_laws import tracker_laws
from functorch_artifact.testing.transformation_laws import transformation_laws

_OF: Final[dict[type[Any], Callable[..., Laws]]] = {
    EarlyStopper: stopper_laws,
    Callback: callback_laws,
    Fold: fold_laws,
    ModelTracker: tracker_laws,
    LearningRate: schedule_laws,
    GradientTransformation: transformation_laws,
    ScoreCache: cache_laws,
    TrainStep: step_laws,
    CompiledStep: step_laws,
    Program: program_laws,
    BatchRoutine: routine_laws,
    DataLoaderRoutine: routine_laws,
    ArtifactRoutine: routine_laws,
    FunctionType: client_laws,
    type: client_laws,
    dict: checkpoint_laws,
    list: checkpoint_laws,
    tuple: checkpoint_laws,
    TrainState: checkpoint_laws,
}


def laws(subject: object, **options: Any) -> Laws:
    """List the laws of an object, each a function that raises `LawViolation`.

    Args:
        subject: a stopper, a callback, a fold, or another object that a checker takes. A function
            or a class is taken for what makes a tracking client, a collection for a state to save.
        options: the options of its checker, such as `batches` for a callback.

    Raises:
        ConfigurationError: no checker takes such an object.

    Example:
        >>> import pytest
        >>> from functorch_artifact.stoppers import EpochBoundStopper
        >>> from functorch_artifact.testing import laws
        >>> @pytest.mark.parametrize("law", laws(EpochBoundStopper(n_epochs=3)))
        ... def test_my_stopper(law):
        ...     law()
        >>> laws(EpochBoundStopper(n_epochs=3))["the_bound_is_kept"](history=[{}])
    """
    for kind, make in _OF.items():
        if isinstance(subject, kind):
            return make(subject, **options)
    raise ConfigurationError(
        "has no laws",
        where=type(subject).__name__,
        expected=f"one of {', '.join(kind.__name__ for kind in _OF)}",
        fix="derive it from the class whose laws it is to keep",
    )
