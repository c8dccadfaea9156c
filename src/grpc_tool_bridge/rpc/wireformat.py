"""Protobuf's wire format, to write, read and inspect messages without protobuf.

The wrappers of google.protobuf, Json and the frames have one field, number 1. Written by hand, a scalar takes half the
time, and a large payload one copy less; what is not in the usual form is read by protobuf.
"""

from collections.abc import Iterator
from typing import overload

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.rpc.buffers import Buffers, Part, Payload

TYPE_PREFIX = "type.googleapis.com/"

# A byte of a varint has seven bits of the number, and this bit if another byte follows.
MORE = 0x80

_LENGTH_TAG = b"\x0a"
_SHORT = tuple(bytes((10, length)) for length in range(MORE))


def varint(number: int) -> bytes:
    """Returns a number from 0 to 2**64 - 1 as a protobuf varint."""
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
    """Returns a message whose field 1 is ``data``; omits the field if it is empty, as protobuf does."""
    length = len(data)
    if length < MORE:
        return _SHORT[length] + data if length else b""
    return b"".join((_LENGTH_TAG, varint(length), data))


def bytes_header(length: int) -> bytes:
    """Returns the header of a field 1 of ``length`` bytes."""
    return _LENGTH_TAG + varint(length)


@overload
def read_bytes_field(message: bytes) -> memoryview | None: ...


@overload
def read_bytes_field(message: Part) -> memoryview | Buffers | None: ...


def read_bytes_field(message: Part) -> memoryview | Buffers | None:
    """Returns field 1 without copying it.

    Returns:
        The field's bytes; None unless the message is that one field in its shortest form.
    """
    length, shift = 0, 0
    if message[:1] != _LENGTH_TAG:
        return None
    for position, digit in enumerate(message[1:6], start=2):
        length |= (digit & 0x7F) << shift
        if digit < MORE:
            if len(message) - position != length:
                return None
            return (
                message.cut(position, len(message)) if isinstance(message, Buffers) else memoryview(message)[position:]
            )
        shift += 7
    return None


# Wire types of protobuf.
VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

# Scanned messages have about ten fields; one that repeats them endlessly would block an event loop.
MAX_FIELDS = 1_000

# Bytes of the longest varint.
_MAX_DIGITS = 10


def fields(message: Payload) -> Iterator[tuple[int, int]]:
    """Yields the number of each top-level field, with the value of a varint or the size of any other field.

    Raises:
        SerializationError: As of ``places``.
    """
    for tag, _, start, stop in places(message):
        yield tag >> 3, read_varint(message, start)[0] if tag & 7 == VARINT else stop - start


def places(message: Part) -> Iterator[tuple[int, int, int, int]]:
    """Yields the tag of each top-level field, where the field begins, and where its content begins and ends.

    Raises:
        SerializationError: The message cannot be read, or has more than MAX_FIELDS fields.
    """
    position, end = 0, len(message)
    for _ in range(MAX_FIELDS):
        if position == end:
            return
        # Nearly every tag has one byte.
        tag, start = message[position], position + 1
        if tag >= MORE:
            tag, start = read_varint(message, position)
        kind = tag & 7
        if kind == VARINT:
            _, stop = read_varint(message, start)
        elif kind == LENGTH:
            size, start = read_varint(message, start)
            stop = start + size
        elif kind in (FIXED64, FIXED32):
            stop = start + (8 if kind == FIXED64 else 4)
        else:
            raise SerializationError(f"a field at byte {start} has the unknown wire type {kind}")
        if stop > end:
            raise SerializationError(f"the last field is {stop - end:,} bytes short")
        yield tag, position, start, stop
        position = stop
    if position < end:
        raise SerializationError(f"it has more than {MAX_FIELDS:,} fields")


def read_varint(message: Part, position: int) -> tuple[int, int]:
    """Reads a varint; returns it and the position after it."""
    # Nearly every number is short; the loop takes three times as long.
    try:
        first = message[position]
        if first < MORE:
            return first, position + 1
        second = message[position + 1]
        if second < MORE:
            return first & 0x7F | second << 7, position + 2
        third = message[position + 2]
        if third < MORE:
            return first & 0x7F | (second & 0x7F) << 7 | third << 14, position + 3
    except IndexError:
        raise SerializationError(f"the number at byte {position} does not end") from None
    value = shift = 0
    for digit in message[position : position + _MAX_DIGITS]:
        value |= (digit & 0x7F) << shift
        shift += 7
        if digit < MORE:
            return value, position + shift // 7
    raise SerializationError(f"the number at byte {position} does not end")
