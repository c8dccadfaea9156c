"""Annotations of tools, and what needs approval by them."""

from typing import Any

import pytest

from grpc_tool_bridge import ValidationError
from grpc_tool_bridge.llm.annotations import annotations_of, needs_approval, titled_annotations
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

ERASING = ToolSpec(name="erase", metadata={"mcp.destructiveHint": "true"})
READING = ToolSpec(name="read", metadata={"mcp.destructiveHint": "false"})


@pytest.mark.parametrize(
    ("metadata", "idempotent", "expected"),
    [
        ({}, False, {}),
        ({}, True, {"idempotentHint": True}),
        ({"mcp.readOnlyHint": "true"}, False, {"readOnlyHint": True}),
        ({"mcp.openWorldHint": "false"}, False, {"openWorldHint": False}),
        ({"mcp.readOnlyHint": "yes"}, False, {}),
        ({"mcp.annotations": '{"readOnlyHint": true, "x": 1}'}, False, {"readOnlyHint": True}),
        ({"mcp.annotations": '{"title": "T"}'}, False, {"title": "T"}),
        ({"mcp.annotations": '{"readOnlyHint": "true", "title": 1}'}, False, {}),
        ({"mcp.annotations": "[" * 10_000}, False, {}),
        ({"mcp.annotations": "5"}, False, {}),
        ({"mcp.annotations": '{"openWorldHint": true}', "mcp.openWorldHint": "false"}, False, {"openWorldHint": False}),
    ],
)  # fmt: skip
def test_hints_are_those_of_the_metadata(metadata: dict[str, str], idempotent: bool, expected: dict[str, Any]) -> None:
    assert annotations_of(ToolSpec(name="t", metadata=metadata, idempotent=idempotent)) == expected


def test_a_title_is_found_wherever_it_is() -> None:
    assert titled_annotations(ToolSpec(metadata={"mcp.title": "T"})) == {"title": "T"}
    both = ToolSpec(metadata={"mcp.title": "T", "mcp.annotations": '{"title": "A"}'})
    assert titled_annotations(both) == {"title": "A"}
    assert titled_annotations(ToolSpec(name="t")) == {}


def test_approval_is_for_all_for_none_or_for_what_destroys() -> None:
    assert [needs_approval(ERASING, chosen) for chosen in (True, False, "destructive")] == [True, False, True]
    assert not needs_approval(READING, "destructive")
    # What says nothing is not known to destroy.
    assert not needs_approval(ToolSpec(name="t"), "destructive")


def test_an_approval_that_is_none_of_the_three_is_refused() -> None:
    wrong: Any = "destructiv"
    with pytest.raises(ValidationError, match="it must be True, False or 'destructive'"):
        needs_approval(READING, wrong)
