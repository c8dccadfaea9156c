"""What a call failed with, as its caller is told."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import DeadlineExceededError, SessionExpiredError, ToolTimeoutError, error_info
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.error_formatter import ErrorFormatter, ToolRaised
from grpc_tool_bridge.runner.failures import Failures
from grpc_tool_bridge.runner.process import RaisedElsewhereError
from unit.runner.test_calls import make


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    owner = TaskSet()
    yield make(owner)
    await owner.aclose()


@pytest.fixture
async def late() -> AsyncIterator[Call]:
    """A call whose deadline has passed."""
    owner = TaskSet()
    yield make(owner, seconds=-1)
    await owner.aclose()


def failures(*, show_tracebacks: bool = True) -> Failures:
    return Failures(ErrorFormatter(show_tracebacks=show_tracebacks), show_tracebacks=show_tracebacks)


async def test_what_a_tool_raised_is_the_tools_and_what_the_bridge_raised_a_fault_in_the_log(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    info = await failures().info_of(ToolRaised(KeyError("gone")), call)
    assert (info.type, info.details["origin"]) == ("KeyError", "tool")
    assert not caplog.records

    info = await failures().info_of(KeyError("gone"), call)
    assert (info.type, "gone" in info.message) == ("InternalError", False)
    assert info.details["error_id"] in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


async def test_a_refusal_of_the_bridge_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    info = await failures().info_of(SessionExpiredError("it was idle"), None)
    assert (info.type, info.message) == ("SessionExpired", "it was idle")
    assert not caplog.records


async def test_what_ended_a_call_counts_and_not_what_its_tool_raised_then(call: Call) -> None:
    call.cancel(DeadlineExceededError("too slow"))
    info = await failures().info_of(ToolRaised(KeyError("gone")), call)
    assert (info.type, info.message) == ("TimeoutError", "too slow")


async def test_a_timeout_of_the_tool_is_that_of_its_call_only_once_the_deadline_has_passed(
    call: Call, late: Call
) -> None:
    assert (await failures().info_of(ToolRaised(TimeoutError("its own")), call)).message == "its own"
    assert "its own" not in (await failures().info_of(ToolRaised(TimeoutError("its own")), late)).message


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("it was wrong"), ("ValueError", "it was wrong")),
        (ToolTimeoutError("add", "TimeoutError", "it was late"), ("TimeoutError", "it was late")),
        (SessionExpiredError("it was idle"), ("SessionExpired", "it was idle")),
    ],
)
async def test_what_a_tool_raised_keeps_its_type_and_text_where_the_deadline_leaves_no_time_for_its_traceback(
    late: Call, error: Exception, told: tuple[str, str]
) -> None:
    def deep(levels: int) -> None:
        if not levels:
            raise error
        deep(levels - 1)

    with pytest.raises(type(error)):
        deep(100)
    info = await ErrorFormatter(show_tracebacks=True).format(late, error)
    assert (info.type, info.message) == told


async def test_a_traceback_of_another_process_is_left_out_where_none_is_shown(call: Call) -> None:
    for shows in (True, False):
        info = error_info(KeyError("gone"), raised_by_tool=True)
        info.stacktrace = "in far"
        told = await failures(show_tracebacks=shows).info_of(ToolRaised(RaisedElsewhereError(info)), call)
        assert (told.type, told.stacktrace) == ("KeyError", "in far" if shows else "")


async def test_who_left_is_not_answered() -> None:
    with pytest.raises(asyncio.CancelledError):
        await failures().info_of(asyncio.CancelledError(), None)
    with pytest.raises(GeneratorExit):
        await failures().info_of(GeneratorExit(), None)
