"""The hub's log of calls."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, LocalToolBridge, Settings, ToolBridgeError, ToolContext, ToolWorker, tool
from grpc_tool_bridge.core import call_log
from grpc_tool_bridge.core.call_log import LOGGER, CallLog
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo


@tool
async def works(secret: str = "") -> str:
    return secret


@tool
async def fails(secret: str = "") -> str:
    raise ValueError(f"bad\nline {len(secret)}")


@tool
async def nests(ctx: ToolContext) -> Any:
    return await ctx.call_tool("fails")


def call(name: str = "add", **more: Any) -> Any:
    facts = {
        "tool": SimpleNamespace(name=name),
        "session": SimpleNamespace(id="s"),
        "parent": None,
        "trace": None,
        **more,
    }
    return SimpleNamespace(identify=lambda: "r-1", **facts)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name == LOGGER]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)


def test_only_failed_calls_are_logged_unless_all_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    CallLog(every=False).ended(call(), ok=True, duration_us=5, outcome=None)
    assert lines(caplog) == []
    CallLog(every=True).ended(call(), ok=True, duration_us=1_500, outcome=None)
    assert lines(caplog) == ["INFO call done tool=add session=s request_id=r-1 duration_ms=1.5"]


def test_a_failed_call_s_line_says_which_call_and_why(caplog: pytest.LogCaptureFixture) -> None:
    error = ErrorInfo(type="ValueError", message="bad\nINFO forged")
    CallLog(every=False).ended(call(parent=call()), ok=False, duration_us=20, outcome=error)
    (line,) = lines(caplog)
    assert line.startswith("WARNING call failed tool=add session=s request_id=r-1 parent_id=r-1 error=ValueError ")
    assert line.endswith('duration_ms=0.02 message="bad\\nINFO forged"')
    (record,) = [record for record in caplog.records if record.name == LOGGER]
    assert record.__dict__["event"] == "call failed"
    assert record.__dict__["session_id"] == "s"
    assert record.__dict__["fields"]["error"] == "ValueError"


def test_a_call_that_its_caller_left_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = CallLog(every=False)
    log.ended(call(), ok=False, duration_us=20, outcome=asyncio.CancelledError())
    log.ended(call(), ok=False, duration_us=20, outcome=ErrorInfo())
    cancelled = "INFO call cancelled tool=add session=s request_id=r-1 error=Cancelled duration_ms=0.02"
    assert lines(caplog) == [cancelled, cancelled]


def test_hostile_names_stay_in_their_fields(caplog: pytest.LogCaptureFixture) -> None:
    error = ErrorInfo(type='X" tool=other', message="")
    CallLog(every=False).refused("a\nb", "s error=None" + "s" * 5_000, "r", error, 20)
    (line,) = lines(caplog)
    assert line.startswith('WARNING call failed tool="a\\nb" session="s error=None')
    assert line.endswith('error="X\\" tool=other" duration_ms=0.02')
    assert len(line) < 500


@pytest.mark.parametrize("every", [False, True])
def test_a_flood_is_cut_and_said_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, every: bool
) -> None:
    monkeypatch.setattr(call_log, "CALLS_AT_ONCE", 200)
    monkeypatch.setattr(call_log, "CALLS_PER_SECOND", 1)
    log = CallLog(every=every)
    most = 200 if every else call_log.FAILED_AT_ONCE
    for _ in range(10 * most):
        log.ended(call(), ok=False, duration_us=20, outcome=ErrorInfo(type="ValueError"))
    written = lines(caplog)
    # A slow machine may pass a second meanwhile.
    assert most + 1 <= len(written) < 2 * most
    assert "WARNING further calls are not logged for now: there are too many of them" in written
    caplog.clear()
    log._lines.free_at = 0.0
    log.ended(call(), ok=False, duration_us=20, outcome=ErrorInfo(type="ValueError"))
    first, second = lines(caplog)
    assert first.startswith("WARNING ")
    assert first.endswith(" calls were not logged: there were too many of them")
    assert second.startswith("WARNING call failed")


async def test_each_way_a_call_fails_has_its_line_with_the_id_that_its_caller_gets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = BridgeServer(tools=[fails, nests])
    async with hub, ToolWorker(hub.address, tools=[works]), hub.bridge() as bridge:
        await bridge.initialize("s")
        request_id = ""
        for name, args, error_type in (
            ("fails", (), "ValueError"),
            ("works", (1, 2, 3), "ValidationError"),
            ("nothing", (), "ToolNotFound"),
            ("nests", (), "ValueError"),
        ):
            caplog.clear()
            with pytest.raises(ToolBridgeError) as failed:
                await bridge.client.tool(name)(*args)
            *_, line = lines(caplog)
            request_id = failed.value.request_id
            assert f"tool={name} session=s request_id={request_id} " in line
            assert f"error={error_type} " in line
        inner, outer = lines(caplog)
        assert inner.startswith("WARNING call failed tool=fails")
        assert f"parent_id={request_id} " in inner
        assert "parent_id" not in outer


async def test_no_argument_and_no_result_is_ever_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "grpc_tool_bridge")
    async with LocalToolBridge([works, fails], settings=Settings(access_log=True)) as bridge:
        await bridge.initialize("s")
        await bridge.tools["works"](secret="hunter2")
        with pytest.raises(ToolBridgeError):
            await bridge.tools["fails"]("hunter2")
    assert [line.partition(" session")[0] for line in lines(caplog)] == [
        "INFO call done tool=works",
        "WARNING call failed tool=fails",
    ]
    assert "hunter2" not in caplog.text
