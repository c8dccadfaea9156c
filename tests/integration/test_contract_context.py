"""What a running tool may ask of the bridge, over every transport."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge import ToolContext, ToolExecutionError, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress
from integration.connections import Connect
from support.waiting import soon


async def double(value: int) -> int:
    return value * 2


async def count(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


async def test_a_tool_reads_and_writes_the_session_s_variables(connect: Connect) -> None:
    async def remember(ctx: ToolContext, value: Any) -> dict[str, Any]:
        before = await ctx.get_variable("memory", "nothing")
        revision = await ctx.set_variable("memory", value)
        names = [info.name for info in await ctx.list_variables("mem")]
        return {"before": before, "revision": revision, "names": names}

    async def forget(ctx: ToolContext) -> None:
        await ctx.delete_variable("memory")

    world = await connect(remember, forget)
    first = await world.tools["remember"]([1, 2])
    assert (first["before"], first["names"]) == ("nothing", ["memory"])
    assert await world.variables.get_variable("memory") == [1, 2]
    second = await world.tools["remember"]("new")
    assert second["before"] == [1, 2]
    assert second["revision"] > first["revision"]
    await world.tools["forget"]()
    assert await world.variables.get_variable("memory", None) is None


async def test_a_missing_variable_inside_a_tool_names_the_variable(connect: Connect) -> None:
    async def read(ctx: ToolContext) -> Any:
        return await ctx.get_variable("no such thing")

    world = await connect(read)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["read"]()
    assert caught.value.error_type == "VariableNotFound"
    assert "no such thing" in caught.value.message


async def test_a_tool_calls_and_streams_other_tools(connect: Connect) -> None:
    async def nest(ctx: ToolContext, limit: int) -> list[int]:
        return [await ctx.call_tool("double", number) async for number in ctx.stream_tool("count", limit=limit)]

    world = await connect(nest, double, count)
    assert await world.tools["nest"](4) == [0, 2, 4, 6]
    await world.quiet()


async def test_a_tool_that_leaves_a_nested_stream_early_stops_it(connect: Connect) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            ended.set()

    async def first(ctx: ToolContext) -> int:
        stream = ctx.stream_tool("endless")
        async for number in stream:
            if number == 3:
                await stream.aclose()  # type: ignore[attr-defined]  # a generator is what comes
                break
        else:
            raise AssertionError("an endless stream has ended")
        return 3

    world = await connect(first, endless)
    assert await world.tools["first"]() == 3
    await soon(ended.wait())
    await world.quiet()


async def test_a_streaming_tool_may_stream_another(connect: Connect) -> None:
    async def squares(ctx: ToolContext, limit: int) -> AsyncIterator[int]:
        async for number in ctx.stream_tool("count", limit):
            yield number * number

    world = await connect(squares, count)
    assert [value async for value in world.tools["squares"].stream(4)] == [0, 1, 4, 9]


async def test_an_error_of_a_nested_tool_reaches_the_tool_that_called_it(connect: Connect) -> None:
    async def fail() -> None:
        raise LookupError("deep down")

    async def guard(ctx: ToolContext) -> str:
        try:
            await ctx.call_tool("fail")
        except ToolExecutionError as error:
            return f"{error.tool_name}: {error.error_type}: {error.message}"
        return "nothing happened"

    async def careless(ctx: ToolContext) -> None:
        await ctx.call_tool("fail")

    world = await connect(fail, guard, careless)
    assert await world.tools["guard"]() == "fail: LookupError: deep down"
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["careless"]()
    assert "deep down" in caught.value.message
    assert caught.value.tool_name == "careless"


async def test_a_nested_call_cannot_outlive_its_caller_s_deadline(connect: Connect) -> None:
    def left(ctx: ToolContext) -> float:
        return ctx.time_left()

    async def outer(ctx: ToolContext) -> list[float]:
        inner = await ctx.call_tool("left")
        return [inner, ctx.time_left()]

    world = await connect(outer, left)
    inner, outer_left = await world.tools["outer"].with_options(timeout=5)()
    assert 0 < inner <= 5
    assert 0 < outer_left <= 5


async def test_a_thread_tool_uses_the_same_methods_through_ctx_sync(connect: Connect) -> None:
    def work(ctx: ToolContext) -> dict[str, Any]:
        ctx.sync.set_variable("x", {"a": [1]})
        return {
            "variable": ctx.sync.get_variable("x"),
            "default": ctx.sync.get_variable("y", "none"),
            "nested": ctx.sync.call_tool("double", 21),
            "stream": list(ctx.sync.stream_tool("count", 3)),
            "names": [info.name for info in ctx.sync.list_variables()],
            "main": threading.current_thread() is threading.main_thread(),
        }

    world = await connect(work, double, count)
    assert await world.tools["work"]() == {
        "variable": {"a": [1]},
        "default": "none",
        "nested": 42,
        "stream": [0, 1, 2],
        "names": ["x"],
        "main": False,
    }
    await world.quiet()


async def test_ctx_sync_on_the_loop_says_to_await_instead_of_hanging(connect: Connect) -> None:
    async def wrong(ctx: ToolContext) -> Any:
        return ctx.sync.get_variable("x")

    world = await connect(wrong)
    with pytest.raises(ToolExecutionError, match="await"):
        await world.tools["wrong"]()


def _tell(ctx: ToolContext) -> None:
    ctx.progress(1, 4, "a quarter")
    ctx.log("hello", level="warning", row=7)


async def tell_async(ctx: ToolContext) -> str:
    _tell(ctx)
    return "told"


def tell_thread(ctx: ToolContext) -> str:
    _tell(ctx)
    return "told"


async def tell_stream(ctx: ToolContext) -> AsyncIterator[str]:
    _tell(ctx)
    yield "told"


def tell_thread_stream(ctx: ToolContext) -> Iterator[str]:
    _tell(ctx)
    yield "told"


@pytest.mark.parametrize("function", [tell_async, tell_thread, tell_stream, tell_thread_stream])
async def test_progress_and_log_reach_a_caller_that_listens(connect: Connect, function: Any) -> None:
    seen: list[Progress | LogRecord] = []
    world = await connect(tool(name="tell")(function))
    proxy = world.tools["tell"].with_options(on_progress=seen.append, on_log=seen.append)
    assert [value async for value in proxy.stream()] == ["told"]
    assert await proxy() in ("told", ["told"])
    assert len(seen) == 4
    progress, record = seen[:2]
    assert isinstance(progress, Progress)
    assert (progress.current, progress.total, progress.message) == (1, 4, "a quarter")
    assert isinstance(record, LogRecord)
    assert (record.level, record.message, dict(record.fields)) == ("warning", "hello", {"row": "7"})


@pytest.mark.parametrize("function", [tell_async, tell_thread, tell_stream, tell_thread_stream])
async def test_progress_and_log_cost_a_caller_that_does_not_listen_nothing(connect: Connect, function: Any) -> None:
    world = await connect(tool(name="tell")(function))
    assert [value async for value in world.tools["tell"].stream()] == ["told"]


async def test_a_log_line_of_a_tool_is_in_the_log_of_the_hub(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    world = await connect(tell_async)
    with caplog.at_level("INFO"):
        await world.tools["tell_async"]()
    assert "tell_async: hello" in caplog.text


async def test_a_tool_knows_its_call(connect: Connect) -> None:
    async def whoami(ctx: ToolContext) -> list[Any]:
        return [ctx.session_id, ctx.tool_name, ctx.cancelled, 0 < ctx.time_left() <= 30]

    world = await connect(whoami)
    assert await world.tools["whoami"]() == [world.bridge.session_id, "whoami", False, True]
    assert "ctx" not in [argument.name for argument in world.tools["whoami"].spec.arguments]
