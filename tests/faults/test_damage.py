"""Checkpoints that a disk altered, and files that somebody made: noticed every time, and no code of theirs runs."""

import random
import shutil
import warnings

import pytest

from functorch_artifact import trees
from functorch_artifact.checkpoint import Checkpoints, CheckpointWarning
from tests.faults import trials


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A finished run's checkpoints."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert trials.run(trials.train, directory) == 0
    return directory / "checkpoints"


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

    for _ in tally("one bit flipped in a checkpoint").trials(short=60, full=1000):
        check_noticed(series, tmp_path / "copy", flip)


def test_every_cut_is_noticed(series, tmp_path, tally):
    draw = random.Random(0)

    def cut(directory):
        path = draw.choice(sorted(directory.iterdir()))
        content = path.read_bytes()
        path.write_bytes(content[: draw.randrange(len(content))])

    for _ in tally("a file of a checkpoint cut short").trials(short=60, full=1000):
        check_noticed(series, tmp_path / "copy", cut)


def test_every_missing_file_is_noticed(series, tmp_path, tally):
    names = sorted(path.name for path in next(iter(series.iterdir())).iterdir())
    for name in tally("a file of a checkpoint missing").over(names):
        check_noticed(series, tmp_path / "copy", lambda directory, name=name: (directory / name).unlink())
