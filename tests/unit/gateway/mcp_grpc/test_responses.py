import base64
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from mcp_grpc_transport_proto import mcp_messages_pb2 as messages

from grpc_tool_bridge.gateway.mcp_grpc.responses import common_of, result_message, tool_message

DATA = base64.b64encode(b"bytes").decode()


def plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def content_of(block: dict[str, Any]) -> Any:
    (content,) = result_message({"content": [block], "isError": False}, {}).content
    return plain(content)


@pytest.mark.parametrize(
    ("block", "content"),
    [
        ({"type": "text", "text": "ä"}, {"text": {"text": "ä"}}),
        ({"type": "text", "text": ""}, {"text": {}}),
        ({"type": "text", "text": "\ud800"}, {"text": {"text": "\\ud800"}}),
        ({"type": "image", "data": DATA, "mimeType": "a/b"}, {"image": {"data": DATA, "mime_type": "a/b"}}),
        ({"type": "audio", "data": "", "mimeType": ""}, {"audio": {}}),
        (
            {"type": "resource", "resource": {"uri": "a:b", "mimeType": "a/b", "blob": DATA}},
            {"embedded_resource": {"contents": {"uri": "a:b", "mime_type": "a/b", "blob": DATA}}},
        ),
        (
            {"type": "resource", "resource": {"uri": "a:b", "text": "A"}},
            {"embedded_resource": {"contents": {"uri": "a:b", "text": "A"}}},
        ),
        ({"type": "resource_link", "uri": "a:b", "name": "n"}, {"resource_link": {"uri": "a:b", "name": "n"}}),
    ],
)
def test_blocks_are_written(block: dict[str, Any], content: dict[str, Any]) -> None:
    assert content_of(block) == content


def test_a_result_has_its_facts_and_those_of_the_answer() -> None:
    result = {"content": [], "isError": True, "_meta": {"a": 1}, "structuredContent": {"n": 1}}
    response = result_message(result, {"b": 2})
    assert response.is_error
    assert plain(response.common.metadata) == {"a": 1, "b": 2}
    assert response.common.result_type == messages.RESULT_TYPE_COMPLETE
    assert plain(response.structured_content) == {"n": 1}


def test_structured_content_that_is_not_exact_or_no_object_is_left_out() -> None:
    for structured in ({"n": 2**60}, 5, None, [1]):
        response = result_message({"content": [], "structuredContent": structured}, {})
        assert not response.HasField("structured_content")
    assert result_message({"content": [], "structuredContent": {}}, {}).HasField("structured_content")


def test_facts_that_have_no_form_are_left_out_alone() -> None:
    assert plain(common_of({"a": 1, "b": {"c": 2**60}}).metadata) == {"a": 1}


def test_a_tool_is_written() -> None:
    hints = {"readOnlyHint": True, "destructiveHint": False, "title": "T"}
    tool = {
        "name": "a", "description": "D", "inputSchema": {"type": "object", "properties": {"n": {"maximum": 2**63}}},
        "outputSchema": {"type": "object"}, "annotations": hints, "_meta": {"tags": ["x"]},
    }  # fmt: skip
    message = tool_message(tool)
    assert plain(message.input_schema)["properties"]["n"]["maximum"] == 2.0**63
    assert plain(message.output_schema) == {"type": "object"}
    assert plain(message.annotations) == {"title": "T", "read_only_hint": True}
    assert plain(message.metadata) == {"tags": ["x"], "grpc-tool-bridge/annotations": hints}


def test_a_schema_that_is_nested_too_deeply_costs_only_itself() -> None:
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"properties": {"a": deep}}
    message = tool_message({"name": "a", "inputSchema": deep, "outputSchema": deep})
    assert plain(message.input_schema) == {"type": "object", "properties": {}}
    assert not message.HasField("output_schema")
    assert messages.Tool.FromString(message.SerializeToString()) == message
