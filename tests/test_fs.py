"""The seam to the file system: what each operation does, and that an interrupted replacement changes nothing."""

from pathlib import Path

import pytest

from functorch_artifact.fs import (
    Copy,
    Fs,
    MakeDirectory,
    Operation,
    RemoveDirectory,
    Rename,
    Sync,
    SyncDirectory,
    Touch,
    Transaction,
    Unlink,
    Write,
)


class Recording(Fs):
    """Performs operations and remembers them; fails instead of the n-th."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.performed: list[Operation] = []
        self.fail_at = fail_at

    def perform(self, operation: Operation) -> None:
        if len(self.performed) == self.fail_at:
            raise OSError(28, "No space left on device")
        self.performed.append(operation)
        super().perform(operation)


def test_each_operation_does_what_it_says(tmp_path: Path) -> None:
    fs, ran = Fs(), []
    folder, file, other = tmp_path / "folder", tmp_path / "folder" / "file", tmp_path / "other"
    for operation in (MakeDirectory(folder), MakeDirectory(folder), Write(file, b"long"), Write(file, b"new")):
        fs.perform(operation)
    fs.perform(Touch(file))
    fs.perform(Sync(file))
    fs.perform(SyncDirectory(folder))
    assert file.read_bytes() == b"new"
    fs.perform(Copy(file, other))
    fs.perform(Rename(file, tmp_path / "renamed"))
    assert (other.read_bytes(), (tmp_path / "renamed").read_bytes(), file.exists()) == (b"new", b"new", False)
    fs.perform(RemoveDirectory(folder))
    fs.perform(Unlink(other))
    fs.perform(Unlink(other))
    fs.perform(Touch(tmp_path / "empty"))
    fs.perform(Transaction(tmp_path / "journal", lambda: ran.append(1)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "renamed"]
    assert ran == [1]


@pytest.mark.parametrize("content", [b"new", "a file"])
def test_a_replacement_is_whole_or_not_at_all(content: bytes | str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new")
    target = tmp_path / "run" / "x"
    target.parent.mkdir()
    given = content if isinstance(content, bytes) else source
    counting = Recording()
    counting.replace(target, given)
    assert [type(each) for each in counting.performed][1:] == [Sync, Rename, SyncDirectory]
    for n in range(len(counting.performed)):
        target.write_bytes(b"old")
        fs = Recording(fail_at=n)
        with pytest.raises(OSError, match="No space left"):
            fs.replace(target, given)
        assert target.read_bytes() == (b"old" if n < 3 else b"new")
        Fs().sweep(target.parent)
        assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_a_partial_file_lies_beside_its_target(tmp_path: Path) -> None:
    fs = Recording()
    fs.replace(tmp_path / "x", b"")
    assert {path.parent for each in fs.performed if (path := getattr(each, "path", None)) != tmp_path} == {tmp_path}


def test_directories_are_made_and_their_names_synced_from_above(tmp_path: Path) -> None:
    fs = Recording()
    fs.make_directory(tmp_path / "a" / "b")
    a = tmp_path / "a"
    assert fs.performed == [MakeDirectory(a), SyncDirectory(tmp_path), MakeDirectory(a / "b"), SyncDirectory(a)]
    fs.make_directory(a / "b")
    assert len(fs.performed) == 4


def test_removing_is_synced_and_may_be_done_twice(tmp_path: Path) -> None:
    fs = Recording()
    (tmp_path / "x").touch()
    fs.remove(tmp_path / "x")
    fs.remove(tmp_path / "x")
    assert fs.performed == [Unlink(tmp_path / "x"), SyncDirectory(tmp_path)]
