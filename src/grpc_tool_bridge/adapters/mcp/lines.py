"""Splits the output of a process into lines, of which it never holds more than the limit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What is kept of both ends of a line that is too long: the id of the request that it answers is at one of them.
_ENDS = 4_096
_ID = rb'"id"\s*:\s*(?:(\d{1,18})|"([^"\\]{1,200})")'
_HEAD = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID)
_TAIL = re.compile(_ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line over the limit.

    Attributes:
        size: Its bytes.
        request_id: The id of the message, if it is at one of its ends.
    """

    size: int
    request_id: int | str | None


class EndlessLineError(Exception):
    """A line is many times as long as the limit, and has no end."""


class Lines:
    """Splits what is read.

    Args:
        limit: Bytes of one line.
        patience: A line may have so many times the limit until it is given up.
    """

    def __init__(self, limit: int, patience: int = 16) -> None:
        self._limit = limit
        self._most = limit * patience
        self._parts: list[bytes] = []
        self._size = 0
        self._head = self._tail = b""

    def feed(self, data: bytes) -> Iterator[bytes | TooLong]:
        """Yields the lines that are complete with this piece, without their ends.

        Raises:
            EndlessLineError: The line that has begun is far too long.
        """
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            yield self._take()
            start = end + 1
        if start < len(data):
            self._keep(data[start:])
            if self._size > self._most:
                raise EndlessLineError(f"a line of over {self._size:,} bytes")

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._limit:
            self._parts.append(part)
            return
        if self._parts:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._head, self._tail = whole[:_ENDS], whole[-_ENDS:]
        if len(self._head) < _ENDS:
            self._head += part[: _ENDS - len(self._head)]
        self._tail = (self._tail + part[-_ENDS:])[-_ENDS:]

    def _take(self) -> bytes | TooLong:
        if self._size > self._limit:
            made: bytes | TooLong = too_long(self._size, self._head, self._tail)
        else:
            made = b"".join(self._parts)
        self._parts.clear()
        self._head = self._tail = b""
        self._size = 0
        return made


def answered_id(line: bytes) -> int | str | None:
    """Returns the id of the request that a message answers which cannot be read; None if it is no answer."""
    if b'"result"' not in line and b'"error"' not in line:
        return None
    return too_long(len(line), line, line).request_id


def too_long(size: int, head: bytes, tail: bytes) -> TooLong:
    """Describes a line that is refused by its size and its ends."""
    return TooLong(size, _request_id(_HEAD.match(head[:_ENDS]) or _TAIL.search(tail[-_ENDS:])))


def _request_id(found: re.Match[bytes] | None) -> int | str | None:
    if found is None:
        return None
    return int(found[1]) if found[1] is not None else found[2].decode("utf-8", "replace")
