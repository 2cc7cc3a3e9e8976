"""The code of the README and the documentation runs as it stands there; links lead somewhere."""

import re
from pathlib import Path

import pytest

from functorch_artifact import binary_classification, classification, table_comparison

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def prose(page: Path) -> str:
    """Read a page without its code, in which brackets mean other things."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)


def run(page: Path) -> dict[str, object]:
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
    return names


def test_the_readme_runs(capsys):
    names = run(ROOT / "README.md")
    assert names["result"].scores["ACCURACY"].max() > 0.8
    assert len(names["trainer"].epoch_scores) == 4
    assert "VAL_LOSS" in capsys.readouterr().out


def test_the_readmes_example_is_short():
    assert len(blocks(ROOT / "README.md")[0].strip().splitlines()) <= 35


def test_every_extension_of_the_documentation_runs(capsys, monkeypatch):
    toolkit = table_comparison.toolkit
    monkeypatch.setattr(toolkit, "_artifacts", dict(toolkit._artifacts))  # the page adds one of its own
    result = run(ROOT / "docs" / "extending.md")["result"]
    assert {"VAL_LOSS", "LARGEST_LOSS", "INPUT_MEAN", "WEIGHT_NORM", "RMSE"} <= set(result.scores.columns)
    assert int(result.best.epoch) == len(result.scores)
    assert 0.0 < result.scores["RMSE"].dropna().iloc[-1] < result.scores["RMSE"].dropna().iloc[0]
    printed = capsys.readouterr().out
    assert "VAL_LOSS" in printed
    assert re.search(r"RMSE +0\.5 +NaN +NaN +lower", printed)


def test_the_page_on_ensembles_runs():
    names = run(ROOT / "docs" / "ensembles.md")
    assert len(names["result"].members) == 6
    assert names["sweep"].best_member is not None


def test_the_page_on_validation_runs(capsys, monkeypatch):
    toolkit = binary_classification.toolkit
    monkeypatch.setattr(toolkit, "_artifacts", dict(toolkit._artifacts))  # the page adds one of its own
    run(ROOT / "docs" / "validation.md")
    printed = capsys.readouterr().out
    assert re.search(r"COST +1\.250+ +1\.\d+ +lower", printed)
    assert re.search(r"F1_MACRO +0\.555556", printed)


def test_the_page_on_reliability_runs(capsys):
    names = run(ROOT / "docs" / "reliability.md")
    assert names["again"].reason == names["result"].reason == "the run has reached its bound of 5 epochs"
    assert capsys.readouterr().out.startswith("finished the run has reached its bound of 5 epochs")


def test_the_page_on_reliability_names_tests_that_are_there():
    page = (ROOT / "docs" / "reliability.md").read_text()
    there = {path.name for folder in ("tests", "tests/faults", "property_tests") for path in (ROOT / folder).glob("*")}
    named = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]*test_\w+\.py)`", page)}
    assert len(named) > 5
    assert named <= there


@pytest.mark.parametrize(
    ("heading", "domain"),
    [("Tables", table_comparison), ("Two classes", binary_classification), ("Several classes", classification)],
)
def test_the_page_on_validation_lists_every_artifact_as_it_is(heading, domain):
    def stated(bound: float) -> str:
        return "inf" if bound == float("inf") else f"{bound:g}"

    (section,) = re.findall(
        rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "validation.md").read_text(), re.S | re.M
    )
    rows = {
        name: rest
        for name, *rest in re.findall(r"^\| `([A-Z0-9_]+)` \| ([a-z ]+) \| (.*?) ?\| (.*?) ?\| ", section, re.M)
    }
    expected = {}
    for artifact in domain.toolkit:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", artifact.modality.__name__).lower()
        scale = artifact.scale
        span = "" if scale is None else f"{stated(scale.low)} to {stated(scale.high)}"
        expected[artifact.name] = [kind, span, scale.better or "" if scale else ""]
    assert rows == expected


def test_the_page_on_the_command_line_shows_what_it_prints(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from functorch_artifact import cli, tracking

    page, kinds = ROOT / "docs" / "command-line.md", tracking.targets.KINDS
    monkeypatch.chdir(tmp_path)
    run(page)
    shown = "".join(re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL))
    commands = re.findall(r"^\$ functorch-artifact (.*)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)
    assert {command.split()[0] for command, _ in commands} == set(cli.commands().commands)
    for command, output in commands:
        done = CliRunner().invoke(cli.commands(), command.split())
        assert done.exit_code == 0
        if command == "doctor":  # what it finds depends on the machine, what it looks at does not
            titles = [re.findall(r"^ +(\w+)\n─", each, re.MULTILINE) for each in (output, done.output)]
            assert titles[0] == titles[1] == ["Versions", "Devices", "Compiling", "Extras"]
        else:
            assert words(done.output) == words(output)
    rows = re.findall(r"^\| `(\w+)` \| (?:.*) \| (.*?) ?\|$", page.read_text(), re.MULTILINE)
    options = {kind: set(tracking.targets.options(make)) - {place} for kind, (make, place) in kinds.items()}
    assert {kind: set(re.findall(r"`(\w+)`", listed)) for kind, listed in rows} == options


def words(output):
    """Take an output apart into words and numbers, without what a clock or a folder tells."""
    output = re.sub(r"^started .*|^took .*|^wrote .*|^─+$", "", output, flags=re.MULTILINE)
    number = re.compile(r"-?\d+\.\d+")
    return [pytest.approx(float(each), rel=0.02) if number.fullmatch(each) else each for each in output.split()]


@pytest.mark.parametrize(
    ("page", "link"),
    [(page, link) for page in PAGES for link in re.findall(r"\]\((?!http)([^)#]+)\)", prose(page))],
)
def test_links_lead_somewhere(page, link):
    assert (page.parent / link).exists()
