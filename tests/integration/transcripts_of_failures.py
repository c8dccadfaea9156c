"""Calls that fail, wherever the reason lies."""

import asyncio
from typing import Any

from grpc_tool_bridge import ToolContext, ValidationError, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.transcript_process_tools import order, order_elsewhere
from integration.transcript_scenarios import Gate, add, refused, scenario
from integration.transcript_stage import Stage
from support.waiting import soon


async def refuse(context: ToolContext) -> str:
    """Raises one of the bridge's own errors."""
    raise ValidationError("not like this", details={"field": "name"})


async def promise() -> int:
    """Returns what it did not promise."""
    result: Any = "no number"
    return result  # type: ignore[no-any-return] # that is the point


@tool(limits={"rate_limit_per_minute": 1})
async def rarely() -> str:
    """Runs once a minute."""
    return "now"


async def letters(count: int) -> str:
    """Returns so many."""
    return "x" * count


@scenario()
async def tool_that_fails(stage: Stage) -> None:
    bridge = await stage.play(order, order_elsewhere, refuse, promise)
    await refused(bridge.tools["order"](2))
    await refused(bridge.tools["order_elsewhere"](2))
    await refused(bridge.tools["refuse"]())
    await refused(bridge.tools["promise"]())


@scenario()
async def tool_that_fails_without_traceback(stage: Stage) -> None:
    bridge = await stage.play(order, show_tracebacks=False)
    await refused(bridge.tools["order"](2))


@scenario()
async def tool_that_there_is_not(stage: Stage) -> None:
    bridge = await stage.play(order, letters)
    await refused(bridge.call_tool("ordr", 1))
    await refused(bridge.call_tool("something_else"))
    await refused(bridge.call_tool("x" * 200))


@scenario()
async def arguments_that_do_not_fit(stage: Stage) -> None:
    bridge = await stage.play(add)
    await refused(bridge.tools["add"]("one", b=None))
    await refused(bridge.tools["add"]())
    await refused(bridge.tools["add"](1, 2, 3))
    await refused(bridge.tools["add"](1, c=3, a=2))
    request = pb.ToolCallRequest(session_id="the-session", tool_id="add")
    request.args.add(type_url="type.googleapis.com/unknown.Kind", value=b"x")
    await bridge.client.stub.ExecuteTool(request)
    request.args[0].type_url = "type.googleapis.com/google.protobuf.Int64Value"
    request.args[0].value = b"\xff"
    await bridge.client.stub.ExecuteTool(request)


@scenario()
async def call_whose_deadline_passes(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(gate.wait)
    await refused(bridge.tools["wait"].with_options(timeout=0.2)())


@scenario()
async def call_over_a_rate_limit(stage: Stage) -> None:
    bridge = await stage.play(rarely)
    await bridge.tools["rarely"]()
    await refused(bridge.tools["rarely"]())


@scenario()
async def call_that_may_not_wait(stage: Stage) -> None:
    gate = Gate()
    bridge = await stage.play(gate.wait, max_session_calls=1, max_session_waiting=1)
    running = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    waiting = asyncio.create_task(bridge.tools["wait"]())
    await stage.seen("ExecuteTool", 2)
    await stage.active(2)
    await refused(bridge.tools["wait"]())
    gate.opened.set()
    await soon(asyncio.gather(running, waiting))


@scenario()
async def messages_that_are_too_large(stage: Stage) -> None:
    await stage.hub(letters, max_message_bytes=2_000)
    bridge = await stage.client()
    await bridge.initialize("the-session")
    stage.record()
    await refused(bridge.tools["letters"](3_000))
    await refused(bridge.call_tool("letters", "x" * 3_000))
