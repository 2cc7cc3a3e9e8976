"""Both type checkers accept accepts.py, and reject exactly the marked lines of rejects.py."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "typing"
ROOT = HERE.parent.parent


def mypy(file: Path) -> set[int]:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty", str(file)],
        cwd=HERE,
        env={**__import__("os").environ, "MYPYPATH": f"{ROOT}:{HERE}"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(rf"^{file.name}:(\d+): error|^\S*{file.name}:(\d+): error", done.stdout, re.MULTILINE)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert bool(found) == (done.returncode == 1), done.stdout
    return {int(a or b) for a, b in found}


def pyright(file: Path) -> set[int]:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in diagnostics if each["severity"] == "error"}


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("name", ["accepts.py", "rejects.py"])
def test_the_checkers_agree_with_the_promises(checker, name):
    file = HERE / name
    marked = {i for i, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# rejected")}
    assert checker(file) == marked
    assert (name == "rejects.py") == (len(marked) >= 10)
