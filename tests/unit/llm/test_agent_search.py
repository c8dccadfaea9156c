"""How the definition of an agent says that it searches."""

import pytest

from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ValidationError
from grpc_tool_bridge.llm.agent_search import is_search, read_agent_tools, search_names, specs_named
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

KNOWN = {"add", "weather_now"}


def test_without_a_search_the_names_are_those_of_tools() -> None:
    chosen = read_agent_tools(["add", "weather_now", "add", "search_tools:"], KNOWN)
    assert (chosen.names, chosen.finds()) == (("add", "weather_now", "search_tools:"), None)


def test_a_search_finds_every_tool_or_those_that_match() -> None:
    every = read_agent_tools(["add", "search_tools", *search_names(["x"])], KNOWN)
    some = read_agent_tools(search_names(["weather_", "add"]), KNOWN)
    assert (every.names, some.names) == (("add",), ())
    found = {}
    for name in ("add", "b"):
        found[name] = [finds(ToolSpec(name=name)) for chosen in (every, some) if (finds := chosen.finds())]
    assert found == {"add": [True, True], "b": [True, False]}


def test_a_tool_of_the_session_that_has_the_name_is_meant_by_it() -> None:
    chosen = read_agent_tools(["search_tools"], {"search_tools"})
    assert (chosen.names, chosen.patterns) == (("search_tools",), None)
    assert is_search("search_tools", KNOWN)
    assert not is_search("search_tools", {"search_tools"})


def test_a_search_beside_a_tool_of_its_name_is_refused() -> None:
    with pytest.raises(AlreadyExistsError, match="has a tool of this name; rename that tool"):
        read_agent_tools(["search_tools:weather_*"], {"search_tools"})


def test_a_pattern_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValidationError, match="characters"):
        read_agent_tools([f"search_tools:{'x' * 300}"], KNOWN).finds()


def test_tools_are_named_in_their_order_and_the_newest_by_its_version_too() -> None:
    known = {
        "b": ToolSpec(name="b", tool_id="id", version="2"),
        "b@1": ToolSpec(name="b@1", tool_id="id@1", version="1"),
        "a": ToolSpec(name="a"),
    }
    named = specs_named(["b@2", "a", "b@1", "b", "a"], known)
    assert [(name, spec.name, spec.tool_id) for name, spec in named.items()] == [
        ("b@2", "b@2", "id@2"),
        ("a", "a", ""),
        ("b@1", "b@1", "id@1"),
        ("b", "b", "id"),
    ]
    for name in ("b@3", "a@1", "a@", "c"):
        with pytest.raises(NotFoundError, match=f"no tool {name}"):
            specs_named([name], known)
