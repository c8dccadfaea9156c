"""Why an MCP server over gRPC has failed, from the status that it answers with."""

from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.adapters.mcp.bounds import one_line
from grpc_tool_bridge.adapters.mcp.connection import UnreachableError
from grpc_tool_bridge.adapters.mcp.results import Shape, error_told, unavailable
from grpc_tool_bridge.errors import (
    ExternalToolError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
    wire_text,
)
from grpc_tool_bridge.transport.status import from_rpc_error

_MAX_TEXT_CHARS = 8_192
# The types of errors by status; any other is an McpError.
_TYPES: Mapping[str, str] = {
    "DEADLINE_EXCEEDED": "TimeoutError",
    "INVALID_ARGUMENT": "ValidationError",
    "NOT_FOUND": "ToolNotFound",
    "PERMISSION_DENIED": "PermissionDenied",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "UNAUTHENTICATED": "Unauthenticated",
    "UNIMPLEMENTED": "Unimplemented",
}
# Of the first request.
_HINTS: Mapping[str, str] = {
    "UNAUTHENTICATED": "give a token as a header",
    "PERMISSION_DENIED": "its token does not admit this",
    "UNIMPLEMENTED": "there is no MCP over gRPC at this address; a hub serves it with --mcp-grpc",
}


def call_failure(error: Any, shape: Shape, why_lost: str = "") -> ExternalToolError:
    """Returns the error of a call.

    Args:
        error: What gRPC raised.
        shape: The tool.
        why_lost: Why the connection is gone, if it is.
    """
    found = from_rpc_error(error, tool_name=shape.tool)
    if not isinstance(found, ToolCommunicationError):
        # As a bridge tells it.
        facts = {"type": found.error_type, "message": found.message, "details": found.details}
        told = error_told({**facts, "retryable": found.retryable}, shape)
        if told is not None:
            return told
    code, text = found.code_name if isinstance(found, ToolCommunicationError) else error.code().name, _text(found)
    if code == "UNAVAILABLE":
        return unavailable(shape.tool, shape.server, why_lost or text)
    if code == "DEADLINE_EXCEEDED":
        text = "it did not answer in time"
    return shape.error(_TYPES.get(code, "McpError"), text or f"it has failed with the status {code}", code=code)


def list_failure(error: Any) -> Exception:
    """Returns the error of a request for the list of tools: UnreachableError, if it may succeed later."""
    found = from_rpc_error(error, method="ListTools")
    code, text = error.code().name, _text(found)
    if found.retryable:
        return UnreachableError(text or code)
    hint = _HINTS.get(code, "see its log")
    return UnavailableError(f"it refuses to list its tools: {text or 'no reason is given'} ({code}); {hint}")


def _text(error: ToolBridgeError) -> str:
    """Returns the text of an error as one line."""
    given = error.details if isinstance(error, ToolCommunicationError) else error.message
    return wire_text(one_line(given), _MAX_TEXT_CHARS)
