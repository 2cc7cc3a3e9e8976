"""One thread, so that results repeat, and no test may disturb the global generators."""

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def global_generator_is_left_alone() -> Iterator[None]:
    torch.manual_seed(0)
    yield
