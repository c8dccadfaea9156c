"""Values: an Any from a peer, decoded, shown as JSON and sent on."""

import json

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from grpc_tool_bridge.values.tagged_json import dumps

REFUSALS = (SerializationError, MessageTooLargeError, DecodeError)


def fuzz(data: bytes) -> None:
    """Reads an Any: what can be read can be shown, and sent on as the same value."""
    value = deserialize_value(AnyMessage.FromString(data), max_nodes=10_000)
    json.loads(dumps(value))
    again = deserialize_value(serialize_value(value))
    assert type(again) is type(value)
