"""Messages as JSON: the names of the proto, values as tagged JSON."""

import base64
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, ToolCallResponse, ToolCallResult
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES
from grpc_tool_bridge.values.offload import in_reader
from grpc_tool_bridge.values.serialization import deserialize_value
from grpc_tool_bridge.values.structs import read_struct
from grpc_tool_bridge.values.tagged_json import to_json

_Write = Callable[[Any], Any]

# How the type URLs of frames begin.
_FRAMES = ("pandas.", "polars.", "pyarrow.")

# Levels of containers in a Struct.
_MAX_DEPTH = 100

# In seconds since the epoch.
_YEAR_10_000 = 253_402_300_800
_SECOND_NS = 1_000_000_000


def message_json(message: Message) -> dict[str, Any]:
    """Writes a message as what ``json.dumps`` takes.

    Numbers are numbers, moments are ISO 8601 in UTC, and what is not set and has no default is left out.
    """
    written: dict[str, Any] = {}
    for name, write, is_optional in _fields(message.DESCRIPTOR):
        if not is_optional or message.HasField(name):
            value = getattr(message, name)
            written[name] = value if write is None else write(value)
    return written


def error_json(info: ErrorInfo) -> dict[str, Any]:
    """Writes an error; the traceback only if there is one."""
    written = message_json(info)
    if not info.stacktrace:
        del written["stacktrace"]
    return written


async def call_json(response: ToolCallResponse, write: _Write = to_json) -> dict[str, Any]:
    """Writes the answer to a call: the same five names whatever has come of it."""
    return {**await outcome_json(response, write), "request_id": response.request_id}


async def outcome_json(outcome: ToolCallResponse | ToolCallResult, write: _Write = to_json) -> dict[str, Any]:
    """Writes what has come of a call, or of an item of a batch; ``write`` writes its result."""
    return {
        "success": outcome.success,
        "result": await value_json(outcome.result, write) if outcome.HasField("result") else None,
        "error": error_json(outcome.error) if outcome.HasField("error") else None,
        "metrics": message_json(outcome.metrics),
    }


async def value_json(value: AnyMessage, write: _Write = to_json) -> Any:
    """Writes a value; a large one, and a frame, whose rows may take few bytes, is read in a thread."""
    read = partial(_value, value, write)
    is_slow = len(value.value) > SLOW_BYTES or value.type_url.rpartition("/")[2].startswith(_FRAMES)
    return await in_reader(read) if is_slow else read()


def _value(value: AnyMessage, write: _Write = to_json) -> Any:
    return write(deserialize_value(value))


@cache
def _fields(descriptor: Any) -> list[tuple[str, _Write | None, bool]]:
    """Returns of each field of a message its name, how it is written (None: as it is), and if it may be missing."""
    return [(field.name, _writer(field), field.has_presence and not field.is_repeated) for field in descriptor.fields]


def _writer(field: Any) -> _Write | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_map = _single(field.message_type.fields_by_name["value"]) or _same
        return lambda value: {str(key): of_map(item) for key, item in value.items()}
    write = _single(field)
    if not field.is_repeated:
        return write
    return list if write is None else lambda value: [write(item) for item in value]


def _single(field: Any) -> _Write | None:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.type in _FLOATS:
        return _number
    if field.message_type is None:
        return None
    write: _Write | None = _WRITERS.get(field.message_type.full_name)
    return message_json if write is None else write


def _number(value: float) -> float | None:
    # JSON has no form for the others, and one that a peer chose must not end a stream of many.
    return value if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """Writes numbers of a struct likewise; its depth is limited."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return _number(value) if isinstance(value, float) else value


def _moment(value: Timestamp) -> str:
    # A third of the time of ``ToDatetime``, and many are written.
    if 0 <= value.seconds < _YEAR_10_000 and 0 <= value.nanos < _SECOND_NS:
        return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1_000).isoformat()
    return value.ToDatetime(UTC).isoformat()


def _same(value: Any) -> Any:
    return value


_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
_WRITERS: Mapping[str, _Write] = {
    AnyMessage.DESCRIPTOR.full_name: _value,
    Timestamp.DESCRIPTOR.full_name: _moment,
    Struct.DESCRIPTOR.full_name: lambda value: _finite(read_struct(value.SerializeToString(), _MAX_DEPTH)),
}
