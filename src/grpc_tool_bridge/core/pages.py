"""Lists that are read page by page while their entries come and go.

A page goes on after the last entry of the page before, by its place in the order. So an entry that is there all the
time is listed exactly once, whatever comes and goes meanwhile.
"""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.bounds import shown

T = TypeVar("T")
M = TypeVar("M", bound=Message)

# Where an entry is in the order of its list: a number and a text, which tells apart those of one number.
Place = tuple[float, str]

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
# Of the entries of one page, which are at least one: so a client counts fewer nodes than an answer may have.
MAX_PAGE_BYTES = 1024 * 1024

# Entries that are kept while the first of them are looked for, for each that is wanted.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """Some of the entries, in their order.

    Attributes:
        entries: These.
        next_token: Asks for those that follow; empty: there are none.
    """

    entries: list[M]
    next_token: str


async def page_of(
    entries: Iterable[T],
    place: Callable[[T], Place],
    write: Callable[[T], M | None],
    *,
    what: str,
    token: str,
    size: int,
) -> Page[M]:
    """Takes one page of a list; of a long one in slices, between which others have their turn.

    Args:
        entries: All of the list, in any order; it does not mind what changes between two of them.
        place: Gives the place of an entry, which no other has and which stays the same.
        write: Makes what is told of an entry; None where it is gone by now.
        what: Names the list, in its tokens.
        token: What the page before gave; empty: the first page.
        size: Entries at most; 0: 100; over 1,000 it is 1,000.

    Raises:
        ValidationError: The token or the size is none.
    """
    if size < 0:
        raise ValidationError(
            f"page_size is {size}; it is 0 (the default, {DEFAULT_PAGE_SIZE}) or more", details={"field": "page_size"}
        )
    size = min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    turns = Turns()
    first = await _first(entries, place, size + 1, _read(token, what) if token else None, turns)
    written: list[M] = []
    room = MAX_PAGE_BYTES
    last: Place | None = None
    for at, entry in first:
        message = write(entry)
        room -= message.ByteSize() if message is not None else 0
        if last is not None and (room < 0 or len(written) == size):
            return Page(written, _write(what, last))
        if message is not None:
            written.append(message)
        last = at
        if turns.due:
            await turns.give()
    return Page(written, _write(what, last) if last is not None and len(first) > size else "")


async def _first(
    entries: Iterable[T], place: Callable[[T], Place], count: int, after: Place | None, turns: Turns
) -> list[tuple[Place, T]]:
    """Finds the first ``count`` entries whose place is behind ``after``."""
    found: list[tuple[Place, T]] = []
    end: Place | None = None
    for entry in entries:
        at = place(entry)
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


def _write(what: str, place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps([what, *place]).encode()).decode()


def _read(token: str, what: str) -> Place:
    try:
        read: Any = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        name, number, text = read
        # Anything else is not what this list gave.
        if name == what and type(number) in (int, float) and type(text) is str:
            return float(number), text
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise ValidationError(
        f"page_token {shown(token)} is none that the list of {what} gave; begin with the first page, by an empty one",
        details={"field": "page_token"},
    )
