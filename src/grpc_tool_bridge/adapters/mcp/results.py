"""What a call of an MCP tool returns: content blocks and structured content as values, and errors."""

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
)
from mcp_types import ResourceLink as LinkContent

from grpc_tool_bridge.adapters.mcp.bounds import TOO_LARGE
from grpc_tool_bridge.errors import MAX_DETAILS, ExternalToolError, wire_text
from grpc_tool_bridge.llm.mcp_names import ERROR_META, RESULT, WRAPPED
from grpc_tool_bridge.tools.content_check import ContentCheck
from grpc_tool_bridge.tools.media import Audio, Image, Resource, ResourceLink, media_dict

# A server's error may repeat a whole answer.
_MAX_TEXT_CHARS = 8_192
# Ends the text of the error that httpx2 raises for an event over the limit.
_EVENT_TOO_LARGE = "byte limit"

# The types of errors by the codes of JSON-RPC.
_TYPES: Mapping[int, str] = {
    PARSE_ERROR: "ProtocolError", INVALID_PARAMS: "ValidationError", METHOD_NOT_FOUND: "Unimplemented",
}  # fmt: skip
# Begin the texts that the client itself gives, not a server: servers use the same code for all kinds of errors.
_OF_CLIENT = ("Connection closed", "SSE stream")

# Where a server tells the facts of an error; other servers than a bridge say "error".
_ERROR_KEYS = (ERROR_META, "error")


@dataclass(frozen=True, slots=True)
class Shape:
    """How the results of a tool are read.

    Attributes:
        tool: The tool's name at the server, for texts.
        server: The server's name.
        check: Checks structured content; None: the tool declares no output schema.
        wrapped: Whether the value is the only property of the structured content.
    """

    tool: str
    server: str
    check: ContentCheck | None = None
    wrapped: bool = False

    def error(self, kind: str, text: str, **details: str) -> ExternalToolError:
        """Returns an error of the call that names the tool and the server."""
        facts = {"server": self.server, "origin": "bridge", **details}
        return ExternalToolError(self.tool, kind, f"{self.tool} of the MCP server {self.server}: {text}", facts)


def is_wrapped(schema: Mapping[str, Any] | None) -> bool:
    """Returns whether an output schema says that a value that is no object was wrapped into one."""
    if schema is None:
        return False
    properties = schema.get("properties")
    if not isinstance(properties, dict) or properties.keys() != {RESULT}:
        return False
    return schema.get(WRAPPED) is True or schema.get("required") == [RESULT]


