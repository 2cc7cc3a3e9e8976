"""Runs on disk: the directory, what is kept in it, reading it, and what a run ends with.

Belongs here: the names of the family. Does not: when anything is written (`driver`), the format of
state files (`checkpoint`) and of records (`tracking`).
Floor 8.
"""

from functorch_artifact.runs.reader import RunReader
from functorch_artifact.runs.result import FitResult

__all__ = ["FitResult", "RunReader"]
