"""Lines that a peer can cause as often as it likes."""

import logging

import pytest

from grpc_tool_bridge.errors import throttled_log
from grpc_tool_bridge.errors.throttled_log import MAX_LINES, ThrottledLog

LOG = logging.getLogger("throttled")


def test_a_flood_of_one_text_is_cut_off_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(LOG)
    for number in range(1_000):
        log.warning("peer %d misbehaves", number)
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("peer")] == [
        f"peer {number} misbehaves" for number in range(MAX_LINES)
    ]
    assert lines[-2] == "the next line is the last of its kind for 60 s"


def test_another_text_is_written_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(LOG)
    for _ in range(100):
        log.warning("one")
    log.warning("another")
    assert caplog.records[-1].getMessage() == "another"


def test_after_a_while_it_is_written_again_with_the_number_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("grpc_tool_bridge.errors.throttled_log.time.monotonic", lambda: now)
    log = ThrottledLog(LOG)
    for number in range(50):
        log.warning("peer %d misbehaves", number)
    caplog.clear()
    now += throttled_log.PERIOD_SECONDS
    log.warning("peer %d misbehaves", 50)
    assert [record.getMessage() for record in caplog.records] == [
        "40 lines like the next were left out",
        "peer 50 misbehaves",
    ]


def test_a_line_names_the_code_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    ThrottledLog(LOG).warning("here")
    assert caplog.records[0].funcName == "test_a_line_names_the_code_that_wrote_it"
