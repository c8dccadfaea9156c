"""Which tools a framework gets, and what it is told of one that gives no schema."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from grpc_tool_bridge.adapters.choice import Bridge, Choice, find_tool, framework_name, parameters, unknown_tools
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ProtocolError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

NONE = {"type": "object", "properties": {}}


class FakeBridge:
    def __init__(self, *names: str, session_id: str | None = "s") -> None:
        self.tools: Any = {name: SimpleNamespace(name=name, spec=ToolSpec(name=name)) for name in names}
        self.session_id = session_id


def chosen(bridge: FakeBridge, *names: Any) -> list[str]:
    return [proxy.name for proxy in Choice(names).tools(cast("Bridge", bridge))]


def found(bridge: FakeBridge, name: str) -> str:
    return find_tool(cast("Bridge", bridge), name).name


def test_a_tool_that_is_named_twice_comes_once() -> None:
    assert chosen(FakeBridge("a", "b"), "b", "a", "b") == ["b", "a"]


def test_without_names_all_come() -> None:
    assert chosen(FakeBridge("a", "b")) == ["a", "b"]


def test_names_in_a_list_are_refused_with_how_they_are_given() -> None:
    with pytest.raises(ValidationError, match="each an argument: 'add', 'search'"):
        chosen(FakeBridge("a"), ["a"])


def test_a_tool_is_found_by_its_name_and_by_what_it_is_called_in_a_framework() -> None:
    bridge = FakeBridge("files.read", "x" * 80, "a.b", "a-b", "a_b")
    assert framework_name("files.read") == "files_read"
    assert [found(bridge, name) for name in ("files.read", "files_read", "x" * 64)] == ["files.read"] * 2 + ["x" * 80]
    assert found(bridge, "a_b") == "a_b"
    with pytest.raises(NotFoundError, match="no tool 'files_write'; did you mean"):
        found(bridge, "files_write")
    with pytest.raises(NotFoundError):
        found(FakeBridge("a.b", "a:b"), "a_b")


def test_a_tool_that_would_be_called_as_another_of_the_session_is_refused() -> None:
    bridge = FakeBridge("files.read", "files_read", "other")
    for names in (("files.read",), (), ("other", "files.read")):
        with pytest.raises(
            AlreadyExistsError, match=r"'files_read' and 'files\.read' would both be called 'files_read'"
        ):
            chosen(bridge, *names)
    assert chosen(bridge, "files_read", "other") == ["files_read", "other"]


def test_every_unknown_name_is_in_the_error() -> None:
    with pytest.raises(NotFoundError, match=r"no tool 'cuont' \(did you mean count\?\), 'xyz'") as caught:
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