def unwrapped(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema of the value that was wrapped."""
    inner = schema["properties"][RESULT]
    if not isinstance(inner, dict):
        return {}
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    # A title such as "addOutput" says nothing of the value.
    return {key: value for key, value in inner.items() if key != "title" or value != "Result"} | definitions


async def read_value(result: CallToolResult, shape: Shape) -> Any:
    """Reads a result as ``value_of`` does; a check that takes long is made by a thread."""
    problem = None
    if shape.check is not None and not result.is_error:
        problem = shape.check.quick(result.structured_content)
        if problem is None:
            problem = await asyncio.to_thread(shape.check, result.structured_content)
    return value_of(result, shape, problem)


def value_of(result: CallToolResult, shape: Shape, problem: str | None = None) -> Any:
    """Reads a result.

    Structured content is the value. Texts beside it say the same for readers that cannot read it, and are left out;
    images, audio and resources beside it are kept: the value is then a list, with the structured content first.
    Without structured content, the value is what the only block holds, or a list of what each holds; None without any.

    Args:
        result: The result.
        shape: How it is read.
        problem: What is wrong with its structured content; None: that is checked here.

    Raises:
        ExternalToolError: The tool has failed, or its result is not what it declares.
    """
    if result.is_error:
        raise error_of(result, shape)
    if result.structured_content is None and "structured_content" not in result.model_fields_set:
        if shape.check is not None:
            raise shape.error(
                "ValidationError", "it declares the schema of its result, but has sent no structured content"
            )
        blocks = [_block(block, shape) for block in result.content]
        return blocks[0] if len(blocks) == 1 else (blocks or None)
    value = result.structured_content
    if problem is None:
        problem = "" if shape.check is None else shape.check(value)
    if problem:
        raise shape.error("ValidationError", f"its result does not fit the schema that it declares: {problem}")
    if shape.wrapped:
        if not isinstance(value, Mapping) or RESULT not in value:
            raise shape.error("ValidationError", f"its result does not fit the schema that it declares: no {RESULT!r}")
        value = value[RESULT]
    if all(isinstance(block, TextContent) for block in result.content):
        return value
    others = [block for block in result.content if not _restates(block, result.structured_content, value)]
    return [value, *(_block(block, shape) for block in others)]


def _restates(block: ContentBlock, *values: Any) -> bool:
    if not isinstance(block, TextContent):
        return False
    if block.text in values:
        return True
    try:
        return json.loads(block.text) in values
    except (ValueError, RecursionError):
        return False


def _block(block: ContentBlock, shape: Shape) -> Any:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return media_dict(Image(_bytes(block.data, "an image", shape), block.mime_type))
        case AudioContent():
            return media_dict(Audio(_bytes(block.data, "audio", shape), block.mime_type))
        case LinkContent():
            link = ResourceLink(str(block.uri), block.name, block.mime_type or "", block.description or "")
            return media_dict(link)
        case EmbeddedResource():
            found = block.resource
            if isinstance(found, BlobResourceContents):
                contents: str | bytes = _bytes(found.blob, "a resource", shape)
            else:
                contents = found.text
            return media_dict(Resource(str(found.uri), contents, found.mime_type or ""))
    raise shape.error("ProtocolError", f"it has sent a block of the unknown type {getattr(block, 'type', '')!r:.60}")


def _bytes(text: str, what: str, shape: Shape) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise shape.error("ProtocolError", f"it has sent {what} that is not valid base64: {error}") from None


def error_of(result: CallToolResult, shape: Shape) -> ExternalToolError:
    """Reads a result that is an error: with type and details if it has them, as those of a bridge have."""
    for place in (result.meta, result.structured_content):
        facts: Mapping[str, Any] = place if isinstance(place, Mapping) else {}
        for key in _ERROR_KEYS:
            told = error_told(facts.get(key), shape)
            if told is not None:
                return told
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    text = "\n".join(texts).strip() or "it has failed without a message"
    details = {"origin": "tool", "server": shape.server}
    return ExternalToolError(shape.tool, "McpToolError", wire_text(text, _MAX_TEXT_CHARS), details)


def error_told(facts: Any, shape: Shape) -> ExternalToolError | None:
    """Reads an error as a bridge tells it; None if it is told otherwise."""
    if not isinstance(facts, Mapping) or not all(isinstance(facts.get(key), str) for key in ("type", "message")):
        return None
    details = {"origin": "tool", **_texts(facts.get("details")), "server": shape.server}
    retryable = facts.get("retryable") is True
    return ExternalToolError(shape.tool, facts["type"][:256], facts["message"], details, retryable=retryable)


def _texts(details: Any) -> dict[str, str]:
    if not isinstance(details, Mapping):
        return {}
    some = list(details.items())[: MAX_DETAILS - 2]
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in some}


def unavailable(tool: str, server: str, why: str) -> ExternalToolError:
    """Returns the error for a call while the server is away."""
    text = f"the MCP server {server} is not there: {why}; call again later"
    return ExternalToolError(tool, "WorkerUnavailable", text, {"server": server, "origin": "bridge"}, retryable=True)


def failure_of(error: BaseException, shape: Shape, why_lost: str = "") -> ExternalToolError:
    """Reads why a request failed that was not answered with a result.

    Args:
        error: What the client raised.
        shape: The tool.
        why_lost: Why the connection is gone, if it is.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ExternalToolError):
        return error
    if isinstance(error, TimeoutError) or (isinstance(error, MCPError) and error.code == REQUEST_TIMEOUT):
        return shape.error("TimeoutError", "it did not answer in time")
    if not isinstance(error, MCPError):
        return shape.error("ProtocolError", f"its answer is no result of a call: {_first_line(error)}")
    text = wire_text(error.message, _MAX_TEXT_CHARS)
    if TOO_LARGE in text or (_EVENT_TOO_LARGE in text and "event exceeded" in text):
        at = text.find(TOO_LARGE)
        return shape.error("MessageTooLarge", text[at:] if at >= 0 else f"{TOO_LARGE}: {text}")
    if error.code == CONNECTION_CLOSED and text.startswith(_OF_CLIENT):
        return unavailable(shape.tool, shape.server, why_lost or text)
    told = error_told(error.data, shape)
    if told is not None:
        return told
    data = {} if error.data is None else {"data": wire_text(json.dumps(error.data, default=str), _MAX_TEXT_CHARS)}
    return shape.error(_TYPES.get(error.code, "McpError"), text, code=str(error.code), **data)


def _first_line(error: BaseException) -> str:
    lines: Sequence[str] = str(error).splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[:3])[:300]
