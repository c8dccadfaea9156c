"""Session variables as resources: what a listing says of them, and their contents."""

import base64
from collections.abc import Mapping
from typing import Any

from mcp_types import BlobResourceContents, Resource, TextResourceContents

from grpc_tool_bridge.gateway.mcp.resource_uris import uri_of
from grpc_tool_bridge.llm.values import frame_csv, value_text, whole_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableMetadata
from grpc_tool_bridge.tools.media import Audio, Image, ResourceLink, media_of
from grpc_tool_bridge.tools.media import Resource as Document
from grpc_tool_bridge.tools.variable import Variable
from grpc_tool_bridge.values.offload import in_reader

# Tags of a variable that say what a reader is told of it.
MIME_TYPE_TAG = "mime_type"
TITLE_TAG = "title"
DESCRIPTION_TAG = "description"

TEXT = "text/plain"
BINARY = "application/octet-stream"
JSON = "application/json"
CSV = "text/csv"
LINKS = "text/uri-list"

# The format of a variable's contents, by the type that a listing has.
_MIME_TYPES: Mapping[str, str] = {"str": TEXT, "bytes": BINARY, "DataFrame": CSV}
# A dict may stand for a document, whose format only its value says.
_UNKNOWN = frozenset({"dict", *(kind.__name__ for kind in (Audio, Image, Document, ResourceLink))})
# What the bytes of a text or a binary value are wrapped in when they are measured: the name of their type.
_WRAPPED = {
    "str": len("type.googleapis.com/google.protobuf.StringValue"),
    "bytes": len("type.googleapis.com/google.protobuf.BytesValue"),
}
# Larger values are written in a thread.
_SMALL = 65_536

Contents = TextResourceContents | BlobResourceContents


def resource_of(info: Variable) -> Resource:
    """Returns the entry of a variable in the list of resources."""
    tags = info.tags
    kind = info.type
    mime_type = tags.get(MIME_TYPE_TAG) or _mime_type(kind)
    return Resource(
        uri=uri_of(info.name),
        name=info.name,
        title=tags.get(TITLE_TAG),
        description=tags.get(DESCRIPTION_TAG),
        mime_type=mime_type or None,
        size=_size(kind, info.size_bytes),
    )


async def contents_of(uri: str, value: Any, metadata: VariableMetadata) -> Contents:
    """Returns the contents of a variable.

    A text is itself, bytes are a blob, and a document, image or sound its contents with its own format. A frame is CSV.
    Everything else is JSON as a model reads it; use HTTP or a client of the bridge for values with their types.
    """
    given = metadata.tags.get(MIME_TYPE_TAG, "")
    if isinstance(value, str) and len(value) <= _SMALL:
        return TextResourceContents(uri=uri, text=value_text(value), mime_type=given or TEXT)
    return await in_reader(lambda: _contents(uri, value, given))


def _contents(uri: str, value: Any, given: str) -> Contents:
    media = media_of(value)
    if isinstance(media, Image | Audio):
        return _blob(uri, media.data, given or media.mime_type)
    if isinstance(media, Document):
        if isinstance(media.contents, bytes):
            return _blob(uri, media.contents, given or media.mime_type or BINARY)
        return TextResourceContents(
            uri=uri, text=value_text(media.contents), mime_type=given or media.mime_type or TEXT
        )
    if isinstance(media, ResourceLink):
        return TextResourceContents(uri=uri, text=f"{media.uri}\r\n", mime_type=given or LINKS)
    if isinstance(value, bytes | bytearray | memoryview):
        return _blob(uri, bytes(value), given or BINARY)
    if isinstance(value, str):
        return TextResourceContents(uri=uri, text=value_text(value), mime_type=given or TEXT)
    rows = frame_csv(value)
    if rows is not None:
        return TextResourceContents(uri=uri, text=rows, mime_type=given or CSV)
    return TextResourceContents(uri=uri, text=value_text(whole_of(value)), mime_type=given or JSON)


def _blob(uri: str, data: bytes, mime_type: str) -> BlobResourceContents:
    return BlobResourceContents(uri=uri, blob=base64.b64encode(data).decode(), mime_type=mime_type)


def _mime_type(kind: str) -> str:
    return "" if kind in _UNKNOWN else _MIME_TYPES.get(kind, JSON)


def _size(kind: str, measured: int) -> int | None:
    """Returns the bytes of a text or of bytes, without what the measured message has around them; None: not known."""
    if kind not in _WRAPPED:
        return None
    # The value is a field of a field; one that is empty is not there.
    value = measured - _field(_WRAPPED[kind])
    return 0 if value == 0 else _inside(_inside(value))


def _field(size: int) -> int:
    """Returns the bytes of a field of a message: its tag, its length and its contents."""
    return 1 + _length_bytes(size) + size


def _inside(field: int | None) -> int | None:
    """Returns the bytes of the contents of a field; None: no field has so many bytes."""
    sizes = (field - 1 - length for length in range(1, 6)) if field is not None else ()
    return next((size for size in sizes if size >= 0 and _field(size) == field), None)


def _length_bytes(size: int) -> int:
    return max(1, (size.bit_length() + 6) // 7)
