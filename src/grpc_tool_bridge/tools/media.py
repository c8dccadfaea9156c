"""What a tool returns besides data: images, audio, resources and links to them.

They travel as plain dicts with the field names below, so that a tool in any language can return them. Their kinds are
those of the Model Context Protocol (content blocks, specification of 2025-11-25).
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr


@dataclass(frozen=True, slots=True)
class Image:
    """A picture.

    Attributes:
        data: The file's bytes.
        mime_type: Their format.
    """

    data: bytes
    mime_type: str = "image/png"
    type: Literal["image"] = "image"


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound.

    Attributes:
        data: The file's bytes.
        mime_type: Their format.
    """

    data: bytes
    mime_type: str = "audio/wav"
    type: Literal["audio"] = "audio"


@dataclass(frozen=True, slots=True)
class Resource:
    """A document with its contents.

    Attributes:
        uri: Its address, with a scheme.
        contents: A text, or bytes.
        mime_type: Their format; empty: not known.
    """

    uri: str
    contents: str | bytes
    mime_type: str = ""
    type: Literal["resource"] = "resource"


@dataclass(frozen=True, slots=True)
class ResourceLink:
    """A link to a document, which the reader may fetch.

    Attributes:
        uri: Its address, with a scheme.
        name: What to call it.
        mime_type: Its format; empty: not known.
        description: What it holds; may be empty.
    """

    uri: str
    name: str
    mime_type: str = ""
    description: str = ""
    type: Literal["resource_link"] = "resource_link"


Media = Image | Audio | Resource | ResourceLink

_KINDS: Mapping[str, type[Media]] = {
    "image": Image, "audio": Audio, "resource": Resource, "resource_link": ResourceLink,
}  # fmt: skip
_TYPES: Mapping[str, tuple[type, ...]] = {"data": (bytes,), "contents": (str, bytes)}


def media_of(value: Any) -> Media | None:
    """Reads a value as it arrives from a tool.

    Returns:
        What it stands for; None if it is any other value, such as a dict with further keys.
    """
    if isinstance(value, Media):
        return value
    kind = _KINDS.get(value["type"]) if isinstance(value, dict) and isinstance(value.get("type"), str) else None
    if kind is None:
        return None
    known = {item.name: item for item in fields(kind)}
    if not value.keys() <= known.keys():
        return None
    if any(name not in value and item.default is MISSING for name, item in known.items()):
        return None
    if not all(isinstance(item, _TYPES.get(name, (str,))) for name, item in value.items()):
        return None
    return kind(**value)


def media_dict(media: Media) -> dict[str, Any]:
    """Returns the dict that stands for it on the wire.

    Raises:
        ValidationError: It is none of the four kinds.
    """
    if not isinstance(media, Media):
        raise ValidationError(f"an Image, Audio, Resource or ResourceLink is needed, not {clipped_repr(media, 60)}")
    made = {item.name: getattr(media, item.name) for item in fields(media)}
    return {"type": made.pop("type"), **made}
