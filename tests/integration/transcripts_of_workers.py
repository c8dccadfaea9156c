"""Workers: what they say to the hub, and the calls that it makes to them."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, ToolContext, ToolWorker, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.connections import read
from integration.transcript_process_tools import add_in_a_process, order
from integration.transcript_scenarios import Gate, add, broken_off, refused, scenario
from integration.transcript_stage import Stage
from integration.transcripts_of_streams import Endless, count, stumble
from integration.transcripts_of_tools import echo
from support.waiting import soon


async def outer(context: ToolContext, a: int) -> list[Any]:
    """Uses the session from a worker."""
    await context.set_variable("seen", a)
    inner = await context.call_tool("in_the_hub", a)
    return [inner, await context.get_variable("seen"), [value async for value in context.stream_tool("count", 1)]]


async def in_the_hub(a: int) -> int:
    """Is the hub's own."""
    return a * 100


async def call_missing(context: ToolContext) -> Any:
    """Calls what there is not."""
    return await context.call_tool("in_the_hubb", 1)


async def play(stage: Stage, *tools: Any, **options: Any) -> tuple[GRPCToolBridge, ToolWorker]:
    """Starts a hub and a worker, opens a session, and records from here on."""
    await stage.hub(in_the_hub)
    worker = await stage.worker(*tools, worker_id="w-1", **options)
    await worker.start()
    bridge = await stage.client()
    await bridge.initialize("the-session")
    stage.record()
    return bridge, worker


@scenario("link")
async def worker_that_comes_and_goes(stage: Stage) -> None:
    await stage.hub()
    worker = await stage.worker(add, tool(name="tally", version="1")(count), capacity=7)
    await worker.start()
    await worker.drain()


@scenario("link")
async def worker_whose_tool_is_taken(stage: Stage) -> None:
    await stage.hub(add)
    worker = await stage.worker(add, worker_id="w-1")
    with pytest.raises(ToolBridgeError):
        await soon(worker.start())
    await worker.close()


@scenario("rpc")
async def tools_that_are_registered_without_a_link(stage: Stage) -> None:
    bridge = await stage.play()
    request = pb.RegisterToolsRequest(session_id="the-session", tools=[pb.ToolSpec(name="mine")])
    await refused(bridge.client.call("RegisterTools", request))
    await bridge.client.call("UnregisterTools", pb.UnregisterToolsRequest(session_id="the-session"))


@scenario()
async def call_of_a_tool_of_a_worker(stage: Stage) -> None:
    bridge, _ = await play(stage, add, add_in_a_process, echo)
    await bridge.tools["add"].with_options(metadata={"trace": "t-1"})(1, b=3)
    await bridge.tools["add_in_a_process"](1)
    await bridge.tools["echo"]({"b": 1.5, "a": [None, b"x"]})
    await bridge.tools["echo"](b"large " * 100_000)


@scenario("link")
async def tool_of_a_worker_that_fails(stage: Stage) -> None:
    bridge, _ = await play(stage, order, add)
    await refused(bridge.tools["order"](2))
    await refused(bridge.tools["add"]("one"))
    request = pb.ToolCallRequest(session_id="the-session", tool_id="add")
    await bridge.client.stub.ExecuteTool(request)


@scenario()
async def stream_of_a_worker(stage: Stage) -> None:
    bridge, _ = await play(stage, count, stumble)
    await read(bridge.tools["count"].stream(2), [])
    seen: list[Any] = []
    await refused(read(bridge.tools["stumble"].with_options(on_progress=seen.append, on_log=seen.append).stream(), []))
    assert len(seen) == 2


@scenario()
async def stream_of_a_worker_that_its_reader_leaves(stage: Stage) -> None:
    bridge, _ = await play(stage, Endless().hold)
    async with aclosing(bridge.tools["hold"].stream()) as stream:
        assert await anext(stream) == "first"


@scenario("link")
async def events_of_a_call_of_a_worker(stage: Stage) -> None:
    async def tell(context: ToolContext) -> str:
        """Tells how far it is."""
        context.progress(1, 2, "half")
        context.log("a line", place="here")
        return "done"

    bridge, _ = await play(stage, tell)
    seen: list[Any] = []
    await bridge.tools["tell"].with_options(on_progress=seen.append, on_log=seen.append)()
    assert len(seen) == 2


@scenario("link")
async def batch_with_a_worker(stage: Stage) -> None:
    bridge, _ = await play(stage, add)
    items: list[dict[str, Any]] = [{"tool_id": "add", "args": [1]}, {"tool_id": "in_the_hub", "args": [1]}]
    await bridge.execute_batch(items)


@scenario("link")
async def nested_calls_from_a_worker(stage: Stage) -> None:
    bridge, _ = await play(stage, outer, count, call_missing)
    await bridge.tools["outer"](1)
    await refused(bridge.tools["call_missing"]())


@scenario()
async def call_of_a_worker_that_its_caller_cancels(stage: Stage) -> None:
    gate = Gate()
    bridge, _ = await play(stage, gate.wait)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    await broken_off(call)


@scenario("link")
async def call_of_a_worker_whose_deadline_passes(stage: Stage) -> None:
    gate = Gate()
    bridge, _ = await play(stage, gate.wait)
    await refused(bridge.tools["wait"].with_options(timeout=0.2)())


@scenario("link")
async def worker_that_drains_while_a_call_runs(stage: Stage) -> None:
    gate = Gate()
    await stage.hub()
    worker = await stage.worker(gate.wait, worker_id="w-1")
    await worker.start()
    bridge = await stage.client()
    await bridge.initialize("the-session")
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    leaving = asyncio.create_task(worker.drain(60))
    await stage.said("Link", "drain")
    gate.opened.set()
    await soon(asyncio.gather(call, leaving))
    await refused(bridge.tools["wait"]())
    await bridge.close()


@scenario("link")
async def worker_that_is_lost_while_a_call_runs(stage: Stage) -> None:
    gate = Gate()
    bridge, worker = await play(stage, gate.wait)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    await worker.close()
    await refused(call)
    await refused(bridge.tools["wait"]())


@scenario("link")
async def session_that_ends_while_a_call_of_a_worker_runs(stage: Stage) -> None:
    gate = Gate()
    bridge, _ = await play(stage, gate.wait)
    call = asyncio.create_task(bridge.tools["wait"]())
    await gate.reached()
    await bridge.client.cleanup_session(force=True)
    await refused(call)
