"""Checkpoints: whole or refused, bit for bit, and no code in them."""

import json
import subprocess
import sys
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
import safetensors.torch
import torch

from functorch_artifact import checkpoint, trees
from functorch_artifact.checkpoint import Checkpoints, CheckpointWarning, Position
from functorch_artifact.errors import CheckpointError, ConfigurationError
from functorch_artifact.scores import ScoreCache


@trees.node
@attrs.frozen(eq=False)
class State:
    params: dict[str, torch.Tensor]
    step: torch.Tensor  # int64 []
    tracker: Any = None
    scores: Any = attrs.field(factory=dict)
    width: int = attrs.field(default=3, metadata=trees.STATIC)


@trees.node
@attrs.frozen(eq=False)
class Snapshot:
    _model: Any
    epoch: int


class Moments(NamedTuple):
    mean: torch.Tensor
    count: int


def state(**changes: Any) -> State:
    return attrs.evolve(State({"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(3)}, torch.tensor(4)), **changes)


base = torch.arange(12.0).reshape(3, 4)
payload = torch.tensor([0x7FC00001, -0x3FFFFF, -0x80000000], dtype=torch.int32).view(torch.float32)


@pytest.mark.parametrize(
    "tree",
    [
        {"shared": base, "transposed": base.T, "row": base[1], "element": base[0, 0], "expanded": base[0].expand(5, 4)},
        {"payloads": payload, "imaginary": torch.tensor([1 + 2j, complex("nan")], dtype=torch.complex64)},
        [torch.zeros(0, 3), torch.tensor(True), torch.tensor(2**62), torch.tensor([-0.0], dtype=torch.float64)],
        [torch.tensor([1.5, float("nan")]).to(dtype) for dtype in (torch.bfloat16, torch.float16, torch.float64)],
        [torch.tensor([1, 255], dtype=torch.uint8), torch.tensor([True, False]), torch.nn.Parameter(torch.ones(2))],
        (1, -2.5, 1e-320, -0.0, float("inf"), float("-inf"), True, 2**70, 'é\n"\x00', None),
        OrderedDict([("z", deque([1, [], {}, ()])), ("a", {3: "x", True and "y": 2, -1: 0.1})]),
        state(tracker=Snapshot({"w": torch.ones(2)}, 3)),
        torch.tensor(3),
        5,
        {},
        None,
    ],
)
def test_trees_come_back_bit_for_bit(tree: Any, tmp_path: Path) -> None:
    loaded = checkpoint.load(checkpoint.save(tmp_path / "x", tree))
    assert trees.digest(loaded) == trees.digest(tree)
    assert trees.flatten(loaded)[1] == trees.flatten(tree)[1]
    assert [repr(leaf) for leaf in trees.leaves(loaded) if not isinstance(leaf, torch.Tensor)] == [
        repr(leaf) for leaf in trees.leaves(tree) if not isinstance(leaf, torch.Tensor)
    ]
    assert trees.digest(checkpoint.load(tmp_path / "x", like=tree)) == trees.digest(tree)


def test_conjugate_and_negative_views_come_back_as_values(tmp_path: Path) -> None:
    z = torch.tensor([1 + 2j, 3 - 1j])
    loaded = checkpoint.load(checkpoint.save(tmp_path / "x", [z.conj(), z.conj().imag]))
    assert torch.equal(loaded[0], torch.tensor([1 - 2j, 3 + 1j]))
    assert torch.equal(loaded[1], torch.tensor([-2.0, 1.0]))


def test_loaded_tensors_share_no_memory(tmp_path: Path) -> None:
    first, second = checkpoint.load(checkpoint.save(tmp_path / "x", [base, base]))
    first.add_(1)
    assert torch.equal(second, base)
    assert torch.equal(checkpoint.load(tmp_path / "x")[0], base)


def test_the_order_of_keys_is_kept(tmp_path: Path) -> None:
    loaded = checkpoint.load(checkpoint.save(tmp_path / "x", {"z": 1, "a": 2}))
    assert list(loaded) == ["z", "a"]


def test_private_and_static_fields_come_back(tmp_path: Path) -> None:
    loaded = checkpoint.load(checkpoint.save(tmp_path / "x", state(tracker=Snapshot({"w": 1.5}, 7), width=9)))
    assert (loaded.width, loaded.tracker._model, loaded.tracker.epoch) == (9, {"w": 1.5}, 7)


def test_tensors_go_to_the_device_of_their_counterparts(tmp_path: Path) -> None:
    grown = state(tracker=Snapshot({"w": torch.ones(2)}, 3))
    like = state(params=trees.to_device(state().params, "meta"))
    loaded = checkpoint.load(checkpoint.save(tmp_path / "x", grown), like=like, free=[".tracker"])
    assert {t.device.type for t in loaded.params.values()} == {"meta"}
    assert loaded.step.device.type == "cpu"


def test_notes_come_back(tmp_path: Path) -> None:
    given = {"torch": "2.13", "threads": 1, "rate": float("inf"), "exact": True}
    assert checkpoint.notes(checkpoint.save(tmp_path / "x", {}, notes=given)) == given


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".x.partial").write_text("left by a crash")
    checkpoint.save(tmp_path / "x", 1)
    checkpoint.save(tmp_path / "x", 2)
    assert checkpoint.load(tmp_path / "x") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_tree_that_cannot_be_saved_leaves_the_old_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", 1)
    with pytest.raises(CheckpointError):
        checkpoint.save(tmp_path / "x", {"f": print})
    assert checkpoint.load(tmp_path / "x") == 1


class Plain:
    pass


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": [Plain()]}, "['a'][0]: cannot be saved"),
        (Plain(), "the tree: cannot be saved"),
        (deque([1], maxlen=2), "the tree: cannot be saved"),
        ({"a": {(1, 2): 3}}, "['a']: has keys that cannot be saved\n  expected: str, int or bool\n  got: [(1, 2)]"),
        (state(step=torch.zeros(2, dtype=torch.complex128)), ".step: cannot be saved"),
        ([torch.zeros(2, device="meta")], "[0]: cannot be saved"),
        ([torch.eye(2).to_sparse()], "[0]: cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_named(tree: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as raised:
        checkpoint.save(tmp_path / "x", tree)
    assert text in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("like", "lines"),
    [
        (
            state(params={"w": torch.zeros(2, 2), "b": torch.zeros(3, dtype=torch.float64), "c": torch.zeros(1)}),
            [
                ".params['b']: expected float64[3], got float32[3]",
                ".params['c']: missing, expected float32[1]",
                ".params['w']: expected float32[2, 2], got float32[2, 3]",
            ],
        ),
        (state(params={"w": base}), [".params['b']: unexpected float32[3]"]),
        (state(width=4), [".width: expected 4, got 3"]),
        (state(scores=[]), [".scores: expected list, got dict"]),
        (state(scores=None), [".scores: expected None, got dict"]),
        ({"params": 1}, ["the tree: expected dict, got", ".step: unexpected int64[]"]),
    ],
)
def test_differences_are_named_by_path(like: Any, lines: list[str], tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", state())
    with pytest.raises(CheckpointError, match="differs from the tree that was asked for") as raised:
        checkpoint.load(tmp_path / "x", like=like)
    for line in lines:
        assert line in str(raised.value)


def test_free_subtrees_may_have_grown(tmp_path: Path) -> None:
    grown = state(tracker=Snapshot({"w": torch.ones(2)}, 3), scores={"1": {"LOSS": 0.5}})
    checkpoint.save(tmp_path / "x", grown)
    loaded = checkpoint.load(tmp_path / "x", like=state(), free=[".tracker", ".scores"])
    assert trees.digest(loaded) == trees.digest(grown)
    with pytest.raises(CheckpointError, match=r"\.scores\['1'\]\['LOSS'\]: unexpected float 0.5"):
        checkpoint.load(tmp_path / "x", like=state(), free=[".tracker", ".score"])


def test_named_tuples_are_found_in_like(tmp_path: Path) -> None:
    tree = {"m": Moments(torch.ones(2), 3)}
    checkpoint.save(tmp_path / "x", tree)
    loaded = checkpoint.load(tmp_path / "x", like={"m": Moments(torch.zeros(2), 0)})
    assert type(loaded["m"]) is Moments
    assert loaded["m"].count == 3
    with pytest.raises(CheckpointError, match="Moments, a class that is not registered here"):
        checkpoint.load(tmp_path / "x")


def signed(path: Path, edit: Any) -> None:
    """Edit the manifest and sign it again, as someone who means harm would."""
    tensors = safetensors.torch.load_file(path)
    body = checkpoint._manifest(path, path.read_bytes())
    edit(body)
    manifest = json.dumps({"blake2b": checkpoint._digest(checkpoint._canonical(body)), **body})
    path.write_bytes(safetensors.torch.save(tensors, {"functorch_artifact": manifest}))


def test_the_librarys_own_classes_are_found_in_their_rooms(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "state", ScoreCache.empty().append(1, {"LOSS": 0.5}))
    script = f"from functorch_artifact.checkpoint import load; print(load({str(tmp_path / 'state')!r}).latest())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{'LOSS': 0.5}\n", "")


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval", "collections.Counter"])
def test_no_name_in_a_file_is_imported(name: str, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {})
    signed(tmp_path / "x", lambda body: body.update(tree={name: [["args", "true"]]}))
    with pytest.raises(CheckpointError, match=f"holds a {name}, a class that is not registered here"):
        checkpoint.load(tmp_path / "x")


def test_another_definition_of_a_node_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", Snapshot(1, 2))
    kind = f"{Snapshot.__module__}.Snapshot"
    signed(tmp_path / "x", lambda body: body["tree"][kind].pop())
    with pytest.raises(CheckpointError, match=r"(?s)another definition of .*fields _model, epoch.*fields _model"):
        checkpoint.load(tmp_path / "x")


def test_another_format_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {})
    signed(tmp_path / "x", lambda body: body.update(format=9))
    with pytest.raises(CheckpointError, match=r"(?s)another format\n  expected: format 1\n  got: format 9"):
        checkpoint.load(tmp_path / "x")


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("harm", ["missing", "truncated", "emptied", "flipped", "flipped in the header", "foreign"])
def test_a_damaged_file_is_named(harm: str, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "x", state())
    data = path.read_bytes()
    {
        "missing": path.unlink,
        "truncated": lambda: path.write_bytes(data[:-9]),
        "emptied": lambda: path.write_bytes(b""),
        "flipped": lambda: flip(path, -9),
        "flipped in the header": lambda: flip(path, data.index(b"blake2b") + 20),
        "foreign": lambda: torch.save({"w": base}, path),
    }[harm]()
    with pytest.raises(CheckpointError, match=f"x: is {'missing' if harm == 'missing' else 'damaged'}"):
        checkpoint.load(tmp_path / "x")


def test_tensors_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    one = checkpoint.save(tmp_path / "one", {"w": torch.ones(2)})
    tensors = safetensors.torch.load_file(one)
    for other in ({"w": torch.zeros(2)}, {"w": torch.ones(2, 1)}, {"v": torch.ones(2)}):
        two = checkpoint.save(tmp_path / "two", other)
        with safetensors.safe_open(two, framework="pt") as file:  # type: ignore[no-untyped-call]
            metadata = file.metadata()
        two.write_bytes(safetensors.torch.save(tensors, metadata))
        with pytest.raises(CheckpointError, match=r"(?s)is damaged\n  expected: the tensor \['[wv]'\]"):
            checkpoint.load(two)


def test_the_newest_whole_checkpoint_is_used(tmp_path: Path) -> None:
    series = Checkpoints(tmp_path / "run")
    assert series.latest() is None
    for epoch in (5, 10, 15):
        series.save(epoch, {"epoch": epoch})
    (tmp_path / "run" / "epoch_notes").mkdir()
    assert series.positions() == [Position(5), Position(10), Position(15)]
    assert series.latest() == (Position(15), {"epoch": 15})
    flip(tmp_path / "run" / "epoch_000015.safetensors", -9)
    with pytest.warns(CheckpointWarning, match="passed over a damaged checkpoint: .*epoch_000015.safetensors: is dam"):
        assert series.latest(like={"epoch": 0}) == (Position(10), {"epoch": 10})


def test_checkpoints_within_an_epoch_stand_between_those_of_its_ends(tmp_path: Path) -> None:
    series = Checkpoints(tmp_path)
    for position in (Position(2), Position(1, 700), Position(1, 20), Position(1)):
        series.save(position.epoch, {"at": list(position)}, batch=position.batch)
    assert series.positions() == [Position(1), Position(1, 20), Position(1, 700), Position(2)]
    assert series.paths()[1] == tmp_path / "epoch_000001_batch_000020.safetensors"
    series.path(Position(2)).unlink()
    assert series.latest() == (Position(1, 700), {"at": [1, 700]})


def test_a_whole_checkpoint_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    series = Checkpoints(tmp_path)
    series.save(1, {"epoch": 1})
    with pytest.raises(CheckpointError, match=r"\['epoch'\]: unexpected int 1"):
        series.latest(like={})


def test_only_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    series = Checkpoints(tmp_path, keep_last=2)
    for epoch in range(1, 6):
        series.save(epoch, epoch, keep=[2])
    assert [position.epoch for position in series.positions()] == [2, 4, 5]
    series.save(3, 3)  # resumed from an earlier epoch: never removes what it has just written
    assert [position.epoch for position in series.positions()] == [2, 3, 4, 5]


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"Checkpoints\.keep_last: is too small\n  expected: at least 1\n  got: 0"
    ):
        Checkpoints(tmp_path, keep_last=0)
