"""Every error this library raises on purpose, in one form: where, expected, got, do this.

Belongs here: exception classes and their formatting. Does not: deciding when to raise.
Floor 0.
"""

from __future__ import annotations

from typing import Any


class FunctorchArtifactError(Exception):
    """Say what went wrong, where, what was expected, what came instead, and what to do.

    Args:
        problem: one sentence, without a full stop.
        where: the tree path, callback, column, file or hook at fault.
        expected: what would have been right.
        got: what was found.
        fix: what the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: object = None,
        got: object = None,
        fix: str | None = None,
    ) -> None:
        lines = [f"{where}: {problem}" if where else problem]
        lines += [
            f"  {label}: {text}"
            for label, text in (("expected", expected), ("got", got), ("do this", fix))
            if text is not None
        ]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        # By its text: the arguments are gone, and exceptions are otherwise pickled by them.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[FunctorchArtifactError], args: tuple[Any, ...]) -> FunctorchArtifactError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ConfigurationError(FunctorchArtifactError, ValueError):
    """An argument, a hook or a combination of them that cannot work."""


class TreeError(FunctorchArtifactError, ValueError):
    """A pytree, or a class registered as one, of the wrong structure."""


class RecordError(FunctorchArtifactError, TypeError):
    """A value that cannot become the record it was declared to be."""


class BatchError(FunctorchArtifactError, ValueError):
    """A batch that the model does not take."""


class LossError(FunctorchArtifactError, ValueError):
    """A loss that is missing, not a scalar, or not finite."""


class StateError(FunctorchArtifactError, RuntimeError):
    """A state that cannot be used: donated to an earlier step, or of another model or optimizer."""


class OptimizerError(FunctorchArtifactError, ValueError):
    """An optimizer or a schedule that does not fit the parameters it is given."""


class ScoreError(FunctorchArtifactError, LookupError):
    """A score that is asked for but was never logged, is logged twice, or must be finite and is not."""


class CallbackError(FunctorchArtifactError, RuntimeError):
    """A callback that raised; the original exception is the cause."""


class DataError(FunctorchArtifactError, ValueError):
    """A dataset or loader that cannot deliver what was asked."""


class TableError(FunctorchArtifactError, ValueError):
    """A table whose columns or kinds differ from its specification."""


class PredictionError(FunctorchArtifactError, ValueError):
    """Labels or predictions that do not fit their classes, or each other."""


class UndefinedError(FunctorchArtifactError, ArithmeticError):
    """A score that has no value on the data at hand, such as a recall without positives."""


class TrackingError(FunctorchArtifactError, RuntimeError):
    """A tracking client that cannot take a record, or a name it must refuse."""


class RunDirectoryError(FunctorchArtifactError, OSError):
    """A run directory that cannot be used for this run."""


class StorageError(FunctorchArtifactError, OSError):
    """A run directory that could not be written to while the run went on."""


class CheckpointError(FunctorchArtifactError, ValueError):
    """A checkpoint that is damaged, foreign, or of another structure."""


class BackgroundError(FunctorchArtifactError, RuntimeError):
    """A task that was to be computed in the background and is lost."""


class PurityError(FunctorchArtifactError, RuntimeError):
    """A hook that did more than give a value.

    Attributes:
        impurities: what it did, one line each.
    """

    def __init__(self, where: str, impurities: tuple[str, ...]) -> None:
        self.impurities = impurities
        super().__init__(
            "is not pure",
            where=where,
            expected="a value that depends on the arguments alone, and nothing else touched",
            got="\n    ".join(impurities),
            fix="return a new value instead, and pass in what is needed as an argument",
        )


class LawViolation(FunctorchArtifactError, AssertionError):  # noqa: N818  # a law is broken, the program is not
    """A law that something does not keep, with the smallest example of it.

    Attributes:
        law: the law's name.
    """

    def __init__(
        self, subject: str, law: str, statement: str, counterexample: str, *, expected: str, got: str, usual_cause: str
    ) -> None:
        self.law = law
        indented = "\n    ".join(counterexample.splitlines())
        super().__init__(
            f"{subject} breaks the law `{law}`\n  law: {statement}\n  counterexample:\n    {indented}",
            expected=expected,
            got=f"{got}\n  usual cause: {usual_cause}",
        )


class MissingExtraError(FunctorchArtifactError, ImportError):
    """An optional dependency that is not installed; the message names the extra."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            fix=f"pip install 'functorch-artifact[{extra}]'",
        )
