"""Train and validate PyTorch models as pure functions over an immutable state.

Floor 10.
"""
