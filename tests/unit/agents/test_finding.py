"""The tools of a run: given, found, and forgotten."""

import pytest

from grpc_tool_bridge.agents import finding
from grpc_tool_bridge.agents.finding import RunTools
from grpc_tool_bridge.errors import NotFoundError, ValidationError
from grpc_tool_bridge.llm.live_index import LiveIndex
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

SPECS = [ToolSpec(name=name, description=told) for name, told in [("a", "zebra"), ("b", "zebra lion"), ("c", "lion")]]


def tools_of(*names: str, specs: list[ToolSpec] = SPECS) -> RunTools:
    return RunTools(specs, names, LiveIndex)


def test_without_names_every_tool_is_given() -> None:
    tools = tools_of()
    assert list(tools) == ["a", "b", "c"]
    assert tools.specs() == SPECS
    assert tools.get("a") == SPECS[0]
    assert tools.get("x") is None


def test_an_unknown_name_is_an_error_with_one_like_it() -> None:
    with pytest.raises(NotFoundError, match="no tool weathr; did you mean weather"):
        tools_of("weathr", specs=[ToolSpec(name="weather")])


def test_finish_cannot_be_given() -> None:
    for names in ([], ["finish"], ["finish", "search_tools"]):
        with pytest.raises(ValidationError, match="cannot be given the tool finish"):
            tools_of(*names, specs=[ToolSpec(name="finish")])


async def test_what_is_found_is_a_tool_from_then_on() -> None:
    tools = tools_of("search_tools", "a")
    search = tools.get("search_tools")
    assert search is not None
    assert tools.is_search(search)
    assert list(tools) == ["search_tools", "a"]
    text, changed = await tools.search({"query": "lion", "limit": 1})
    assert (text.count("\n\n"), changed) == (1, True)
    assert list(tools) == ["search_tools", "a", "c"]
    # What was given is not found once more.
    _, changed = await tools.search({"query": "zebra"})
    assert (list(tools), changed) == (["search_tools", "a", "c", "b"], True)
    _, changed = await tools.search({"query": "zebra"})
    assert not changed


async def test_what_was_found_first_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MAX_FOUND", 2)
    tools = tools_of("search_tools")
    for query in ("a", "b", "c", "b"):
        await tools.search({"query": query, "limit": 1})
    assert list(tools) == ["search_tools", "c", "b"]
    assert tools.get("a") is None


async def test_the_index_is_opened_once_the_agent_searches() -> None:
    opened: list[LiveIndex] = []

    def open_index() -> LiveIndex:
        opened.append(LiveIndex())
        return opened[-1]

    tools = RunTools(SPECS, ["search_tools"], open_index)
    assert not opened
    for _ in range(2):
        await tools.search({"query": "lion"})
    assert len(opened) == 1


def test_without_a_search_an_unknown_tool_is_not_to_be_searched() -> None:
    assert tools_of("a").unknown("x").message == "there is no tool 'x'; there are a, finish"
    assert "search_tools finds more" in tools_of("search_tools").unknown("x").message
    assert not tools_of("a").is_search(SPECS[0])
