"""Recorded calls of a hub's tools, whoever makes them and wherever they run."""

import asyncio
from collections.abc import Iterator

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    Settings,
    ToolContext,
    ToolExecutionError,
    ToolTimeoutError,
    ToolWorker,
    pipeline,
    step,
    tool,
)
from grpc_tool_bridge.testing import ToolCalls, record_calls
from support.pytests import OPTIONS
from support.waiting import soon, until


async def add(a: int, b: int = 1) -> int:
    if a < 0:
        raise ValueError("negative")
    return a + b


def count(n: int) -> Iterator[int]:
    for number in range(n):
        if number == 3:
            raise ValueError("three")
        yield number


async def nested(ctx: ToolContext) -> int:
    return int(await ctx.call_tool("add", 1, b=2))


async def wait(seconds: float) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("place", ["hub", "worker", "process"])
async def test_calls_have_arguments_results_and_errors_wherever_the_tool_runs(place: str) -> None:
    async with BridgeServer(
        settings=Settings(shutdown_grace=0), tools=[] if place == "worker" else _offered(place)
    ) as server:
        with record_calls(server) as calls:
            worker = ToolWorker(server.address, _offered(place)) if place == "worker" else None
            if worker is not None:
                await worker.start()
            async with GRPCToolBridge(server.address) as bridge:
                tools = await bridge.initialize()
                assert await soon(tools["plus"](2, b=3)) == 5
                for wrong in ([-1], ["x"]):
                    with pytest.raises(ToolExecutionError):
                        await soon(bridge.call_tool("plus", *wrong))
                assert [item async for item in tools["count"].stream(2)] == [0, 1]
                with pytest.raises(ToolExecutionError, match="three"):
                    await soon(tools["count"](9))
            if worker is not None:
                await worker.close()
    made = calls.of("plus")
    assert [(call.args, call.kwargs, call.result) for call in made] == [
        ((2,), {"b": 3}, 5),
        ((-1,), {}, None),
        (("x",), {}, None),
    ]
    assert [getattr(call.error, "error_type", None) for call in made] == [None, "ValueError", "ValidationError"]
    streamed, failed = calls.of("count")
    assert (streamed.result, streamed.error) == ([0, 1], None)
    assert isinstance(failed.error, ToolExecutionError)
    assert all(call.is_done for call in calls)
    calls.of("plus").assert_any_call(2, 3)


def plus(a: int, b: int = 1) -> int:
    if a < 0:
        raise ValueError("negative")
    return a + b


def _offered(place: str) -> list[object]:
    return [tool(executor="process" if place == "process" else None)(each) for each in (plus, count)]


async def test_calls_of_tools_pipelines_and_batches_are_recorded() -> None:
    both = pipeline(name="both", description="Both.", steps=[step("add", 1), step("add", 2)])
    async with LocalToolBridge([add, nested, both]) as bridge:
        tools = await bridge.initialize()
        with record_calls(bridge) as calls:
            assert await soon(tools["nested"]()) == 3
            calls.of("add").assert_called_once_with(1, 2)
            assert calls.tools == ["nested", "add"]
            calls.clear()
            await soon(tools["both"]())
            await soon(bridge.execute_batch([{"tool_id": "add", "args": [5]}, {"tool_id": "add", "args": [6]}]))
            assert [call.args for call in calls.of("add")] == [(1,), (2,), (5,), (6,)]


async def test_a_stream_that_fails_has_the_values_before() -> None:
    async with LocalToolBridge([count]) as bridge:
        tools = await bridge.initialize()
        with record_calls(bridge.hub) as calls:
            with pytest.raises(ToolExecutionError):
                assert [item async for item in tools["count"].stream(9)] == []
            (call,) = calls
            assert call.result == [0, 1, 2]
            assert (str(call.error), call.is_done) == (str(call.error), True)
            assert isinstance(call.error, ToolExecutionError)


async def test_calls_that_run_time_out_or_are_cancelled_say_so() -> None:
    async with LocalToolBridge([wait]) as bridge:
        tools = await bridge.initialize()
        with record_calls(bridge) as calls:
            running = asyncio.ensure_future(tools["wait"](1))
            await until(lambda: calls)
            assert (calls[0].is_done, str(calls[0])) == (False, "wait(1) still runs")
            running.cancel()
            await until(lambda: calls[0].is_done)
            assert calls[0].error is not None
            assert "its caller has cancelled the call" in str(calls[0].error)
            with pytest.raises(ToolTimeoutError):
                await tools["wait"].with_options(timeout=0.05)(2)
            assert isinstance(calls[1].error, ToolTimeoutError)


async def test_nothing_is_recorded_after_the_end_and_the_short_way_is_back() -> None:
    async with LocalToolBridge([add]) as bridge:
        tools = await bridge.initialize()
        before = [registered.backend for registered in bridge.hub.registry.own("").values()]
        with record_calls(bridge) as calls:
            await soon(tools["add"](1))
        await soon(tools["add"](2))
        assert len(calls) == 1
        assert [registered.backend for registered in bridge.hub.registry.own("").values()] == before
        assert isinstance(calls, ToolCalls)


FIXTURES = """
import contextlib

import pytest

from grpc_tool_bridge import ToolContext


def add(a: int, b: int) -> int:
    return a + b


async def total(ctx: ToolContext) -> int:
    return await ctx.call_tool("add", 1, 2) + ctx.lifespan["more"]


@contextlib.asynccontextmanager
async def lifespan(server):
    yield {"more": 10}


@pytest.fixture
def bridge_tools():
    return [add, total]


@pytest.fixture
def bridge_lifespan():
    return lifespan


def test_the_fixture_records_what_a_tool_calls(bridge, tool_calls):
    tools = bridge.sync.initialize()
    assert tools["total"]() == 13
    tool_calls.of("add").assert_called_once_with(a=1, b=2)
    assert tool_calls.of("total")[0].result == 13


def test_each_test_has_its_own_calls(tool_calls):
    tool_calls.assert_not_called()
"""


@pytest.mark.slow
def test_the_fixtures_record_calls_and_set_the_lifespan(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FIXTURES)
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=2)
