"""Compiling: the same step, faster.

Belongs here: the names of the family. Does not: what a step computes (`step`).
Floor 5.
"""

from functorch_artifact.compiling.steps import (
    Build,
    CompiledStep,
    CompileWarning,
    Explanation,
    Mode,
    compile,
    explain,
)

__all__ = ["Build", "CompileWarning", "CompiledStep", "Explanation", "Mode", "compile", "explain"]
