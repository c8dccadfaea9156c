"""Exceptions in the log."""

import logging
import threading

import pytest

from grpc_tool_bridge.errors.faults import MAX_THREADS, log_fault

log = logging.getLogger("test.faults")


class Slow(Exception):
    """Has a text that comes when it may."""

    def __init__(self, may: threading.Event) -> None:
        super().__init__()
        self.may = may

    def __str__(self) -> str:
        self.may.wait()
        return "at last"


class Ends(Exception):
    def __str__(self) -> str:
        raise SystemExit


def _join() -> None:
    for thread in threading.enumerate():
        if thread.name == "fault":
            thread.join()


def test_a_plain_exception_is_logged_with_the_exception(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("said")
    log_fault(log, "fault %d", 7, error=error)
    (record,) = caplog.records
    assert (record.message, record.levelname) == ("fault 7", "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_one_that_raises_is_logged_by_its_class(caplog: pytest.LogCaptureFixture) -> None:
    log_fault(log, "fault", error=Ends(), level=logging.WARNING)
    _join()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.endswith("Ends: <no text: its __str__ raised SystemExit>")
    assert record.exc_info is None


def test_slow_ones_hold_up_nobody_and_are_written_when_they_can_be(caplog: pytest.LogCaptureFixture) -> None:
    may = threading.Event()
    for number in range(MAX_THREADS + 1):
        log_fault(log, "fault %d", number, error=Slow(may))
    assert [record.message.partition(" (")[0] for record in caplog.records] == [f"fault {MAX_THREADS}"]
    may.set()
    _join()
    assert sum(record.message.endswith("Slow: at last") for record in caplog.records) == MAX_THREADS


def test_where_no_thread_can_be_had_the_line_comes_without_the_exception(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", refuse)
    for _ in range(MAX_THREADS + 1):
        log_fault(log, "fault", error=Ends())
    assert {record.message for record in caplog.records} == {"fault (an exception that cannot be written)"}


def test_what_nobody_logs_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    log_fault(log, "fault", error=Ends(), level=logging.DEBUG)
    assert caplog.records == []
