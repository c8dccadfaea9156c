"""Splits bytes into lines, of which it never holds more than a limit."""

from collections.abc import Iterator
from dataclasses import dataclass

# What is kept of both ends of a line that is too long.
END_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line over the limit.

    Attributes:
        size: Its bytes.
        head, tail: Its first and its last bytes, up to ``END_BYTES`` each.
    """

    size: int
    head: bytes
    tail: bytes


class EndlessLineError(Exception):
    """A line is far over the limit, and has no end."""


class LineSplitter:
    """Splits what is read, without I/O.

    Args:
        limit: Bytes of one line; of a longer one only the ends are kept.
        most: Bytes of a line at which it is given up; None: it is skipped until it ends.
    """

    def __init__(self, limit: int, most: int | None = None) -> None:
        self._limit = limit
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0
        self._head = self._tail = b""

    def feed(self, data: bytes) -> Iterator[bytes | LongLine]:
        """Takes bytes; yields the lines that are complete with them, without their ends.

        Raises:
            EndlessLineError: The line that has begun is given up.
        """
        *lines, rest = data.split(b"\n")
        for line in lines:
            if not self._size and len(line) <= self._limit:
                yield line
            else:
                self._keep(line)
                yield self._take()
        if rest:
            self._keep(rest)
            if self._most is not None and self._size > self._most:
                raise EndlessLineError(f"a line of over {self._size:,} bytes")

    def end(self) -> Iterator[bytes | LongLine]:
        """Yields the last line, if it has no end."""
        if self._size:
            yield self._take()

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._limit:
            self._parts.append(part)
            return
        whole = b"".join([*self._parts, part])
        self._parts.clear()
        self._head += whole[: END_BYTES - len(self._head)]
        self._tail = (self._tail + whole[-END_BYTES:])[-END_BYTES:]

    def _take(self) -> bytes | LongLine:
        is_long = self._size > self._limit
        made = LongLine(self._size, self._head, self._tail) if is_long else b"".join(self._parts)
        self._parts.clear()
        self._head = self._tail = b""
        self._size = 0
        return made
