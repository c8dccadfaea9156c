"""Protobuf's wire format, where messages are written, read or looked into without protobuf.

Every wrapper of google.protobuf, Json and the frames have this shape: one field, number 1. Written by hand, a scalar
takes half the time and a large payload one copy less; what is not in the usual form is left to protobuf to read.
"""

from collections.abc import Iterator

from grpc_tool_bridge.errors import SerializationError

TYPE_PREFIX = "type.googleapis.com/"

# A digit of a varint has seven bits, and this one where another follows.
MORE = 0x80

_LENGTH_TAG = b"\x0a"
_SHORT = tuple(bytes((10, length)) for length in range(MORE))


def varint(number: int) -> bytes:
    """Writes a number of 0 to 2**64 - 1 as a protobuf varint."""
    if number < MORE:
        return bytes((number,))
    if number < MORE * MORE:
        return bytes((number & 0x7F | MORE, number >> 7))
    if number < MORE * MORE * MORE:
        return bytes((number & 0x7F | MORE, number >> 7 & 0x7F | MORE, number >> 14))
    if number < MORE * MORE * MORE * MORE:
        return bytes((number & 0x7F | MORE, number >> 7 & 0x7F | MORE, number >> 14 & 0x7F | MORE, number >> 21))
    digits = bytearray()
    while number >= MORE:
        digits.append(number & 0x7F | MORE)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def bytes_field(data: bytes) -> bytes:
    """Writes a message whose field 1 is ``data``; an empty one is left out, as protobuf does."""
    length = len(data)
    if length < MORE:
        return _SHORT[length] + data if length else b""
    return b"".join((_LENGTH_TAG, varint(length), data))


def bytes_header(length: int) -> bytes:
    """Writes what stands before ``length`` bytes of field 1."""
    return _LENGTH_TAG + varint(length)


def read_bytes_field(message: bytes) -> memoryview | None:
    """Finds field 1 without copying it.

    Returns:
        What the field holds, or None if the message is anything but that one field in its shortest form.
    """
    length, shift = 0, 0
    if message[:1] != _LENGTH_TAG:
        return None
    for position, digit in enumerate(message[1:6], start=2):
        length |= (digit & 0x7F) << shift
        if digit < MORE:
            return memoryview(message)[position:] if len(message) - position == length else None
        shift += 7
    return None


# Wire types of protobuf.
VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

# What is scanned here has ten fields; one that gives them again and again would hold up an event loop.
MAX_FIELDS = 1_000

# Bytes of the longest varint.
_MAX_DIGITS = 10


def fields(message: bytes) -> Iterator[tuple[int, int]]:
    """Yields the number of each top-level field and its value: of a varint the number, of any other field its size.

    Raises:
        SerializationError: The bytes are no message, or one of more than MAX_FIELDS fields.
    """
    position, end = 0, len(message)
    for _ in range(MAX_FIELDS):
        if position == end:
            return
        tag, position = read_varint(message, position)
        kind = tag & 7
        if kind == VARINT:
            value, position = read_varint(message, position)
            yield tag >> 3, value
            continue
        if kind == LENGTH:
            size, position = read_varint(message, position)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise SerializationError(f"a field of the unknown wire type {kind} stands at byte {position}")
        position += size
        if position > end:
            raise SerializationError(f"the last field is {position - end:,} bytes short")
        yield tag >> 3, size
    if position < end:
        raise SerializationError(f"it has more than {MAX_FIELDS:,} fields")


def read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Reads a varint; returns it, and where the next field begins."""
    value = message[position] if position < len(message) else MORE
    if value < MORE:
        return value, position + 1
    value = shift = 0
    for digit in message[position : position + _MAX_DIGITS]:
        value |= (digit & 0x7F) << shift
        shift += 7
        if digit < MORE:
            return value, position + shift // 7
    raise SerializationError(f"a number that does not end stands at byte {position}")
