"""Tools as they are listed, and calls that go well."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
from pydantic import Field

from grpc_tool_bridge import SessionConfig, ToolContext, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.transcript_process_tools import add_in_a_process
from integration.transcript_scenarios import add, refused, scenario
from integration.transcript_stage import Stage
from support.waiting import soon

VALUES: list[Any] = [
    *(3, -1, 2**53 + 1, 2**63, 2.5, 3.0, float("inf"), True, None, "text", "tëxt \n", b"\x00\xff"),
    *([], [1, 2.5, "x", None], [1.0], {}, {"a": 1}, {"b": [2], "a": {"c": None}}, {1: "one"}, (1, (2,)), {3}),
    *(datetime(2026, 3, 1, 12, 30, tzinfo=UTC), date(2026, 3, 1), timedelta(days=1, microseconds=5)),
    *(Decimal("1.50"), UUID(int=7), 1 + 2j, [b"in a list", 2**70], {"at": datetime(2026, 3, 1)}),  # noqa: DTZ001
    *(np.array([[1, 2], [3, 4]], dtype="<i4"), np.float32(1.5), [np.array([1.5])]),
]


async def add_async(a: int, b: int = 2) -> int:
    """Adds up in the loop."""
    return a + b


async def echo(*values: Any, **named: Any) -> Any:
    """Gives back what it gets."""
    return [*values, *(named[name] for name in sorted(named))] if named or len(values) != 1 else values[0]


async def size(data: bytes) -> bytes:
    """Gives back as much."""
    return data


@tool(name="documented", version="2", idempotent=True, limits={"timeout_ms": 500}, examples=["documented(1, 'a')"])
async def described(
    count: Annotated[int, Field(ge=1, le=9)], kind: Literal["a", "b"] = "a", *, names: list[str] | None = None
) -> dict[str, int]:
    """Counts.

    Args:
        count: How many.
        kind: Of what.
        names: For whom.

    Returns:
        The counts.
    """
    return {kind: count + len(names or ())}


@tool(metadata={"unit": "m"})
async def positions(to: float = 1.0) -> Any:
    """Goes there."""
    yield to


@scenario()
async def tools_that_are_listed(stage: Stage) -> None:
    bridge = await stage.play(described, positions, add_in_a_process)
    await bridge.client.refresh_tools()
    request = pb.GetSessionToolsRequest(session_id="the-session", page_size=2)
    page = await bridge.client.call("GetSessionTools", request)
    request.page_token = page.next_page_token
    await bridge.client.call("GetSessionTools", request)


@scenario()
async def call_of_a_tool_of_the_hub(stage: Stage) -> None:
    bridge = await stage.play(add, add_async, add_in_a_process)
    for name in ("add", "add_async", "add_in_a_process"):
        await bridge.tools[name](1, b=3)
    await bridge.call_tool("add", args=[1], kwargs={})


@scenario()
async def call_with_metadata_and_a_name(stage: Stage) -> None:
    async def told(context: ToolContext) -> list[str]:
        """Tells what it was told."""
        return [context.session_id, context.tool_name, context.request_id, *min(context.metadata.items())]

    bridge = await stage.play(told)
    await bridge.tools["told"].with_options(timeout=12.5, metadata={"trace": "t-1"})()
    request = pb.ToolCallRequest(session_id="the-session", tool_id="told", request_id="mine", context={"user": "ann"})
    await bridge.client.call("ExecuteTool", request)


@scenario("link")
async def call_with_values_by_position(stage: Stage) -> None:
    bridge = await stage.play(echo)
    for value in VALUES:
        await bridge.tools["echo"](value)


@scenario("rpc")
async def call_with_values_by_name(stage: Stage) -> None:
    bridge = await stage.play(echo)
    await bridge.tools["echo"](1, **{f"value_{place:02}": value for place, value in enumerate(VALUES)})


@scenario()
async def call_with_a_large_value(stage: Stage) -> None:
    bridge = await stage.play(size)
    await bridge.tools["size"](b"large " * 100_000)


@scenario()
async def call_with_events(stage: Stage) -> None:
    async def tell(context: ToolContext) -> str:
        """Tells how far it is."""
        context.progress(1, 2, "half")
        context.log("a line", level="warning", place="here")
        context.progress(2, 2)
        return "done"

    bridge = await stage.play(tell)
    seen: list[Any] = []
    await bridge.tools["tell"]()
    await bridge.tools["tell"].with_options(on_progress=seen.append, on_log=seen.append)()
    assert len(seen) == 3


@scenario()
async def idempotency_key_that_is_used_twice(stage: Stage) -> None:
    bridge = await stage.play(add)
    keyed = bridge.tools["add"].with_options(idempotency_key="once")
    await keyed(1)
    await keyed(1)
    await refused(keyed(2))


@scenario()
async def idempotent_tool_whose_result_is_kept(stage: Stage) -> None:
    await stage.hub(described)
    bridge = await stage.client()
    await bridge.initialize("the-session", config=SessionConfig(enable_caching=True))
    stage.record()
    await bridge.tools["documented"](1)
    await bridge.tools["documented"](1)


@scenario()
async def nested_calls_within_the_hub(stage: Stage) -> None:
    async def outer(context: ToolContext, a: int) -> int:
        """Has others add."""
        return int(await context.call_tool("add", a, b=await context.call_tool("add", a)))

    async def failing(context: ToolContext) -> int:
        """Calls what there is not."""
        return int(await context.call_tool("ad", 1))

    bridge = await stage.play(add, outer, failing)
    await bridge.tools["outer"](1)
    await refused(bridge.tools["failing"]())


async def batch(stage: Stage, **options: Any) -> None:
    bridge = await stage.play(add)
    items: list[dict[str, Any]] = [
        {"tool_id": "add", "args": [1]},
        {"tool_id": "add", "args": ["x"]},
        {"tool_id": "nothing"},
        {"tool_id": "add", "kwargs": {"a": 2, "b": 3}},
    ]
    await bridge.execute_batch(items, **options)


@scenario()
async def batch_in_sequence(stage: Stage) -> None:
    await batch(stage, parallel=False)


@scenario()
async def batch_in_parallel(stage: Stage) -> None:
    await batch(stage, max_parallel=2)


@scenario()
async def batch_that_stops_on_error(stage: Stage) -> None:
    await batch(stage, parallel=False, stop_on_error=True)


@scenario()
async def batch_that_is_too_long(stage: Stage) -> None:
    bridge = await stage.play(add, max_batch_items=1)
    await refused(bridge.execute_batch([{"tool_id": "add", "args": [1]}] * 2))


@scenario()
async def tools_that_come_and_go_in_a_session(stage: Stage) -> None:
    await stage.hub(add)
    changes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    bridge = await stage.client(follow_tools=True, on_tools_changed=lambda *change: changes.put_nowait(change))
    await bridge.initialize("the-session")
    await stage.seen("WatchSessionTools")
    worker = await stage.worker(add_async, positions, session_id="the-session", worker_id="w-1")
    await worker.start()
    for _ in range(2):
        await soon(changes.get())
    await bridge.tools["add_async"](1)
    request = pb.UnregisterToolsRequest(session_id="the-session", tool_ids=["add_async"])
    await bridge.client.call("UnregisterTools", request)
    assert await soon(changes.get()) == ("removed", "add_async")
    await refused(bridge.call_tool("add_async", 1))
    await worker.drain()
    assert await soon(changes.get()) == ("removed", "positions")
    await bridge.close()
