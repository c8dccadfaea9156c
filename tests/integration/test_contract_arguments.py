"""Arguments of every kind of parameter reach the tool as what it declares, over every transport and at a worker."""

import enum
import json
import typing
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import numpy as np
import pytest
import typing_extensions
from pydantic import Field

from grpc_tool_bridge import ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.adapters.openai import run_openai_tool_calls
from integration.connections import Connect, World
from support.waiting import soon

Price = Annotated[Decimal, Field(max_digits=5, decimal_places=2)]


class Level(enum.IntEnum):
    LOW = 1


class Row(TypedDict):
    n: int
    note: typing.NotRequired[str]


class Tree(TypedDict):
    n: int
    kids: "typing.NotRequired[list[Tree]]"


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Style(typing_extensions.TypedDict, total=False):
    color: typing_extensions.Required[str]
    size: Annotated[int, Field(ge=1)]


@pytest.fixture(params=["hub", "worker"])
async def offered(request: pytest.FixtureRequest, connect: Connect) -> Any:
    """Offers a tool at the hub or at a worker, and gives the world that calls it."""
    async with AsyncExitStack() as stack:

        async def offer(made: Any) -> World:
            if request.param == "hub":
                return await connect(made)
            world = await connect()
            await stack.enter_async_context(ToolWorker(world.server.address, tools=[made]))
            return world

        yield offer


Offered = Callable[[Any], Awaitable[World]]

TAKEN = [
    (int, 5.0, 5),
    (int, 1e3, 1000),
    (int, 1e300, int(1e300)),
    (int, np.int64(5), 5),
    (int, np.array(5), 5),
    (int, Level.LOW, 1),
    (float, np.float32(1.5), 1.5),
    (float, 5, 5.0),
    (bool, np.bool_(True), True),
    (str, np.str_("a"), "a"),
    (int | str, np.int64(5), 5),
    (Literal[5, "a"], 5.0, 5),
    (Literal[5, "a"], np.int64(5), 5),
    (Literal[5, "a"], np.str_("a"), "a"),
    (Level, 1.0, Level.LOW),
    (Level, np.int64(1), Level.LOW),
    (list[int], [5.0, np.int64(6)], [5, 6]),
    (dict[str, int], {"a": 5.0}, {"a": 5}),
    (datetime, np.datetime64("2024-01-02T03:04:05"), datetime.fromisoformat("2024-01-02T03:04:05")),
    (timedelta, np.timedelta64(5, "s"), timedelta(seconds=5)),
    (Price, "1.10", Decimal("1.10")),
    (Price, 3.0, Decimal(3)),
    (list[Price], [Decimal("1.10")], [Decimal("1.10")]),
    (Row, {"n": 5.0}, {"n": 5}),
    (Tree, {"n": 1, "kids": [{"n": 2.0}]}, {"n": 1, "kids": [{"n": 2}]}),
    (Pair, Pair(1, "a"), Pair(1, "a")),
    (Pair, (1, "a"), Pair(1, "a")),
    (Pair, {"left": 1}, Pair(1)),
    (list[Pair], [Pair(1), [2]], [Pair(1), Pair(2)]),
]

REFUSED = [
    (int, 5.5, "should be a valid integer, got 5.5 (float)"),
    (int, True, "should be a valid integer, got True (bool)"),
    (int, float("nan"), "should be a valid integer, got nan (float)"),
    (int, np.bool_(True), "should be a valid integer, got True (bool)"),
    (bool, 1, "should be a valid boolean, got 1 (int)"),
    (bool, 1.0, "should be a valid boolean, got 1.0 (float)"),
    (float, np.bool_(True), "should be a valid number, got True (bool)"),
    (Literal[5], 5.5, "should be 5, got 5.5 (float)"),
    (Literal[5], True, "should be 5, got True (bool)"),
    (Level, 2.0, "should be 1, got 2 (int)"),
    (Price, "1.123", "should have no more than 2 decimal places, got 1.123 (Decimal)"),
    (Row, {"note": "x"}, ".n is missing"),
    (Tree, {"n": 1, "kids": [{}]}, ".kids[0].n is missing"),
    (Pair, ["x"], "[0] should be a valid integer, got 'x' (str)"),
]


def ids(value: Any) -> str:
    return repr(value)[:40].encode("ascii", "replace").decode()


def echo_of(annotation: Any) -> tuple[Any, list[Any]]:
    seen: list[Any] = []

    async def take(value: Any) -> None:
        seen.append(value)

    take.__annotations__["value"] = annotation
    return tool(take), seen


