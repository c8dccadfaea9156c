"""Keeps a peer from filling a set or the keys of a dict with what has one hash, before pydantic builds it.

What the members will be, only their own schema knows: a text may become a number. So a large collection is first
checked in pieces, each too small to take long.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from pydantic_core import PydanticCustomError, ValidationError

from grpc_tool_bridge.tools.rewriting import Schema, around
from grpc_tool_bridge.values.hashes import MAX_SAME_HASH, have_same_hash, same_hashes

# So many of one hash take a millisecond.
_PIECE = 256

_COLLECTIONS = (list, tuple, set, frozenset, dict)


def bounds_hashes(node: Schema) -> Schema:
    """Makes the core schema of a set, a frozenset or a dict refuse too many members or keys of one hash.

    Its parts have been rewritten already.
    """
    return around(_checked, node)


def _checked(value: Any, check: Callable[[Any], Any]) -> Any:
    if isinstance(value, _COLLECTIONS) and len(value) > _PIECE:
        _refuse_same_hashes(value, check)
    return check(value)


def _refuse_same_hashes(value: Any, check: Callable[[Any], Any]) -> None:
    found: list[Any] = []
    seen = 0
    for piece in _pieces(value):
        seen += len(piece)
        try:
            read = check(piece)
        except ValidationError:
            if not _have_same_hash(found):
                # Told of all up to here, so that the places are right; what comes after is not looked at.
                check(_made_like(value, islice(_items(value), seen)))
            break
        if _have_same_hash(read):
            raise _refusal()
        found.extend(read)
    if _have_same_hash(found):
        raise _refusal()


def _have_same_hash(items: Any) -> bool:
    suspects = same_hashes(items)
    return bool(suspects) and have_same_hash(items, suspects)


def _pieces(value: Any) -> Iterator[Any]:
    items = iter(_items(value))
    while piece := _made_like(value, islice(items, _PIECE)):
        yield piece


def _items(value: Any) -> Iterable[Any]:
    return value.items() if isinstance(value, dict) else value


def _made_like(value: Any, items: Iterable[Any]) -> Any:
    # A model that is strict takes no list for a set.
    make: Any = next(kind for kind in _COLLECTIONS if isinstance(value, kind))
    return make(items)


def _refusal() -> PydanticCustomError:
    return PydanticCustomError(
        "same_hash",
        "has more than {most} members or keys of one hash, which takes too long to tell apart; declare a list instead",
        {"most": MAX_SAME_HASH},
    )
