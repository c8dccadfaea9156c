"""What a worker's tools log and report reaches those who watch the hub, whether the caller wants it or not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolWorker, tool
from grpc_tool_bridge.link.connection import MAX_REPORT_BACKLOG
from integration.logging_tools import tells, tells_apart
from integration.test_admin import Tasks, Watch
from integration.test_admin import tasks as tasks  # noqa: PLC0414 - a fixture
from support.waiting import soon, until


@tool
def tells_from_a_thread(ctx: ToolContext) -> str:
    ctx.log("did", i=3)
    return ctx.request_id


@tool
async def tells_in_a_stream(ctx: ToolContext) -> AsyncIterator[str]:
    ctx.log("did", i=3)
    yield ctx.request_id


@tool
async def nests(ctx: ToolContext) -> str:
    text: str = await ctx.call_tool("tells")
    return text


async def works(ctx: ToolContext) -> None:
    ctx.progress(1, 2, "half")
    await asyncio.Event().wait()


async def says_much(ctx: ToolContext) -> str:
    fields: dict[str, Any] = {f"field_{number}": "x" * 1_000 for number in range(MAX_REPORT_BACKLOG // 1_000 + 1)}
    ctx.log("too much", **fields)
    ctx.log("enough")
    return "said"


@contextlib.asynccontextmanager
async def watched(*tools: Any, kind: str = "log") -> AsyncIterator[tuple[GRPCToolBridge, Watch]]:
    """Offers tools at a worker of a hub that is watched."""
    async with (
        BridgeServer() as server,
        ToolWorker(server.address, tools=tools),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        watch = Watch(bridge, kinds=[kind])
        try:
            await until(lambda: len(server.hub._feed._watchers) == 1, "for the watch to begin")
            yield bridge, watch
        finally:
            watch.task.cancel()
            await asyncio.gather(watch.task, return_exceptions=True)


def lines_of(watch: Watch, name: str) -> list[Any]:
    return [event.subject for event in watch.events if event.subject.logger == name]


@pytest.mark.parametrize(
    "told", [tells, tells_apart, tells_from_a_thread, tells_in_a_stream], ids=lambda told: told.spec.name
)
async def test_a_log_line_of_a_worker_s_tool_is_watched(told: Any) -> None:
    name = told.spec.name
    async with watched(told) as (bridge, watch):
        assert await soon(bridge.tools[name]())
        await until(lambda: lines_of(watch, name), "for the line")
        (line,) = lines_of(watch, name)
        assert (line.message, line.level) == ("did", "info")
        assert line.fields["session_id"] == bridge.session_id
        assert {"i", "where"} & line.fields.keys()


async def test_a_log_line_of_a_call_in_a_batch_or_of_another_tool_is_watched() -> None:
    async with watched(nests, tells) as (bridge, watch):
        await soon(bridge.tools["nests"]())
        await until(lambda: len(lines_of(watch, "tells")) == 1, "for the line of the nested call")
        await soon(bridge.execute_batch([{"tool_id": "tells"}] * 3))
        await until(lambda: len(lines_of(watch, "tells")) == 4, "for the lines of the batch")


async def test_progress_of_a_worker_s_tool_is_listed_and_watched(tasks: Tasks) -> None:
    async with watched(works, kind="call") as (bridge, watch):
        tasks.start(bridge.tools["works"]())
        await until(lambda: [event for event in watch.events if event.subject.progress is not None], "for progress")
        (call,) = [call async for call in bridge.admin.calls()]
        assert call.progress is not None
        assert (call.progress.current, call.progress.total, call.progress.message) == (1, 2, "half")
        await tasks.end()


async def test_a_record_that_does_not_fit_into_a_frame_is_left_out() -> None:
    async with watched(says_much) as (bridge, watch):
        assert await soon(bridge.tools["says_much"]()) == "said"
        await until(lambda: lines_of(watch, "says_much"), "for a line")
        assert [line.message for line in lines_of(watch, "says_much")] == ["enough"]
        assert await soon(bridge.tools["says_much"]()) == "said"
