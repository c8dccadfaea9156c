"""Scalars and the wrapper types of google.protobuf."""

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from google.protobuf import empty_pb2, wrappers_pb2

from grpc_tool_bridge.rpc.wireformat import MORE, TYPE_PREFIX, bytes_field, read_bytes_field
from grpc_tool_bridge.values.jsontext import digits_of, no_utf8

# A type URL and the bytes of its message.
Packed = tuple[str, bytes]

JSON_URL = TYPE_PREFIX + "dspex.bridge.Json"
RICH_URL = TYPE_PREFIX + "dspex.bridge.RichValue"
VALUE_URL = TYPE_PREFIX + "google.protobuf.Value"
_STRING_URL = TYPE_PREFIX + "google.protobuf.StringValue"
_INT_URL = TYPE_PREFIX + "google.protobuf.Int64Value"
_DOUBLE_URL = TYPE_PREFIX + "google.protobuf.DoubleValue"
_BYTES_URL = TYPE_PREFIX + "google.protobuf.BytesValue"

_TRUE = (TYPE_PREFIX + "google.protobuf.BoolValue", b"\x08\x01")
_FALSE = (TYPE_PREFIX + "google.protobuf.BoolValue", b"")
_BOOLS = {b"": False, b"\x08\x00": False, b"\x08\x01": True}
_NULL = (VALUE_URL, b"\x08\x00")

# Length of an Int64Value by the varint length of its number.
_ONE_DIGIT, _TWO_DIGITS, _THREE_DIGITS = 2, 3, 4
_INT_TAG = 0x08
_BYTES_TAG = b"\x0a"
# A length of two digits is below this.
_MORE_DIGITS = MORE * MORE

_SMALL_INTS = tuple(bytes((_INT_TAG, value)) for value in range(MORE))
_BEYOND_TWO_DIGITS = MORE * MORE
_BEYOND_THREE_DIGITS = MORE * MORE * MORE
_BEYOND = 2**63

_DOUBLE_TAG = 0x09
_DOUBLE = Struct("<Bd")
_POSITIVE_ZERO = _DOUBLE.pack(_DOUBLE_TAG, 0.0)


def utf8(text: str) -> bytes:
    """Encodes a text.

    Raises:
        SerializationError: It has a lone surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as failure:
        raise no_utf8(failure) from failure


def _pack_int(value: int) -> Packed:
    # Nearly every number is small and positive; writing it inline takes half the time.
    if 0 < value < MORE:
        return _INT_URL, _SMALL_INTS[value]
    if 0 < value < _BEYOND_TWO_DIGITS:
        return _INT_URL, bytes((_INT_TAG, value & 0x7F | MORE, value >> 7))
    if 0 < value < _BEYOND_THREE_DIGITS:
        return _INT_URL, bytes((_INT_TAG, value & 0x7F | MORE, value >> 7 & 0x7F | MORE, value >> 14))
    if -_BEYOND <= value < _BEYOND:
        return _INT_URL, wrappers_pb2.Int64Value(value=value).SerializePartialToString()
    return JSON_URL, bytes_field(digits_of(value).encode())


def _pack_float(value: float) -> Packed:
    payload = _DOUBLE.pack(_DOUBLE_TAG, value)
    return _DOUBLE_URL, b"" if payload == _POSITIVE_ZERO else payload


# By the exact type, so that a bool is not written as an int, nor a subclass as its base.
SCALARS: dict[type, Callable[[Any], Packed]] = {
    str: lambda value: (_STRING_URL, bytes_field(utf8(value))),
    int: _pack_int,
    float: _pack_float,
    bool: lambda value: _TRUE if value else _FALSE,
    bytes: lambda value: (_BYTES_URL, bytes_field(value)),
    type(None): lambda _: _NULL,
}


def _reader(name: str) -> Callable[[bytes, int], Any]:
    parse = getattr(wrappers_pb2, name).FromString

    def read(payload: bytes, _: int) -> Any:
        return parse(payload).value

    return read


def _read_empty(payload: bytes, _: int) -> None:
    empty_pb2.Empty.FromString(payload)


def _read_int(payload: bytes, _: int) -> int:
    # Nearly every number is small and positive; reading it inline takes a third of the time.
    length = len(payload)
    if length == _ONE_DIGIT and payload[0] == _INT_TAG and payload[1] < MORE:
        return payload[1]
    if length == _TWO_DIGITS and payload[0] == _INT_TAG and payload[1] >= MORE > payload[2]:
        return payload[1] & 0x7F | payload[2] << 7
    if length == _THREE_DIGITS and payload[0] == _INT_TAG and payload[1] >= MORE <= payload[2] and payload[3] < MORE:
        return payload[1] & 0x7F | (payload[2] & 0x7F) << 7 | payload[3] << 14
    number: int = wrappers_pb2.Int64Value.FromString(payload).value
    return number


def _read_float(payload: bytes, _: int) -> float:
    # Read inline, a number takes half the time.
    if len(payload) == _DOUBLE.size and payload[0] == _DOUBLE_TAG:
        value: float = _DOUBLE.unpack(payload)[1]
    else:
        value = wrappers_pb2.DoubleValue.FromString(payload).value
    return value


def _read_bool(payload: bytes, _: int) -> bool:
    value = _BOOLS.get(payload)
    return bool(wrappers_pb2.BoolValue.FromString(payload).value) if value is None else value


def _read_str(payload: bytes, _: int) -> str:
    # Nearly every text is short; reading it inline takes a third of the time.
    if payload[:1] == _BYTES_TAG and payload[1] == len(payload) - 2 < MORE:
        return payload[2:].decode()
    field = _content(payload)
    if field is not None:
        return field.decode() if type(field) is bytes else str(field, "utf-8")
    text: str = wrappers_pb2.StringValue.FromString(payload).value
    return text


def _read_bytes(payload: bytes, _: int) -> bytes:
    # Parsed by protobuf, a large one would be copied twice.
    field = _content(payload)
    if field is not None:
        return field if type(field) is bytes else bytes(field)
    data: bytes = wrappers_pb2.BytesValue.FromString(payload).value
    return data


def _content(payload: bytes) -> bytes | memoryview | None:
    """Returns field 1; None unless the message is that one field."""
    if payload[:1] == _BYTES_TAG:
        size = len(payload)
        first = payload[1]
        if first < MORE:
            return payload[2:] if first == size - 2 else None
        if size < _MORE_DIGITS and payload[2] < MORE:
            return payload[3:] if first & 0x7F | payload[2] << 7 == size - 3 else None
    return read_bytes_field(payload)


_WRAPPERS = (
    "FloatValue",
    "Int32Value",
    "UInt32Value",
    "UInt64Value",
)

# By the name after the type URL's last slash.
READERS: dict[str, Callable[[bytes, int], Any]] = {
    **{f"google.protobuf.{name}": _reader(name) for name in _WRAPPERS},
    "google.protobuf.BoolValue": _read_bool,
    "google.protobuf.BytesValue": _read_bytes,
    "google.protobuf.DoubleValue": _read_float,
    "google.protobuf.Int64Value": _read_int,
    "google.protobuf.StringValue": _read_str,
    # Without content.
    "google.protobuf.Empty": _read_empty,
}


def read_text(payload: bytes) -> str:
    """Reads a StringValue under any type URL."""
    return _read_str(payload, 0)


class PackedValue(NamedTuple):
    """A result as the two fields of an Any, which can be forwarded without decoding."""

    type_url: str
    value: bytes
