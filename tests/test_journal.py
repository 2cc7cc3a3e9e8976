"""The journal: commits are whole, a record has one place, and values come back bit for bit."""

import math
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from functorch_artifact import records
from functorch_artifact.errors import TrackingError
from functorch_artifact.fs import Fs, Operation, Transaction
from functorch_artifact.records import Record, RunInfo
from functorch_artifact.tracking.journal import Journal, Part
from functorch_artifact.tracking.journal_reader import FailureRow, JournalReader


def score(
    name: str = "LOSS", value: float = 0.5, epoch: int = 1, step: int = 10, split: str | None = "TRAIN"
) -> Record:
    return Record(name, records.Score(value), epoch, step, split)


def part(*found: Record, name: str = "epoch", **options: Any) -> Part:
    return Part(name, [(record, None) for record in found], **options)


def contents(directory: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(directory / "journal.sqlite") as connection:
        found = connection.execute("SELECT * FROM records ORDER BY sequence").fetchall()
    connection.close()
    return found


def kept(directory: Path) -> list[tuple[str, int, int, Any]]:
    with JournalReader(directory) as journal:
        return [(each.name, each.epoch, each.step, getattr(each.value, "value", None)) for each in journal.records()]


FRAME = pd.DataFrame(
    {
        "float": [0.1 + 0.2, math.nan, -0.0, math.inf],
        "int": np.array([1, 2, 3, 2**62], dtype="int64"),
        "bool": [True, False, True, False],
        "text": ["a,b", None, "é\n", "NaN"],
        "when": pd.to_datetime(["2024-02-29T12:34:56.123456789", None, "1970-01-01", "2262-01-01"], format="ISO8601"),
        "kind": pd.Categorical(["x", "y", "x", None]),
    },
    index=pd.Index(["first", "second", "third", "last"], name="row"),
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
VALUES = [
    records.Score(0.1 + 0.2),
    records.Score(math.nan),
    records.Score(-0.0),
    records.Score(-math.inf),
    records.Score(5e-324),
    records.Score(math.nan, "no label is positive"),
    records.ScoreCollection({"a": 1.0, "b": math.nan}, {"b": "no label is positive"}),
    records.ScoreCollection({"z": math.nan, "a/b": 1 / 3, "": 0.0}),
    records.Array.of(np.array([[1.5, math.nan], [-0.0, math.inf]])),
    records.Array.of(np.array(1 + 2j)),
    records.Array.of(np.zeros((0, 3), dtype="int8")),
    records.ArrayCollection.of({"../x": [1, 2], "a": [True]}),
    records.Plot(PNG),
    records.PlotCollection({"b": PNG, "a": PNG[:9]}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_bit_for_bit(value: Any, tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal.commit(1, 10, part(Record("X", value, 1, 10))) == []
    with JournalReader(tmp_path) as journal:
        (found,) = journal.records()
    assert bits(found.value) == bits(value)
    assert (found.name, found.split, found.epoch, found.step) == ("X", None, 1, 10)


def bits(value: Any) -> Any:
    match value:
        case records.Score(number, reason):
            return struct.pack("d", number), reason
        case records.ScoreCollection(values, reasons):
            return [(name, struct.pack("d", number)) for name, number in values.items()], reasons
        case records.Array(array):
            return (array.dtype, array.shape, array.tobytes())
        case records.ArrayCollection(arrays):
            return [(name, bits(records.Array(array))) for name, array in arrays.items()]
        case _:
            return value


def test_a_table_comes_back_with_its_types(tmp_path: Path) -> None:
    wide = FRAME.set_index(["text", "int"]).T
    with Journal(tmp_path) as journal:
        journal.commit(1, 1, part(Record("T", records.Table(FRAME), 1, 1), Record("E", records.Table(FRAME[[]]), 1, 1)))
        assert journal.commit(1, 2, part(Record("W", records.Table(wide), 1, 2), name="wide")) == []
        table, empty, _ = [each.value.frame for each in journal.records() if isinstance(each.value, records.Table)]
    pd.testing.assert_frame_equal(table, FRAME)
    assert [repr(value) for value in table["float"]] == [repr(value) for value in FRAME["float"]]
    assert (list(empty.index), list(empty.columns)) == (list(FRAME.index), [])


def test_a_file_is_copied_and_keeps_its_suffix(tmp_path: Path) -> None:
    source, run = tmp_path / "weights.bin", tmp_path / "run"
    source.write_bytes(b"weights")
    run.mkdir()
    with Journal(run) as journal:
        journal.commit(1, 10, part(Record("W", records.File(str(source)), 1, 10)))
        source.write_bytes(b"others")
        (found,) = journal.records()
    assert isinstance(found.value, records.File)
    copy = Path(found.value.path)
    assert (copy.read_bytes(), copy.suffix, copy.is_relative_to(run)) == (b"weights", ".bin", True)


def test_committed_again_unchanged_nothing_changes(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for epoch in (1, 2, 3):
            journal.commit(epoch, epoch * 10, part(score(epoch=epoch), Record("P", records.Plot(PNG), epoch, 10)))
        before = contents(tmp_path)
        for epoch in (2, 3):
            journal.commit(epoch, epoch * 10, part(score(epoch=epoch), Record("P", records.Plot(PNG), epoch, 10)))
        journal.commit(4, 40, part(score(epoch=4)))
    assert contents(tmp_path)[:-1] == before


def test_committed_again_otherwise_it_replaces_and_is_new_to_clients(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.commit(1, 10, part(score(value=1.0), score("GONE"), score("SAME")))
        journal.commit(2, 20, part(score(epoch=2)))
        journal.commit(1, 10, part(score(value=2.0), score("SAME"), score(split=None)))
        fresh = [entry.record() for entry in journal.entries(4, [None])]
    assert sorted(kept(tmp_path)) == [
        ("LOSS", 1, 10, 0.5), ("LOSS", 1, 10, 2.0), ("LOSS", 2, 10, 0.5), ("SAME", 1, 10, 0.5)
    ]  # fmt: skip
    assert [(each.name, each.split) for each in fresh] == [("LOSS", "TRAIN"), ("LOSS", None)]


def test_parts_of_an_epoch_leave_each_other_alone(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.commit(1, 5, part(score("B", step=3), score("B", step=5), name="batches", complete=False))
        first = part(score("B", step=7), name="batches", since=5)
        journal.commit(1, 10, first, part(score()), Part("artifacts:0:0", complete=False))
        assert journal.committed(1) == {"batches": True, "epoch": True, "artifacts:0:0": False}
        journal.commit(1, 10, part(score("PLOT"), name="artifacts:0:0"))
        journal.commit(1, 10, part(score("B", step=8), name="batches", since=5))
        assert journal.committed(1)["artifacts:0:0"]
    places = [(name, step) for name, _, step, _ in kept(tmp_path)]
    assert places == [("B", 3), ("B", 5), ("LOSS", 10), ("PLOT", 10), ("B", 8)]


def test_failures_are_kept_with_their_part(tmp_path: Path) -> None:
    failure = FailureRow(1, 10, "AUC", "TEST", "ValueError: one class")
    with Journal(tmp_path) as journal:
        for _ in range(2):
            journal.commit(1, 10, part(score(), failures=[failure]))
        assert journal.failures() == [failure]


class Failing(Fs):
    """Refuses the n-th operation, or performs half of a commit and then is out of space."""

    def __init__(self, fail_at: int) -> None:
        self.fail_at = fail_at

    def perform(self, operation: Operation) -> None:
        self.fail_at -= 1
        if self.fail_at < 0:
            raise OSError(28, "No space left on device")
        super().perform(operation)


@pytest.mark.parametrize("n", range(9))
def test_a_commit_that_fails_anywhere_leaves_what_was(n: int, tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.commit(1, 10, part(score()))
    before = contents(tmp_path)
    with Journal(tmp_path, Failing(n)) as journal:
        with pytest.raises(OSError, match="No space left"):
            journal.commit(2, 20, part(score(epoch=2), Record("P", records.Plot(PNG), 2, 20)))
        assert contents(tmp_path) == before
        assert journal.committed(2) == {}
        journal._fs = Fs()
        journal.commit(2, 20, part(score(epoch=2), Record("P", records.Plot(PNG), 2, 20)))
    assert [place[:2] for place in kept(tmp_path)] == [("LOSS", 1), ("LOSS", 2), ("P", 2)]


def test_a_bad_record_is_named_and_holds_up_no_other(tmp_path: Path) -> None:
    bad = [
        (Record("X", 0.5, 1, 10), "is of a kind that cannot be stored"),  # type: ignore[arg-type]
        (Record("W", records.File(str(tmp_path / "nowhere")), 1, 10), "the file to be copied does not exist"),
        (score("\ud800"), "has a name or split that is no text"),
    ]
    with Journal(tmp_path) as journal:
        refused = journal.commit(1, 10, part(score(), *(record for record, _ in bad)))
    assert [record for record, _ in refused] == [record for record, _ in bad]
    for (_, error), (_, text) in zip(refused, bad, strict=True):
        assert text in str(error)
    assert [name for name, *_ in kept(tmp_path)] == ["LOSS"]


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\0b", "'; DROP TABLE records; --", "x" * 5000, ""])
def test_names_are_data(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with Journal(run) as journal:
        journal.commit(1, 10, part(Record(name, records.Plot(PNG), 1, 10, name)))
        (found,) = journal.records(name=name)
    assert (found.name, found.split) == (name, name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("harm", ["missing", "altered"])
def test_a_payload_that_was_harmed_is_named(harm: str, tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.commit(1, 10, part(Record("P", records.Plot(PNG), 1, 10)))
        (payload,) = (tmp_path / "payloads").rglob("*.png")
        payload.unlink() if harm == "missing" else payload.write_bytes(PNG[:-1] + b"x")
        with pytest.raises(
            TrackingError, match=rf"{payload.name}: is (missing|damaged)\n  expected: the value of record"
        ):
            list(journal.records())


def test_sessions_tell_who_worked_and_how_it_ended(tmp_path: Path) -> None:
    before = time.time()
    for _ in range(2):
        with Journal(tmp_path) as journal:
            journal.begin(RunInfo("diamonds", parameters={"rate": 0.1, "bound": math.inf}), {"torch": "2.13"})
            journal.end("finished", "enough")
    with JournalReader(tmp_path) as reader:
        first, second = reader.sessions()
        assert reader.info() == RunInfo("diamonds", str(tmp_path), {"rate": 0.1, "bound": math.inf})
    assert before <= first.started <= second.started
    assert (second.outcome, second.reason, second.fingerprint) == ("finished", "enough", {"torch": "2.13"})


def test_records_hold_no_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with Journal(tmp_path / name) as journal:
            journal.begin(RunInfo("r"), {})
            journal.commit(1, 10, part(score(), Record("P", records.Plot(PNG), 1, 10)))
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_each_change_is_one_operation(tmp_path: Path) -> None:
    performed: list[Operation] = []

    class Watching(Fs):
        def perform(self, operation: Operation) -> None:
            performed.append(operation)
            super().perform(operation)

    with Journal(tmp_path, Watching()) as journal:
        made = [type(each).__name__ for each in performed]
        performed.clear()
        journal.begin(RunInfo("r"), {})
        journal.commit(1, 10, part(score()))
        journal.acknowledge("client", 1)
        journal.end("finished", "enough")
    assert made == ["Transaction", "SyncDirectory"]
    assert [type(each) for each in performed] == [Transaction] * 4


def test_a_journal_that_was_removed_takes_no_commit(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        (tmp_path / "journal.sqlite").unlink()
        with pytest.raises(FileNotFoundError, match="was removed while the run was going on"):
            journal.commit(1, 10, part(score()))


@pytest.mark.parametrize("content", [None, b"", b"not a database at all, but long enough to look like one" * 20])
def test_what_is_no_journal_is_not_read(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "journal.sqlite").write_bytes(content)
    with pytest.raises(TrackingError, match="holds no journal"):
        JournalReader(tmp_path)


def test_a_journal_of_another_format_is_named(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute("UPDATE run SET format = 9")
    connection.close()
    for kind in (Journal, JournalReader):
        with pytest.raises(TrackingError, match=r"is of another format\n  expected: format 1\n  got: format 9"):
            kind(tmp_path)


WRITER = """
import sys
from pathlib import Path
from functorch_artifact import records
from functorch_artifact.tracking.journal import Journal, Part
journal = Journal(Path(sys.argv[1]))
for epoch in range(1, 10**6):
    found = [(records.Record(f"R{i}", records.Score(i / epoch), epoch, epoch, None), None) for i in range(20)]
    journal.commit(epoch, epoch, Part("epoch", found))
    print(epoch, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_epochs_and_all_that_it_acknowledged(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    with JournalReader(tmp_path) as reader:  # while it writes
        assert len(list(reader.records())) % 20 == 0
    writer.kill()
    acknowledged = 5 + len(writer.stdout.read().split())
    writer.wait()
    writer.stdout.close()
    found = [epoch for _, epoch, _, _ in kept(tmp_path)]
    assert len(found) == 20 * max(found) >= 20 * acknowledged
