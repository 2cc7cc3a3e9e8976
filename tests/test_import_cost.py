"""All of the library costs little beyond torch, and pulls in no optional or heavy package; one room costs less."""

from __future__ import annotations

import inspect
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import functorch_artifact

PROBE = """
import json, sys, time
import torch
before = set(sys.modules)
start = time.process_time()
import functorch_artifact
functorch_artifact.fit
spent = time.process_time() - start
print(json.dumps({"seconds": spent, "modules": sorted({m.split(".")[0] for m in set(sys.modules) - before})}))
"""
HEAVY = {"click", "hypothesis", "matplotlib", "pandas", "pytest", "rich", "scipy", "sklearn", "tensorboard", "tqdm"}
LIMIT_CPU_SECONDS = 0.3
ROOMS = {
    path.stem for path in Path(functorch_artifact.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()
}
ROOMS -= {"__pycache__"}


def probe() -> tuple[float, set[str]]:
    # As an installed package: its bytecode is cached, here by the first of the runs.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    return found["seconds"], set(found["modules"])


def test_import_is_cheap_and_lean(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [probe() for _ in range(5)]
    seconds = statistics.median(seconds for seconds, _ in runs)
    with capsys.disabled():
        print(f"\nimport functorch_artifact: {seconds:.3f} CPU seconds beyond torch (median of {len(runs)})")
    assert "functorch_artifact" in runs[0][1]
    assert runs[0][1] & HEAVY == set()
    assert seconds <= LIMIT_CPU_SECONDS


def test_the_package_alone_waits_for_nothing() -> None:
    script = "import sys, functorch_artifact; assert not {'torch', 'numpy', 'attrs'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_each_room_can_be_asked_for_first() -> None:
    script = f"""
import os, torch
for room in {sorted(room for room in ROOMS if not room.startswith("__"))}:
    child = os.fork()
    if not child:
        import functorch_artifact
        module = getattr(functorch_artifact, room)
        os._exit(module.__name__ != f"functorch_artifact.{{room}}")
    assert os.waitpid(child, 0)[1] == 0, room
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_front_door_offers_what_it_lists() -> None:
    offered = {name: getattr(functorch_artifact, name) for name in functorch_artifact.front.__all__}
    assert functorch_artifact.__all__ == functorch_artifact.front.__all__
    assert set(offered) | ROOMS <= set(dir(functorch_artifact)) | ROOMS
    for name in set(offered) & ROOMS:  # a noun would hide the room
        assert inspect.ismodule(offered[name])
    with pytest.raises(AttributeError, match="module 'functorch_artifact' has no attribute 'nothing'"):
        _ = functorch_artifact.nothing
