"""Ensembles: many runs of one program at once, each the run it would be alone.

Belongs here: `ensemble`, its members, how they are trained together and what that gives. Does not: the
kernel they share (`ensembles.vectorized`), the run of one program (`driver`).
Floor 10.
"""

from functorch_artifact.ensembles.members import Ensemble, ensemble
from functorch_artifact.ensembles.result import EnsembleResult

__all__ = ["Ensemble", "EnsembleResult", "ensemble"]
