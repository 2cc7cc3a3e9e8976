"""The benchmark for CUDA devices runs whole on the CPU, with whatever peers are installed."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent


def test_it_prints_every_table():
    quick = ["--device", "cpu", "--rounds", "1", "--seconds", "0.01", "--steps", "5", "--members", "2"]
    quick += ["--modes", "eager", "cudagraph", "--models"]
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", *quick, "MLP b64"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for table in ("MLP b64\n", "bits after 5 steps", "memory after 5 more steps", "ensemble of 2 MLPs"):
        assert table in done.stdout
    assert re.search(r"^by hand, default Adam +\d+\.\d+ +\d+ +1\.00$", done.stdout, re.MULTILINE)
    assert re.search(r"^ours, cudagraph, 16 steps a call +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^ours, cudagraph, deterministic algorithms +the same", done.stdout, re.MULTILINE)
    assert "no CUDA graphs on cpu" in done.stdout
    left_out = re.findall(r"\((.*) is left out: (\w+)", done.stdout)
    assert {why for _, why in left_out} <= {"ModuleNotFoundError"}, left_out


def test_the_vae_that_is_taken_apart_computes_what_the_whole_one_does(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    models = importlib.import_module("models")
    found = []
    for name in ("VAE b64", "columnwise VAE b64"):
        work = models.workload(name)
        net = work.make()
        torch.manual_seed(1)
        found.append(work.loss(net, work.batch))
    torch.testing.assert_close(*found)
