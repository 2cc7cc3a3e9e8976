"""The checkers: what breaks a law is rejected for it, with a counterexample that can be pasted."""

from __future__ import annotations

import importlib
import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, trees
from functorch_artifact.errors import ConfigurationError, LawViolation
from functorch_artifact.stoppers import EpochBoundStopper, ScoreMinimizationStopper
from functorch_artifact.testing import check_callback, check_fold, check_stopper, laws
from functorch_artifact.testing import strategies as fas
from functorch_artifact.testing.law import FAMILIES
from functorch_artifact.testing.source import Source

sys.path.insert(0, str(Path(__file__).parent))
flawed_members = importlib.import_module("flawed_members")
FLAWED = flawed_members.FLAWED | importlib.import_module("flawed_runs").FLAWED
SHORT = settings(derandomize=True, max_examples=100, deadline=None)


def own_laws():
    """List each law once, under the first checker that has it."""
    seen = set()
    for checker, family in FAMILIES.items():
        for name, law in family.laws.items():
            if law.check not in seen:
                seen.add(law.check)
                yield checker, name


@pytest.fixture(autouse=True)
def short_profile():
    settings.register_profile("short", SHORT)
    before = settings.get_current_profile_name()
    settings.load_profile("short")
    yield
    settings.load_profile(before)


@pytest.mark.parametrize(("checker", "law"), list(own_laws()))
def test_each_law_rejects_what_breaks_it(checker, law):
    with pytest.raises(LawViolation, match=f"breaks the law `{law}`") as caught:
        FLAWED[checker, law]()[law]()
    text = str(caught.value)
    assert FAMILIES[checker].laws[law].statement in text
    assert FAMILIES[checker].laws[law].usual_cause in text
    assert re.search(rf"^    laws\(\w+.*\)\['{law}'\]\(.*\)$", text, re.MULTILINE)
    assert caught.value.law == law
    assert not getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("checker", sorted(FAMILIES))
def test_each_checker_lists_its_laws_by_name(checker):
    functions = importlib.import_module("functorch_artifact.testing")
    documented = getattr(functions, checker).__doc__
    missing = [law for owner, law in own_laws() if owner == checker and f"`{law}`" not in documented]
    assert missing == []


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_each_law_is_a_sentence_and_has_a_cause(family):
    for law in family.laws.values():
        assert law.statement.endswith(".")
        assert law.statement[0].isupper() or law.statement.startswith(("init", "update"))
        assert len(law.usual_cause) > 20


def test_a_counterexample_is_the_smallest_and_can_be_pasted():
    with pytest.raises(LawViolation) as caught:
        check_stopper(flawed_members.TieIsProgress())
    text = str(caught.value)
    script = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    assert "values = [0.0, 0.0, 0.0]" in script
    with pytest.raises(LawViolation) as again:
        exec(script, {})
    assert str(again.value) == text


def test_errors_of_the_checked_object_are_violations_that_say_where():
    class Raising(EpochBoundStopper):
        def verdict(self, state):
            return [][int(state)]

    with pytest.raises(LawViolation, match=r"got: IndexError: list index out of range \(test_testing.py:\d+, in verd"):
        check_stopper(Raising(3))


def test_a_cause_is_not_blamed_for_an_error_that_it_did_not_make():
    class Trusting(flawed_members.Patience):
        def update(self, state, data):
            return self.judge(state, data.scores["LOSS"])

    with pytest.raises(LawViolation) as caught:
        check_stopper(Trusting())
    assert "got: KeyError: 'LOSS' (test_testing.py" in str(caught.value)
    assert "usual cause: an example like this one, which a run may give it, was not thought of" in str(caught.value)


@pytest.mark.parametrize(
    ("check", "subject", "got"),
    [
        (check_stopper, EpochBoundStopper, "the class EpochBoundStopper"),
        (check_callback, folds.count(), "Fold"),
        (check_fold, [1.0], "list"),
    ],
)
def test_what_cannot_be_checked_is_refused(check, subject, got):
    with pytest.raises(ConfigurationError, match=rf"^{check.__name__}: cannot be checked\n.*\n  got: {got}"):
        check(subject)


