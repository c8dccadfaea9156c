"""ListValue, Struct and Value: the form in which every language reads small containers.

They hold few containers exactly: a number is a double and decodes to an int if integral, and maps are unordered.
Containers that are not exact, or large, travel as Json or RichValue.
"""

from math import isfinite
from struct import Struct as Layout
from typing import Any

from google.protobuf import struct_pb2

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX, bytes_field
from grpc_tool_bridge.values.jsontext import too_deep
from grpc_tool_bridge.values.scalars import Packed, utf8

_LIST_URL = TYPE_PREFIX + "google.protobuf.ListValue"
_STRUCT_URL = TYPE_PREFIX + "google.protobuf.Struct"

# Above this, Json is several times smaller, and faster at both ends.
_MAX_ITEMS = 32
MAX_LEVELS = 16
_MAX_EXACT = 2**53

_number = Layout("<Bd").pack


class _NotExactError(Exception):
    """The container needs another form."""


def pack_struct(value: list[Any] | dict[Any, Any]) -> Packed | None:
    """Writes a list as ListValue or a dict as Struct; None if that would not restore it, or it is large.

    Raises:
        SerializationError: A text in it has no UTF-8 form.
    """
    # A protobuf map is unordered, so it can have only one key. Most containers are dicts of more.
    if type(value) is dict and len(value) > 1:
        return None
    try:
        if type(value) is list:
            return _LIST_URL, _list_bytes(value, 1, [_MAX_ITEMS])
        return _STRUCT_URL, _dict_bytes(value, 1, [_MAX_ITEMS])
    except _NotExactError:
        return None


def _list_bytes(items: Any, level: int, left: list[int]) -> bytes:
    left[0] -= len(items)
    if left[0] < 0 or level > MAX_LEVELS:
        raise _NotExactError
    return b"".join([bytes_field(_value_bytes(item, level, left)) for item in items])


def _dict_bytes(value: Any, level: int, left: list[int]) -> bytes:
    if len(value) > 1 or level > MAX_LEVELS:
        raise _NotExactError
    left[0] -= 1
    for key, item in value.items():
        if type(key) is not str:
            raise _NotExactError
        # Both parts of a map's entry are written even if they are empty.
        name = bytes_field(utf8(key)) or b"\x0a\x00"
        content = bytes_field(_value_bytes(item, level, left))
        return bytes_field(name + b"\x12" + content[1:])
    return b""


def _value_bytes(value: Any, level: int, left: list[int]) -> bytes:
    kind = type(value)
    if kind is str:
        text = bytes_field(utf8(value)) or b"\x0a\x00"
        return b"\x1a" + text[1:]
    if kind is bool:
        return b"\x20\x01" if value else b"\x20\x00"
    if kind is int and -_MAX_EXACT <= value <= _MAX_EXACT:
        return _number(0x11, value)
    if kind is float and isfinite(value) and not value.is_integer():
        return _number(0x11, value)
    if value is None:
        return b"\x08\x00"
    if kind is dict:
        return b"\x2a" + (bytes_field(_dict_bytes(value, level + 1, left)) or b"\x0a\x00")[1:]
    if kind is list:
        return b"\x32" + (bytes_field(_list_bytes(value, level + 1, left)) or b"\x0a\x00")[1:]
    raise _NotExactError


def read_value(payload: bytes, max_depth: int) -> Any:
    """Reads a google.protobuf.Value; integral numbers become int."""
    # Null, like nearly every Value that travels alone.
    if payload == b"\x08\x00":
        return None
    return _read(struct_pb2.Value.FromString(payload), max_depth)


def read_list(payload: bytes, max_depth: int) -> list[Any]:
    """Reads a google.protobuf.ListValue."""
    return _read_list(struct_pb2.ListValue.FromString(payload), max_depth)


def read_struct(payload: bytes, max_depth: int) -> dict[str, Any]:
    """Reads a google.protobuf.Struct."""
    return _read_struct(struct_pb2.Struct.FromString(payload), max_depth)


def _read(message: Any, depth: int) -> Any:
    match message.WhichOneof("kind"):
        case "number_value":
            number: float = message.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "null_value":
            return None
        case "list_value":
            return _read_list(message.list_value, depth)
        case "struct_value":
            return _read_struct(message.struct_value, depth)
        case _:
            raise SerializationError("a google.protobuf.Value has no kind set; null is null_value")


def _read_list(message: Any, depth: int) -> list[Any]:
    if depth < 1:
        raise too_deep()
    return [_read(item, depth - 1) for item in message.values]


def _read_struct(message: Any, depth: int) -> dict[str, Any]:
    if depth < 1:
        raise too_deep()
    return {key: _read(item, depth - 1) for key, item in message.fields.items()}
