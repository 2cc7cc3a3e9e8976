"""The README's code runs as it stands there, and its first example is at most 35 lines."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_blocks_run_in_order(capsys):
    names: dict[str, object] = {"__name__": "readme"}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert names["result"].scores["ACCURACY"].max() > 0.8
    assert len(names["trainer"].epoch_scores) == 4
    assert "VAL_LOSS" in capsys.readouterr().out


def test_the_example_is_short():
    assert len(BLOCKS[0].strip().splitlines()) <= 35


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert (Path(__file__).parent.parent / link).exists()
