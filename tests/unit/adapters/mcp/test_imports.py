from typing import Any

import pytest
from mcp_types import Tool

from grpc_tool_bridge.adapters.mcp import imports
from grpc_tool_bridge.adapters.mcp.imports import Importer
from grpc_tool_bridge.adapters.naming import Naming


async def call(*_: Any) -> None:
    """Is not called."""


def tool(name: str = "read", **more: Any) -> Tool:
    return Tool.model_validate({"name": name, "inputSchema": {"type": "object"}, **more})


def test_a_tool_that_stays_the_same_is_the_same_object() -> None:
    importer = Importer(Naming("s", "s"), call)
    first = importer.read([tool(), tool("write")]).tools
    again = importer.read([tool("write", description="x"), tool()]).tools
    assert again[1] is first[0]
    assert again[0] is not first[1]
    assert importer.read([tool()]).tools == [first[0]]


def test_two_tools_of_one_name_are_one_and_a_refusal() -> None:
    naming = Naming("s", "p")
    found = Importer(naming, call).read([tool("a b"), tool("a/b")])
    assert [one.spec.name for one in found.tools] == ["p.a_b"]
    assert found.refused[0].reason == "'a b' of the same server is called p.a_b, too"


def test_a_tool_that_needs_what_the_bridge_does_not_do_is_refused() -> None:
    found = Importer(Naming("s", "s"), call).read([tool(execution={"taskSupport": "required"})])
    assert found.tools == []
    assert "as a task" in found.refused[0].reason


def test_a_name_that_is_refused_is_shown_on_one_short_line() -> None:
    (refusal,) = Importer(Naming("s", "s"), call).read([tool("\x1b[2J\n" * 100_000)]).refused
    assert len(refusal.name) < 150
    assert refusal.name.isprintable()


def test_a_tool_that_cannot_be_read_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(schema: Any) -> None:
        raise TypeError("unhashable type: 'dict'")

    monkeypatch.setattr(imports, "content_check", broken)
    found = Importer(Naming("s", "s"), call).read([tool("bad", outputSchema={"type": "object"}), tool()])
    assert [one.spec.name for one in found.tools] == ["s.read"]
    assert found.refused[0].reason == "what the server says of it cannot be read: TypeError: unhashable type: 'dict'"


def test_what_describes_a_tool_is_kept() -> None:
    given = tool(
        title="Read",
        description="Reads.",
        annotations={"readOnlyHint": True, "idempotentHint": True},
        inputSchema={
            "type": "object",
            "properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}, "path": {}},
            "required": ["path"],
        },
    )
    (made,) = Importer(Naming("s", "s"), call).read([given]).tools
    spec = made.spec
    assert dict(spec.metadata) == {
        "mcp.server": "s",
        "mcp.tool": "read",
        "mcp.title": "Read",
        "mcp.annotations": '{"readOnlyHint": true, "idempotentHint": true}',
    }
    assert spec.idempotent
    assert [(item.name, item.python_type) for item in spec.arguments] == [("path", ""), ("n", "int | None")]
    assert spec.output_schema == ""


@pytest.mark.parametrize(
    ("meta", "tags"),
    [
        ({"grpc-tool-bridge/tags": ["b", "a"]}, "a,b"),
        ({"fastmcp": {"tags": ["db"]}}, "db"),
        ({"_fastmcp": {"tags": ["db"]}}, "db"),
        ({"grpc-tool-bridge/tags": ["a b"]}, None),
        ({"grpc-tool-bridge/tags": "a", "fastmcp": 3}, None),
        ({}, None),
    ],
)
def test_tags_are_kept_if_they_can_be(meta: dict[str, Any], tags: str | None) -> None:
    (made,) = Importer(Naming("s", "s"), call).read([tool(_meta=meta)]).tools
    assert made.spec.metadata.get("tags") == tags
