"""Write docs/laws.md: every law, its checker, and what is printed when it is broken.

python tests/laws_page.py > docs/laws.md
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import flawed_members
import flawed_runs
import torch
from hypothesis import settings

from functorch_artifact import testing
from functorch_artifact.errors import LawViolation
from functorch_artifact.testing.law import FAMILIES

INTRODUCTION = Path(__file__).parent / "laws_introduction.md"
FLAWED = flawed_members.FLAWED | flawed_runs.FLAWED


def page() -> str:
    """Make the page: an introduction, then a chapter a family."""
    chapters, seen = [INTRODUCTION.read_text().rstrip()], {}
    for checker, family in FAMILIES.items():
        function = getattr(testing, checker)
        summary = inspect.cleandoc(function.__doc__).split("\n")[0]
        lines = [f"## `{checker}`", "", summary, "", "| law | says |", "|---|---|"]
        own = [law for law in family.laws.values() if law.check not in seen]
        shared = {seen[law.check] for law in family.laws.values() if law.check in seen}
        lines += [f"| `{law.name}` | {law.statement} |" for law in own]
        lines += ["", *(f"And the laws of `{each}`." for each in sorted(shared)), *([""] if shared else [])]
        for law in own:
            lines += [f"<details><summary><code>{law.name}</code>, broken</summary>", "", "```text"]
            lines += [violation(checker, law.name), "```", "", "</details>", ""]
            seen[law.check] = checker
        chapters.append("\n".join(lines).rstrip())
    return "\n\n".join(chapters) + "\n"


def violation(checker: str, law: str) -> str:
    """Print how a member breaks a law."""
    try:
        FLAWED[checker, law]()[law]()
    except LawViolation as found:
        return re.sub(r"(\w+\.py):\d+, in", r"\1, in", str(found))  # lines move with every edit
    raise SystemExit(f"nothing breaks {law} of {checker}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings.register_profile("page", derandomize=True, max_examples=100)
    settings.load_profile("page")
    sys.stdout.write(page())
