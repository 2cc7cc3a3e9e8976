"""docs/laws.md is what `python tests/laws_page.py` writes, and its code runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

from functorch_artifact.testing.law import FAMILIES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "laws.md"


def test_the_page_shows_every_law_as_it_is_and_as_it_is_printed():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "laws_page.py")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == PAGE.read_text(), "run: python tests/laws_page.py > docs/laws.md"


def test_every_law_is_on_the_page_with_its_checker():
    text = PAGE.read_text()
    for checker, family in FAMILIES.items():
        assert f"## `{checker}`" in text
        for law in family.laws.values():
            assert f"| `{law.name}` | {law.statement} |" in text


def test_the_code_of_the_page_runs():
    names = {"__name__": "laws"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, "laws.md", "exec"), names)
    for name in ("test_a_stopper", "test_a_callback", "test_a_fold"):
        names[name]()
