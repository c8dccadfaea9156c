"""The bytes of a call's arguments in one form, whichever way they came, so that equal arguments have equal digests.

The form is that of a ToolCallRequest with nothing but ``args`` and ``kwargs``, the latter in the order of their names.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from grpc_tool_bridge.auth.audit.keys import MAC_BYTES, AuditKeys
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.rpc.buffers import Buffers
from grpc_tool_bridge.rpc.wireformat import LENGTH, MORE, read_varint, varint

# Above this size, a digest is made in the thread that writes.
LARGE_BYTES = 64 * 1024

_ARGUMENT = ToolCallRequest.ARGS_FIELD_NUMBER << 3 | LENGTH
_NAMED = ToolCallRequest.KWARGS_FIELD_NUMBER << 3 | LENGTH
# Of an Any and of an entry of a map.
_FIRST, _SECOND = bytes((1 << 3 | LENGTH,)), bytes((2 << 3 | LENGTH,))

Piece = bytes | memoryview


class Digest:
    """The digest of large arguments, which is made when it is first needed.

    Args:
        empty: The digest of nothing.
        pieces: What it is made of.
        size: Bytes of the pieces.

    Attributes:
        size: As given.
    """

    __slots__ = ("_made", "_pieces", "size")

    def __init__(self, empty: Any, pieces: list[Piece], size: int) -> None:
        self._made: Any = empty.copy()
        self._pieces = pieces
        self.size = size

    def text(self) -> str:
        """Returns it as hexadecimal digits."""
        for piece in self._pieces:
            self._made.update(piece)
        self._pieces = []
        text: str = self._made.hexdigest()
        return text

    def write(self) -> None:
        """Makes it; see ``LateLine``."""
        self.text()


class DigestedLine:
    """The fields of a line with a digest that may not be made yet; see ``LateLine``.

    Args:
        before: The fields before the digest.
        digest: The digest.
        after: The fields after it.
    """

    __slots__ = ("_after", "_before", "_digest")

    size = 0

    def __init__(self, before: str, digest: Digest, after: str) -> None:
        self._before = before
        self._digest = digest
        self._after = after

    def write(self) -> str:
        """See ``LateLine``."""
        return f"{self._before}{self._digest.text()}{self._after}"


def empty_digest(keys: AuditKeys) -> Any:
    """Returns the digest of nothing, to be copied."""
    return hashlib.blake2b(key=keys.arguments, digest_size=MAC_BYTES)


def plain_arguments(data: bytes, place: int) -> bytes:
    """Returns the arguments in a request of the usual form.

    Args:
        data: A serialized ToolCallRequest that ``values.call_bytes`` can read.
        place: Where its arguments begin.
    """
    begin, end = place, len(data)
    named: list[tuple[int, int, int]] = []
    while place < end:
        tag, size, start = data[place], data[place + 1], place + 2
        if size >= MORE:
            size, start = read_varint(data, place + 1)
        if tag == _NAMED:
            named.append((place, start, start + size))
        elif tag != _ARGUMENT:
            # Its timeout comes last.
            break
        place = start + size
    if len(named) > 1:
        # A key is shorter than 128 bytes; its entry begins with a tag and its length.
        ordered = sorted(named, key=lambda field: data[field[1] + 2 : field[1] + 2 + data[field[1] + 1]])
        if ordered != named:
            return data[begin : named[0][0]] + b"".join(data[first:stop] for first, _, stop in ordered)
    return data[begin:place]


def pieces_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Piece], int]:
    """Returns arguments in pieces, and the bytes of all pieces.

    Args:
        args: Of each argument by position, an object with its ``type_url`` and its ``value``.
        kwargs: Likewise, by name.
    """
    pieces: list[Piece] = []
    for value in args:
        held, size = _any(value)
        pieces += (bytes((_ARGUMENT,)) + varint(size), *held)
    for name in sorted(kwargs):
        key = name.encode()
        held, size = _any(kwargs[name])
        head = b"".join((_FIRST, varint(len(key)), key, _SECOND, varint(size)))
        pieces += (bytes((_NAMED,)) + varint(len(head) + size) + head, *held)
    return pieces, sum(map(len, pieces))


def _any(value: Any) -> tuple[list[Piece], int]:
    """Returns an Any in pieces, and its size."""
    url, payload = value.type_url.encode(), value.value
    pieces: list[Piece] = [b"".join((_FIRST, varint(len(url)), url))] if url else []
    if len(payload):
        pieces.append(_SECOND + varint(len(payload)))
        pieces += payload.buffers if isinstance(payload, Buffers) else (payload,)
    return pieces, sum(map(len, pieces))
