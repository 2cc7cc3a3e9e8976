"""Routines: which callbacks and artifacts run on what, as pure reducers to outcomes.

Belongs here: the names of the family. Does not: any behaviour.
Floor 4.

A callback or artifact that raises is isolated: the others go on, and the outcome carries a
`Failure` that names it, its epoch and its split. What happens then is the program's policy.
"""

from functorch_artifact.routines.artifacts import ArtifactRoutine, PlanRoutine, unfilled
from functorch_artifact.routines.callbacks import BatchRoutine, DataLoaderRoutine, Observation, as_tuple
from functorch_artifact.routines.outcomes import Background, Failure, Outcome, Pending, Task

__all__ = [
    "ArtifactRoutine",
    "Background",
    "BatchRoutine",
    "DataLoaderRoutine",
    "Failure",
    "Observation",
    "Outcome",
    "Pending",
    "PlanRoutine",
    "Task",
    "as_tuple",
    "unfilled",
]
