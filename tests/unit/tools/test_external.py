from collections.abc import AsyncGenerator
from typing import Any

import pytest

from grpc_tool_bridge.errors import ExternalToolError, ToolExecutionError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType
from grpc_tool_bridge.server import LocalToolBridge
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.external import external_tool

SCHEMA = {
    "properties": {
        "n": {"type": "integer", "minimum": 1, "description": "How many."},
        "name of it": {"type": "string", "default": "x"},
        "kind": {"enum": ["a", "b"], "type": "string"},
        "any": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
    },
    "required": ["n"],
    "additionalProperties": False,
}


async def echo(given: dict[str, Any], context: ToolContext) -> Any:
    return {**given, "tool": context.tool_name}


def test_its_spec_says_all_that_the_schemas_do() -> None:
    made = external_tool(
        "t", "Does.", echo, input_schema=SCHEMA, output_schema={"type": "object"}, idempotent=True,
        metadata={"a": "b"},
    )  # fmt: skip
    spec = made.spec
    assert (spec.name, spec.tool_id, spec.description) == ("t", "t", "Does.")
    assert (spec.type, spec.idempotent, dict(spec.metadata)) == (ToolType.STANDARD, True, {"a": "b"})
    assert spec.output_schema == '{"type":"object"}'
    assert [(item.name, item.python_type, item.required) for item in spec.arguments] == [
        ("n", "int", True),
        ("name of it", "str", False),
        ("kind", "str", False),
        ("any", "", False),
        ("maybe", "float | None", False),
    ]
    assert spec.arguments[0].description == "How many."
    assert list(spec.arguments[2].allowed_values) == ["a", "b"]
    assert not made.is_unbound
    assert made.__name__ == "t"


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({}, {"n": "missing"}),
        ({"n": "1"}, {"n": "should be a valid integer, got '1' (str)"}),
        ({"n": 0}, {"n": "should be greater than or equal to 1, got 0"}),
        ({"n": 1, "m": 2}, {"m": "unknown"}),
        ({"n": 1, "kind": "c"}, {"kind": "should be"}),
        ({"n": 1, "\x00context": 2}, {"\x00context": "is filled in by the bridge"}),
    ],
)
async def test_arguments_are_checked(given: dict[str, Any], problems: dict[str, str]) -> None:
    async with LocalToolBridge([external_tool("t", "", echo, input_schema=SCHEMA)]) as bridge:
        await bridge.initialize()
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.call_tool("t", **given)
    details = {name: text for name, text in caught.value.details.items() if name != "origin"}
    assert details.keys() == problems.keys()
    assert all(details[name].startswith(text) for name, text in problems.items())


async def test_names_that_python_does_not_have_are_fine() -> None:
    async with LocalToolBridge([external_tool("t", "", echo, input_schema=SCHEMA)]) as bridge:
        await bridge.initialize()
        given: dict[str, Any] = {"n": 3, "name of it": "y", "any": "z", "maybe": None}
        assert await bridge.call_tool("t", **given) == {**given, "tool": "t"}


async def test_its_error_arrives_as_it_is() -> None:
    async def fail(given: dict[str, Any], context: ToolContext) -> Any:
        raise ExternalToolError("t", "WorkerUnavailable", "away", {"server": "s", "origin": "bridge"}, retryable=True)

    async with LocalToolBridge([external_tool("t", "", fail, input_schema={})]) as bridge:
        await bridge.initialize()
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.call_tool("t")
    error = caught.value
    assert (error.error_type, error.message, error.retryable) == ("WorkerUnavailable", "away", True)
    assert error.details == {"server": "s", "origin": "bridge"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "a b"}, "'a b'"),
        ({"input_schema": {"properties": {"a": {"default": object()}}}}, "is not JSON"),
        ({"input_schema": {"properties": []}}, "not a JSON Schema of an object"),
        ({"input_schema": {"properties": {f"p{number}": {} for number in range(300)}}}, "300 arguments"),
        ({"output_schema": {"default": float("nan")}}, "output schema is not JSON"),
    ],
)
def test_what_is_not_valid_is_refused(options: dict[str, Any], text: str) -> None:
    name = options.pop("name", "t")
    with pytest.raises(ValidationError) as caught:
        external_tool(name, "", echo, **{"input_schema": {}, **options})
    assert text in caught.value.message


NAMED = {
    "properties": {"city_name": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city_name"],
    "additionalProperties": False,
}
ALIASES = {"cityName": "city_name", "numberOfDays": "days", "elsewhere": "nothing"}


async def count(given: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
    for number in range(given["days"]):
        yield {"city": given["city_name"], "number": number, "tool": context.tool_name}


def test_a_stream_is_a_streaming_tool() -> None:
    made = external_tool("s", "", stream=count, input_schema=NAMED)
    assert made.spec.type == ToolType.STREAMING
    assert (made.is_async, made.is_generator, made.is_stream) == (True, True, True)


@pytest.mark.parametrize("functions", [{}, {"run": echo, "stream": count}])
def test_a_tool_either_returns_or_streams(functions: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either run or stream"):
        external_tool("t", "", input_schema={}, **functions)


async def test_a_stream_yields_its_values() -> None:
    async with LocalToolBridge([external_tool("s", "", stream=count, input_schema=NAMED, aliases=ALIASES)]) as bridge:
        await bridge.initialize()
        found = [chunk async for chunk in bridge.stream_tool("s", cityName="Bern", days=2)]
    assert found == [{"city": "Bern", "number": number, "tool": "s"} for number in range(2)]


def test_its_spec_names_the_aliases() -> None:
    spec = external_tool("t", "", echo, input_schema=NAMED, aliases=ALIASES, converts=True).spec
    rules = {item.name: list(item.validation.custom_rules) for item in spec.arguments}
    assert rules == {
        "city_name": ["keyword-only", "converted", "also named cityName"],
        "days": ["keyword-only", "converted", "also named numberOfDays"],
    }
