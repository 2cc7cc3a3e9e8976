"""Delivery: every record to every client in the end, in order, and nobody waits for a client that fails."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from functorch_artifact import records
from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo, TrackingClient
from functorch_artifact.tracking import Delivery, Filesystem, InMemory, TrackingWarning, delivery, sync
from functorch_artifact.tracking.journal import Journal, Part
from functorch_artifact.tracking.journal_reader import JournalReader
from functorch_artifact.tracking.sources import FromMemory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for milliseconds."""
    monkeypatch.setattr(delivery, "_FIRST_PAUSE", 0.002)


def score(name: str = "LOSS", epoch: int = 1) -> Record:
    return Record(name, records.Score(0.5), epoch, epoch * 10, "TRAIN")


class Flaky(TrackingClient):
    """A server that is down for the first calls, and refuses records of some names."""

    def __init__(self, down: int = 0, refuses: Sequence[str] = (), closes: bool = True, opens: bool = True) -> None:
        self.down, self.refuses, self.closes, self.opens = down, refuses, closes, opens
        self.taken: list[Record] = []
        self.events: list[str] = []

    def open(self, run: RunInfo) -> None:
        self.events.append(f"open {run.name}")
        if not self.opens:
            self.opens = True
            raise ConnectionError("no route to host")

    def log(self, records: Sequence[Record]) -> None:
        if self.down:
            self.down -= 1
            raise ConnectionError("no route to host")
        for record in records:
            if record.name in self.refuses:
                raise TrackingError("is refused", where=record.name)
        self.taken += records

    def close(self) -> None:
        self.events.append("close")
        if not self.closes:
            raise TimeoutError("close timed out")


class Durable(Flaky):
    """A server that outlives the process: what it took is here whoever asks."""

    name = "Durable"


def epochs(taken: Sequence[Record]) -> list[int]:
    return [record.epoch for record in taken]


def everyones(*offered: Record) -> list[tuple[Record, str | None]]:
    return [(record, None) for record in offered]


def test_a_client_that_is_down_gets_everything_in_order_later() -> None:
    late, steady = Flaky(down=2), InMemory()
    with Delivery([late, steady]) as sent:
        sent.open(RunInfo("r"))
        for epoch in (1, 2, 3):
            sent.offer(everyones(score(epoch=epoch)))
        assert sent.close() == []
    assert epochs(late.taken) == epochs(steady.records) == [1, 2, 3]
    assert late.events == ["open r", "close"]


def test_a_client_that_stays_down_is_named_once_and_owed_its_records() -> None:
    dead = Flaky(down=10**9)
    sent = Delivery([dead])
    sent.open(RunInfo("r"))
    with pytest.warns(TrackingWarning) as caught:
        sent.offer(everyones(score(epoch=1), score(epoch=2)))
        until(lambda: dead.down < 10**9 - 6)
        (owed,) = sent.close()
    texts = [str(each.message) for each in caught]
    assert texts == [
        "Flaky fails, and is tried again from time to time: ConnectionError: no route to host",
        "Flaky is still owed 2 records: ConnectionError: no route to host",
    ]
    assert (owed.client, owed.records) == ("Flaky", 2)


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread; the bound is for the case that it is broken."""
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("waited in vain")


def test_a_refused_record_holds_up_no_other() -> None:
    picky = Flaky(refuses=["BAD"])
    sent = Delivery([picky])
    sent.open(RunInfo("r"))
    sent.offer(everyones(score(epoch=1), score("BAD", epoch=1), score("OTHER", epoch=1)))
    sent.offer(everyones(score(epoch=2)))
    with pytest.warns(TrackingWarning, match=r"Flaky is still owed 1 records: BAD: is refused"):
        (owed,) = sent.close()
    assert [(record.name, record.epoch) for record in picky.taken] == [("LOSS", 1), ("OTHER", 1), ("LOSS", 2)]
    assert owed.records == 1


def test_a_client_that_cannot_be_opened_is_opened_later() -> None:
    client = Flaky(opens=False)
    with Delivery([client]) as sent:
        sent.open(RunInfo("r"))
        sent.offer(everyones(score()))
    assert epochs(client.taken) == [1]
    assert client.events == ["open r", "open r", "close"]


def test_a_client_that_is_not_configured_is_an_error_at_once() -> None:
    with pytest.raises(TrackingError, match="Filesystem: has no directory"):
        Delivery([Filesystem()]).open(RunInfo("r"))


def test_a_client_that_cannot_be_closed_is_a_warning() -> None:
    sent = Delivery([Flaky(closes=False)])
    sent.open(RunInfo("r"))
    with pytest.warns(TrackingWarning, match="Flaky could not be closed: TimeoutError: close timed out"):
        assert sent.close() == []


def test_records_for_one_client_go_to_it_alone() -> None:
    own, everyone, both = InMemory(), InMemory(), InMemory()
    with Delivery([everyone, both], [own, both]) as sent:
        sent.open(RunInfo("r"))
        names = [sent.addressee(client) for client in (own, both, None)]
        sent.offer([(score(epoch=epoch), name) for epoch, name in enumerate(names, start=1)])
    assert [epochs(client.records) for client in (own, both, everyone)] == [[1], [2, 3], [3]]
    assert len(set(names)) == 3


class Hanging(Flaky):
    """A server that never answers, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = threading.Event()

    def log(self, records: Sequence[Record]) -> None:
        self.gone.wait()
        super().log(records)


