"""What this machine offers a run: versions, devices, the compiler, the extras.

Belongs here: looking, and saying what follows. Does not: printing it (`cli.terminal`).
Floor 11.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

import attrs
import torch

PACKAGE: Final = "functorch-artifact"
_PACKAGES: Final = ("torch", "numpy", "pandas", "optree", "attrs", "safetensors", "tensorboard", "tqdm")
_DEVELOPERS: Final = frozenset({"dev", "docs", "testing"})  # extras that no run uses
_PATIENCE: Final = 120.0  # seconds for the compiler
# What Inductor's code for CPUs needs of a compiler: OpenMP and Python's headers.
_PROGRAM: Final = '#include <Python.h>\n#include <omp.h>\nextern "C" int threads() { return omp_get_max_threads(); }\n'


@attrs.frozen
class Fact:
    """One thing that was looked at."""

    name: str
    text: str
    good: bool | None = None  # None: neither good nor bad


def examine() -> dict[str, list[Fact]]:
    """Look at everything; by section, in order. The compiler is tried on three lines of code.

    Example:
        >>> from functorch_artifact.cli import doctor
        >>> [fact.name for fact in doctor.devices()][-1]
        'will be used'
    """
    return {"Versions": versions(), "Devices": devices(), "Compiling": compiling(), "Extras": extras()}


def versions() -> list[Fact]:
    """Read the versions of what every run uses."""
    found = [Fact(PACKAGE, _version(PACKAGE) or "used from its source, not installed")]
    found.append(Fact("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"))
    for package in _PACKAGES:
        version = _version(package)
        found.append(Fact(package, version or "missing", None if version else False))
    return found


def devices() -> list[Fact]:
    """List what torch can compute on, and what a `CustomTrainer` chooses by default."""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    found = [Fact("cpu", f"{torch.backends.cpu.get_cpu_capability()}, torch uses {threads}")]
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        capability = f"compute capability {about.major}.{about.minor}"
        found.append(Fact(f"cuda:{i}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB, {capability}", True))
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        found.append(Fact("cuda", f"none (torch was built with {built})"))
    if torch.backends.mps.is_available():
        found.append(Fact("mps", "there, if a trainer's _get_device returns it"))
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    found.append(Fact("will be used", f"{chosen} by a CustomTrainer; fit(Program(...)) stays where the model is"))
    return found


def compiling() -> list[Fact]:
    """Try what the mode `compiled` needs, and say which modes follow."""
    works, text = _try_compiler()
    found = [Fact("C++ compiler", text, works)]
    if torch.cuda.is_available():
        triton = _version("triton") or _version("pytorch-triton")
        found.append(Fact("triton", triton or "missing: no code for the GPU", triton is not None))
        works = works and triton is not None
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    found.append(
        Fact("cache", cache or "torch's own folder for temporary files; set TORCHINDUCTOR_CACHE_DIR to keep it")
    )
    others = "compiled, and auto where it pays" if works else "compiled and auto run as captured"
    recorded = "cudagraph" if torch.cuda.is_available() else "cudagraph runs as captured"
    found.append(Fact("modes", f"captured (the default) and eager always; {others}; {recorded}"))
    return found


def extras() -> list[Fact]:
    """Say of each extra what of it is installed."""
    try:
        wanted = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return [Fact("extras", "unknown: the package is used from its source, not installed")]
    by_extra: dict[str, list[str]] = {}
    for line in wanted:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if extra and name and extra[1] not in _DEVELOPERS:
            by_extra.setdefault(extra[1], []).append(name[0])
    found = []
    for extra_name, packages in sorted(by_extra.items()):
        there = {package: _version(package) for package in packages}
        if all(there.values()):
            found.append(
                Fact(extra_name, ", ".join(f"{package} {version}" for package, version in there.items()), True)
            )
        else:
            lacking = ", ".join(package for package, version in there.items() if version is None)
            found.append(Fact(extra_name, f"{lacking} not installed: pip install '{PACKAGE}[{extra_name}]'"))
    return found


def _try_compiler() -> tuple[bool, str]:
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    path = shutil.which(name)
    if path is None:
        return False, f"{name} is not there; install it, or name another in CXX"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "try.cpp")
        source.write_text(_PROGRAM)
        command = [path, "-fopenmp", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", str(source)]
        try:
            done = subprocess.run(
                [*command, "-o", f"{source}.so"], capture_output=True, text=True, errors="replace", timeout=_PATIENCE
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return False, f"{path} cannot be run: {error}"
    if done.returncode:
        complaint = next((line for line in done.stderr.splitlines() if "error" in line), "no message")
        return False, f"{path} fails with OpenMP and Python's headers: {complaint.replace(folder, '')}"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
    return True, f"{path}, {(said.stdout.splitlines() or ['of no stated version'])[0]}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
