"""The tools of a session as attributes, for people who type."""

from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.cli.shell_tools import ShellTools
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


def tool(name: str) -> Any:
    argument = pb.ArgumentSpec(name="a", python_type="int", required=True)
    return SimpleNamespace(spec=pb.ToolSpec(name=name, arguments=[argument]))


def test_tools_are_attributes_and_found_by_name_as_they_come_and_go() -> None:
    known = {"add": tool("add"), "a-b": tool("a-b")}
    tools: Any = ShellTools(known)
    assert tools.add is tools["add"] is known["add"]
    assert (list(tools), len(tools), dir(tools)) == (["add", "a-b"], 2, ["add"])
    assert tools._ipython_key_completions_() == ["a-b", "add"]
    known["late"] = tool("late")
    assert "late" in dir(tools)
    assert tools.late is known["late"]


def test_an_unknown_one_is_an_error_that_names_near_ones() -> None:
    tools: Any = ShellTools({"weather": tool("weather")})
    with pytest.raises(AttributeError, match="no tool 'wether'; did you mean weather"):
        _ = tools.wether
    assert not hasattr(tools, "_repr_html_")
    assert not hasattr(tools, "zzz")


def test_it_is_shown_as_a_line_for_each_without_control_characters() -> None:
    tools = ShellTools({"b\x1b": tool("b\x1b"), "a": tool("a")})
    assert repr(tools) == "a(a: int)\nb\\x1b(a: int)"
    assert repr(ShellTools({})) == "<no tools>"
