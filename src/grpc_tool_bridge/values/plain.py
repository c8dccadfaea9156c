"""Converts subclasses, look-alikes and objects with fields to plain data, anywhere in a value.

Also checks the value's shape: the result has no cycles, no excessive depth and no endless sharing.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import is_
from typing import Any

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.optional import is_subclass_of_data
from grpc_tool_bridge.rpc.nodes import too_many_nodes
from grpc_tool_bridge.values.conversions import plain_data
from grpc_tool_bridge.values.exactness import is_json_exact
from grpc_tool_bridge.values.foreign import foreign, has_own_access
from grpc_tool_bridge.values.guarded import Declares, format_of, nowhere, plain_of, refused
from grpc_tool_bridge.values.jsontext import MAX_ITEMS, too_deep, too_many
from grpc_tool_bridge.values.records import fields_of
from grpc_tool_bridge.values.rows import is_data, is_iterator, row_of

_LEAVES = frozenset({str, int, float, bool, type(None), bytes})
_SEQUENCES = (list, tuple, set, frozenset)

# The default limit of what an iterator may yield: that of a message.
ITERATOR_BYTES = 10 * 1024 * 1024

# Items that may be converted in an event loop, and then written as RichValue, at some µs each.
_ITEMS_IN_LOOP = 5_000

# How many levels of containers in a result are searched for iterators.
_READ_DEPTH = 100

# The minimum size of an item in a message.
_ITEM_BYTES = 2
_DIGIT_BITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a value is written.

    Attributes:
        max_depth: Levels of nested containers allowed.
        output: Whether it is a result, in which objects with fields are written in their output form.
        declares: Returns whether the receiver declares a format at a path.
        max_bytes: Maximum bytes of a message, which also limits what an iterator may yield.
        strict: Whether a class without a form is refused; otherwise it becomes its ``str``.
        max_nodes: Elements, keys, texts and numbers allowed; None for any.
    """

    max_depth: int = 100
    output: bool = False
    declares: Declares = nowhere
    max_bytes: int = ITERATOR_BYTES
    strict: bool = False
    max_nodes: int | None = None


def to_plain(value: Any, how: Writing, is_registered: Callable[[type], bool]) -> Any:
    """Converts a value to plain data at every level; containers may be copied.

    Args:
        value: Any value.
        how: How it is written.
        is_registered: Returns whether a class has a codec; its instances stay as they are.

    Raises:
        SerializationError: It is nested too deep, contains itself, is too large once written out, or something in it
        has neither plain data nor another form, or does not fit in its place.
        MessageTooLargeError: An iterator yields more than fits in a message.
        Exception: What an iterator raises.
        ForeignCodeError: Foreign code would run in an event loop.
    """
    return _Walk(how, is_registered).visit(value, 0)


def read_iterators(value: Any, *, max_bytes: int) -> Any:
    """Replaces iterators in a value, and in exact lists, tuples and dicts in it, by lists of their items.

    Raises:
        MessageTooLargeError: One yields more than ``max_bytes``.
        ForeignCodeError: This is an event loop's thread.
    """
    if type(value) is list or type(value) is dict:
        with contextlib.suppress(SerializationError):
            if is_json_exact(value, max_depth=_READ_DEPTH):
                return value
    return _Reader(max_bytes).read(value, 0)


