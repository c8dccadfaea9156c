"""What a session sees of the tools at one moment, and what has changed from one moment to another."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge import Settings
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.tool_views import NOTHING, ToolView, changes_between, changes_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Few names, so that tools often hide and replace each other; two tools of each, one older than the other.
NAMES = "abcde"
TOOLS = {
    (name, revision): RegisteredTool(ToolSpec(name=name, tool_id=name), None, revision, Settings())
    for name in NAMES
    for revision in (1, 2)
}


def of(revisions: Mapping[str, int]) -> dict[str, RegisteredTool]:
    return {name: TOOLS[name, revision] for name, revision in sorted(revisions.items())}


SETS = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 2)).map(of)


@given(SETS, SETS)
def test_a_sessions_own_tools_hide_the_hubs_of_their_names(
    shared: dict[str, RegisteredTool], own: dict[str, RegisteredTool]
) -> None:
    view = ToolView(shared, own, 1)
    seen = view.by_name()
    assert list(seen) == sorted(shared.keys() | own.keys())
    for name in NAMES:
        assert view.get(name) is seen.get(name) is (own[name] if name in own else shared.get(name))


@given(SETS, SETS, SETS, SETS)
def test_the_changes_between_two_views_are_those_between_all_that_they_show(
    shared: dict[str, RegisteredTool],
    own: dict[str, RegisteredTool],
    later: dict[str, RegisteredTool],
    own_later: dict[str, RegisteredTool],
) -> None:
    told, present = ToolView(shared, own, 1), ToolView(later, own_later, 2)
    changes = list(changes_between(told, present, list(changes_of(shared, later))))
    assert changes == list(changes_of(told.by_name(), present.by_name()))
    same = ToolView(later, own, 1)
    changes = list(changes_between(told, same, list(changes_of(shared, later))))
    assert changes == list(changes_of(told.by_name(), same.by_name()))


def test_changes_begin_with_what_was_removed() -> None:
    changes = changes_of(of({"a": 1, "b": 1, "d": 1}), of({"a": 2, "c": 1, "d": 1}))
    assert [(operation, tool.name) for operation, tool in changes] == [
        ("removed", "b"),
        ("changed", "a"),
        ("added", "c"),
    ]


def test_a_view_until_a_revision_has_what_was_there_then() -> None:
    view = ToolView(of({"a": 1, "b": 2}), of({"c": 1, "d": 2}), 2)
    assert list(view.until(1).by_name()) == ["a", "c"]
    assert list(view.until(2).by_name()) == ["a", "b", "c", "d"]
    assert list(NOTHING.by_name()) == []
