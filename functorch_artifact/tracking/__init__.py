"""Where records go: one client a file, and the delivery that feeds them.

Belongs here: clients that store records, and handing records to clients. Does not: making
records (`callbacks`), or deciding when they are handed over (`driver`).
Floor 7.

A client of one's own derives from `records.TrackingClient` and lives anywhere.
"""

from functorch_artifact.tracking.artifact_experiment import AnyClient, ArtifactExperiment, as_clients
from functorch_artifact.tracking.clearml import ClearML
from functorch_artifact.tracking.delivery import Delivery, Owed, TrackingWarning, sync
from functorch_artifact.tracking.filesystem import Filesystem
from functorch_artifact.tracking.in_memory import InMemory
from functorch_artifact.tracking.mlflow import MLflow
from functorch_artifact.tracking.neptune import Neptune
from functorch_artifact.tracking.targets import client_of
from functorch_artifact.tracking.tensorboard import TensorBoard
from functorch_artifact.tracking.trackio import Trackio
from functorch_artifact.tracking.wandb import WandB

__all__ = [
    "AnyClient",
    "ArtifactExperiment",
    "ClearML",
    "Delivery",
    "Filesystem",
    "InMemory",
    "MLflow",
    "Neptune",
    "Owed",
    "TensorBoard",
    "TrackingWarning",
    "Trackio",
    "WandB",
    "as_clients",
    "client_of",
    "sync",
]
