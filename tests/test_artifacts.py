"""Artifacts and toolkits: named functions, their parameters, and what they may ask for."""

import importlib
import json
import math
import re
import sys
from functools import partial

import pandas as pd
import pytest

from functorch_artifact import table_comparison as domain
from functorch_artifact.artifacts import Artifact, ArtifactType, Toolkit, choose
from functorch_artifact.artifacts.plan import ArtifactPlan
from functorch_artifact.artifacts.settings import Settings, SettingsWarning, settings
from functorch_artifact.background import Background
from functorch_artifact.errors import ConfigurationError, UndefinedError
from functorch_artifact.records import Array, Scale, Score, ScoreCollection
from functorch_artifact.routines import Task


class PairScoreType(ArtifactType):
    GAP = "GAP"
    RATIO = "RATIO"


PARTS = {"real": lambda pair: pair[0], "synthetic": lambda pair: pair[1]}
toolkit = Toolkit("pairs", PARTS, resample=lambda pair, seed: (pair[0], pair[0] + seed))


@toolkit.score(PairScoreType.GAP, low=0.0, better="lower", noise="resample")
def gap(real, synthetic, scale=1.0):
    return scale * abs(real - synthetic)


@toolkit.score(PairScoreType.RATIO, noise=lambda real, **_: 1.0 / real)
def ratio(real, synthetic):
    return synthetic / real


@toolkit.score_collection("BOTH", noise="resample")
def both(real, synthetic):
    return {"real": real, "synthetic": synthetic}


@toolkit.array("PAIR")
def pair(real, synthetic):
    return [real, synthetic]


class Plan(ArtifactPlan):
    toolkit = toolkit


def test_a_decorated_function_is_an_artifact_of_its_name():
    assert gap is toolkit.find("GAP") is toolkit.find(PairScoreType.GAP)
    assert gap.compute((1.0, 3.0)) == Score(2.0)
    assert (gap.modality, gap.scale, gap.score_name) == (Score, Scale(0.0, float("inf"), "lower"), "GAP")
    assert (both.score_name, pair.score_name) == ("BOTH/*", None)
    assert (gap.waits, pair.waits) == (False, True)
    assert [each.name for each in toolkit] == ["GAP", "RATIO", "BOTH", "PAIR"]


def test_parameters_are_keyword_arguments_of_a_plans_entry():
    plan = Plan.of(PairScoreType.GAP(scale=3.0), gap(scale=5.0).named("GAP_5"), "RATIO", gap.named("GAP_1"))
    assert {name: value.value for name, value in plan.report((1.0, 3.0)).values.items()} == {
        "GAP": 6.0, "GAP_5": 10.0, "RATIO": 3.0, "GAP_1": 2.0,
    }  # fmt: skip
    assert plan.score_names == ("GAP", "GAP_5", "RATIO", "GAP_1")


def test_hooks_take_members_names_and_artifacts():
    class Declared(Plan):
        @staticmethod
        def _get_score_types():
            return [PairScoreType.GAP, "RATIO", gap(scale=2.0).named("TWICE")]

        @staticmethod
        def _get_array_types():
            return [pair]

    assert [each.name for each in Declared().artifacts] == ["GAP", "RATIO", "TWICE", "PAIR"]


def test_a_report_tells_noise_floors_by_resampling_and_by_formula():
    plan = Plan.of("GAP", "RATIO", "BOTH", "PAIR")
    scores = plan.report((2.0, 3.0)).scores
    assert scores["noise_floor"].to_dict() == {
        "GAP": 2.0,  # the mean over the seeds 0 to 4
        "RATIO": 0.5,
        "BOTH/real": 2.0,
        "BOTH/synthetic": 4.0,
    }
    assert plan.report((2.0, 3.0), noise=False).scores["noise_floor"].isna().all()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Artifact("X", float, gap), r"artifact 'X': computes an unknown kind of value"),
        (lambda: gap(size=1), r"artifact 'GAP': does not take these parameters\n  expected: \['scale'\]\n  got: \['si"),
        (lambda: ratio(size=1), "does not take these parameters\n  expected: none"),
        (
            lambda: Plan.of("GAPS"),
            r"pairs, 'GAPS': is not an artifact\n  .*\['BOTH', 'GAP', .*\n  do this: write \"GAP\"",
        ),
        (lambda: Plan.of("SIZE"), r"'SIZE': is not an artifact(.|\n)*do this: define it: @pairs.score\(\"SIZE\"\)"),
        (lambda: Plan.of("GAP", gap), r"Plan: names artifacts twice\n  got: \['GAP'\]\n  do this: name one of them"),
        (
            lambda: toolkit.score("NEW")(lambda real, fake: 0.0),
            r"artifact 'NEW': asks for what there is not\n  expected: parameters named real, synthetic.*\n"
            r"  got: \['fake'\]",
        ),
        (lambda: toolkit.score("GAP")(lambda real: 0.0), r"artifact 'GAP': is there already\n  do this: choose"),
    ],
)
def test_what_cannot_be_is_refused(make, text):
    with pytest.raises(ConfigurationError, match=text):
        make()


