import base64
from typing import Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, REQUEST_TIMEOUT, CallToolResult

from grpc_tool_bridge.adapters.mcp.bounds import too_large_text
from grpc_tool_bridge.adapters.mcp.results import Shape, failure_of, is_wrapped, unwrapped, value_of
from grpc_tool_bridge.errors import ExternalToolError

SHAPE = Shape("t", "s")
DATA = base64.b64encode(b"bytes").decode()
TEXT, IMAGE = {"type": "text", "text": "a"}, {"type": "image", "data": DATA, "mimeType": "image/png"}
IMAGE_VALUE = {"type": "image", "data": b"bytes", "mime_type": "image/png"}


def result(*content: Any, **more: Any) -> CallToolResult:
    return CallToolResult.model_validate({"content": list(content), **more})


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (result(), None),
        (result(TEXT), "a"),
        (result(TEXT, TEXT), ["a", "a"]),
        (result(IMAGE), IMAGE_VALUE),
        (result(TEXT, IMAGE), ["a", IMAGE_VALUE]),
        (result(TEXT, structuredContent={"n": 1}), {"n": 1}),
        (result(structuredContent=None), None),
        (result({"type": "text", "text": '{"n": 1}'}, IMAGE, structuredContent={"n": 1}), [{"n": 1}, IMAGE_VALUE]),
        (result(TEXT, IMAGE, structuredContent={"n": 1}), [{"n": 1}, "a", IMAGE_VALUE]),
    ],
)
def test_results_become_values(given: CallToolResult, value: Any) -> None:
    assert value_of(given, SHAPE) == value


def test_a_wrapped_value_is_unwrapped_with_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"result": {"title": "Result", "type": "array", "items": {"$ref": "#/$defs/P"}}},
        "required": ["result"],
        "$defs": {"P": {"type": "object"}},
    }
    assert is_wrapped(schema)
    assert unwrapped(schema) == {
        "type": "array", "items": {"$ref": "#/$defs/P"}, "$defs": {"P": {"type": "object"}},
    }  # fmt: skip
    assert value_of(result(TEXT, structuredContent={"result": [{}]}), Shape("t", "s", None, wrapped=True)) == [{}]
    with pytest.raises(ExternalToolError, match="no 'result'"):
        value_of(result(structuredContent={"other": 1}), Shape("t", "s", None, wrapped=True))


@pytest.mark.parametrize(
    ("schema", "wrapped"),
    [
        (None, False),
        ({"properties": {"result": {}}}, False),
        ({"properties": {"result": {}}, "x-fastmcp-wrap-result": True}, True),
        ({"properties": {"result": {}, "more": {}}, "required": ["result"]}, False),
        ({"properties": {"result": {}}, "required": ["result"]}, True),
    ],
)
def test_only_what_the_schema_says_was_wrapped(schema: Any, wrapped: bool) -> None:
    assert is_wrapped(schema) == wrapped


@pytest.mark.parametrize("key", ["error", "grpc-tool-bridge/error"])
@pytest.mark.parametrize("place", ["structuredContent", "_meta"])
def test_an_error_of_a_bridge_keeps_all_it_says(place: str, key: str) -> None:
    told = {"type": "KeyError", "message": "no key", "details": {"key": "a", "n": 1}, "retryable": True}
    with pytest.raises(ExternalToolError) as caught:
        value_of(result(TEXT, isError=True, **{place: {key: told}}), SHAPE)
    error = caught.value
    assert (error.error_type, error.message, error.retryable) == ("KeyError", "no key", True)
    assert error.details == {"key": "a", "n": "1", "origin": "tool", "server": "s"}


def test_an_error_of_the_protocol_that_a_bridge_has_told_keeps_it_too() -> None:
    told = {"type": "ToolNotFound", "message": "no tool", "details": {"origin": "bridge"}}
    found = failure_of(MCPError(-32602, "no tool", told), SHAPE)
    assert (found.error_type, found.message) == ("ToolNotFound", "no tool")
    assert found.details == {"origin": "bridge", "server": "s"}


def test_any_other_error_has_its_text() -> None:
    with pytest.raises(ExternalToolError) as caught:
        value_of(result(TEXT, {"type": "text", "text": "b"}, isError=True, structuredContent={"error": "?"}), SHAPE)
    assert (caught.value.error_type, caught.value.message) == ("McpToolError", "a\nb")
    with pytest.raises(ExternalToolError, match="without a message"):
        value_of(result(isError=True), SHAPE)


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (MCPError(CONNECTION_CLOSED, "Connection closed"), "WorkerUnavailable", True),
        (MCPError(REQUEST_TIMEOUT, "?"), "TimeoutError", True),
        (TimeoutError(), "TimeoutError", True),
        (MCPError(INTERNAL_ERROR, f"Failed: {too_large_text(9, 5)}"), "MessageTooLarge", False),
        (MCPError(INTERNAL_ERROR, "Server-sent event exceeded the 5 byte limit."), "MessageTooLarge", False),
        (MCPError(-32000, "odd", {"a": 1}), "McpError", False),
        (ValueError("1 validation error\n for X"), "ProtocolError", False),
        (ExceptionGroup("g", [MCPError(CONNECTION_CLOSED, "Connection closed")]), "WorkerUnavailable", True),
        (httpx2.ConnectError("refused"), "ProtocolError", False),
    ],
)
def test_failures_are_errors_of_the_table(error: Exception, kind: str, retryable: bool) -> None:
    found = failure_of(error, SHAPE, "it is gone")
    assert (found.error_type, found.retryable) == (kind, retryable)
    assert found.details["server"] == "s"
