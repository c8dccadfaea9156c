"""What a tool in the hub's own process may ask of the hub."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.errors import ConflictError, NotFoundError, SerializationError, ToolExecutionError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.values.serialization import deserialize_value


async def run(tool: Any, *others: Any, variables: dict[str, Any] | None = None) -> Any:
    """Runs ``tool`` in a hub with ``others``; its own exception is raised here."""
    failures: list[Exception] = []

    async def main(ctx: ToolContext) -> Any:
        try:
            return await tool(ctx)
        except Exception as error:
            failures.append(error)
            raise

    store = SessionStore()
    registry = ToolRegistry(store)
    registry.register_batch("", [main, *others])
    await store.create_session("s")
    for name, value in (variables or {}).items():
        await store.set_variable("s", name, value)
    executor = Executor(store, registry)
    response = await executor.execute(ToolCallRequest(session_id="s", tool_id="main"))
    await executor.aclose()
    if failures:
        raise failures[0]
    return deserialize_value(response.result)


async def count(n: int) -> AsyncGenerator[int, None]:
    for number in range(n):
        yield number
    if n > 3:
        raise LookupError("too many")


def fail() -> None:
    raise LookupError("it")


def pair(a: int, b: int) -> list[int]:
    return [a, b]


async def test_variables_are_set_read_listed_and_deleted() -> None:
    async def tool(ctx: ToolContext) -> Any:
        revision = await ctx.set_variable("x", (1, 2))
        await ctx.set_variable("y", None)
        listed = [(info.name, info.type) for info in await ctx.list_variables("x")]
        value = await ctx.get_variable("x")
        await ctx.delete_variable("x", expected_revision=revision)
        return [value, listed, await ctx.get_variable("x", default="gone")]

    value, listed, gone = await run(tool)
    assert value == (1, 2)
    assert listed[0][0] == "x"
    assert len(listed) == 1
    assert gone == "gone"


async def test_a_variable_that_a_program_in_the_process_set_as_it_is_can_be_read() -> None:
    async def tool(ctx: ToolContext) -> Any:
        return await ctx.get_variable("x")

    assert await run(tool, variables={"x": [1, "a"]}) == [1, "a"]


async def test_a_missing_variable_and_a_wrong_revision_are_errors() -> None:
    async def get(ctx: ToolContext) -> None:
        await ctx.get_variable("x")

    async def set_at(ctx: ToolContext) -> None:
        await ctx.set_variable("x", 1, expected_revision=5)

    async def delete(ctx: ToolContext) -> None:
        await ctx.delete_variable("x")

    for tool, expected in ((get, NotFoundError), (set_at, ConflictError), (delete, NotFoundError)):
        with pytest.raises(expected):
            await run(tool)


async def test_other_tools_are_called_and_streamed() -> None:
    async def tool(ctx: ToolContext) -> Any:
        return [await ctx.call_tool("pair", 1, b=2), [value async for value in ctx.stream_tool("count", n=3)]]

    assert await run(tool, pair, count) == [[1, 2], [0, 1, 2]]


async def test_an_error_of_another_tool_is_raised_here() -> None:
    async def call(ctx: ToolContext) -> None:
        await ctx.call_tool("fail")

    async def stream(ctx: ToolContext) -> None:
        async for _ in ctx.stream_tool("count", 4):
            pass

    async def nobody(ctx: ToolContext) -> None:
        await ctx.call_tool("nobody")

    for tool, name, error_type in (
        (call, "fail", "LookupError"),
        (stream, "count", "LookupError"),
        (nobody, "nobody", "ToolNotFound"),
    ):
        with pytest.raises(ToolExecutionError) as got:
            await run(tool, fail, count)
        assert (got.value.tool_name, got.value.error_type) == (name, error_type)


async def test_an_argument_that_cannot_be_sent_is_an_error() -> None:
    async def tool(ctx: ToolContext) -> None:
        value: list[Any] = []
        for _ in range(200):
            value = [value]
        await ctx.call_tool("pair", value, 1)

    with pytest.raises(SerializationError):
        await run(tool, pair)


async def test_a_stream_that_is_left_ends_its_tool() -> None:
    closed = []

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append("closed")

    async def tool(ctx: ToolContext) -> Any:
        values = ctx.stream_tool("endless")
        assert isinstance(values, AsyncGenerator)
        await anext(values)
        await values.aclose()
        return list(closed)

    assert await run(tool, endless) == ["closed"]
