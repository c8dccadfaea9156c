"""JSON Schemas of messages."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor


def input_schema_of(descriptor: Descriptor, comment_of: Callable[[Any], str]) -> dict[str, Any]:
    """Returns the schema of the arguments that make a message."""
    return {
        "type": "object",
        "properties": {field.name: {"description": comment_of(field)} for field in descriptor.fields},
    }


def output_schema_of(descriptor: Descriptor, comment_of: Callable[[Any], str]) -> dict[str, Any]:
    """Returns the schema of what a message is read as."""
    return {"type": "object"}


def requests_schema_of(descriptor: Descriptor, comment_of: Callable[[Any], str]) -> dict[str, Any]:
    """Returns the schema of the only argument ``requests``."""
    items = input_schema_of(descriptor, comment_of)
    return {"type": "object", "properties": {"requests": {"type": "array", "items": items}}, "required": ["requests"]}
