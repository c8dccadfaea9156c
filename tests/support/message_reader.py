"""Messages from the JSON that the gateway writes: what ``gateway/message_json.py`` does, the other way."""

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.values.serialization import serialize_value
from grpc_tool_bridge.values.tagged_json import from_json

M = TypeVar("M", bound=Message)


def read_message(message: M, data: Mapping[str, Any]) -> M:
    """Fills in a message; fields that are null are not set. Returns it."""
    for name, value in data.items():
        if value is not None:
            _set(message, message.DESCRIPTOR.fields_by_name[name], value)
    return message


def read_any(value: Any) -> AnyMessage:
    """Reads a value in its tagged form."""
    return serialize_value(from_json(value))


def _set(message: Any, field: Any, value: Any) -> None:
    target = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_map = field.message_type.fields_by_name["value"]
        for key, item in value.items():
            if of_map.message_type is None:
                target[key] = item
            else:
                _fill(target[key], item)
    elif field.is_repeated and field.message_type is None:
        target.extend(value)
    elif field.is_repeated:
        for item in value:
            _fill(target.add(), item)
    elif field.message_type is not None:
        _fill(target, value)
    else:
        setattr(message, field.name, base64.b64decode(value) if field.type == FieldDescriptor.TYPE_BYTES else value)


def _fill(message: Any, value: Any) -> None:
    match message:
        case AnyMessage():
            message.CopyFrom(read_any(value))
        case Timestamp():
            message.FromJsonString(value)
        case Struct():
            message.SetInParent()
            message.update(value)
        case _:
            message.SetInParent()
            read_message(message, value)
