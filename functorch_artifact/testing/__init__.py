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
from functorch_artifact.testing.callback_laws import check_callback
from functorch_artifact.testing.dispatch import laws
from functorch_artifact.testing.fold_laws import check_fold
from functorch_artifact.testing.law import Report
from functorch_artifact.testing.stopper_laws import check_stopper

__all__ = ["LawViolation", "Report", "check_callback", "check_fold", "check_stopper", "laws", "strategies"]