class _Reader:
    """Reads the iterators of one value, each once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # The items of each iterator, stored with the iterator, whose id is unique while it lives.
        self._known: dict[int, tuple[Any, list[Any]]] = {}
        # Likewise containers: one that appears several times is visited once.
        self._containers: dict[int, tuple[Any, Any]] = {}

    def read(self, value: Any, depth: int) -> Any:
        """Reads one value at some depth of containers; values that are too deep are left for the writer to refuse."""
        kind: Any = type(value)
        if kind in _LEAVES or depth > _READ_DEPTH:
            return value
        if kind is list or kind is tuple:
            if set(map(type, value)) <= _LEAVES:
                return value
            return self._container(value, kind, value, depth)
        if kind is dict:
            if set(map(type, value.values())) <= _LEAVES:
                return value
            return self._container(value, lambda items: dict(zip(value, items, strict=True)), value.values(), depth)
        return self.iterated(value) if is_iterator(kind) else value

    def _container(self, value: Any, made_of: Callable[[list[Any]], Any], parts: Any, depth: int) -> Any:
        known = self._containers.get(id(value))
        if known is not None:
            return known[1]
        items = [self.read(item, depth + 1) for item in parts]
        made = value if all(map(is_, items, parts)) else made_of(items)
        self._containers[id(value)] = value, made
        return made

    def iterated(self, iterator: Any) -> list[Any]:
        """Returns the items of an iterator."""
        known = self._known.get(id(iterator))
        if known is not None:
            return known[1]
        foreign(iterator)
        items: list[Any] = []
        size = 0
        for item in iterator:
            size += least_bytes(item)
            if size > self._max_bytes:
                name = f"what an iterator yields ({type(iterator).__name__})"
                raise MessageTooLargeError.of(name, size, self._max_bytes)
            items.append(item)
        self._known[id(iterator)] = iterator, items
        return items


class _Walk:
    """One walk over one value."""

    def __init__(self, how: Writing, is_registered: Callable[[type], bool]) -> None:
        self._how = how
        self._is_registered = is_registered
        self._above: set[int] = set()
        self._path: list[Any] = []
        self._items = 0
        self._iterators = _Reader(how.max_bytes)

    def visit(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _LEAVES:
            return value
        if kind is dict or kind in _SEQUENCES:
            return self._enter(value, depth + 1)
        if self._is_registered(kind):
            return value
        plain = self._plain(value, kind)
        if plain is value:
            return value
        if id(value) in self._above:
            raise too_deep()
        self._above.add(id(value))
        plain = self.visit(plain, depth)
        self._above.discard(id(value))
        return plain

    def _plain(self, value: Any, kind: type) -> Any:
        """Returns ``value`` as plain data, one level deep; itself if it has no plain data."""
        guard = format_of(kind)
        if guard:
            if not self._how.declares(self._path, guard):
                raise refused(value, guard)
            return plain_of(value, guard)
        if is_iterator(kind):
            # It raises what the user's code raises.
            return self._iterators.iterated(value)
        try:
            if is_data(kind):
                if is_subclass_of_data(kind):
                    foreign(value)
                return plain_data(value)
            if has_own_access(kind):
                foreign(value)
            fields = fields_of(kind)
            if fields is not None:
                return fields(value, self._how.output)
            row = row_of(kind)
            return value if row is None else row(value)
        except (SerializationError, MessageTooLargeError):
            raise
        except Exception as failure:
            raise SerializationError(
                f"the plain data of a {kind.__name__} cannot be read: {type(failure).__name__}: {failure}"
            ) from failure

    def _enter(self, value: Any, depth: int) -> Any:
        if depth > self._how.max_depth or id(value) in self._above:
            raise too_deep()
        self._items += len(value)
        if self._items > _ITEMS_IN_LOOP:
            foreign(value)
            if self._how.max_nodes is not None and self._items > self._how.max_nodes:
                raise too_many_nodes(f"a {type(value).__name__}", self._items, self._how.max_nodes, counted_all=False)
            if self._items > MAX_ITEMS:
                raise too_many(MAX_ITEMS)
        self._above.add(id(value))
        self._path.append(None)
        copy = self._copy_dict(value, depth) if type(value) is dict else self._copy_sequence(value, depth)
        self._path.pop()
        self._above.discard(id(value))
        return copy

    def _copy_sequence(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if set(map(type, value)) <= _LEAVES:
            return value
        copies = []
        for index, item in enumerate(value):
            self._path[-1] = index
            copies.append(self.visit(item, depth))
        return _built(kind, copies, len(value))

    def _copy_dict(self, value: dict[Any, Any], depth: int) -> Any:
        if set(map(type, value)) <= _LEAVES and set(map(type, value.values())) <= _LEAVES:
            return value
        copies = []
        for key, item in value.items():
            name = self.visit(key, depth)
            self._path[-1] = name
            copies.append((name, self.visit(item, depth)))
        return _built(dict, copies, len(value))


def least_bytes(item: Any) -> int:
    """Returns the minimum size of an item in a message."""
    kind: Any = type(item)
    # By the base's method: a subclass may override it.
    if issubclass(kind, str):
        return str.__len__(item) + _ITEM_BYTES
    if issubclass(kind, bytes):
        return bytes.__len__(item) + _ITEM_BYTES
    if issubclass(kind, int):
        return int(int.bit_length(item)) // _DIGIT_BITS + _ITEM_BYTES
    # Looked up on the class, since a frame would look for a column.
    if is_data(kind) and hasattr(kind, "nbytes") and not is_subclass_of_data(kind):
        return int(item.nbytes) + _ITEM_BYTES
    return _ITEM_BYTES


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
