"""`import functorch_artifact` costs little beyond torch, and pulls in no optional or heavy package."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import pytest

PROBE = """
import json, sys, time
import torch
before = set(sys.modules)
start = time.process_time()
import functorch_artifact
spent = time.process_time() - start
print(json.dumps({"seconds": spent, "modules": sorted({m.split(".")[0] for m in set(sys.modules) - before})}))
"""
HEAVY = {"hypothesis", "matplotlib", "pandas", "pytest", "scipy", "sklearn", "tensorboard", "tqdm"}
LIMIT_CPU_SECONDS = 0.3


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
