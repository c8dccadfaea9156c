"""Lists that are read page by page while entries are added and removed.

A page continues after the last entry of the page before, by its position in the order. So an entry that exists all the
time is listed exactly once.
"""

import base64
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any, Generic, TypeVar

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.bounds import shown

T = TypeVar("T")
M = TypeVar("M")

# The position of an entry in its list: a number, and a text to order entries with the same number.
Position = tuple[float, str]

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
# Of the entries of one page, unless it has only one: so an answer has fewer nodes than a client accepts.
MAX_PAGE_BYTES = 1024 * 1024

# While the first entries are searched for, this many are held for each that is wanted.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """One page of a list.

    Attributes:
        entries: Its entries, in order.
        next_token: The token of the next page; empty on the last page.
    """

    entries: list[M]
    next_token: str


def _message_bytes(message: Any) -> int:
    size: int = message.ByteSize()
    return size


async def page_of(
    entries: Iterable[T],
    position: Callable[[T], Position],
    write: Callable[[T], M | None],
    *,
    what: str,
    token: str,
    size: int,
    bytes_of: Callable[[M], int] = _message_bytes,
) -> Page[M]:
    """Returns one page of a list; yields to other tasks if the list is long.

    Args:
        entries: The whole list, in any order; it may change while it is iterated.
        position: Returns the position of an entry, which must be unique and never change.
        write: Returns what is listed for an entry, such as a message; None if the entry is gone.
        what: The name of the list, for its tokens.
        token: ``next_token`` of the page before; empty: the first page.
        size: Maximum number of entries; 0: 100; capped at 1,000.
        bytes_of: Returns the bytes of what is listed for an entry.

    Raises:
        ValidationError: The token or the size is not valid.
    """
    size = checked_size(size)
    turns = Turns()
    first = await _first(entries, position, size + 1, _read(token, what) if token else None, turns)
    return await _page(first, write, what, size, turns, bytes_of)


async def page_in_order(
    entries_after: Callable[[Position | None], Iterable[T]],
    position: Callable[[T], Position],
    write: Callable[[T], M | None],
    *,
    what: str,
    token: str,
    size: int,
) -> Page[M]:
    """Returns one page of a list that is kept in order, without going through the entries before it.

    Args:
        entries_after: Returns the entries after a position, in order; for None, all.
        position: As for ``page_of``, and so are the rest, and the errors.
        write: Likewise.
        what: Likewise.
        token: Likewise.
        size: Likewise.
    """
    size = checked_size(size)
    after = _read(token, what) if token else None
    first = [(position(entry), entry) for entry in islice(entries_after(after), size + 1)]
    return await _page(first, write, what, size, Turns(), _message_bytes)


def names_of_page(names: Sequence[str], *, what: str, token: str, size: int) -> tuple[Sequence[str], str]:
    """Returns one page of a list of names.

    Args:
        names: The whole list, in ascending order.
        what: As for ``page_of``, and so are the rest, and the errors.
        token: Likewise.
        size: Likewise.

    Returns:
        The names of the page, and the token of the next one; empty on the last page.
    """
    size = checked_size(size)
    start = bisect_right(names, _read(token, what)[1]) if token else 0
    page = names[start : start + size]
    return page, _write(what, (0, page[-1])) if start + size < len(names) else ""


def checked_size(size: int) -> int:
    """Returns how many entries a page may have if so many were asked for; raises ValidationError."""
    if size < 0:
        raise ValidationError(
            f"page_size must be 0 (the default, {DEFAULT_PAGE_SIZE}) or more, not {size}",
            details={"field": "page_size"},
        )
    return min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


async def _page(
    first: Sequence[tuple[Position, T]],
    write: Callable[[T], M | None],
    what: str,
    size: int,
    turns: Turns,
    bytes_of: Callable[[M], int],
) -> Page[M]:
    """Writes one page of the first entries, of which there is one more than fits if there are more."""
    written: list[M] = []
    room = MAX_PAGE_BYTES
    last: Position | None = None
    for at, entry in first:
        message = write(entry)
        room -= bytes_of(message) if message is not None else 0
        if last is not None and (room < 0 or len(written) == size):
            return Page(written, _write(what, last))
        if message is not None:
            written.append(message)
        last = at
        if turns.due:
            await turns.give()
    return Page(written, _write(what, last) if last is not None and len(first) > size else "")


async def _first(
    entries: Iterable[T], position: Callable[[T], Position], count: int, after: Position | None, turns: Turns
) -> list[tuple[Position, T]]:
    """Finds the first ``count`` entries after the position ``after``."""
    found: list[tuple[Position, T]] = []
    end: Position | None = None
    for entry in entries:
        at = position(entry)
        if (after is None or at > after) and (end is None or at < end):
            found.append((at, entry))
            if len(found) >= _KEPT * count:
                found.sort(key=itemgetter(0))
                del found[count:]
                end = found[-1][0]
        if turns.due:
            await turns.give()
    found.sort(key=itemgetter(0))
    return found[:count]


def _write(what: str, position: Position) -> str:
    return base64.urlsafe_b64encode(json.dumps([what, *position]).encode()).decode()


def _read(token: str, what: str) -> Position:
    try:
        read: Any = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        name, number, text = read
        # Any other token is not from this list.
        if name == what and type(number) in (int, float) and type(text) is str:
            return float(number), text
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise ValidationError(
        f"page_token {shown(token)} is not from the list of {what}; begin at the first page, with an empty page_token",
        details={"field": "page_token"},
    )
