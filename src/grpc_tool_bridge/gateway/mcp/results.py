"""Results of tools as content that MCP has."""

import base64
import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import PydanticSerializationError, from_json

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.gateway.mcp.errors import facts_of
from grpc_tool_bridge.gateway.mcp.output_schemas import OutputSchema, UndecidedError, declared
from grpc_tool_bridge.gateway.plain_results import plain_writer
from grpc_tool_bridge.llm.mcp_names import ERROR_META, REQUEST_META, RESULT
from grpc_tool_bridge.llm.texts import failure_text
from grpc_tool_bridge.llm.values import value_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tools.media import Audio, Image, Media, Resource, media_of
from grpc_tool_bridge.values.offload import in_reader

# A result as it is sent, by the names of the protocol.
WireResult = dict[str, Any]

# Smaller results are written in the event loop.
_SMALL_BYTES = 64 * 1024
_SMALL_NODES = 2_000
_LISTS = (list, tuple)


async def result_of(spec: ToolSpec, value: Any, version: str) -> WireResult:
    """Returns what a call is answered with; what takes long is written in a thread. See ``write_result``."""
    if is_small(value):
        with contextlib.suppress(UndecidedError):
            return write_result(spec, value, version, is_quick=True)
    return await in_reader(lambda: write_result(spec, value, version))


def write_result(spec: ToolSpec, value: Any, version: str, *, is_quick: bool = False) -> WireResult:
    """Returns what a call is answered with: content for every reader, and structured content where there is any.

    Images, audio, resources and links become content of their kind, also in a list. Deeper in a value they become
    content after its text, which names them by number. All else is text: a text as it is, other values as JSON.

    The structured content is what the client was told that it is, by the tool's output schema; a value that JSON cannot
    write so has none. A tool without a schema has structured content if it returns an object.

    Raises:
        UndecidedError: With ``is_quick``, if it takes more than a few milliseconds to check the structured content.
    """
    schema = declared(spec, version)
    result = _complete(_content(value, has_schema=schema is not None))
    try:
        structured = _structured(spec, schema, value, is_quick=is_quick)
    except (ValueError, RecursionError):
        structured = ()
    if structured:
        (result["structuredContent"],) = structured
    return result


def error_result(name: str, error: ToolBridgeError) -> WireResult:
    """Returns what a failed call is answered with: a text for the model, and the facts for programs."""
    meta = {ERROR_META: facts_of(error), **({REQUEST_META: error.request_id} if error.request_id else {})}
    return {**_complete([_text(failure_text(name, error))], is_error=True), "_meta": meta}


def text_result(text: str) -> WireResult:
    """Returns a result that is a text alone."""
    return _complete([_text(text)])


def _complete(content: list[dict[str, Any]], *, is_error: bool = False) -> WireResult:
    return {"resultType": "complete", "content": content, "isError": is_error}


def is_small(value: Any) -> bool:
    """Returns whether a value can be written in less than about a millisecond."""
    kind = type(value)
    if kind is int or kind is float or kind is bool or value is None:
        return True
    bytes_left, nodes_left = _SMALL_BYTES, _SMALL_NODES
    waiting = [value]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            bytes_left -= len(item)
        elif kind is dict:
            nodes_left -= len(item)
            if nodes_left >= 0:
                waiting.extend(item)
                waiting.extend(item.values())
        elif kind in _LISTS or kind is set or kind is frozenset:
            nodes_left -= len(item)
            if nodes_left >= 0:
                waiting.extend(item)
        elif hasattr(item, "__array__") or hasattr(item, "__arrow_c_stream__") or hasattr(item, "to_csv"):
            # A frame or an array.
            return False
        if bytes_left < 0 or nodes_left < 0:
            return False
    return True


# ---------------------------------------------------------------------------------------------------------- content


def _content(value: Any, *, has_schema: bool) -> list[dict[str, Any]]:
    single = media_of(value)
    if single is not None:
        return [_block(single)]
    if isinstance(value, _LISTS):
        items = [media_of(item) for item in value]
        if any(item is not None for item in items):
            return [
                block
                for item, media in zip(value, items, strict=True)
                for block in ([_block(media)] if media is not None else _text_and_media(item))
            ]
    if value is None and not has_schema:
        return []
    return _text_and_media(value)


def _text_and_media(value: Any) -> list[dict[str, Any]]:
    """Returns the text of a value, and the images and the like that stand somewhere in it."""
    found: list[Media] = []
    data = _without_media(value, found) if isinstance(value, dict | list | tuple) else value
    return [_text(value_text(data)), *map(_block, found)]


def _without_media(value: Any, found: list[Media]) -> Any:
    """Returns a value in which each image and the like is only named; ``found`` gets them."""
    if isinstance(value, dict):
        media = media_of(value)
        if media is not None:
            found.append(media)
            return f"[{media.type} {len(found)}]"
        return {key: _without_media(item, found) for key, item in value.items()}
    if isinstance(value, _LISTS):
        return [_without_media(item, found) for item in value]
    return value


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _block(media: Media) -> dict[str, Any]:
    if isinstance(media, Image | Audio):
        return {"type": media.type, "data": _base64(media.data), "mimeType": media.mime_type}
    if isinstance(media, Resource):
        if isinstance(media.contents, str):
            kind, contents = "text/plain", {"text": value_text(media.contents)}
        else:
            kind, contents = "application/octet-stream", {"blob": _base64(media.contents)}
        return {"type": "resource", "resource": {"uri": media.uri, "mimeType": media.mime_type or kind, **contents}}
    mime_type = {"mimeType": media.mime_type} if media.mime_type else {}
    description = {"description": media.description} if media.description else {}
    return {"type": "resource_link", "uri": media.uri, "name": media.name, **mime_type, **description}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ---------------------------------------------------------------------------------------------- structured content


def _structured(spec: ToolSpec, schema: OutputSchema | None, value: Any, *, is_quick: bool) -> tuple[Any, ...]:
    """Returns the structured content as the one item of a tuple; none: there is none."""
    if schema is None:
        return (_plain(spec, value),) if type(value) is dict and not _holds_media(value) else ()
    for write in (_plain, _as_text):
        content = write(spec, value)
        if schema.wraps:
            content = {RESULT: content}
        if schema.allows(content, is_quick=is_quick):
            return (content,)
    return ()


def _plain(spec: ToolSpec, value: Any) -> Any:
    """Writes a value as its schema says; what JSON does not have is tagged."""
    write: Callable[[Any], Any] = plain_writer(spec.output_schema)
    if spec.type == ToolType.STREAMING and isinstance(value, list):
        return [write(item) for item in value]
    return write(value)


def _as_text(_: ToolSpec, value: Any) -> Any:
    """Writes a value as the text has it: all that JSON does not have as the text that a person would write."""
    if isinstance(value, str):
        return value
    text = value_text(value)
    try:
        return _finite(from_json(text, allow_inf_nan=True))
    except (ValueError, PydanticSerializationError):
        # One that is a text by itself, such as a frame.
        return text


def _finite(content: Any) -> Any:
    """Writes numbers that JSON does not have as texts."""
    if isinstance(content, float):
        return content if math.isfinite(content) else value_text(content)
    if isinstance(content, dict):
        return {key: _finite(item) for key, item in content.items()}
    return list(map(_finite, content)) if isinstance(content, list) else content


def _holds_media(value: Any) -> bool:
    return any(media_of(item) is not None for item in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, _LISTS):
        for item in value:
            yield from _parts(item)
