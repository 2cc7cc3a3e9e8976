"""Checkpoints that a disk altered, and files that somebody made: noticed every time, and no code of theirs runs."""

import io
import json
import pickle
import random
import shutil
import warnings
import zipfile

import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import checkpoint, records, trees
from functorch_artifact.checkpoint import Checkpoints, CheckpointWarning
from functorch_artifact.errors import CheckpointError
from tests.faults import trials


@pytest.fixture(scope="module")
def series(finished):
    """A finished run's checkpoints."""
    return finished / "checkpoints"


def check_noticed(series, copy, harm):
    """Harm the newest of two checkpoints: it is named, and the one before is used, to the bit."""
    before, newest = sorted(series.iterdir())[-2:]
    copy.mkdir()
    shutil.copy(before, copy)
    expected = Checkpoints(copy).latest()
    (copy / newest.name).write_bytes(harm(newest.read_bytes()))
    with pytest.warns(CheckpointWarning, match=newest.name):
        found = Checkpoints(copy).latest()
    assert found[0] == expected[0]
    assert trees.digest(found[1]) == trees.digest(expected[1])
    shutil.rmtree(copy)


def test_every_flipped_bit_is_noticed(series, tmp_path, tally):
    draw = random.Random(0)

    def flip(content):
        harmed = bytearray(content)
        harmed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        return bytes(harmed)

    for _ in tally("one bit of a checkpoint flipped").times(short=60, full=1000):
        check_noticed(series, tmp_path / "copy", flip)


def test_every_cut_is_noticed(series, tmp_path, tally):
    draw = random.Random(0)
    for _ in tally("a checkpoint cut short").times(short=60, full=1000):
        check_noticed(series, tmp_path / "copy", lambda content: content[: draw.randrange(len(content))])


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(finished, whole, tmp_path, tally):
    harms = {"emptied": lambda content: b"", "garbled": bytes.swapcase, "missing": None}
    for harm in tally("a damaged or missing checkpoint, and the run goes on").over(harms.values()):
        shutil.copytree(finished, tmp_path / "run")
        newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
        if harm is None:
            newest.unlink()
        else:
            newest.write_bytes(harm(newest.read_bytes()))
        assert trials.run(trials.train_warned, tmp_path / "run") == 0
        assert trials.outcome(tmp_path / "run") == whole
        shutil.rmtree(tmp_path / "run")


class Trap:
    """Pickles to code that leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def forgeries(mark):
    """Make what somebody might put where a checkpoint is expected."""
    archive, climbing = io.BytesIO(), io.BytesIO()
    torch.save({"tensor": Trap(mark)}, archive)
    with zipfile.ZipFile(climbing, "w") as members:
        members.writestr(f"../{mark.name}", "out")
    header = json.dumps({"__metadata__": {"manifest": pickle.dumps(Trap(mark), 0).decode()}}).encode()
    return {
        "a pickle": pickle.dumps(Trap(mark)),
        "torch.save's": archive.getvalue(),
        "a zip that climbs": climbing.getvalue(),
        "safetensors around a pickle": len(header).to_bytes(8, "little") + header,
    }


def test_a_forged_checkpoint_is_refused_and_runs_nothing(tmp_path, tally):
    mark, forged = tmp_path / "mark", tmp_path / "forged.safetensors"
    for content in tally("pickle or zip in place of a checkpoint").over(forgeries(mark).values()):
        forged.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(forged)
        assert not mark.exists()


HOSTILE = ["../out", "/abs", "..\\out", "a/../../out", "<script>x</script>", "con\x00nul", "\u202etxt.exe", "a" * 400]


class Named(fa.ArtifactRoutine):
    """Records under names that try to lead elsewhere."""

    score_names = ()

    def artifacts(self, model, epoch):
        return [(name, lambda: records.Plot(trials.picture([1, 2]))) for name in HOSTILE]


def train_hostile(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that cannot be stored are warned of
        fa.fit(trials.program(artifact_routines=[Named()], on_callback_error="warn"), run=directory, progress=False)


def test_no_name_leads_out_of_the_directory(tmp_path, tally):
    for name in tally("hostile names of records and runs").over(["run", "a b", "%2e%2e", "-rf", "ü\u202e"]):
        parent = tmp_path / "parent"
        parent.mkdir()
        assert trials.run(train_hostile, parent / name) == 0
        assert [path.name for path in parent.iterdir()] == [name]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["parent"]
        shutil.rmtree(parent)
