"""A session that keeps the results of idempotent tools, over every transport."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge import SessionConfig, SessionError, ToolBridgeError, ToolContext, ToolExecutionError, tool
from grpc_tool_bridge.core.result_cache import CACHED_METRIC
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallRequest,
    ExecutionMetrics,
    ToolCallRequest,
    ToolCallResponse,
)
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from integration.connections import Connect, World
from support.waiting import soon, until

CACHING = SessionConfig(enable_caching=True)


class Squares:
    """A tool and how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    async def square(self, number: int) -> int:
        self.runs += 1
        if number < 0:
            raise ValueError("too small")
        return number * number

    @property
    def tool(self) -> Any:
        return tool(idempotent=True)(self.square)


@pytest.fixture
def squares() -> Squares:
    return Squares()


async def call(world: World, number: int, tool_id: str = "square", **fields: Any) -> ToolCallResponse:
    request = ToolCallRequest(session_id=world.session_id, tool_id=tool_id, args=[serialize_value(number)], **fields)
    response: ToolCallResponse = await world.bridge.client.call("ExecuteTool", request)
    return response


def was_cached(metrics: ExecutionMetrics) -> bool:
    return metrics.custom_metrics.get(CACHED_METRIC) == 1


async def test_the_same_call_runs_once_and_its_second_answer_says_so(connect: Connect, squares: Squares) -> None:
    world = await connect(squares.tool, config=CACHING)
    first, second = [await call(world, 3, request_id=name) for name in ("first", "second")]
    assert squares.runs == 1
    assert [deserialize_value(answer.result) for answer in (first, second)] == [9, 9]
    assert [was_cached(answer.metrics) for answer in (first, second)] == [False, True]
    assert (second.success, second.request_id) == (True, "second")
    assert second.metrics.duration_ms >= 1
    assert (await call(world, 4)).success
    assert squares.runs == 2
    counts = await world.bridge.client.get_metrics("tool.square.calls", "tool.square.errors")
    assert [counts[f"tool.square.{name}"].integer_value for name in ("calls", "errors")] == [3, 0]
    await world.quiet()


async def test_only_a_session_that_asks_for_it_keeps_results_and_for_itself_alone(
    connect: Connect, squares: Squares
) -> None:
    world = await connect(squares.tool)
    caching = await world.attach(config=CACHING)
    other = await world.attach(config=CACHING)
    for bridge, runs in ((world.bridge, 2), (caching, 3), (other, 4)):
        assert [await bridge.tools["square"](3) for _ in range(2)] == [9, 9]
        assert squares.runs == runs


async def test_a_tool_that_is_not_idempotent_runs_each_time(connect: Connect, squares: Squares) -> None:
    world = await connect(squares.square, config=CACHING)
    for _ in range(2):
        await world.tools["square"](3)
    assert squares.runs == 2


async def test_an_error_is_not_kept(connect: Connect, squares: Squares) -> None:
    world = await connect(squares.tool, config=CACHING)
    for _ in range(2):
        with pytest.raises(ToolExecutionError, match="too small"):
            await world.tools["square"](-1)
    assert squares.runs == 2


async def test_a_kept_result_needs_neither_a_place_nor_a_turn_of_the_rate(connect: Connect) -> None:
    gate, started = asyncio.Event(), asyncio.Event()
    runs = 0

    @tool(idempotent=True, limits={"rate_limit_per_minute": 2})
    async def work(number: int) -> int:
        nonlocal runs
        runs += 1
        if number:
            started.set()
            await gate.wait()
        return number

    world = await connect(work, config=SessionConfig(enable_caching=True, max_concurrent_tools=1))
    assert await world.tools["work"](0) == 0
    running = asyncio.create_task(world.tools["work"](1))
    await soon(started.wait())
    assert [await soon(world.tools["work"](0)) for _ in range(5)] == [0] * 5
    gate.set()
    assert await soon(running) == 1
    assert runs == 2


async def test_items_of_a_batch_and_calls_by_tools_share_the_results_of_calls(
    connect: Connect, squares: Squares
) -> None:
    async def nested(number: int, ctx: ToolContext) -> int:
        return int(await ctx.call_tool("square", number))

    world = await connect(squares.tool, nested, config=CACHING)
    batch = BatchToolCallRequest(session_id=world.session_id)
    for number in (3, 4):
        batch.items.add(tool_id="square", args=[serialize_value(number)])
    assert await world.tools["square"](3) == 9
    answered = await world.bridge.client.call("BatchExecuteTools", batch)
    assert [deserialize_value(result.result) for result in answered.results] == [9, 16]
    assert [was_cached(result.metrics) for result in answered.results] == [True, False]
    assert await world.tools["nested"](4) == 16
    assert await world.tools["nested"](5) == 25
    assert was_cached((await call(world, 5)).metrics)
    assert squares.runs == 3


async def test_equal_calls_at_once_run_each(connect: Connect) -> None:
    runs = 0
    go_on = asyncio.Event()

    @tool(idempotent=True)
    async def work() -> int:
        nonlocal runs
        runs += 1
        await go_on.wait()
        return runs

    world = await connect(work, config=CACHING)
    tasks = [asyncio.create_task(world.tools["work"]()) for _ in range(3)]
    await until(lambda: runs == 3)
    go_on.set()
    assert await soon(asyncio.gather(*tasks)) == [3, 3, 3]


async def test_a_tool_registered_anew_has_no_results_of_the_one_before(connect: Connect, squares: Squares) -> None:
    world = await connect(squares.tool, config=CACHING)
    assert await world.tools["square"](3) == 9

    @tool(name="square", idempotent=True)
    def other(number: int) -> str:
        return f"{number} squared"

    world.hub.registry.register_batch(world.session_id, [other])
    assert await world.tools["square"](3) == "3 squared"


async def test_a_session_that_has_ended_gives_no_kept_results(connect: Connect, squares: Squares) -> None:
    world = await connect(squares.tool, config=CACHING)
    await world.tools["square"](3)
    await world.bridge.client.cleanup_session()
    with pytest.raises(ToolBridgeError) as caught:
        await call(world, 3)
    assert isinstance(caught.value, SessionError)
    assert squares.runs == 1


async def test_results_are_kept_within_the_hubs_bounds(connect: Connect, squares: Squares) -> None:
    world = await connect(squares.tool, config=CACHING, max_session_cache_entries=2)
    for number in (1, 2, 3, 3, 2, 1):
        await world.tools["square"](number)
    assert squares.runs == 4
