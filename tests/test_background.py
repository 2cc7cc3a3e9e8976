"""Tasks in the background: snapshots, what travels once, and workers that die."""

import os
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from functorch_artifact import background as room
from functorch_artifact.background import Background
from functorch_artifact.errors import BackgroundError
from functorch_artifact.records import Score
from functorch_artifact.routines import Task


def task(*computes, epoch=1, names="ABCDEF"):
    return Task(tuple(zip(names, computes, strict=False)), epoch, 10 * epoch, "VALIDATION")


def value_of(outcome):
    return {record.name: record.value.value for record in outcome.records}


class Data:
    """Something large that counts how often it is pickled."""

    def __init__(self, values):
        self.values, self.pickled = values, 0

    def __getstate__(self):
        self.pickled += 1
        return {"values": self.values, "pickled": 0}


class OwnError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


class Cluster(Executor):
    """Workers with a memory each, of which this one and that one get the next task."""

    def __init__(self, *turns):
        self.turns, self.n = turns, 0
        self.memories = {turn: {} for turn in turns}

    def submit(self, function, /, *args):
        future = Future()
        room._HELD, mine = self.memories[self.turns[self.n % len(self.turns)]], room._HELD
        self.n += 1
        future.set_result(function(*args))
        room._HELD = mine
        return future


@pytest.fixture(scope="module")
def process():
    with Background() as background:
        yield background


def test_another_process_computes_with_records_of_their_epoch(process):
    here = os.getpid()
    pending = process.submit(task(lambda: Score(os.getpid()), lambda: Score(os.nice(0)), epoch=7), ())
    assert (pending.epoch, pending.step) == (7, 70)
    outcome = pending.result()
    assert pending.done() and pending.result() is outcome
    assert {(each.epoch, each.step, each.split) for each in outcome.records} == {(7, 70, "VALIDATION")}
    found = value_of(outcome)
    assert (found["A"] != here and found["B"] >= os.nice(0) + 10) or found["B"] == 19


def test_failures_come_back_one_by_one_with_their_place(process):
    def fails():
        raise OwnError("this", "that")

    outcome = process.submit(task(lambda: Score(1.0), fails, lambda: 1 / 0), ()).result()
    assert value_of(outcome) == {"A": 1.0}
    assert [each.where for each in outcome.failures] == [
        f"callback {name!r}, epoch 1, split VALIDATION" for name in "BC"
    ]
    assert outcome.failures[0].what == "BackgroundError: OwnError: this and that"
    assert outcome.failures[1].what == "ZeroDivisionError: division by zero"
    assert "in fails" in outcome.failures[0].error.__notes__[0]


def test_a_task_is_a_snapshot(process):
    values = [1.0]
    slow = process.submit(task(lambda: time.sleep(0.3) or Score(0.0)), ())
    pending = process.submit(task(lambda: Score(sum(values))), ())
    values.append(5.0)
    assert value_of(pending.result()) == {"A": 1.0}
    assert slow.done()


def test_a_dead_worker_fails_its_own_task_and_no_other():
    with Background() as background:
        before = background.submit(task(lambda: Score(1.0), epoch=1), ())
        killer = background.submit(task(lambda: os._exit(3), lambda: Score(2.0), epoch=2), ())
        after = background.submit(task(lambda: Score(3.0), epoch=3), ())
        assert value_of(before.result()) == {"A": 1.0}
        assert value_of(after.result()) == {"A": 3.0}
        assert [each.callback for each in killer.result().failures] == ["A", "B"]
        error = killer.result().failures[0].error
        assert isinstance(error, BackgroundError)
        assert "a task in the background: was lost: its worker died" in str(error)
        assert value_of(background.submit(task(lambda: Score(4.0)), ()).result()) == {"A": 4.0}


def test_what_is_shared_travels_once_per_worker():
    data = Data([1.0, 2.0])
    with Background(one := Cluster(0)) as background:
        for scale in (1.0, 2.0, 3.0):
            outcome = background.submit(task(lambda by=scale: Score(by * sum(data.values))), (data,)).result()
            assert value_of(outcome) == {"A": 3.0 * scale}
    assert (data.pickled, one.n) == (1, 3)


def test_a_worker_that_lacks_what_is_shared_is_sent_it():
    data = Data([1.0, 2.0])
    with Background(two := Cluster(0, 1, 1, 0, 1)) as background:
        sent = [background.submit(task(lambda: Score(sum(data.values))), (data,)) for _ in range(4)]
        assert [value_of(each.result()) for each in sent] == [{"A": 3.0}] * 4
    assert (data.pickled, two.n) == (2, 5)
    assert len(two.memories[0]) == len(two.memories[1]) == 1


def test_at_most_so_many_wait():
    running, go = [], threading.Event()

    class Slow(ThreadPoolExecutor):
        def submit(self, function, /, *args):
            running.append(1)
            return super().submit(lambda: go.wait() and function(*args))

    with Background(lambda: Slow(1), most_waiting=2) as background:
        first = background.submit(task(lambda: Score(1.0)), ())
        background.submit(task(lambda: Score(2.0)), ())
        assert not first.done() and len(running) == 2
        threading.Timer(0.1, go.set).start()
        background.submit(task(lambda: Score(3.0)), ())
        assert first.done() and len(running) == 3


def test_what_cannot_be_sent_is_a_failure():
    lock = threading.Lock()
    with Background(lambda: ThreadPoolExecutor(1)) as background:
        outcome = background.submit(task(lambda: Score(float(lock.locked()))), ()).result()
    assert "a task in the background: cannot be sent to another process\n  got: TypeError" in str(
        outcome.failures[0].error
    )


def test_an_executor_of_ones_own_is_left_running_and_a_broken_one_is_told():
    with ThreadPoolExecutor(1) as mine:
        with Background(mine) as background:
            assert value_of(background.submit(task(lambda: Score(1.0)), ()).result()) == {"A": 1.0}
        assert mine.submit(lambda: 5).result() == 5
    with Background(mine) as background:
        (failure,) = background.submit(task(lambda: Score(1.0)), ()).result().failures
    assert "could not be sent" in str(failure.error) and "shutdown" in str(failure.error)
