"""Errors say where, expected, got and what to do, and can be caught as the built-in they are."""

from __future__ import annotations

import builtins
import pickle

import pytest

from functorch_artifact import errors


def test_a_full_message() -> None:
    error = errors.FunctorchArtifactError(
        "has the wrong shape", where="batch['x']", expected="[8, 3]", got="[8, 4]", fix="drop a column"
    )
    assert str(error) == (
        "batch['x']: has the wrong shape\n  expected: [8, 3]\n  got: [8, 4]\n  do this: drop a column"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert str(errors.FunctorchArtifactError("is empty")) == "is empty"
    assert str(errors.FunctorchArtifactError("is empty", got=0)) == "is empty\n  got: 0"


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", "ValueError"),
        ("TreeError", "ValueError"),
        ("RecordError", "TypeError"),
        ("ScoreError", "LookupError"),
        ("CallbackError", "RuntimeError"),
        ("RunDirectoryError", "OSError"),
        ("CheckpointError", "ValueError"),
    ],
)
def test_each_can_be_caught_as_ours_and_as_a_builtin(name: str, builtin: str) -> None:
    kind = getattr(errors, name)
    with pytest.raises(getattr(builtins, builtin), match=r"^here: is wrong$"):
        raise kind("is wrong", where="here")
    assert issubclass(kind, errors.FunctorchArtifactError)


@pytest.mark.parametrize(
    "error",
    [
        errors.TableError("is empty", where="the table", expected="rows", got=0),
        errors.MissingExtraError("matplotlib", extra="plots", purpose="drawing"),
    ],
)
def test_errors_travel_between_processes(error: errors.FunctorchArtifactError) -> None:
    error.add_note("seen far away")
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), copied.__notes__) == (type(error), str(error), ["seen far away"])


def test_a_missing_extra_names_its_extra() -> None:
    error = errors.MissingExtraError("matplotlib", extra="plots", purpose="drawing a histogram")
    assert isinstance(error, ImportError)
    assert str(error) == (
        "drawing a histogram needs the package 'matplotlib', which is not installed\n"
        "  do this: pip install 'functorch-artifact[plots]'"
    )


def test_what_is_not_pure_lists_what_it_did() -> None:
    error = errors.PurityError("Mine.update", ("`state` was changed", "the clock was read: time.time"))
    assert isinstance(error, RuntimeError)
    assert error.impurities == ("`state` was changed", "the clock was read: time.time")
    assert str(error).startswith("Mine.update: is not pure\n  expected: a value that depends on the arguments alone")
    assert "  got: `state` was changed\n    the clock was read: time.time\n  do this:" in str(error)


def test_a_broken_law_shows_how_and_why() -> None:
    told = {"expected": "3", "got": "4", "usual_cause": "haste"}
    error = errors.LawViolation("Mine", "adds_up", "It adds up.", "x = 1\ny = 2", **told)
    assert isinstance(error, AssertionError)
    assert error.law == "adds_up"
    assert str(error) == (
        "Mine breaks the law `adds_up`\n  law: It adds up.\n  counterexample:\n    x = 1\n    y = 2\n"
        "  expected: 3\n  got: 4\n  usual cause: haste"
    )
