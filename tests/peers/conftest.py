"""One thread, and warnings of the peers are theirs."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("peers", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("peers")


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore"))
