"""Tools that are described by schemas, called at the hub that has them, and at a worker of which it knows the specs."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.external import external_tool
from support.patience import PATIENCE

SCHEMA = {
    "properties": {"city_name": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city_name"],
    "additionalProperties": False,
}
ALIASES = {"cityName": "city_name", "numberOfDays": "days"}


async def echo(given: dict[str, Any], context: ToolContext) -> Any:
    return given


async def count(given: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
    for number in range(given["days"]):
        yield {"city": given["city_name"], "number": number}


TOOLS = [
    external_tool("t", "", echo, input_schema=SCHEMA, aliases=ALIASES),
    external_tool("loose", "", echo, input_schema=SCHEMA, aliases=ALIASES, converts=True),
    external_tool("s", "", stream=count, input_schema=SCHEMA, aliases=ALIASES),
]

at_both = pytest.mark.parametrize("reach", ["link", "worker"], indirect=True)


@at_both
@pytest.mark.parametrize("name", ["t", "loose"])
@pytest.mark.parametrize(
    "given",
    [
        {"city_name": "Bern", "days": 2},
        {"cityName": "Bern", "days": 2},
        {"cityName": "Bern", "numberOfDays": 2},
        {"numberOfDays": 2, "city_name": "Bern"},
    ],
)
async def test_each_name_of_an_argument_is_taken(reach: Any, name: str, given: dict[str, Any]) -> None:
    bridge = await reach(*TOOLS)
    assert await bridge.execute_tool(name, **given) == {"city_name": "Bern", "days": 2}


@at_both
@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({}, {"city_name": "missing"}),
        ({"cityName": "Bern", "city_name": "Basel"}, {"cityName": "given twice, as 'city_name' and as 'cityName'"}),
        ({"cityNam": "Bern", "city_name": "x"}, {"cityNam": "unknown, did you mean 'city_name'?"}),
        ({"cityName": 3}, {"cityName": "should be a valid string, got 3 (int)"}),
        ({"city_name": "x", "numberOfDays": "2"}, {"numberOfDays": "should be a valid integer, got '2' (str)"}),
    ],
)
async def test_wrong_arguments_are_named(reach: Any, given: dict[str, Any], problems: dict[str, str]) -> None:
    bridge = await reach(*TOOLS)
    with pytest.raises(ToolExecutionError) as caught:
        await bridge.execute_tool("t", **given)
    assert {name: text for name, text in caught.value.details.items() if name != "origin"} == problems


@at_both
async def test_what_converts_its_arguments_itself_takes_any_value(reach: Any) -> None:
    bridge = await reach(*TOOLS)
    assert await bridge.execute_tool("loose", cityName=3, days="2") == {"city_name": 3, "days": "2"}


@at_both
async def test_a_stream_yields_its_values(reach: Any) -> None:
    bridge = await reach(*TOOLS)
    found = [chunk async for chunk in bridge.stream_tool("s", cityName="Bern", days=2)]
    assert found == [{"city": "Bern", "number": 0}, {"city": "Bern", "number": 1}]


@at_both
async def test_a_stream_ends_when_its_caller_closes_it(reach: Any) -> None:
    closed = asyncio.Event()

    async def hold(given: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    bridge = await reach(external_tool("hold", "", stream=hold, input_schema={}))
    stream = bridge.stream_tool("hold")
    assert await anext(stream) == 1
    await stream.aclose()
    async with asyncio.timeout(PATIENCE):
        await closed.wait()
