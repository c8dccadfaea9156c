"""Which tools a framework gets, and what it is told of one that gives no schema."""

from typing import Any, cast

import pytest

from grpc_tool_bridge.edges.choice import Bridge, choose_tools, parameters, unknown_tools
from grpc_tool_bridge.errors import NotFoundError, ProtocolError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

NONE = {"type": "object", "properties": {}}


class FakeBridge:
    def __init__(self, *names: str, session_id: str | None = "s") -> None:
        self.tools: Any = {name: f"proxy of {name}" for name in names}
        self.session_id = session_id


def chosen(bridge: FakeBridge, *names: str) -> list[Any]:
    return cast("list[Any]", choose_tools(cast("Bridge", bridge), names))


def test_a_tool_that_is_named_twice_comes_once() -> None:
    assert chosen(FakeBridge("a", "b"), "b", "a", "b") == ["proxy of b", "proxy of a"]


def test_without_names_all_come() -> None:
    assert chosen(FakeBridge("a", "b")) == ["proxy of a", "proxy of b"]


def test_every_unknown_name_is_in_the_error() -> None:
    with pytest.raises(NotFoundError, match=r"no tool 'cuont', did you mean 'count'\?; 'xyz'") as caught:
        chosen(FakeBridge("count"), "cuont", "count", "xyz")
    assert caught.value.details == {"names": "cuont, xyz"}


def test_a_long_name_is_cut_in_the_error() -> None:
    assert len(unknown_tools(["x" * 5_000], {}).message) < 200


def test_before_a_session_there_are_no_tools_to_choose() -> None:
    with pytest.raises(ProtocolError, match="no session yet"):
        chosen(FakeBridge("a", session_id=None), "a")


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("", NONE),
        ("{", NONE),
        ("[1]", NONE),
        ("{}", NONE),
        ('{"properties": {"a": {}}}', {"type": "object", "properties": {"a": {}}}),
    ],
)
def test_a_tool_without_a_schema_takes_no_arguments(schema: str, told: dict[str, Any]) -> None:
    assert parameters(ToolSpec(input_schema=schema)) == told
