"""The names with which an agent is created."""

from typing import Any

import pytest

from grpc_tool_bridge.client.agent_tools import agent_tool_names
from grpc_tool_bridge.errors import NotFoundError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

SPECS = [ToolSpec(name=name, tool_id=f"id-{name}") for name in ("add", "weather_now", "weather_[x]", "a_")]


def names(tool_names: Any, tool_filter: Any = None, *more: str) -> list[str]:
    return agent_tool_names(tool_names, tool_filter, [*SPECS, *(ToolSpec(name=name) for name in more)])


def test_without_a_filter_the_hub_decides_about_the_names() -> None:
    assert names(None) == []
    assert names(iter(["unknown", "search_tools"])) == ["unknown", "search_tools"]
    assert names({"add": 1}) == ["add"]


@pytest.mark.parametrize("wrong", ["add", [1], [""], 5])
def test_names_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="tool_names"):
        names(wrong)
    with pytest.raises(ValidationError, match="tool_names is empty"):
        names([])


def test_a_filter_chooses_from_the_tools_or_from_those_that_are_named() -> None:
    assert names(None, "weather_") == ["weather_now", "weather_[x]"]
    assert names(["id-add", "weather_now"], "weather_") == ["weather_now"]
    assert names(None, iter(["add", "x*"])) == ["add"]


def test_a_filter_limits_a_search_by_its_patterns_and_a_function_by_names() -> None:
    assert names(["search_tools", "add"], ["weather_", "x"]) == ["search_tools:weather_", "search_tools:x"]
    assert names(["search_tools", "add"], lambda spec: spec.name != "weather_now") == [
        "add", "search_tools:add", "search_tools:weather_[[]x]", "search_tools:a[_]",
    ]  # fmt: skip


def test_a_tool_called_search_tools_is_no_search() -> None:
    assert names(["search_tools"], "search_*", "search_tools") == ["search_tools"]


def test_more_tools_than_a_request_can_name_are_refused() -> None:
    many = [f"tool{number}" for number in range(1_001)]
    for given in (None, ["search_tools"]):
        with pytest.raises(ValidationError, match="1,001 tools pass tool_filter; an agent is given at most 1,000"):
            names(given, lambda spec: spec.name.startswith("tool"), *many)
    assert names(["search_tools"], "tool*", *many) == ["search_tools:tool*"]


def test_nothing_left_is_an_error() -> None:
    for given in (None, ["add"], ["search_tools"]):
        with pytest.raises(NotFoundError, match="no tool that passes tool_filter, 'x'"):
            names(given, "x")
    with pytest.raises(NotFoundError, match="no tool ad, b; did you mean") as caught:
        names(["ad", "b"], "*")
    assert caught.value.details == {"tool_names": "ad, b"}
