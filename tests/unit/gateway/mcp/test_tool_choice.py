"""Which tools a client chooses."""

from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.mcp.tool_choice import read_choice, stands_for_search
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


class _Proxy:
    def __init__(self, name: str) -> None:
        self.spec = ToolSpec(name=name)


def _tools(*names: str) -> Any:
    return {name: _Proxy(name) for name in names}


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ((), ["a", "b.c", "b.d"]),
        (("",), ["a", "b.c", "b.d"]),
        (("a",), ["a"]),
        (("b.",), ["b.c", "b.d"]),
        (("*c,a",), ["a", "b.c"]),
        (("a", "b.d"), ["a", "b.d"]),
        (("search",), ["search_tools", "call_tool"]),
        (("search,b.",), ["search_tools", "call_tool"]),
    ],
)
def test_patterns_choose(given: tuple[str, ...], listed: list[str]) -> None:
    tools = _tools("b.d", "a", "b.c")
    assert [spec.name for spec in read_choice(given).listed(tools)] == listed


def test_a_later_page_begins_after_a_name_and_has_no_search() -> None:
    tools = _tools(*(f"t{number:03}" for number in range(150)), "call_tool")
    first = [spec.name for spec in read_choice(()).listed(tools)]
    assert first[:3] == ["search_tools", "call_tool", "t000"]
    assert [spec.name for spec in read_choice(()).listed(tools, "t147")] == ["t148", "t149"]


@pytest.mark.parametrize("given", ["x" * 300, "a,,b"])
def test_what_is_no_pattern_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        read_choice((given,))


def test_a_tool_of_the_session_is_meant_before_the_search() -> None:
    assert stands_for_search("search_tools", _tools("a"))
    assert not stands_for_search("search_tools", _tools("search_tools"))
    assert not stands_for_search("a", _tools())
