"""Checkpoints that a disk altered, and files that somebody made: noticed every time, and no code of theirs runs."""

import io
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
    """Harm one file of the newest of two checkpoints: it is named, and the one before is used, to the bit."""
    before, newest = sorted(path for path in series.iterdir() if path.is_dir())[-2:]
    shutil.copytree(before, copy / before.name)
    shutil.copytree(newest, copy / newest.name)
    harm(copy / newest.name)
    with pytest.warns(CheckpointWarning, match=newest.name):
        found = Checkpoints(copy).latest()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shutil.rmtree(copy / newest.name)
        assert trees.digest(found[1]) == trees.digest(Checkpoints(copy).latest()[1])
    shutil.rmtree(copy)


def test_every_flipped_bit_is_noticed(series, tmp_path, tally):
    draw = random.Random(0)

    def flip(directory):
        path = draw.choice(sorted(directory.iterdir()))
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)

    for _ in tally("one bit flipped in a checkpoint").times(short=60, full=1000):
        check_noticed(series, tmp_path / "copy", flip)


def test_every_cut_is_noticed(series, tmp_path, tally):
    draw = random.Random(0)

    def cut(directory):
        path = draw.choice(sorted(directory.iterdir()))
        content = path.read_bytes()
        path.write_bytes(content[: draw.randrange(len(content))])

    for _ in tally("a file of a checkpoint cut short").times(short=60, full=1000):
        check_noticed(series, tmp_path / "copy", cut)


def test_every_missing_file_is_noticed(series, tmp_path, tally):
    names = sorted(path.name for path in next(iter(series.iterdir())).iterdir())
    for name in tally("a file of a checkpoint missing").over(names):
        check_noticed(series, tmp_path / "copy", lambda directory, name=name: (directory / name).unlink())


class Trap:
    """Pickles to code that leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def forgeries(directory, mark):
    """Name ways to put a pickle, or names that lead elsewhere, where a checkpoint is expected."""
    pickled = pickle.dumps(Trap(mark))
    archive = io.BytesIO()
    torch.save({"tensor": Trap(mark)}, archive)
    climbing = io.BytesIO()
    with zipfile.ZipFile(climbing, "w") as members:
        members.writestr(f"../{mark.name}", "out")
    for path in sorted(directory.iterdir()):
        yield f"{path.name} is a pickle", path, pickled
        yield f"{path.name} is torch.save's", path, archive.getvalue()
        yield f"{path.name} is a zip that climbs", path, climbing.getvalue()


def test_a_forged_checkpoint_is_refused_and_runs_nothing(series, tmp_path, tally):
    mark = tmp_path / "mark"
    newest = sorted(path for path in series.iterdir() if path.is_dir())[-1]
    for _, path, content in tally("pickle or zip in place of a checkpoint's file").over(list(forgeries(newest, mark))):
        copy = tmp_path / "copy"
        shutil.copytree(newest, copy)
        (copy / path.name).write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(copy)
        assert not mark.exists()
        shutil.rmtree(copy)


HOSTILE = ["../out", "/abs", "..\\out", "a/../../out", "<script>x</script>", "con\x00nul", "\u202etxt.exe", "a" * 400, "%2e%2e/x"]


class Named(fa.ArtifactRoutine):
    """Records under names that try to lead elsewhere."""

    score_names = ()

    def artifacts(self, model, epoch):
        return [(name, lambda: records.Plot(trials.PNG)) for name in HOSTILE]


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
