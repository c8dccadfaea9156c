"""Clipped texts and ``repr``: a few thousand characters, even of a list of 100 MB."""

from collections.abc import Iterable
from typing import Any

from grpc_tool_bridge.errors.class_facts import exact_text

# Levels of nested containers that are written.
_MAX_LEVELS = 20

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}
_TEXTS = (str, bytes, bytearray)


def clipped(text: str, limit: int) -> str:
    """Returns the first ``limit`` characters of a text, and the number of the rest."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def clipped_repr(value: Any, limit: int) -> str:
    """Returns the first ``limit`` characters or some more of ``repr(value)``.

    Other values than Python's own containers and texts are asked for their whole ``repr``, which may raise anything.
    """
    parts: list[str] = []
    _write(value, limit, parts, _MAX_LEVELS)
    return "".join(parts)


def _write(value: Any, room: int, parts: list[str], levels: int) -> int:
    """Appends the parts of one value; returns the remaining room."""
    kind = type(value)
    if kind in _TEXTS:
        text = repr(value[:room] if len(value) > room else value)
    elif kind not in _BRACKETS or not value:
        text = exact_text(repr(value))[: room + 1]
    elif levels == 0:
        text = "..."
    else:
        return _write_items(value, room, parts, levels - 1)
    parts.append(text)
    return room - len(text)


def _write_items(value: Any, room: int, parts: list[str], levels: int) -> int:
    begin, end = _BRACKETS[type(value)]
    parts.append(begin)
    # Each item takes at least one character, and two more separate it from the next.
    items: Iterable[Any] = value.items() if type(value) is dict else value
    first = True
    for item in items:
        if not first:
            parts.append(", ")
            room -= 2
        first = False
        if room <= 0:
            parts.append("...")
            return room
        if type(value) is dict:
            room = _write(item[0], room, parts, levels)
            parts.append(": ")
            room = _write(item[1], max(room, 1), parts, levels)
        else:
            room = _write(item, room, parts, levels)
    parts.append(",)" if type(value) is tuple and len(value) == 1 else end)
    return room - len(begin) - len(end)