@pytest.mark.parametrize(("annotation", "given", "value"), TAKEN, ids=ids)
async def test_an_argument_reaches_the_tool_as_its_type(
    offered: Offered, annotation: Any, given: Any, value: Any
) -> None:
    made, seen = echo_of(annotation)
    world = await offered(made)
    await soon(world.bridge.call_tool("take", given))
    await soon(world.bridge.call_tool(tool_id="take", kwargs={"value": given}))
    assert [(type(item), item) for item in seen] == [(type(value), value)] * 2


@pytest.mark.parametrize(("annotation", "given", "text"), REFUSED, ids=ids)
async def test_another_is_refused_by_its_name(offered: Offered, annotation: Any, given: Any, text: str) -> None:
    made, seen = echo_of(annotation)
    world = await offered(made)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.bridge.call_tool("take", given))
    assert (caught.value.error_type, caught.value.details["value"]) == ("ValidationError", text)
    assert not seen


async def test_keys_of_unpack_are_arguments(offered: Offered) -> None:
    def draw(name: str, **style: typing_extensions.Unpack[Style]) -> list[Any]:
        return [name, dict(style)]

    world = await offered(draw)
    run = world.bridge.call_tool
    assert await soon(run("draw", "x", color="red", size=2.0)) == ["x", {"color": "red", "size": 2}]
    assert await soon(run("draw", name="x", color="red")) == ["x", {"color": "red"}]
    with pytest.raises(ToolExecutionError) as caught:
        await soon(run("draw", "x", size=0, colr="red"))
    assert caught.value.details.keys() - {"origin"} == {"color", "size", "colr"}


async def test_null_and_defaults_are_what_the_schema_says(offered: Offered) -> None:
    def search(
        query: str,
        page: Annotated[int, Field(default=3)],
        tags: Annotated[list[str], Field(default_factory=list)],
        limit: int = None,  # type: ignore[assignment] # noqa: RUF013 - what is tested
    ) -> list[Any]:
        return [query, limit, page, tags]

    world = await offered(search)
    run = world.bridge.call_tool
    assert await soon(run("search", "x")) == ["x", None, 3, []]
    assert await soon(run("search", "x", limit=None)) == ["x", None, 3, []]
    assert await soon(run("search", query="x", limit=5.0, page=1, tags=["a"])) == ["x", 5, 1, ["a"]]
    for wrong in ({"limit": "5"}, {"page": None}, {"tags": None}):
        with pytest.raises(ToolExecutionError) as caught:
            await soon(run("search", "x", **wrong))
        assert caught.value.details.keys() - {"origin"} == wrong.keys()


async def by_openai(world: World, arguments: dict[str, Any]) -> Any:
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": json.dumps(arguments)}}
    (message,) = await run_openai_tool_calls(world.bridge, [call])
    return json.loads(message["content"])


async def by_dspy(world: World, arguments: dict[str, Any]) -> Any:
    (made,) = world.bridge.dspy_tools("find")
    return await made.acall(**arguments)


async def by_langchain(world: World, arguments: dict[str, Any]) -> Any:
    (made,) = world.bridge.langchain_tools("find")
    message = await made.ainvoke({"type": "tool_call", "id": "1", "name": "find", "args": arguments})
    return message.artifact


async def by_pydantic_ai(world: World, arguments: dict[str, Any]) -> Any:
    toolset = world.bridge.pydantic_ai_toolset("find")
    context: Any = SimpleNamespace(max_retries=1, deps=None)
    made = (await toolset.get_tools(context))["find"]
    return await toolset.call_tool("find", made.args_validator.validate_python(arguments), context, made)


@pytest.mark.parametrize("call", [by_openai, by_dspy, by_langchain, by_pydantic_ai], ids=lambda call: call.__name__)
async def test_every_adapter_passes_null_and_whole_floats_on(
    connect: Connect, call: Callable[[World, dict[str, Any]], Awaitable[Any]]
) -> None:
    @tool
    def find(query: str, limit: int = None, level: Literal[1, 2] = 1, row: Row = None) -> list[Any]:  # type: ignore[assignment] # noqa: RUF013 - what is tested
        """Finds."""
        return [query, limit, level, row]

    world = await connect(find)
    assert await soon(call(world, {"query": "x", "limit": None, "row": None})) == ["x", None, 1, None]
    assert await soon(call(world, {"query": "x", "limit": 5.0, "level": 2, "row": {"n": 1.0}})) == ["x", 5, 2, {"n": 1}]
