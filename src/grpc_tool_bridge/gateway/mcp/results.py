"""Results of tools as content that MCP has."""

import base64
from typing import Any

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.gateway.mcp.specs import RESULT, is_wrapped, value_schema
from grpc_tool_bridge.gateway.plain_results import plain_writer
from grpc_tool_bridge.llm.texts import MCP_ERROR, error_facts
from grpc_tool_bridge.llm.values import value_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tools.media import Audio, Image, Media, Resource, media_of


def result_of(spec: ToolSpec, value: Any, version: str) -> CallToolResult:
    """Returns what a call was answered with: content for every reader, and structured content where there is any.

    Images, audio, resources and links become content of their kind, also in a list. All else is text: a text as it is,
    other values as JSON.
    """
    media = _media_in(value)
    if media is not None:
        return CallToolResult(content=[_block(item) for item in media])
    if value is None and not spec.output_schema:
        return CallToolResult(content=[])
    return CallToolResult(
        content=[TextContent(text=value_text(value))], structured_content=_structured(spec, value, version)
    )


def error_result(name: str, error: ToolBridgeError) -> CallToolResult:
    """Returns what a failed call was answered with: a text for the model, and type and details for programs."""
    return CallToolResult(
        content=[TextContent(text=f"{error.error_type}: {error.message}")],
        is_error=True,
        _meta={MCP_ERROR: error_facts(error)},
    )


def _media_in(value: Any) -> list[Any] | None:
    """Returns the blocks that a value stands for; None if there is nothing but data in it."""
    single = media_of(value)
    if single is not None:
        return [single]
    if isinstance(value, list) and any(media_of(item) is not None for item in value):
        return [media_of(item) or item for item in value]
    return None


def _block(item: Any) -> ContentBlock:
    if not isinstance(item, Media):
        return TextContent(text=value_text(item))
    if isinstance(item, Image):
        return ImageContent(data=_base64(item.data), mime_type=item.mime_type)
    if isinstance(item, Audio):
        return AudioContent(data=_base64(item.data), mime_type=item.mime_type)
    if isinstance(item, Resource):
        mime_type = item.mime_type or None
        if isinstance(item.contents, str):
            return EmbeddedResource(
                resource=TextResourceContents(uri=item.uri, text=item.contents, mime_type=mime_type)
            )
        blob = _base64(item.contents)
        return EmbeddedResource(resource=BlobResourceContents(uri=item.uri, blob=blob, mime_type=mime_type))
    return ResourceLink(
        uri=item.uri, name=item.name, mime_type=item.mime_type or None, description=item.description or None
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _structured(spec: ToolSpec, value: Any, version: str) -> Any:
    schema = value_schema(spec)
    if schema is None and not isinstance(value, dict):
        return None
    write = plain_writer(spec.output_schema)
    if spec.type == ToolType.STREAMING and isinstance(value, list):
        plain: Any = [write(item) for item in value]
    else:
        plain = write(value)
    if schema is None and version not in MODERN_PROTOCOL_VERSIONS:
        return plain
    return {RESULT: plain} if is_wrapped(schema, version) else plain
