"""Tools as functions, over every transport."""

import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest

from grpc_tool_bridge import (
    StreamingGRPCProxyTool,
    ToolContext,
    ToolExecutionError,
    ToolTimeoutError,
    ToolType,
    ValidationError,
    tool,
)
from integration.connections import Connect
from support.patience import PATIENCE
from support.waiting import until


def area(width: float, height: float = 1.0, *, unit: Literal["m", "ft"] = "m") -> str:
    """Computes an area.

    Args:
        width: How wide.
        height: How high.
        unit: In which unit.
    """
    return f"{width * height:g} {unit}2"


async def area_async(width: float, height: float = 1.0) -> float:
    return width * height


def count(limit: int) -> Iterator[int]:
    """Counts."""
    yield from range(limit)


async def count_async(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


async def test_a_proxy_has_the_name_the_docstring_and_the_signature_of_its_tool(connect: Connect) -> None:
    world = await connect(area)
    proxy = world.tools["area"]
    assert (proxy.name, proxy.__name__) == ("area", "area")
    assert "Computes an area" in str(proxy.__doc__)
    parameters = inspect.signature(proxy).parameters
    assert list(parameters) == ["width", "height", "unit"]
    assert parameters["width"].default is inspect.Parameter.empty
    assert (parameters["height"].default, parameters["unit"].default) == (1.0, "m")
    assert inspect.signature(proxy).return_annotation == "str"


async def test_a_proxy_s_spec_says_what_the_docstring_says_of_each_argument(connect: Connect) -> None:
    world = await connect(area)
    arguments = {argument.name: argument for argument in world.tools["area"].spec.arguments}
    assert arguments["width"].description == "How wide."
    assert (arguments["width"].required, arguments["height"].required) == (True, False)
    assert list(arguments["unit"].allowed_values) == ["m", "ft"]


@pytest.mark.parametrize("function", [area, area_async])
async def test_arguments_go_by_position_and_by_name(connect: Connect, function: Any) -> None:
    world = await connect(tool(name="f")(function))
    by_position, by_name = await world.tools["f"](2.0, 3.0), await world.tools["f"](height=3.0, width=2.0)
    assert by_position == by_name
    assert str(by_position).startswith("6")
    assert str(await world.tools["f"](4.0)).startswith("4")


async def test_an_argument_may_be_called_as_python_calls_the_object_itself(connect: Connect) -> None:
    async def introduce(self: str, args: str, kwargs: str) -> str:
        return f"{self} {args} {kwargs}"

    async def repeat(self: str) -> AsyncIterator[str]:
        yield self

    world = await connect(introduce, repeat)
    given = {"self": "I", "args": "am", "kwargs": "it"}
    assert await world.tools["introduce"](**given) == "I am it"
    assert await world.tools["repeat"](self="I") == ["I"]
    assert [value async for value in world.tools["repeat"].stream(self="I")] == ["I"]


@pytest.mark.parametrize("name", ["call_tool", "execute_tool"])
async def test_call_tool_takes_arguments_as_they_are_or_in_lists_and_has_an_alias(connect: Connect, name: str) -> None:
    world = await connect(area)
    call = getattr(world.bridge, name)
    assert await call("area", 2.0, unit="ft") == "2 ft2"
    assert await call(tool_id="area", args=[2.0], kwargs={"unit": "ft"}) == "2 ft2"


@pytest.mark.parametrize("function", [count, count_async])
async def test_a_generator_is_a_streaming_tool_whose_call_gives_the_list(connect: Connect, function: Any) -> None:
    world = await connect(tool(name="count")(function))
    proxy = world.tools["count"]
    assert isinstance(proxy, StreamingGRPCProxyTool)
    assert proxy.spec.type == ToolType.STREAMING
    assert await proxy(4) == [0, 1, 2, 3]
    assert [value async for value in proxy.stream(4)] == [0, 1, 2, 3]
    assert await proxy(0) == []


@pytest.mark.parametrize("function", [area, area_async])
async def test_the_stream_of_a_tool_that_returns_has_its_one_value(connect: Connect, function: Any) -> None:
    world = await connect(tool(name="f")(function))
    assert [value async for value in world.tools["f"].stream(2.0)] == [await world.tools["f"](2.0)]


async def test_a_sync_tool_runs_in_a_thread_and_leaves_the_loop_free(connect: Connect) -> None:
    started, go_on = threading.Event(), threading.Event()

    def block() -> str:
        started.set()
        go_on.wait(PATIENCE)
        return threading.current_thread().name

    async def release() -> None:
        await until(started.is_set)
        go_on.set()

    world = await connect(block, release)
    import asyncio

    name, _ = await asyncio.gather(world.tools["block"](), world.tools["release"]())
    assert name != threading.main_thread().name


async def test_a_sync_tool_that_promises_not_to_block_runs_on_the_loop(connect: Connect) -> None:
    def where() -> str:
        return threading.current_thread().name

    world = await connect(tool(executor="async")(where))
    assert await world.tools["where"]() == threading.current_thread().name


async def test_a_tool_is_called_by_its_id_and_by_its_name(connect: Connect) -> None:
    world = await connect(tool(name="shown", tool_id="real-id")(area))
    assert set(world.tools) == {"shown"}
    assert await world.tools["shown"](1.0) == "1 m2"
    assert await world.bridge.call_tool("real-id", 1.0) == "1 m2"
    assert await world.bridge.call_tool("shown", 1.0) == "1 m2"


async def test_what_a_tool_raises_comes_back_with_class_message_and_traceback(connect: Connect) -> None:
    class BrokenPumpError(Exception):
        pass

    async def pump() -> None:
        raise BrokenPumpError("the pump leaks")

    world = await connect(pump)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["pump"]()
    error = caught.value
    assert (error.tool_name, error.error_type, error.message) == ("pump", "BrokenPumpError", "the pump leaks")
    assert error.details["origin"] == "tool"
    assert not error.retryable
    assert 'raise BrokenPumpError("the pump leaks")' in error.remote_traceback
    assert "core/executor.py" not in error.remote_traceback


async def test_a_hub_told_not_to_show_tracebacks_shows_none(connect: Connect) -> None:
    def fail() -> None:
        raise KeyError("secret place")

    world = await connect(fail, show_tracebacks=False)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["fail"]()
    assert caught.value.error_type == "KeyError"
    assert caught.value.remote_traceback == ""


async def test_a_tool_s_own_timeout_error_is_not_taken_for_the_bridge_s(connect: Connect) -> None:
    async def ask_printer() -> None:
        raise TimeoutError("the printer did not answer")

    world = await connect(ask_printer)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["ask_printer"]()
    assert not isinstance(caught.value, ToolTimeoutError)
    assert caught.value.details["origin"] == "tool"
    assert not caught.value.retryable


async def test_with_options_makes_another_proxy_and_leaves_the_first(connect: Connect) -> None:
    def left(ctx: ToolContext) -> float:
        return ctx.time_left()

    world = await connect(left)
    proxy = world.tools["left"]
    hasty = proxy.with_options(timeout=2.5)
    assert await hasty() <= 2.5
    assert 2.5 < await proxy() <= 30
    assert hasty.name == "left"
    assert type(hasty) is type(proxy)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
async def test_a_time_out_that_is_none_is_refused(connect: Connect, timeout: float) -> None:
    world = await connect(area)
    with pytest.raises(ValidationError, match="timeout"):
        world.tools["area"].with_options(timeout=timeout)


async def test_metadata_of_with_options_reaches_the_tool(connect: Connect) -> None:
    def show(ctx: ToolContext) -> dict[str, str]:
        return dict(ctx.metadata)

    world = await connect(show)
    assert await world.tools["show"].with_options(metadata={"trace": "7"})() == {"trace": "7"}
    assert await world.tools["show"]() == {}


async def test_a_tool_registered_later_is_seen_after_refresh(connect: Connect) -> None:
    world = await connect(area)
    world.hub.registry.register_batch("", [count])
    assert set(world.tools) == {"area"}
    await world.bridge.client.refresh_tools()
    assert set(world.tools) == {"area", "count"}
    assert await world.tools["count"](2) == [0, 1]


async def test_none_is_a_result_like_any_other(connect: Connect) -> None:
    def nothing() -> None:
        return None

    world = await connect(nothing)
    assert await world.tools["nothing"]() is None


async def test_many_calls_at_once_each_get_their_own_answer(connect: Connect) -> None:
    import asyncio

    world = await connect(area_async)
    answers = await asyncio.gather(*(world.tools["area_async"](float(i), 2.0) for i in range(250)))
    assert answers == [2.0 * i for i in range(250)]
    await world.quiet()