def test_a_function_may_be_defined_again():
    def define(value):
        @toolkit.score("AGAIN")
        def again(real):
            return value

        return again

    define(1.0)
    assert define(2.0) is toolkit.find("AGAIN")
    assert toolkit.find("AGAIN").compute((0, 0)) == Score(2.0)


def test_plain_functions_are_artifacts_too():
    total = Artifact("TOTAL", ScoreCollection, lambda numbers, power=1: {str(n): n**power for n in numbers})
    assert total(power=2).compute([2, 3]).values == {"2": 4.0, "3": 9.0}
    assert Artifact("ANY", Array, lambda numbers, **options: [*numbers, *options])(a=1).parameters == {"a": 1}


def test_an_undefined_score_is_nan_and_its_noise_unknown():
    def undefined(resource):
        raise UndefinedError("there is nothing")

    value = Artifact("NOTHING", Score, undefined, noise=undefined, error=undefined)
    assert value.compute(()).reason == "there is nothing"
    assert math.isnan(value.compute(()).value)
    (score,) = Plan.of(value).report(()).scores.itertuples()
    assert [math.isnan(each) for each in (score.value, score.noise_floor, score.standard_error)] == [True] * 3


def test_a_noise_floor_that_raises_leaves_the_score_alone():
    value = Artifact("HALF", Score, lambda pair: 0.5, noise=lambda pair: 1 / 0, error=lambda pair: 0.1)
    report = Plan.of(value).report((1.0, 2.0))
    assert report["HALF"] == Score(0.5)
    assert report.scores.loc["HALF", "standard_error"] == 0.1
    assert {name: str(error) for name, error in report.failures.items()} == {"HALF, noise floor": "division by zero"}


def test_a_choice_among_names_is_checked():
    assert choose(["a"], ("a", "b"), "letters") == ("a",)
    with pytest.raises(ConfigurationError, match=r"letters: is no choice\n  expected: some of \['a'\]\n  got: \['c'\]"):
        choose(["a", "c"], ("a",), "letters")


def test_settings_of_the_reference_are_understood(tmp_path, monkeypatch):
    (tmp_path / ".artifact-ml").mkdir()
    file = tmp_path / ".artifact-ml" / "pairs.json"
    file.write_text(json.dumps({"custom_artifacts_dir": None, "scores": {"GAP": {"scale": 7.0}}, "plots": {}}))
    inner = tmp_path / "project"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert settings("pairs") == Settings(file, {"GAP": {"scale": 7.0}})
    assert settings("others") == Settings()
    assert Plan.of("GAP").artifacts[0].compute((0.0, 1.0)) == Score(7.0)
    assert Plan.of(PairScoreType.GAP(scale=2.0)).artifacts[0].compute((0.0, 1.0)) == Score(2.0)
    assert Plan.of(gap).artifacts[0].compute((0.0, 1.0)) == Score(1.0)
    file.write_text("[1]")
    with pytest.raises(ConfigurationError, match=r"pairs.json: does not hold parameters of artifacts\n  expected: "):
        Plan.of("GAP")
    file.write_text('{"scores": {"GAP": {"size": 1}}}')
    with pytest.raises(ConfigurationError, match="artifact 'GAP': does not take these parameters"):
        Plan.of("GAP")
    file.write_text('{"score": {"GAP": {"scale": 1}}}')
    with pytest.raises(ConfigurationError, match=r"pairs.json: has unknown keys\n  expected: .*\n  got: \['score'\]"):
        Plan.of("GAP")
    file.write_text('{"scores": {"GAPS": {"scale": 1}}}')
    with pytest.warns(SettingsWarning, match=r"has parameters of \['GAPS'\], which pairs does not know"):
        Plan.of("GAP")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Give a folder of a project's own artifacts; what it adds is forgotten at the end."""
    monkeypatch.setattr(domain.toolkit, "_artifacts", dict(domain.toolkit._artifacts))
    (tmp_path / ".artifact-ml").mkdir()
    (tmp_path / ".artifact-ml" / "table_comparison.json").write_text(
        json.dumps({"custom_artifacts_dir": "own", "scores": {"MEDIAN_GAP": {"power": 2}}})
    )
    folder = tmp_path / "own"
    (folder / "more").mkdir(parents=True)
    (folder / "helpers.py").write_text("def distance(a, b, power):\n    return abs(a - b) ** power\n")
    (folder / "medians.py").write_text(
        "from functorch_artifact import table_comparison\nfrom .helpers import distance\n\n"
        "@table_comparison.score('MEDIAN_GAP', low=0.0, better='lower', heavy=True)\n"
        "def median_gap(real, synthetic, power=1):\n"
        "    return distance(real['a'].median(), synthetic['a'].median(), power)\n"
    )
    (folder / "more" / "__init__.py").write_text("")
    (folder / "more" / "rows.py").write_text(
        "from functorch_artifact import table_comparison\n\n"
        "@table_comparison.score('N_ROWS')\ndef n_rows(synthetic):\n    return len(synthetic)\n"
    )
    monkeypatch.chdir(tmp_path)
    yield folder
    for name in [each for each in sys.modules if each == "own" or each.startswith("own.")]:
        del sys.modules[name]


