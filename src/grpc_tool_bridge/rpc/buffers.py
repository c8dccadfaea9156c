"""Bytes in several buffers, so that a large payload is sent, received and forwarded without being joined."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import TypeAlias, overload

# Below this size, joining a payload costs less than handling its buffers.
LARGE_BYTES = 64 * 1024


class Buffers:
    """Bytes in several buffers, which are not changed while this lives.

    Reading a few of the bytes costs a search for their buffer; ``bytes(buffers)`` joins all of them.

    Args:
        buffers: The buffers, in order; empty ones are dropped.
    """

    __slots__ = ("_ends", "_size", "buffers")

    def __init__(self, buffers: Iterable[bytes | memoryview]) -> None:
        self.buffers = [buffer for buffer in buffers if len(buffer)]
        self._ends = list(accumulate(map(len, self.buffers)))
        self._size = self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)

    def __eq__(self, other: object) -> bool:
        """Returns whether the other has the same bytes, in buffers or not."""
        if not isinstance(other, bytes | Buffers):
            return NotImplemented
        return len(self) == len(other) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> bytes: ...

    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, slice):
            start, end, _ = place.indices(self._size)
            return b"".join(self._between(start, end))
        if not 0 <= place < self._size:
            raise IndexError(f"there is no byte {place} in buffers of {self._size}")
        index = bisect_right(self._ends, place)
        buffer = self.buffers[index]
        return buffer[place - self._ends[index] + len(buffer)]

    def flat(self) -> "Part":
        """Returns the buffer if there is only one, which is read sooner."""
        return self.buffers[0] if len(self.buffers) == 1 else self

    def cut(self, start: int, end: int) -> "Buffers":
        """Returns the bytes from ``start`` to before ``end``, without copying them."""
        return Buffers(self._between(start, end))

    def _between(self, start: int, end: int) -> list[bytes | memoryview]:
        found: list[bytes | memoryview] = []
        index = bisect_right(self._ends, start)
        while start < end:
            buffer = self.buffers[index]
            place = start - self._ends[index] + len(buffer)
            stop = min(len(buffer), place + end - start)
            whole = not place and stop == len(buffer)
            found.append(buffer if whole else memoryview(buffer)[place:stop])
            start += stop - place
            index += 1
        return found


# The bytes of a message.
Payload: TypeAlias = bytes | Buffers
# The bytes of a part of one.
Part: TypeAlias = bytes | memoryview | Buffers
# The same, to look a type up.
SERIALIZED = frozenset({bytes, Buffers})


def part_of(data: Part, start: int, end: int) -> "memoryview | Buffers":
    """Returns the bytes from ``start`` to before ``end``, without copying them."""
    return data.cut(start, end) if isinstance(data, Buffers) else memoryview(data)[start:end]


def pieces_of(payload: Payload, start: int, end: int) -> "list[bytes | memoryview]":
    """Returns a part of a payload, without copying it."""
    if isinstance(payload, Buffers):
        return payload.cut(start, end).buffers
    return [payload if not start and end == len(payload) else memoryview(payload)[start:end]]


def joined(payload: Part) -> bytes:
    """Returns a payload as bytes; a copy, unless it is bytes already."""
    return payload if type(payload) is bytes else bytes(payload)
