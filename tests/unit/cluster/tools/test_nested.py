"""Calls that are sent over the link of another call."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.tools.nested import OriginLink
from grpc_tool_bridge.errors import DeadlineExceededError, NotFoundError, UnavailableError
from grpc_tool_bridge.link.dialer import DialledLink
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.hubs import SomeHub
from support.waiting import soon, until


@asynccontextmanager
async def linked(hub: SomeHub) -> AsyncIterator[tuple[OriginLink, DialledLink]]:
    way = MemoryConnection(LinkServer(hub, Settings()).serve).open()
    link = DialledLink(await way.dial(), "the hub")
    running = asyncio.ensure_future(link.run())
    assert await soon(link.greeted)
    try:
        yield OriginLink(link, "its hub"), link
    finally:
        running.cancel()
        await asyncio.wait([running])
        await way.close()


def request(tool_id: str) -> bytes:
    return pb.ToolCallRequest(session_id="s", tool_id=tool_id, request_id="r").SerializeToString()


async def test_a_call_is_answered() -> None:
    async with linked(SomeHub()) as (origin, _):
        answer = await soon(origin.call("ExecuteTool", request("x")))
        assert pb.ToolCallResponse.FromString(bytes(answer)).request_id == "r"


async def test_a_call_has_the_deadline_of_its_caller() -> None:
    hub = SomeHub()
    async with linked(hub) as (origin, _):
        until_then = time.monotonic() + 20
        await soon(origin.call("ExecuteTool", request("x"), deadline=until_then))
        assert hub.deadlines[0] is not None
        assert abs(hub.deadlines[0] - until_then) < 10
        with pytest.raises(DeadlineExceededError, match="passed on"):
            await soon(origin.call("ExecuteTool", request("x"), deadline=time.monotonic() - 1))


async def test_a_call_that_is_not_answered_in_time_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.cluster.tools.nested.GRACE_SECONDS", 0.0)
    async with linked(SomeHub()) as (origin, _):
        with pytest.raises(DeadlineExceededError, match="its hub did not answer in time"):
            await soon(origin.call("ExecuteTool", request("wait"), deadline=time.monotonic() + 0.05))


async def test_errors_arrive_whole() -> None:
    async with linked(SomeHub()) as (origin, _):
        with pytest.raises(NotFoundError, match="no such tool"):
            await soon(origin.call("ExecuteTool", request("fail")))


async def test_a_call_that_is_cancelled_ends_at_the_other_hub() -> None:
    hub = SomeHub()
    async with linked(hub) as (origin, _):
        call = asyncio.ensure_future(origin.call("ExecuteTool", request("wait")))
        await until(lambda: hub.started)
        call.cancel()
        await until(lambda: hub.ended)


async def test_a_stream_is_read_to_its_end_or_closed() -> None:
    hub = SomeHub()
    payload = pb.ToolStreamRequest(session_id="s", tool_id="x").SerializeToString()
    endless = pb.ToolStreamRequest(session_id="s", tool_id="endless").SerializeToString()
    async with linked(hub) as (origin, _):
        assert len([chunk async for chunk in origin.stream("StreamTool", payload)]) == 3
        stream = origin.stream("StreamTool", endless)
        # More than may be sent ahead.
        for _ in range(100):
            await soon(anext(stream))
        await stream.aclose()
        await until(lambda: "endless" in hub.ended)


async def test_a_link_that_is_lost_ends_calls_and_streams() -> None:
    hub = SomeHub()
    silent = pb.ToolStreamRequest(session_id="s", tool_id="wait").SerializeToString()

    async def read(origin: OriginLink) -> list[Any]:
        return [chunk async for chunk in origin.stream("StreamTool", silent)]

    async with linked(hub) as (origin, link):
        calls = [
            asyncio.ensure_future(origin.call("ExecuteTool", request("wait"))),
            asyncio.ensure_future(read(origin)),
        ]
        await until(lambda: len(hub.started) == 2)
        link.abort("a test")
        for call in calls:
            with pytest.raises(UnavailableError, match="the link to its hub was lost"):
                await soon(call)
        with pytest.raises(UnavailableError, match="lost"):
            await soon(origin.call("ExecuteTool", request("x")))


async def test_events_are_passed_on() -> None:
    seen: list[Any] = []
    opening = pb.InitializeSessionRequest(session_id="s").SerializeToString()
    async with linked(SomeHub()) as (origin, _):
        await soon(origin.call("InitializeSession", opening, on_event=seen.append))
        await soon(origin.call("InitializeSession", opening))
    assert [event.log.fields["tool-bridge-idle-timeout-ms"] for event in seen if event.HasField("log")] == ["1500"]
