"""Signals: the first is noted, the second ends at once, and everything is given back."""

import os
import signal
import threading

import pytest

from functorch_artifact.runs.signals import Interrupts, Terminated


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)], ids=["SIGINT", "SIGTERM"]
)
def test_the_first_is_noted_and_the_second_ends_at_once(number: signal.Signals, kind: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert interrupts.asked is None
        signal.raise_signal(number)
        assert interrupts.asked is number
        with pytest.raises(kind, match=f"stopped at once by a second {number.name}"):
            signal.raise_signal(number)
        assert type(interrupts.interruption("why")) is kind
    assert signal.getsignal(number) is before


def test_handlers_are_given_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Interrupts():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_forked_process_takes_no_note() -> None:
    with Interrupts():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_terminated_has_a_status_and_a_text() -> None:
    error = Terminated("the same command continues the run")
    assert (error.code, str(error)) == (143, "the same command continues the run")
