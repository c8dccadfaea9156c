"""What a worker logs while it waits for its hub."""

from types import SimpleNamespace

import pytest

from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.worker.wait_log import WaitLog

REFUSED = link_error(Code.UNAVAILABLE, "Connection refused")


def test_it_says_why_at_once_and_again_each_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("grpc_tool_bridge.worker.wait_log.time", SimpleNamespace(monotonic=lambda: now))
    waiting = WaitLog()
    for later in (0.0, 5.0, 59.0, 60.0, 119.0, 120.0):
        now = 1_000.0 + later
        waiting.note(REFUSED, "far:1")
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the hub at far:1: Connection refused; dialling again with growing pauses of up to 5 s",
        "still waiting for the hub at far:1 after 60 s: Connection refused",
        "still waiting for the hub at far:1 after 120 s: Connection refused",
    ]


def test_another_reason_is_said_at_once_and_so_is_the_same_one_after_the_hub_was_reached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting = WaitLog()
    waiting.note(REFUSED, "far:1")
    waiting.note(link_error(Code.UNAUTHENTICATED, "the token is wrong"), "far:1")
    waiting.end()
    waiting.note(link_error(Code.UNAUTHENTICATED, "the token is wrong"), "far:1")
    said = [record.getMessage().split(";")[0].split(": ")[1] for record in caplog.records]
    assert said == ["Connection refused", "the token is wrong", "the token is wrong"]
