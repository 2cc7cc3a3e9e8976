"""One thread, one seed and the usual signals, so that results repeat."""

import signal
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it


@pytest.fixture(autouse=True)
def fixed_seed() -> Iterator[None]:
    torch.manual_seed(0)
    yield
