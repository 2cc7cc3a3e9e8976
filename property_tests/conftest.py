"""Two hypothesis profiles, chosen by HYPOTHESIS_PROFILE: `laws`, the same examples at every run, and `thorough`."""

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

THOROUGH = 10_000
settings.register_profile("laws", derandomize=True, deadline=None, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=THOROUGH, database=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "laws")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that ask for few examples, being slow, as many as all others when it is thorough."""
    if PROFILE != "thorough":
        return
    for item in items:
        function = getattr(item, "obj", None)
        own = getattr(function, "_hypothesis_internal_use_settings", None)
        if own is not None and own.max_examples < THOROUGH:
            function._hypothesis_internal_use_settings = settings(own, max_examples=THOROUGH)
