"""Arguments in a query string."""

from typing import Any

import pytest
from starlette.datastructures import QueryParams

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.query import query_arguments
from grpc_tool_bridge.tools.tool import as_tool


def search(text: str, limit: int = 10, tags: list[str] | None = None, where: dict[str, int] | None = None) -> None:
    """Searches."""


def numbers(values: list[float], events: bool = False) -> None:
    """Takes numbers, and a parameter that is named as one of the gateway."""


def read(function: Any, query: str) -> dict[str, Any]:
    return query_arguments(as_tool(function).spec, QueryParams(query), {"events", "timeout_ms"})


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", {}),
        ("text=12&limit=3", {"text": "12", "limit": 3}),
        ("text=", {"text": ""}),
        ("text=%7B%7D&limit=many", {"text": "{}", "limit": "many"}),
        ('where={"a":1}', {"where": {"a": 1}}),
        ("text=a&timeout_ms=5&events=true", {"text": "a"}),
        ("unknown=1", {"unknown": 1}),
        ("limit=9007199254740993", {"limit": 9007199254740993}),
        ("limit=NaN", {"limit": "NaN"}),
    ],
)
def test_each_parameter_is_read_by_its_type(query: str, arguments: dict[str, Any]) -> None:
    assert read(search, query) == arguments


def test_an_array_may_come_several_times_or_as_json() -> None:
    assert read(numbers, "values=1&values=2.5") == {"values": [1, 2.5]}
    assert read(numbers, "values=1") == {"values": [1]}
    assert read(numbers, "values=[1,2]") == {"values": [1, 2]}


def test_a_tools_own_parameter_comes_before_the_gateways() -> None:
    assert read(numbers, "values=1&events=true") == {"values": [1], "events": True}


def test_what_takes_one_value_is_not_given_several() -> None:
    with pytest.raises(ValidationError, match="'text' came 2 times in the query; it takes one value"):
        read(search, "text=a&text=b")
