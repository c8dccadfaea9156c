"""Messages of one field, written and read by hand.

Every wrapper of google.protobuf, Json and the frames have this shape: one field, number 1. Written by hand, a scalar
takes half the time and a large payload one copy less; what is not in the usual form is left to protobuf to read.
"""

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
        What the field holds, or None where the message is anything but that one field in its shortest form.
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
