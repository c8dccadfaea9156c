"""Messages as JSON: the names of the proto, values as tagged JSON."""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC
from functools import partial
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, ToolCallResponse, ToolCallResult
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES
from grpc_tool_bridge.values.offload import in_reader
from grpc_tool_bridge.values.serialization import deserialize_value
from grpc_tool_bridge.values.structs import read_struct
from grpc_tool_bridge.values.tagged_json import to_json

# Levels of containers in a Struct.
_MAX_DEPTH = 100


def message_json(message: Message) -> dict[str, Any]:
    """Writes a message as what ``json.dumps`` takes.

    Numbers are numbers, moments are ISO 8601 in UTC, and what is not set and has no default is left out.
    """
    written: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            written[field.name] = _repeated(field, value)
        elif not field.has_presence or message.HasField(field.name):
            written[field.name] = _single(value)
    return written


def error_json(info: ErrorInfo) -> dict[str, Any]:
    """Writes an error; the traceback only if there is one."""
    written = message_json(info)
    if not info.stacktrace:
        del written["stacktrace"]
    return written


async def call_json(response: ToolCallResponse) -> dict[str, Any]:
    """Writes the answer to a call: the same five names whatever has come of it."""
    return {**await outcome_json(response), "request_id": response.request_id}


async def outcome_json(outcome: ToolCallResponse | ToolCallResult) -> dict[str, Any]:
    """Writes what has come of a call, or of an item of a batch."""
    return {
        "success": outcome.success,
        "result": await value_json(outcome.result) if outcome.HasField("result") else None,
        "error": error_json(outcome.error) if outcome.HasField("error") else None,
        "metrics": message_json(outcome.metrics),
    }


async def value_json(value: AnyMessage) -> Any:
    """Writes a value; a large one is read in a thread."""
    read = partial(_value, value)
    return await in_reader(read) if len(value.value) > SLOW_BYTES else read()


def _value(value: AnyMessage) -> Any:
    return to_json(deserialize_value(value))


def _repeated(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): _single(item) for key, item in value.items()}
    return [_single(item) for item in value]


def _single(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if not isinstance(value, Message):
        return value
    write = _WRITERS.get(type(value))
    return message_json(value) if write is None else write(value)


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    AnyMessage: _value,
    Timestamp: lambda value: value.ToDatetime(UTC).isoformat(),
    Struct: lambda value: read_struct(value.SerializeToString(), _MAX_DEPTH),
}
