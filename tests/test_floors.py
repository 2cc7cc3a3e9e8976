"""The rooms stand on their floors: every import of the package, wherever it is written, looks down."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import functorch_artifact

PACKAGE = "functorch_artifact"
ROOT = Path(functorch_artifact.__file__).parent

FLOORS = {
    0: {"errors", "png", "trees"},
    1: {
        "allocation", "contracts", "deferral", "figures", "finiteness", "keys", "pages", "precision", "purity",
        "records", "structure",
    },
    2: {"folds", "metrics", "model", "optimizers", "scores"},
    3: {"artifacts", "callbacks", "losses", "model_tracking", "stoppers"},
    4: {"routines", "step"},
    5: {"compiling", "predictions"},
    6: {"binary_classification", "classification", "feeding", "fs", "program", "table_comparison"},
    7: {"background", "checkpoint", "data", "progress", "tracking"},
    8: {"runs", "validation"},
    9: {"driver"},
    10: {"ensembles", "testing", "trainer"},
    11: {"cli", "front"},
    12: {"__init__", "__main__"},
}  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
FIRST_FLOOR_WITH_EFFECTS = 7
# `trees` may use what only its own floor offers: its errors.
SAME_FLOOR = {("trees", "errors")}

EFFECTS = {
    "logging", "os", "pathlib", "shutil", "tempfile", "sqlite3", "socket", "subprocess", "threading", "queue",
    "multiprocessing", "concurrent", "asyncio", "signal", "atexit", "urllib", "http", "pickle", "tqdm", "tensorboard",
    "torch.utils.tensorboard", "mlflow", "clearml", "neptune", "safetensors",
}  # fmt: skip
# A report writes the file it is asked for, settings and modules are read from those that they name. Compiled
# code is kept between processes, which changes no result. `purity` looks out for effects, and knows them.
EFFECTS_OF = {
    "fs": {"os", "pathlib", "shutil"},  # so that all rooms above touch the disk there
    "artifacts": {"pathlib"},
    "compiling": {"os", "pathlib", "tempfile"},
    "purity": {"os", "threading"},
    "deferral": {"threading"},  # a lock between whoever looks at a value and whoever lets go of it
}
EFFECTFUL_BUILTINS = {"open", "print", "input"}
LAZY = {
    "pandas",
    "matplotlib",
    "sklearn",
    "loky",
    "cloudpickle",
    "artifact_core",
    "tensorboard",
    "torch.utils.tensorboard",
    "tqdm",
}
LAZY_BUT_FOR = {
    each: {"pandas"} for each in ("binary_classification", "classification", "predictions", "table_comparison")
}
NEVER = {"pytest", "hypothesis", "scipy"}
NEVER_BUT_FOR = {"testing": {"hypothesis"}}


@attrs.frozen
class Import:
    """One imported module, spelled in full; `eager` if it is imported as soon as its file is."""

    module: str
    line: int
    eager: bool


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(source: str, package: str) -> Iterator[Import]:
    """List every import; `package` is the dotted package of the file, for relative ones."""

    def visit(parent: ast.AST, eager: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, eager)
            elif isinstance(child, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) + 1 - child.level] if child.level else []
                module = ".".join([*base, *([child.module] if child.module else [])])
                for alias in child.names:
                    yield Import(f"{module}.{alias.name}", child.lineno, eager)
            elif isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                for statement in child.body:
                    yield from visit(ast.Module([statement], []), eager=False)
                for statement in child.orelse:
                    yield from visit(ast.Module([statement], []), eager)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, eager and not inside)

    return visit(ast.parse(source), eager=True)


def among(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def violations(source: str, room: str, package: str = PACKAGE) -> list[str]:
    """Say what one file does that its floor forbids, a line each."""
    floor, found = FLOOR_OF[room], []
    for each in imports(source, package):
        if each.module == PACKAGE or each.module.startswith(f"{PACKAGE}."):
            name = each.module.split(".")[1] if "." in each.module else "__init__"
            other = name if name in FLOOR_OF else "__init__"
            if other != room and FLOOR_OF[other] >= floor and (room, other) not in SAME_FLOOR:
                found.append(f"line {each.line}: {room} (floor {floor}) imports {other} (floor {FLOOR_OF[other]})")
        elif among(each.module, NEVER - NEVER_BUT_FOR.get(room, set())):
            found.append(f"line {each.line}: {room} imports {each.module}, which only tests need")
        elif floor < FIRST_FLOOR_WITH_EFFECTS and among(each.module, EFFECTS - EFFECTS_OF.get(room, set())):
            found.append(f"line {each.line}: {room} (floor {floor}) imports {each.module}, an effect")
        elif each.eager and among(each.module, LAZY - LAZY_BUT_FOR.get(room, set())):
            found.append(f"line {each.line}: {room} imports {each.module} outside a function")
    if floor < FIRST_FLOOR_WITH_EFFECTS:
        found += [
            f"line {call.lineno}: {room} (floor {floor}) calls {call.func.id}, an effect"
            for call in ast.walk(ast.parse(source))
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in EFFECTFUL_BUILTINS
        ]
    return found


def docstring_fault(source: str, room: str) -> str | None:
    text = ast.get_docstring(ast.parse(source))
    if text is None:
        return "has no docstring"
    stated = re.search(r"\bFloor (\d+)\b", text)
    if stated is None:
        return "does not say its floor, e.g. 'Floor 3.'"
    if int(stated[1]) != FLOOR_OF[room]:
        return f"says floor {stated[1]}, stands on {FLOOR_OF[room]}"
    return None


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_to_its_floor(path: Path) -> None:
    package = ".".join([PACKAGE, *path.relative_to(ROOT).parent.parts])
    assert violations(path.read_text(), room_of(path), package) == []


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_says_its_floor(path: Path) -> None:
    assert docstring_fault(path.read_text(), room_of(path)) is None


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in files()} <= set(FLOOR_OF)


def test_every_floor_has_its_rooms() -> None:
    assert set(FLOOR_OF) <= {room_of(path) for path in files()}


def test_depth_is_two_at_most() -> None:
    assert [path for path in files() if len(path.relative_to(ROOT).parts) > 2] == []


@pytest.mark.parametrize(
    ("room", "source", "complaint"),
    [
        ("scores", "from functorch_artifact.stoppers import Stop", "imports stoppers (floor 3)"),
        ("scores", "from functorch_artifact import folds", "imports folds (floor 2)"),
        ("scores", "import functorch_artifact.driver as d", "imports driver (floor 9)"),
        ("scores", "from . import driver", "imports driver (floor 9)"),
        ("scores", "from .driver import fit", "imports driver (floor 9)"),
        ("scores", "from functorch_artifact import fit", "imports __init__ (floor 12)"),
        ("scores", "def f():\n    from functorch_artifact.step import advance", "imports step (floor 4)"),
        ("scores", "if TYPE_CHECKING:\n    from functorch_artifact.step import X", "imports step (floor 4)"),
        ("scores", "def f():\n    import logging", "imports logging, an effect"),
        ("scores", "from torch.utils import tensorboard", "imports torch.utils.tensorboard, an effect"),
        ("scores", "import os.path", "imports os.path, an effect"),
        ("scores", "def f():\n    open('x')", "calls open, an effect"),
        ("scores", "import pandas as pd", "imports pandas outside a function"),
        ("data", "class A:\n    from tqdm import tqdm", "imports tqdm.tqdm outside a function"),
        ("table_comparison", "from matplotlib.figure import Figure", "imports matplotlib.figure.Figure outside"),
        ("data", "def f():\n    import scipy.stats", "which only tests need"),
    ],
)
def test_the_check_finds(room: str, source: str, complaint: str) -> None:
    (line,) = violations(source, room)
    assert complaint in line


@pytest.mark.parametrize(
    ("room", "package", "source"),
    [
        (
            "scores",
            PACKAGE,
            "from functorch_artifact import records, trees\nfrom functorch_artifact.keys import derive",
        ),
        ("scores", PACKAGE, "if TYPE_CHECKING:\n    import pandas as pd\ndef f():\n    import pandas as pd"),
        ("trees", PACKAGE, "from functorch_artifact.errors import TreeError"),
        ("tracking", f"{PACKAGE}.tracking", "from . import delivery\nfrom ..records import Record\nimport logging"),
        ("table_comparison", f"{PACKAGE}.table_comparison", "import pandas as pd"),
    ],
)
def test_the_check_permits(room: str, package: str, source: str) -> None:
    assert violations(source, room, package) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1", "has no docstring"),
        ('"""Scores."""', "does not say its floor"),
        ('"""Scores.\nFloor 3.\n"""', "says floor 3, stands on 2"),
    ],
)
def test_the_docstring_check_finds(source: str, fault: str) -> None:
    assert fault in str(docstring_fault(source, "scores"))
