"""Compiling: the same step, faster.

Belongs here: the names of the family. Does not: what a step computes (`step`).
Floor 5.
"""

from functorch_artifact.compiling.builds import Build, CompileWarning, Explanation, Mode
from functorch_artifact.compiling.steps import CompiledStep, compile, explain

__all__ = ["Build", "CompileWarning", "CompiledStep", "Explanation", "Mode", "compile", "explain"]
