"""Dataclasses, models, enums and plain sequences as plain data, wherever they stand in a value.

On the way the value's shape is checked: whoever walks the result need not fear cycles, depth or endless sharing.
"""

import dataclasses
import enum
import sys
from collections.abc import Callable, Sequence
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.wire.jsontext import MAX_ITEMS, too_deep, too_many

_LEAVES = frozenset({str, int, float, bool, type(None), bytes})
_SEQUENCES = (list, tuple, set, frozenset)
# A subclass of these is a class of its own, such as a named tuple.
_OWN_SUBCLASSES = (str, bytes, bytearray, list, tuple, memoryview)
_MISSING = object()


def to_plain(value: Any, *, max_depth: int, is_registered: Callable[[type], bool]) -> Any:
    """Replaces what stands for plain data by that data, at every level.

    Args:
        value: Any value.
        max_depth: Levels of containers allowed.
        is_registered: Tells classes that have a codec; they stay as they are.

    Returns:
        The value; containers in it may be copies.

    Raises:
        SerializationError: It is nested too deep, contains itself, is too large once written out, or its plain data
            cannot be had or does not fit where it stands.
    """
    return _Walk(max_depth, is_registered).visit(value, 0)


class _Walk:
    """One walk over one value."""

    def __init__(self, max_depth: int, is_registered: Callable[[type], bool]) -> None:
        self._max_depth = max_depth
        self._is_registered = is_registered
        self._above: set[int] = set()
        self._items = 0

    def visit(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _LEAVES:
            return value
        if kind is dict or kind in _SEQUENCES:
            return self._enter(value, depth + 1)
        data = _MISSING if self._is_registered(kind) else _plain_data(value)
        if data is _MISSING:
            return value
        if id(value) in self._above:
            raise too_deep()
        self._above.add(id(value))
        plain = self.visit(data, depth)
        self._above.discard(id(value))
        return plain

    def _enter(self, value: Any, depth: int) -> Any:
        if depth > self._max_depth or id(value) in self._above:
            raise too_deep()
        self._items += len(value)
        if self._items > MAX_ITEMS:
            raise too_many(MAX_ITEMS)
        self._above.add(id(value))
        copy = self._copy_dict(value, depth) if type(value) is dict else self._copy_sequence(value, depth)
        self._above.discard(id(value))
        return copy

    def _copy_sequence(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if set(map(type, value)) <= _LEAVES:
            return value
        return _built(kind, [self.visit(item, depth) for item in value], len(value))

    def _copy_dict(self, value: dict[Any, Any], depth: int) -> Any:
        if set(map(type, value)) <= _LEAVES and set(map(type, value.values())) <= _LEAVES:
            return value
        return _built(
            dict, [(self.visit(key, depth), self.visit(item, depth)) for key, item in value.items()], len(value)
        )


def _built(kind: Any, items: list[Any], length: int) -> Any:
    try:
        container = kind(items)
    except TypeError as failure:
        raise SerializationError(
            f"the plain data of something in a {kind.__name__} cannot be a key or member ({failure}); "
            "register a codec for its class"
        ) from failure
    if len(container) != length:
        raise SerializationError(
            f"two keys or members of a {kind.__name__} have the same plain data; register a codec for their class"
        )
    return container


def _plain_data(value: Any) -> Any:
    """Gives the plain data that ``value`` stands for, one level deep, or _MISSING."""
    kind = type(value)
    try:
        if isinstance(value, enum.Enum):
            return value.value
        if dataclasses.is_dataclass(kind):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
        pydantic = sys.modules.get("pydantic")
        if pydantic is not None and isinstance(value, pydantic.BaseModel):
            return value.model_dump()
        if kind is bytearray or kind is memoryview:
            return bytes(value)
        if isinstance(value, Sequence) and not isinstance(value, _OWN_SUBCLASSES):
            return _listed(value)
    except SerializationError:
        raise
    except Exception as failure:
        raise SerializationError(
            f"the plain data of a {kind.__name__} cannot be had: {type(failure).__name__}: {failure}"
        ) from failure
    return _MISSING


def _listed(value: Sequence[Any]) -> list[Any]:
    # A range can be longer than memory.
    if len(value) > MAX_ITEMS:
        raise too_many(MAX_ITEMS)
    return list(value)
