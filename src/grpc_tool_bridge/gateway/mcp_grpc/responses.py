"""Answers to MCP clients over gRPC: tools and results, as MCP has them in JSON, as messages."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.errors import SerializationError, wire_text
from grpc_tool_bridge.llm.mcp_names import ANNOTATIONS_META
from grpc_tool_bridge.values.mcp_messages import RESULT_COMPLETE, messages
from grpc_tool_bridge.values.plain_structs import write_struct

# What stands for a schema that is nested too deeply: one such tool would hide all others.
_ANY_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}
_HINTS: Mapping[str, str] = {
    "readOnlyHint": "read_only_hint",
    "destructiveHint": "destructive_hint",
    "idempotentHint": "idempotent_hint",
    "openWorldHint": "open_world_hint",
}


def common_of(meta: Mapping[str, Any]) -> Any:
    """Returns the ``ResponseFields`` of an answer; what of ``meta`` has no form in a Struct is left out."""
    common = messages.ResponseFields(result_type=RESULT_COMPLETE)
    common.metadata.CopyFrom(_whatever_fits(meta))
    return common


def _whatever_fits(meta: Mapping[str, Any]) -> Any:
    try:
        return write_struct(meta)
    except SerializationError:
        return write_struct({key: item for key, item in meta.items() if _fits(item)})


def _fits(item: Any) -> bool:
    try:
        write_struct({"": item})
    except SerializationError:
        return False
    return True


def tool_message(tool: Mapping[str, Any]) -> Any:
    """Returns a tool, which is written as a client of MCP reads it in JSON, as a message."""
    message = messages.Tool(
        name=tool["name"], title=_text(tool.get("title", "")), description=_text(tool.get("description", ""))
    )
    message.input_schema.CopyFrom(_schema(tool["inputSchema"]) or write_struct(_ANY_ARGUMENTS))
    declared = _schema(tool["outputSchema"]) if "outputSchema" in tool else None
    if declared is not None:
        message.output_schema.CopyFrom(declared)
    meta = dict(tool.get("_meta", {}))
    if hints := tool.get("annotations"):
        message.annotations.title = _text(str(hints.get("title", "")))
        for hint, field in _HINTS.items():
            setattr(message.annotations, field, hints.get(hint) is True)
        # A hint that is false, where true is the default, has no other form in the message.
        meta[ANNOTATIONS_META] = hints
    if meta:
        message.metadata.CopyFrom(_whatever_fits(meta))
    return message


def _schema(schema: Mapping[str, Any]) -> Any:
    """Writes a schema; None: it is nested too deeply."""
    try:
        return write_struct(schema, rounds=True)
    except SerializationError:
        return None


def result_message(result: Mapping[str, Any], meta: Mapping[str, Any]) -> Any:
    """Returns the result of a call, as it is written for JSON, as a message.

    Structured content that has no exact form in a Struct is left out: the text beside it has it.

    Args:
        result: The result.
        meta: What the answer says besides that of the result.
    """
    response = messages.CallToolResponse(
        common=common_of({**meta, **result.get("_meta", {})}), is_error=result.get("isError") is True
    )
    for block in result["content"]:
        _WRITERS[block["type"]](response.content.add(), block)
    structured = result.get("structuredContent")
    if isinstance(structured, Mapping):
        try:
            response.structured_content.CopyFrom(write_struct(structured))
        except SerializationError:
            response.ClearField("structured_content")
    return response


def _write_text(content: Any, block: Mapping[str, Any]) -> None:
    # Present, if it is empty, too.
    content.text.SetInParent()
    content.text.text = _text(block["text"])


def _write_image(content: Any, block: Mapping[str, Any]) -> None:
    content.image.data, content.image.mime_type = base64.b64decode(block["data"]), _text(block["mimeType"])
    content.image.SetInParent()


def _write_audio(content: Any, block: Mapping[str, Any]) -> None:
    content.audio.data, content.audio.mime_type = base64.b64decode(block["data"]), _text(block["mimeType"])
    content.audio.SetInParent()


def _write_resource(content: Any, block: Mapping[str, Any]) -> None:
    given, contents = block["resource"], content.embedded_resource.contents
    contents.uri, contents.mime_type = _text(given["uri"]), _text(given.get("mimeType", ""))
    if "blob" in given:
        contents.blob = base64.b64decode(given["blob"])
    else:
        contents.text = _text(given["text"])
    contents.SetInParent()


def _write_link(content: Any, block: Mapping[str, Any]) -> None:
    link = content.resource_link
    link.uri, link.name = _text(block["uri"]), _text(block["name"])
    link.mime_type, link.description = _text(block.get("mimeType", "")), _text(block.get("description", ""))
    link.SetInParent()


_WRITERS: Mapping[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "text": _write_text,
    "image": _write_image,
    "audio": _write_audio,
    "resource": _write_resource,
    "resource_link": _write_link,
}


def _text(text: str) -> str:
    """Returns a text as protobuf takes it: without halves of characters."""
    return text if text.isascii() else wire_text(text, len(text))
