"""The peer for Python: ``python -m conformance.peers.python_peer``. README.md has the protocol."""

import base64
import json
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from conformance.descriptions import describe, realize
from conformance.errors import meaning_of, read_info, read_status
from conformance.fields import fields_of, message_of, new_message
from conformance.link_player import LinkPlayer
from conformance.peers.python_sessions import SESSION_ACTIONS, PythonSessions
from grpc_tool_bridge.errors import SerializationError, ToolBridgeError, error_info
from grpc_tool_bridge.link.status import link_status_of
from grpc_tool_bridge.transport.status import ERROR_KEY
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

Request = dict[str, Any]

# What each kind of value is in Python.
FORMS: Mapping[str, str] = {
    "null": "None", "boolean": "bool", "integer": "int", "float": "float", "text": "str", "bytes": "bytes",
    "list": "list", "dict": "dict", "tuple": "tuple", "set": "set", "frozenset": "frozenset", "datetime": "datetime",
    "date": "date", "time": "time", "timedelta": "timedelta", "uuid": "UUID", "decimal": "Decimal",
    "complex": "complex", "tensor": "numpy.ndarray", "tensor_scalar": "numpy.generic",
    "typed": "pandas, pyarrow and polars frames",
}  # fmt: skip


def main() -> None:
    """Answers requests until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"id": request["id"], **answer(request)}), flush=True)


def answer(request: Request) -> Request:
    """Answers one request: ``ok`` or ``error``."""
    action = ACTIONS.get(request["do"])
    if action is None:
        return _error("Unimplemented", f"this peer does not have {request['do']!r}")
    try:
        return {"ok": action(request)}
    except ToolBridgeError as error:
        return {"error": _written(error)}
    except DecodeError as error:
        return _error("ProtocolError", str(error))


def _written(error: ToolBridgeError) -> Request:
    meaning = meaning_of(error)
    # Of a call that nobody answered only a status is known.
    return {"type": error.error_type, "origin": "bridge", **{name: meaning[name] for name in _SAID if name in meaning}}


_SAID = ("message", "origin", "status", "retryable")


def _error(error_type: str, message: str) -> Request:
    return {"error": {"type": error_type, "message": message}}


def _hello(_: Request) -> Request:
    return {
        "language": "Python",
        "version": platform.python_version(),
        "forms": FORMS,
        "roles": ["dialler", "worker", "hub"],
    }


def _decode_value(request: Request) -> Request:
    return {"meaning": describe(_value(request))}


def _encode_value(request: Request) -> Request:
    return {"any": _text(_packed(realize(request["meaning"])))}


def _round_trip(request: Request) -> Request:
    return {"any": _text(_packed(_value(request)))}


def _decode_error(request: Request) -> Request:
    if "info" in request:
        error = read_info(_bytes(request["info"]))
    else:
        trailer = request["trailers"].get(ERROR_KEY)
        status = request["status"]
        error = read_status(status["code"], status["message"], None if trailer is None else _bytes(trailer))
    return {"meaning": meaning_of(error)}


def _encode_error(request: Request) -> Request:
    meaning, moment = request["meaning"], request["timestamp"]
    error = ToolBridgeError(
        meaning["message"],
        error_type=meaning["type"],
        details=meaning["details"],
        retryable=meaning["retryable"],
        remote_traceback=meaning["stacktrace"],
    )
    info = error_info(error)
    info.timestamp.CopyFrom(Timestamp(seconds=int(moment["seconds"]), nanos=moment["nanos"]))
    return {"info": _text(info.SerializeToString()), "code": link_status_of(error).code}


def _decode_message(request: Request) -> Request:
    message = new_message(request["message"])
    message.ParseFromString(_bytes(request["bytes"]))
    return {"fields": fields_of(message)}


def _encode_message(request: Request) -> Request:
    return {"bytes": _text(message_of(request["message"], request["fields"]).SerializeToString())}


def _link(request: Request) -> Request:
    return {"steps": LinkPlayer(request["role"], request["hello"]).play(request["steps"])}


_sessions = PythonSessions()

ACTIONS: Mapping[str, Callable[[Request], Request]] = {
    "hello": _hello,
    "decode_value": _decode_value,
    "encode_value": _encode_value,
    "round_trip": _round_trip,
    "decode_error": _decode_error,
    "encode_error": _encode_error,
    "decode_message": _decode_message,
    "encode_message": _encode_message,
    "link": _link,
    **dict.fromkeys(SESSION_ACTIONS, _sessions.act),
}


def _value(request: Request) -> Any:
    try:
        message = AnyMessage.FromString(_bytes(request["any"]))
    except DecodeError as error:
        raise SerializationError(f"it is not an Any: {error}") from None
    return deserialize_value(message)


def _packed(value: Any) -> bytes:
    return serialize_value(value, strict=True).SerializeToString()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main()
