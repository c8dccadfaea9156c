"""Looks into a serialized message without reading it whole: what is only passed on need not be parsed and copied."""

from collections.abc import Iterator

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.wire.framing import MORE

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
        tag, position = varint(message, position)
        kind = tag & 7
        if kind == VARINT:
            value, position = varint(message, position)
            yield tag >> 3, value
            continue
        if kind == LENGTH:
            size, position = varint(message, position)
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


def varint(message: bytes, position: int) -> tuple[int, int]:
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