def test_a_client_that_hangs_holds_up_neither_the_run_nor_other_clients() -> None:
    hanging, steady = Hanging(), InMemory()
    sent = Delivery([hanging, steady], patience=0.05)
    sent.open(RunInfo("r"))
    for epoch in range(1, 5):
        sent.offer(everyones(score(epoch=epoch)))
    with pytest.warns(TrackingWarning, match="Hanging is still owed 4 records: it has not answered"):
        sent.close()
    assert epochs(steady.records) == [1, 2, 3, 4]
    hanging.gone.set()


def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    source = FromMemory(limit=10)
    source.load("slow")
    assert source.add([(score(epoch=epoch), None) for epoch in range(1, 9)]) == 0
    assert source.full(3)
    assert source.add([(score(epoch=epoch), None) for epoch in range(9, 14)]) == 3
    assert epochs([offer.record() for offer in source.waiting(0, [None], 99)]) == list(range(4, 14))
    source.store("slow", 13, {}, everyones=True)
    assert not source.full(10)
    assert source.add([(score(epoch=14), None)]) == 0
    assert epochs([offer.record() for offer in source.waiting(0, [None], 99)]) == [14]


def written(directory: Path, n_epochs: int, since: int = 0) -> None:
    with Journal(directory) as journal:
        for epoch in range(since + 1, n_epochs + 1):
            journal.commit(epoch, epoch * 10, Part("epoch", everyones(score(epoch=epoch))))


def test_a_journals_client_goes_on_where_it_was(tmp_path: Path) -> None:
    first, second = Durable(), Durable()
    for client, n_epochs in ((first, 3), (second, 5)):
        with Delivery([client], journal=lambda: Journal(tmp_path)) as sent:
            sent.open(RunInfo("r"))
            written(tmp_path, n_epochs, n_epochs - 2)
            sent.offer([])
    assert (epochs(first.taken), epochs(second.taken)) == ([2, 3], [4, 5])


def test_a_client_that_keeps_nothing_gets_everything_again(tmp_path: Path) -> None:
    written(tmp_path, 3)
    for _ in range(2):
        client = InMemory()
        with Delivery([client], journal=lambda: Journal(tmp_path)) as sent:
            sent.open(RunInfo("r"))
        assert epochs(client.records) == [1, 2, 3]


def test_sync_delivers_what_is_owed_and_nothing_twice(tmp_path: Path) -> None:
    written(tmp_path, 300)
    dead = Durable(down=10**9)
    sent = Delivery([dead], journal=lambda: Journal(tmp_path))
    sent.open(RunInfo("r"))
    with pytest.warns(TrackingWarning, match="Durable is still owed 300 records"):
        sent.close()
    with JournalReader(tmp_path) as journal:
        assert (journal.clients(), journal.owed("Durable")) == (["Durable"], 300)
    back = Durable()
    assert sync(tmp_path, back) == 300
    assert sync(tmp_path, back) == 0
    assert epochs(back.taken) == list(range(1, 301))
    with JournalReader(tmp_path) as journal:
        assert journal.owed("Durable") == 0


def test_sync_offers_again_what_was_refused(tmp_path: Path) -> None:
    written(tmp_path, 2)
    picky = Durable(refuses=["LOSS"])
    with pytest.warns(TrackingWarning, match="Durable refuses 2 records: LOSS: is refused"):
        sync(tmp_path, picky)
    with JournalReader(tmp_path) as journal:
        assert journal.owed("Durable") == 2
    lenient = Durable()
    sync(tmp_path, lenient)
    assert epochs(lenient.taken) == [1, 2]


def test_a_damaged_payload_is_refused_and_holds_up_no_other(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        file = tmp_path / "w.bin"
        file.write_bytes(b"weights")
        journal.commit(1, 10, Part("epoch", everyones(Record("W", records.File(str(file)), 1, 10), score())))
    next((tmp_path / "payloads").rglob("*.bin")).write_bytes(b"wEights")
    client = Durable()
    with pytest.warns(TrackingWarning, match="refuses 1 records: .*is damaged"):
        sync(tmp_path, client)
    assert [record.name for record in client.taken] == ["LOSS"]


def test_sync_of_no_run_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no journal\n  expected: a run's directory"):
        sync(tmp_path, InMemory())
    assert list(tmp_path.iterdir()) == []
