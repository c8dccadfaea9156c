"""What an MCP server says over gRPC, as what it would say over any other transport; and what it is sent."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult
from mcp_types import Tool as McpTool

from grpc_tool_bridge.adapters.mcp.results import Shape
from grpc_tool_bridge.errors import SerializationError, ValidationError
from grpc_tool_bridge.llm.mcp_names import ANNOTATIONS_META, RESULT
from grpc_tool_bridge.values.mcp_messages import messages
from grpc_tool_bridge.values.plain_structs import read_struct, write_struct

_HINTS: Mapping[str, str] = {
    "readOnlyHint": "read_only_hint",
    "destructiveHint": "destructive_hint",
    "idempotentHint": "idempotent_hint",
    "openWorldHint": "open_world_hint",
}
_BLOCKS = ("text", "image", "audio", "embedded_resource", "resource_link")


# ------------------------------------------------------------------------------------------------------------ tools


def tool_of(message: Any) -> McpTool:
    """Reads a tool of a list; one whose schema has a part without a kind is refused later, without the others."""
    texts = {"title": message.title, "description": message.description}
    tool: dict[str, Any] = {key: text for key, text in texts.items() if text}
    tool |= {"name": message.name, "inputSchema": {"type": "object"}}
    if message.HasField("input_schema"):
        tool["inputSchema"] = {"type": "object", **_in_order(read_struct(message.input_schema, lenient=True))}
    if message.HasField("output_schema"):
        tool["outputSchema"] = {"type": "object", **_in_order(read_struct(message.output_schema, lenient=True))}
    meta = _in_order(read_struct(message.metadata, lenient=True)) if message.HasField("metadata") else {}
    if hints := _hints_of(message, meta.pop(ANNOTATIONS_META, None)):
        tool["annotations"] = hints
    if meta:
        tool["_meta"] = meta
    return McpTool.model_validate(tool)


def _hints_of(message: Any, told: Any) -> dict[str, Any]:
    """Returns the annotations of a tool. A hint that is false in the message may as well not be given."""
    if isinstance(told, dict) and all(type(told.get(hint, False)) is bool for hint in _HINTS):
        return {key: told[key] for key in _HINTS if key in told} | _title(told.get("title"))
    if not message.HasField("annotations"):
        return {}
    given = message.annotations
    return {hint: True for hint, field in _HINTS.items() if getattr(given, field)} | _title(given.title)


def _title(title: Any) -> dict[str, str]:
    return {"title": title} if isinstance(title, str) and title else {}


def _in_order(value: Any) -> Any:
    """Sorts keys, whose order no two readings of the same list have in common."""
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------------------------ calls


def request_of(tool: str, arguments: Mapping[str, Any]) -> bytes:
    """Writes the request of a call.

    Raises:
        ValidationError: An argument has no exact form in a Struct; ``details`` names it.
    """
    request = messages.CallToolRequest()
    request.request.name = tool
    request.request.arguments.SetInParent()
    for name, value in arguments.items():
        try:
            part = write_struct({name: value})
        except SerializationError as error:
            text = f"{tool}: argument {error.message}"
            raise ValidationError(text, details={name: error.message}) from None
        request.request.arguments.fields[name].CopyFrom(part.fields[name])
    data: bytes = request.SerializeToString()
    return data


def result_of(response: Any, shape: Shape) -> CallToolResult:
    """Reads the answer to a call.

    Raises:
        ExternalToolError: It is none that can be read.
        SerializationError: A part of its structured content has no kind.
    """
    common = response.common
    if common.result_type == messages.RESULT_TYPE_INPUT_REQUIRED or common.input_requests:
        raise shape.error("Unimplemented", "it asks a question, which the bridge does not pass on over gRPC")
    blocks = [_block(content, shape) for content in response.content]
    result: dict[str, Any] = {"content": blocks, "isError": response.is_error}
    if common.HasField("metadata"):
        result["_meta"] = read_struct(common.metadata)
    if not response.is_error:
        result |= _structured(response, blocks, shape)
    return CallToolResult.model_validate(result)


def _structured(response: Any, blocks: list[dict[str, Any]], shape: Shape) -> dict[str, Any]:
    """Returns the structured content; none: there is none.

    A Struct knows no integers, and no order of keys. If a text beside it says the same as JSON, it says it exactly. If
    there is only such a text although a content is declared, the content has no exact form in a Struct.
    """
    given = read_struct(response.structured_content) if response.HasField("structured_content") else None
    if given is None and shape.check is None:
        return {}
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    exact = _read_json(texts[0]) if len(texts) == 1 else None
    if exact is not None and shape.wrapped:
        exact = {RESULT: exact}
    if isinstance(exact, dict) and (given is None or _is_same(exact, given)):
        return {"structuredContent": exact}
    return {} if given is None else {"structuredContent": given}


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_same(one: Any, other: Any) -> bool:
    """Returns whether two values are the same, with numbers as a Struct has them; truth values are none."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _block(content: Any, shape: Shape) -> dict[str, Any]:
    kinds = [kind for kind in _BLOCKS if content.HasField(kind)]
    if len(kinds) != 1:
        what = " and ".join(kinds) if kinds else "nothing that is known here"
        raise shape.error("ProtocolError", f"it has sent a block that is {what}")
    (kind,) = kinds
    part = getattr(content, kind)
    match kind:
        case "text":
            return {"type": "text", "text": part.text}
        case "image" | "audio":
            return {"type": kind, "data": _base64(part.data), "mimeType": part.mime_type}
        case "resource_link":
            more = {"description": part.description} if part.description else {}
            return {"type": kind, "uri": part.uri, "name": part.name, **_mime_type(part), **more}
    resource = part.contents
    contents = {"blob": _base64(resource.blob)} if resource.blob else {"text": resource.text}
    return {"type": "resource", "resource": {"uri": resource.uri, **_mime_type(resource), **contents}}


def _mime_type(part: Any) -> dict[str, str]:
    return {"mimeType": part.mime_type} if part.mime_type else {}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