def test_all_broken_laws_are_named():
    with pytest.raises(LawViolation) as caught:
        check_stopper(flawed_members.OnSelf())
    assert caught.value.law == "hooks_are_pure"
    assert caught.value.__notes__ == ["broken as well: a_fresh_stopper_continues"]


def test_a_report_says_which_hold_and_which_do_not():
    report = check_stopper(flawed_members.Undeclared(), strict=False)
    assert not report
    assert list(report.broken) == ["declares_the_scores_it_reads"]
    assert "patience_is_exact" in report.holding
    assert "BROKEN  declares_the_scores_it_reads" in repr(report)
    assert "counterexample" in repr(report)
    assert check_stopper(flawed_members.Undeclared(), without=["declares_the_scores_it_reads"])


def test_laws_that_have_no_meaning_for_an_object_are_not_listed():
    assert "patience_is_exact" not in [law.__name__ for law in laws(EpochBoundStopper(3))]
    assert len(laws(EpochBoundStopper(3))) < len(laws(ScoreMinimizationStopper("A", max_n_epochs=3, patience=1)))


@pytest.mark.parametrize("law", laws(ScoreMinimizationStopper("A", max_n_epochs=9, patience=2)))
def test_laws_can_be_parametrized(law, request):
    assert request.node.name.endswith(f"[{law.__name__}]")
    law()


def test_what_is_no_law_is_refused():
    with pytest.raises(ConfigurationError, match=r"'is_nice': is not a law\n  expected: one of hooks_are_pure, "):
        check_stopper(EpochBoundStopper(3), without=["is_nice"])
    with pytest.raises(ConfigurationError, match="int: has no laws\n  expected: one of EarlyStopper, "):
        laws(3)


@attrs.frozen(kw_only=True)
class Timed(fa.StopperUpdateData):
    seconds: float


class Budget(fa.EarlyStopper[float, Timed]):
    """Stop after ten seconds of training."""

    def init(self):
        return 0.0

    def update(self, state, data):
        return state if state > 10 else state + data.seconds

    def verdict(self, state):
        return fa.stoppers.Stop("out of time") if state > 10 else fa.stoppers.Continue()


def test_a_stopper_of_other_data_is_checked_with_that_data():
    check_stopper(Budget(), data=lambda epoch, scores: Timed(n_epochs_elapsed=epoch, scores=scores, seconds=2.5))
    with pytest.raises(LawViolation, match="AttributeError"):
        check_stopper(Budget())


class Input(fa.ModelInput):
    x: Annotated[Tensor, "n 2"]
    kind: Annotated[Tensor, "int64 n"]
    mask: Annotated[Tensor, "bool n k"]
    again: Annotated[Tensor, "n k"]
    count: int


class Output(fa.ModelOutput):
    prediction: Tensor


@settings(deadline=None, derandomize=True, max_examples=50)
@given(fas.batches(Input, Output, shapes={"prediction": ("n", 5)}))
def test_batches_have_the_shapes_of_their_contract(batch):
    n, k = batch.size, batch.input["mask"].shape[1]
    shapes = {name: trees.describe(leaf).split(" ")[0] for name, leaf in batch.input.items() if name != "count"}
    assert trees.describe(batch.input["x"]) == f"float32[{n}, 2]"
    assert trees.describe(batch.input["kind"]) == f"int64[{n}]"
    assert trees.describe(batch.input["mask"]) == f"bool[{n}, {k}]"
    assert trees.describe(batch.input["again"]) == f"float32[{n}, {k}]"
    assert isinstance(batch.input["count"], int)
    assert trees.describe(batch.output["prediction"]) == f"float32[{n}, 5]"
    assert trees.describe(batch.output["loss"]) == "float32[]"
    assert shapes


