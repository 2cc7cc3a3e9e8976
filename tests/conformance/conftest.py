"""Nothing phones home, and one thread."""

import os
import tempfile

import pytest
import torch

os.environ |= {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "TRACKIO_DIR": os.environ.get("TRACKIO_DIR") or tempfile.mkdtemp(prefix="trackio-"),
    "WANDB_ERROR_REPORTING": "false",
}
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty directory: backends write beside the process."""
    monkeypatch.chdir(tmp_path)


def pytest_configure(config):
    """Warnings of our own are errors; those of the backends are theirs to mend."""
    config.addinivalue_line("filterwarnings", "default")
    config.addinivalue_line("filterwarnings", "error:::functorch_artifact")
