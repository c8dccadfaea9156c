"""Messages as plain data."""

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message


def reader_of(descriptor: Descriptor, pool: DescriptorPool) -> Callable[[Message], Any]:
    """Returns a function that reads messages of a type."""

    def read(message: Message) -> Any:
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, descriptor_pool=pool
        )

    return read