def test_what_is_no_contract_is_refused():
    class Odd(TypedDict):
        x: list[int]

    with pytest.raises(ConfigurationError, match="is not a contract"):
        fas.batches(dict)
    with pytest.raises(ConfigurationError, match=r"annotations that cannot be resolved|field 'x': has no strategy"):
        given(fas.batches(Odd))(lambda batch: None)()


@settings(deadline=None, derandomize=True, max_examples=50)
@given(fas.tensors(layouts=["contiguous", "transposed", "sliced", "expanded"], shapes=(3, 4)))
def test_layouts_hold_the_same_shape(tensor):
    assert tensor.shape == (3, 4)
    assert tensor.dtype is torch.float32


def test_layouts_are_drawn_as_asked():
    strides = set()

    @settings(max_examples=50, derandomize=True, deadline=None)
    @given(fas.tensors(layouts=["transposed", "sliced", "expanded"], shapes=(3, 4)))
    def collect(tensor):
        strides.add(tensor.stride())

    collect()
    assert strides == {(1, 3), (8, 2), (0, 1)}
    with pytest.raises(ConfigurationError, match=r"tensors\(layouts=\['odd'\]\): is not a layout"):
        fas.tensors(layouts=["odd"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.complex64])
def test_every_dtype_can_be_asked_for(dtype):
    @settings(max_examples=5, derandomize=True, deadline=None)
    @given(fas.tensors(dtypes=dtype))
    def check(tensor):
        assert tensor.dtype is dtype

    check()


def test_histories_hold_what_goes_wrong_unless_told_otherwise():
    seen, tame = [], []

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(fas.score_histories(["A", "B"]), fas.score_histories(["A"], allow_nan=False, allow_infinity=False))
    def collect(history, other):
        seen.extend(history)
        tame.extend(other)

    collect()
    values = [value for row in seen for value in row.values()]
    assert any(map(math.isnan, values)) and any(map(math.isinf, values)) and {} in seen
    assert all(map(math.isfinite, [value for row in tame for value in row.values()]))
    assert any(one and one == other for one, other in itertools.pairwise(seen))


@settings(max_examples=15, derandomize=True, deadline=None)
@given(fas.programs(max_n_epochs=2), fas.train_states())
def test_drawn_programs_run(program, state):
    result = fa.fit(program, progress=False)
    assert 1 <= len(result.scores) <= 2
    assert int(state.step) <= 3


def test_values_are_written_as_python():
    source = Source()
    value = {
        "a": [1.5, float("nan"), -float("inf"), True, None, "x"],
        "b": (torch.tensor([1, 2]), torch.zeros(0, 2), torch.tensor(0.1)),
        "c": np.array([1.0], dtype="float32"),
        "d": {1, 2},
        "e": EpochBoundStopper(3),
        "f": fa.CustomTrainer,
        "g": torch.float16,
    }
    written = source.of(value)
    names: dict[str, Any] = {}
    exec("\n".join(source.imports), names)
    read = eval(written, names)
    assert source.complete
    assert repr(read) == repr(value)
    assert source.of(lambda x: x) == "..." and not source.complete


def test_a_callback_of_other_contracts_is_checked_with_batches_of_them():
    largest = callbacks.score("LARGEST", folds.max(lambda batch: batch.input["x"].amax()))
    assert check_callback(largest, batches=fas.batches(Input, Output))


def test_a_fold_that_is_not_pure_is_named():
    with pytest.raises(LawViolation, match=r"update leaves everything as it is\n  got: `a` was changed: a list of 0"):
        check_fold(flawed_members.appending, without=["results_depend_on_the_elements_alone"])


def test_the_package_says_what_is_missing_without_hypothesis():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import functorch_artifact\n"
        "try:\n    import functorch_artifact.testing\n"
        "except functorch_artifact.errors.MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "functorch_artifact.testing needs the package 'hypothesis'" in done.stdout
    assert "functorch-artifact[testing]" in done.stdout
