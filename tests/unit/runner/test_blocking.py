"""Which steps of tools are logged for blocking the event loop."""

import logging
from collections.abc import Iterator

import pytest

from grpc_tool_bridge.runner import blocking
from grpc_tool_bridge.runner.blocking import REPEAT_SECONDS, held_loop
from support.clock import Clock


class Runner:
    """Stands for what runs tools."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock(monkeypatch, blocking)
    blocking._recent.clear()
    yield made
    blocking._recent.clear()


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage().partition(", and")[0] for record in caplog.records]


def test_a_tool_is_told_with_its_seconds(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    held_loop("report", Runner(), clock.now - 2)
    assert _told(caplog) == ["report blocked the event loop for 2.0 s"]


def test_one_tool_is_told_once_a_minute_and_then_with_what_was_not_told(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Runner()
    for _ in range(3):
        held_loop("report", runner, clock.now - 2)
        clock.now += 10
    held_loop("other", runner, clock.now - 1)
    clock.now += REPEAT_SECONDS
    held_loop("report", runner, clock.now - 3)
    assert _told(caplog) == [
        "report blocked the event loop for 2.0 s",
        "other blocked the event loop for 1.0 s",
        "report blocked the event loop for 3.0 s (and 2 times more before, 4.0 s in all)",
    ]


def test_tools_of_one_name_in_two_hubs_are_both_told(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    one, other = Runner(), Runner()
    held_loop("report", one, clock.now - 1)
    clock.now += 5
    held_loop("report", other, clock.now - 1)
    assert len(_told(caplog)) == 2


def test_a_tool_is_not_told_for_what_another_one_did_within_its_step(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    runner, began = Runner(), clock.now
    clock.now += 2
    held_loop("inner", runner, began + 0.1)
    held_loop("outer", runner, began)
    assert _told(caplog) == ["inner blocked the event loop for 1.9 s"]


def test_what_is_remembered_of_tools_is_bounded(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_MAX_TOOLS", 2)
    runner = Runner()
    for name in "abca":
        clock.now += 5
        held_loop(name, runner, clock.now - 1)
    assert len(_told(caplog)) == 4
    assert list(blocking._warned[runner]) == ["c", "a"]
