"""Plain data as messages."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from grpc_tool_bridge.errors import ValidationError


def writer_of(descriptor: Descriptor, pool: DescriptorPool, what: str) -> Callable[[Mapping[str, Any]], Message]:
    """Returns a function that makes messages of a type."""
    made = message_factory.GetMessageClass(descriptor)

    def write(arguments: Mapping[str, Any]) -> Message:
        try:
            return json_format.ParseDict(dict(arguments), made(), descriptor_pool=pool)
        except json_format.ParseError as error:
            raise ValidationError(f"{what}: {error}") from None

    return write


def requests_writer_of(
    descriptor: Descriptor, pool: DescriptorPool, what: str
) -> Callable[[Mapping[str, Any]], list[Message]]:
    """Returns a function that makes the messages of a stream."""
    write = writer_of(descriptor, pool, what)
    return lambda arguments: [write(item) for item in arguments["requests"]]
