"""The tools of one scope: which of several versions a name means, and which tools may stand beside one another."""

from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import RegisteredTool, ToolSource
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.core.tool_scopes import ToolScope, register_in
from grpc_tool_bridge.errors import AlreadyExistsError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.tool import tool
from grpc_tool_bridge.tools.toolset import Toolset


def add(a: int, b: int) -> int:
    return a + b


def register(
    known: ToolScope, *sources: ToolSource | Toolset, replaced: tuple[RegisteredTool, ...] = ()
) -> list[RegisteredTool]:
    return register_in(
        known, sources, settings=Settings(), revisions=Revisions(), scope="session 's'", replaced=replaced
    )


def versions(*texts: str) -> ToolScope:
    known = ToolScope()
    for text in texts:
        register(known, tool(version=text)(add))
    return known


def names(known: ToolScope) -> list[str]:
    return sorted(f"{found.name}@{found.version}" for found in known.all())


def test_a_scope_knows_the_names_and_the_size_of_its_tools() -> None:
    known = ToolScope()
    first, second = register(known, add, tool(name="sub")(add))
    assert (known.names, known.size) == ({"add": first, "sub": second}, first.size + second.size)
    assert known.holds(first)
    known.remove(first)
    assert not known.holds(first)
    assert (list(known), list(known.names), known.size) == (["sub"], ["sub"], second.size)
    register(known, tool(name="sub")(add), replaced=(second,))
    assert (len(known), known.names["sub"] is second, known.size) == (1, False, second.size)


def test_the_tools_of_a_toolset_are_registered_in_its_place() -> None:
    class Orders:
        def get(self) -> int:
            return 1

    known = ToolScope()
    register(known, Toolset(Orders(), "orders."), add)
    assert list(known) == ["orders.get", "add"]


@pytest.mark.parametrize(
    "texts", [("1.9", "1.10"), ("1.10", "1.9"), ("1.10-rc.1", "1.10", "1.9"), ("x", "1.10", "1.9")]
)
def test_the_plain_name_is_the_newest_version_whatever_came_last(texts: tuple[str, ...]) -> None:
    known = versions(*texts)
    assert known["add"].version == known.names["add"].version == "1.10"
    assert (len(known), known.count) == (1, len(texts))
    assert names(known) == sorted(f"add@{text}" for text in texts)


def test_of_versions_that_do_not_compare_the_last_one_is_the_newest() -> None:
    assert versions("spring", "autumn")["add"].version == "autumn"
    assert versions("1.0", "1.0.0")["add"].version == "1.0.0"


def test_a_version_is_found_by_its_name_be_it_the_newest_or_the_only_one() -> None:
    known = versions("1", "2")
    one, two = known.version("add", "1"), known.version("add", "2")
    assert one is not None
    assert two is known["add"]
    assert (known.find("add"), known.find("add@1"), known.find("add@2")) == (two, one, two)
    assert (known.find("add@3"), known.find("add@"), known.find("sub@1")) == (None, None, None)
    only = versions("1")
    assert only.find("add@1") is only["add"]
    assert list(only.older()) == []


def test_without_the_newest_the_next_one_takes_its_place() -> None:
    known = versions("1", "3", "2")
    size = known.size
    newest = known["add"]
    known.remove(newest)
    assert (known["add"].version, known.names["add"].version) == ("2", "2")
    assert names(known) == ["add@1", "add@2"]
    assert known.size == size - newest.size
    known.remove(known["add"])
    (left,) = known.all()
    assert (left.version, left.versions, known.versions) == ("1", None, {})
    known.remove(left)
    assert (dict(known), known.names, known.size, known.count) == ({}, {}, 0, 0)


def test_an_older_version_goes_and_the_newest_stays() -> None:
    known = versions("1", "2")
    one = known.version("add", "1")
    assert one is not None
    known.remove(one)
    assert (known["add"].version, known.count, known.holds(one)) == ("2", 1, False)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"version": "1"}, {"version": "1"}, "has a tool named 'add' with the version '1' already.*another version"),
        ({}, {}, "has a tool named 'add' already; give one of them another name$"),
        ({"version": "1"}, {}, "only one of the two has a version"),
        ({}, {"version": "1"}, "only one of the two has a version"),
        (
            {"version": "1"},
            {"version": "2", "tool_id": "plus"},
            "another version of 'add' with the id 'add', not 'plus'",
        ),
        ({"version": "1"}, {"version": "a b"}, "'a b' cannot be part of a name"),
        ({"version": "x" * 65}, {"version": "1"}, "cannot be part of a name"),
    ],
)
def test_what_is_no_other_version_of_a_tool_is_refused(
    before: dict[str, Any], after: dict[str, Any], text: str
) -> None:
    known = ToolScope()
    register(known, ToolSpec(name="add", **before))
    kept = dict(known)
    with pytest.raises(AlreadyExistsError, match=text):
        register(known, ToolSpec(name="add", **after))
    assert dict(known) == kept
    with pytest.raises(AlreadyExistsError, match=text.replace("session 's' ", "")):
        register(ToolScope(), ToolSpec(name="add", **before), ToolSpec(name="add", **after))


def test_an_id_of_several_versions_is_no_other_tools() -> None:
    known = versions("1", "2")
    with pytest.raises(AlreadyExistsError, match="has a tool with the id 'add' already"):
        register(known, ToolSpec(name="plus", tool_id="add", version="3"))


def test_a_version_can_be_replaced_while_others_stay() -> None:
    known = versions("1", "2")
    one = known.version("add", "1")
    assert one is not None
    (new,) = register(known, tool(version="1", description="Better.")(add), replaced=(one,))
    assert known.version("add", "1") is new
    assert names(known) == ["add@1", "add@2"]
