"""One hypothesis profile: the same examples at every run, no deadline, one thread."""

import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("laws", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("laws")
