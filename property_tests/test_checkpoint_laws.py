"""Laws of checkpoints: loading inverts saving, and no altered byte passes unnoticed."""

import tempfile
from pathlib import Path
from typing import Any

import attrs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functorch_artifact import checkpoint, trees
from functorch_artifact.errors import CheckpointError
from functorch_artifact.testing import check_checkpointable
from functorch_artifact.testing import strategies as fas


@trees.node
@attrs.frozen(eq=False)
class Both:
    first: Any
    second: Any


dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.complex64]
)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Draw any bits in any shape, often a view."""
    dtype, shape = draw(dtypes), draw(st.lists(st.integers(0, 3), max_size=3))
    size = torch.empty(0, dtype=dtype).element_size() * torch.Size(shape).numel()
    raw = draw(st.binary(min_size=size, max_size=size))
    flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    tensor = flat.view(dtype).reshape(shape)
    return tensor.transpose(0, -1) if tensor.ndim and draw(st.booleans()) else tensor


leaves = tensors() | st.integers() | st.floats() | st.booleans() | st.text(max_size=5) | st.none()
keys = st.text(max_size=3) | st.integers(-3, 3)
tree_strategy = st.recursive(
    leaves,
    lambda children: (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), children, max_size=3)
        | st.dictionaries(st.integers(-3, 3), children, max_size=3)
        | st.builds(Both, children, children)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(tree=tree_strategy)
def test_loading_inverts_saving(tree: Any) -> None:
    with tempfile.TemporaryDirectory() as parent:
        loaded = checkpoint.load(checkpoint.save(Path(parent) / "x", tree), like=tree)
    assert trees.digest(loaded) == trees.digest(tree)
    assert trees.flatten(loaded)[1] == trees.flatten(tree)[1]


whole = {"w": torch.arange(4.0), "step": torch.tensor(3), "scores": [0.1, 0.25, float("nan")], "name": "x"}


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_an_altered_byte_is_found_or_means_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as parent:
        path = checkpoint.save(Path(parent) / "x", whole)
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            loaded = checkpoint.load(path)
        except CheckpointError as error:
            assert str(path) in str(error)
        else:
            assert trees.digest(loaded) == trees.digest(whole)


def test_states_of_training_can_be_checkpointed() -> None:
    assert check_checkpointable(fas.train_states())
