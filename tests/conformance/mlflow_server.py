"""A real MLflow server on loopback, which tests start, stop, continue and kill."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

_PATIENCE = 90.0  # seconds


@functools.cache
def empty_database() -> Path:
    """Make one database, which takes seconds, for all tests to copy."""
    from mlflow import MlflowClient

    path = Path(tempfile.mkdtemp(prefix="mlflow-")) / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


class Server:
    """One server; it is killed with everything it has started when the tests end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copyfile(empty_database(), root / "mlflow.db")
        atexit.register(self.kill)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self._root}/mlflow.db"]
        files = ["--artifacts-destination", f"{self._root}/files"]
        command = [sys.executable, "-m", "mlflow", "server", *where, *store, *files]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._root, start_new_session=True)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError((self._root / "log").read_text()[-2000:]) from None
                time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, without a word."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """Stop it from working; connections are taken, and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it work again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)


class Parents:
    """The server of the process that started this one."""

    def __init__(self, uri: str) -> None:
        self.uri = uri


@functools.cache
def server() -> Server | Parents:
    """Start the one server for all tests, or find that of the process that started this one."""
    if "MLFLOW_SERVER" in os.environ:
        return Parents(os.environ["MLFLOW_SERVER"])
    made = Server(Path(tempfile.mkdtemp(prefix="mlflow-server-")))
    made.start()
    return made
