"""Many calls in one request, over every transport."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge import ToolExecutionError, ToolTimeoutError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import BatchToolCallRequest
from grpc_tool_bridge.values.serialization import serialize_value
from integration.connections import Connect
from support.waiting import soon, until


async def add(a: int, b: int = 0) -> int:
    return a + b


def divide(a: float, b: float) -> float:
    return a / b


def _items(*numbers: int) -> list[dict[str, Any]]:
    return [{"tool_id": "add", "args": [number]} for number in numbers]


async def test_results_are_in_the_order_of_the_items_whatever_ends_first(connect: Connect) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def wait_for(turn: int) -> int:
        if turn + 1 < len(gates):
            await gates[turn + 1].wait()
        gates[turn].set()
        return turn

    world = await connect(wait_for)
    items = [{"tool_id": "wait_for", "args": [turn]} for turn in range(3)]
    assert await soon(world.bridge.execute_batch(items)) == [0, 1, 2]


async def test_items_take_arguments_by_position_and_by_name(connect: Connect) -> None:
    world = await connect(add, divide)
    items: list[dict[str, Any]] = [
        {"tool_id": "add", "args": [1], "kwargs": {"b": 2}},
        {"tool_id": "divide", "kwargs": {"a": 1.0, "b": 4.0}},
    ]
    assert await world.bridge.execute_batch(items) == [3, 0.25]


async def test_a_failed_item_is_an_error_in_its_place_and_the_others_run(connect: Connect) -> None:
    world = await connect(add, divide)
    results = await world.bridge.execute_batch(
        [*_items(1), {"tool_id": "divide", "args": [1.0, 0.0]}, {"tool_id": "add", "args": ["x"]}, *_items(4)]
    )
    assert (results[0], results[3]) == (1, 4)
    raised, refused = results[1], results[2]
    assert isinstance(raised, ToolExecutionError)
    assert (raised.tool_name, raised.error_type) == ("divide", "ZeroDivisionError")
    assert isinstance(refused, ToolExecutionError)
    assert refused.error_type == "ValidationError"
    assert "a" in refused.details


async def test_an_unknown_tool_fails_its_own_item_only(connect: Connect) -> None:
    world = await connect(add)
    results = await world.bridge.execute_batch([*_items(1), {"tool_id": "adder"}, *_items(2)])
    assert [results[0], results[2]] == [1, 2]
    assert results[1].error_type == "ToolNotFound"
    assert "did you mean add" in results[1].message


async def test_a_sequential_batch_runs_one_item_after_another(connect: Connect) -> None:
    running: list[int] = []
    most = 0

    async def step(number: int) -> int:
        nonlocal most
        running.append(number)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(number)
        return number

    world = await connect(step)
    items = [{"tool_id": "step", "args": [number]} for number in range(10)]
    assert await world.bridge.execute_batch(items, parallel=False) == list(range(10))
    assert most == 1


async def test_max_parallel_bounds_the_items_at_once_and_is_reached(connect: Connect) -> None:
    running = most = 0
    go_on = asyncio.Event()

    async def step(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return number

    world = await connect(step)
    items = [{"tool_id": "step", "args": [number]} for number in range(10)]
    batch = asyncio.ensure_future(world.bridge.execute_batch(items, max_parallel=3))
    await until(lambda: running == 3)
    go_on.set()
    assert await soon(batch) == list(range(10))
    assert most == 3


async def test_stop_on_error_starts_no_further_item_and_says_so(connect: Connect) -> None:
    called: list[int] = []

    async def step(number: int) -> int:
        called.append(number)
        if number == 2:
            raise RuntimeError("two")
        return number

    world = await connect(step)
    items = [{"tool_id": "step", "args": [number]} for number in range(5)]
    results = await world.bridge.execute_batch(items, parallel=False, stop_on_error=True)
    assert called == [0, 1, 2]
    assert results[:2] == [0, 1]
    assert [result.error_type for result in results[2:]] == ["RuntimeError", "Cancelled", "Cancelled"]
    assert "stop_on_error" in results[3].message


async def test_a_streaming_tool_in_a_batch_gives_the_list_of_its_values(connect: Connect) -> None:
    async def count(limit: int) -> Any:
        for number in range(limit):
            yield number

    world = await connect(count)
    assert await world.bridge.execute_batch([{"tool_id": "count", "args": [3]}]) == [[0, 1, 2]]


async def test_an_empty_batch_gives_an_empty_list(connect: Connect) -> None:
    world = await connect(add)
    assert await world.bridge.execute_batch([]) == []


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"args": [1]}, "tool_id"),
        ({"tool_id": "add", "arguments": [1]}, "arguments"),
        ({"tool_id": 7}, "tool_id"),
    ],
)
async def test_an_item_that_is_no_call_is_refused_by_its_number(
    connect: Connect, item: dict[str, Any], text: str
) -> None:
    world = await connect(add)
    with pytest.raises(ValidationError, match="item 1") as caught:
        await world.bridge.execute_batch([*_items(1), item])
    assert text in caught.value.message


async def test_a_batch_tells_how_many_items_went_well(connect: Connect) -> None:
    world = await connect(add, divide)
    request = BatchToolCallRequest(session_id=world.session_id, batch_id="b1")
    request.config.parallel = True
    request.items.add(index=7, tool_id="add", args=[serialize_value(1)])
    request.items.add(index=9, tool_id="divide", args=[serialize_value(1.0), serialize_value(0.0)])
    response = await world.bridge.client.call("BatchExecuteTools", request)
    assert response.batch_id == "b1"
    assert [result.index for result in response.results] == [7, 9]
    metrics = response.metrics
    assert (metrics.total_items, metrics.successful_items, metrics.failed_items) == (2, 1, 1)
    assert metrics.total_duration_ms >= 1
    assert response.results[0].metrics.duration_ms >= 1


async def test_items_wait_for_the_session_s_permits_and_all_run(connect: Connect) -> None:
    running = most = 0

    async def step(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    world = await connect(step, max_session_calls=2)
    items = [{"tool_id": "step", "args": [number]} for number in range(20)]
    assert await soon(world.bridge.execute_batch(items)) == list(range(20))
    assert most == 2
    await world.quiet()


async def test_the_hub_s_batch_time_out_ends_the_items_that_still_run(connect: Connect) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    world = await connect(add, hang, batch_timeout=0.2)
    results = await soon(world.bridge.execute_batch([*_items(1), {"tool_id": "hang"}]))
    assert results[0] == 1
    assert isinstance(results[1], ToolTimeoutError)
    await world.quiet()
