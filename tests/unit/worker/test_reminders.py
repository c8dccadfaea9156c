import logging
from types import SimpleNamespace

import pytest

from grpc_tool_bridge.errors import AccessError, UnavailableError
from grpc_tool_bridge.worker import reminders
from grpc_tool_bridge.worker.reminders import REMINDER_SECONDS, Reminders


def test_a_reason_is_logged_once_and_then_as_a_reminder(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(reminders, "time", SimpleNamespace(monotonic=lambda: now))
    waiting = Reminders(SimpleNamespace(where="hub:1"))
    waiting.remind(UnavailableError("gone"))
    waiting.remind(UnavailableError("gone again"))
    now += REMINDER_SECONDS
    waiting.remind(UnavailableError("still gone"))
    waiting.remind(AccessError("no"))
    waiting.is_over()
    waiting.remind(AccessError("no"))
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [message.partition(";")[0] for message in messages] == [
        "waiting for the hub at hub:1: gone",
        "still waiting for the hub at hub:1 after 60 s: still gone",
        "waiting for the hub at hub:1: no",
        "waiting for the hub at hub:1: no",
    ]
