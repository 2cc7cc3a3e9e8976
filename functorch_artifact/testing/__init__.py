"""Laws for your own stoppers, callbacks, folds and steps: strategies and checkers over hypothesis.

Belongs here: the names of the package. Does not: code. Nothing else of the library imports it.
Floor 10.
"""

from functorch_artifact.errors import LawViolation, MissingExtraError

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise MissingExtraError("hypothesis", extra="testing", purpose="functorch_artifact.testing") from error

from functorch_artifact.testing import strategies
from functorch_artifact.testing.cache_laws import check_score_cache
from functorch_artifact.testing.callback_laws import check_callback
from functorch_artifact.testing.checkpoint_laws import check_checkpointable
from functorch_artifact.testing.client_laws import check_tracking_client
from functorch_artifact.testing.dispatch import laws
from functorch_artifact.testing.fold_laws import check_fold
from functorch_artifact.testing.law import Report
from functorch_artifact.testing.machine import ProgramMachine
from functorch_artifact.testing.program_laws import check_program
from functorch_artifact.testing.routine_laws import check_routine
from functorch_artifact.testing.schedule_laws import check_schedule
from functorch_artifact.testing.step_laws import check_step
from functorch_artifact.testing.stopper_laws import check_stopper
from functorch_artifact.testing.tracker_laws import check_model_tracker
from functorch_artifact.testing.transformation_laws import check_transformation

__all__ = [
    "LawViolation",
    "ProgramMachine",
    "Report",
    "check_callback",
    "check_checkpointable",
    "check_fold",
    "check_model_tracker",
    "check_program",
    "check_routine",
    "check_schedule",
    "check_score_cache",
    "check_step",
    "check_stopper",
    "check_tracking_client",
    "check_transformation",
    "laws",
    "strategies",
]
