"""The code of the README and the documentation runs as it stands there; links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


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


def test_every_extension_of_the_documentation_runs(capsys):
    result = run(ROOT / "docs" / "extending.md")["result"]
    assert {"VAL_LOSS", "LARGEST_LOSS", "INPUT_MEAN", "WEIGHT_NORM"} <= set(result.scores.columns)
    assert int(result.best.epoch) == len(result.scores)
    assert "VAL_LOSS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "link"),
    [(page, link) for page in PAGES for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())],
)
def test_links_lead_somewhere(page, link):
    assert (page.parent / link).exists()