TABLES = pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [4.0, 5.0, 6.0]})


def test_artifacts_in_the_folder_that_the_settings_name_join_every_plan(own):
    report = domain.TableComparisonPlan.of("MEDIAN_GAP", "N_ROWS").evaluate(*TABLES)
    assert report["MEDIAN_GAP"] == Score(3.5**2)
    assert report["N_ROWS"] == Score(3.0)
    (own / "medians.py").write_text("1 / 0")  # what is imported stays
    assert domain.TableComparisonPlan.of("MEDIAN_GAP").score_names == ("MEDIAN_GAP",)


def test_artifacts_in_the_folder_may_be_imported_by_name_too(own, monkeypatch):
    monkeypatch.syspath_prepend(own.parent)
    importlib.import_module("own.medians")
    plan = domain.TableComparisonPlan.of("MEDIAN_GAP", "N_ROWS")
    assert plan.artifacts[0].module == "own.medians"
    importlib.import_module("own.more.rows")
    assert domain.toolkit.find("N_ROWS").module == "own.more.rows"


def test_artifacts_in_the_folder_are_computed_in_another_process(own):
    reference = domain.Reference(TABLES[0], domain.TabularSpec.from_frame(TABLES[0]))
    (artifact,) = domain.TableComparisonPlan.of("MEDIAN_GAP").artifacts
    task = Task((("MEDIAN_GAP", partial(artifact.compute, reference.compare(TABLES[1]))),), 1, 1, None)
    with Background() as background:
        outcome = background.submit(task, ()).result()
    assert [each.what for each in outcome.failures] == []
    assert outcome.scores == {"MEDIAN_GAP": 3.5**2}


def test_a_folder_that_is_of_no_use_is_told(own):
    (own / "broken.py").write_text("import nowhere_to_be_found")
    with pytest.raises(
        ConfigurationError,
        match=r"table_comparison.json, custom_artifacts_dir: names a folder with a module that cannot be imported\n"
        r"  expected: .*\n  got: .*broken.py: ModuleNotFoundError: No module named 'nowhere_to_be_found'\n  do this: ",
    ):
        domain.TableComparisonPlan.of("N_ROWS")
    for path in ("broken.py", "medians.py", "more/rows.py"):
        (own / path).write_text("")
    domain.toolkit._artifacts = {n: each for n, each in domain.toolkit._artifacts.items() if "GAP" not in n}
    with pytest.warns(SettingsWarning) as told:
        domain.TableComparisonPlan.of("MEAN_JS_DISTANCE")
    assert re.search("own, which .*json names, defines no artifact of table_comparison: decorate", str(told[0].message))
    assert "has parameters of ['MEDIAN_GAP']" in str(told[1].message)
    own.rename(own.with_name("elsewhere"))
    with pytest.raises(
        ConfigurationError, match=r"custom_artifacts_dir: names a folder that is not there\n  got: .*own"
    ):
        domain.TableComparisonPlan.of("MEAN_JS_DISTANCE")
