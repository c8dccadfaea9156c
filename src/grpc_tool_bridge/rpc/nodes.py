"""Counts the nodes of a message from its bytes, before it is parsed.

A few bytes may become a Python object, and ten megabytes of them five million: parsing takes seconds, in which nothing
else runs. So each field, element, key, text and number of a message counts as one *node*, and a message of too many is
refused unread. A message with fewer than two bytes for each allowed node need not be counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.rpc.buffers import Buffers, Part, Payload, joined
from grpc_tool_bridge.rpc.wireformat import FIXED32, FIXED64, LENGTH, MORE, TYPE_PREFIX, VARINT, read_varint

M = TypeVar("M", bound=Message)

MAX_NODES = 250_000

# The minimum size of a node: in protobuf a tag and a number or length, in JSON an element and its comma.
NODE_BYTES = 2

# A message up to this size cannot have too many nodes.
UNCOUNTED_BYTES = MAX_NODES * NODE_BYTES

# Larger values are read in a thread: for models with few fields, this many bytes block a loop for some 20 ms.
SLOW_BYTES = 16 * 1024

# A text is read quickly, but may be declared as an address or a datetime, which takes longer to check.
SLOW_TEXT_BYTES = 256 * 1024
_TEXT = TYPE_PREFIX + "google.protobuf.StringValue"

# These are read without parsing, at any size.
_FLAT = frozenset(TYPE_PREFIX + name for name in ("google.protobuf.BytesValue", "dspex.bridge.Tensor"))

_BETWEEN_QUOTES = b'"'
_SPACE = b" \t\r\n"
_STRUCTURE = b",:[{"


def too_many_nodes(what: str, count: int, limit: int, *, counted_all: bool = True) -> MessageTooLargeError:
    """Returns the error for a message of too many nodes.

    Args:
        what: The message, such as "the result of add".
        count: How many nodes were counted.
        limit: How many nodes it may have.
        counted_all: Whether ``count`` is the total.
    """
    number = f"{count:,}" if counted_all else f"more than {limit:,}"
    return MessageTooLargeError(
        f"message too large: {what} has {number} nodes (each element, key, text and number is one), the limit is "
        f"{limit:,} (max_message_nodes); send arrays or frames, split it, or run the tool with executor='process'",
        details={"nodes": str(count), "limit": str(limit)},
    )


def check_message(data: bytes | memoryview, cls: type[Message], what: str, limit: int = MAX_NODES) -> None:
    """Refuses a message of too many nodes; the contents of values (Any) do not count.

    Args:
        data: The serialized message.
        cls: Its class.
        what: Its name in error texts.
        limit: How many nodes it may have.

    Raises:
        MessageTooLargeError: It has more.
        SerializationError: It cannot be read.
    """
    if len(data) > limit * NODE_BYTES:
        _Count(what, limit).of_message(data, 0, len(data), _layout(cls.DESCRIPTOR))


def read_message(cls: type[M], data: Payload, what: str, limit: int = MAX_NODES) -> M:
    """Parses a message unless it has too many nodes; raises as ``check_message``, and protobuf's DecodeError."""
    whole = joined(data)
    check_message(whole, cls, what, limit)
    return cls.FromString(whole)


def check_value(type_url: str, payload: Part, what: str, limit: int) -> int:
    """Refuses a value of too many nodes.

    Args:
        type_url: Of the Any.
        payload: Its bytes.
        what: Its name in error texts.
        limit: How many nodes it may have.

    Returns:
        The number of its nodes; 0 if they were not counted, because it cannot have too many.

    Raises:
        MessageTooLargeError: It has more.
        SerializationError: It cannot be read.
    """
    if len(payload) <= limit * NODE_BYTES:
        return 0
    count = _Count(what, limit)
    count.of_value(type_url, payload, 0, len(payload))
    return count.nodes


def check_values(values: Sequence[tuple[str, Part]], what: str, limit: int) -> None:
    """Refuses values, each a type URL and its bytes, with too many nodes in total; raises as ``check_value``."""
    if sum(len(payload) for _, payload in values) <= limit * NODE_BYTES:
        return
    count = _Count(what, limit)
    for type_url, payload in values:
        count.of_value(type_url, payload, 0, len(payload))


def is_slow(type_url: str, payload: Part) -> bool:
    """Returns whether reading a value may take too long for an event loop."""
    size = len(payload)
    return size > SLOW_BYTES and type_url not in _FLAT and (size > SLOW_TEXT_BYTES or type_url != _TEXT)


def json_nodes(text: bytes, most: int) -> int:
    """Counts the nodes of a JSON text.

    Args:
        text: UTF-8 bytes. If it is not JSON, the count is right up to the first error.
        most: Once there are more strings than this, their contents may count as well.

    Returns:
        The number of its elements, keys, texts and numbers.
    """
    # Each node but the first follows one of these characters, outside of strings.
    count = 1 + len(text) - len(text.translate(None, _STRUCTURE))
    if count <= most:
        return count
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = text.count(_BETWEEN_QUOTES) // 2
    if strings > most:
        return max(strings, count)
    if strings:
        # Replace strings instead of removing them: a list of one string is not empty.
        text = b"0".join(text.split(_BETWEEN_QUOTES)[::2])
    text = text.translate(None, _SPACE)
    empty = text.count(b"[]") + text.count(b"{}")
    return 1 + len(text) - len(text.translate(None, _STRUCTURE)) - empty


@dataclass(slots=True)
class _Layout:
    """The layout of a message's fields.

    Attributes:
        parts: The fields that are messages, by tag; None for a list of numbers, packed into one field.
        wraps: Whether the message only wraps its one field, so that both count as one node.
        is_any: Whether it is an Any, whose value is a message itself.
    """

    parts: dict[int, "_Layout | None"] = field(default_factory=dict)
    wraps: bool = False
    is_any: bool = False


_WRAPPERS = frozenset({"google.protobuf.Value", "dspex.bridge.RichValue"})
# Sizes of a message of one field: a double, and a number below 128 or a bool.
_BYTES_OF_FIXED = 9
_BYTES_OF_SMALL = 2
_ANY = "google.protobuf.Any"
_TYPE_URL_TAG = 1 << 3 | LENGTH
_VALUE_TAG = 2 << 3 | LENGTH


@cache
def _layout(descriptor: Descriptor) -> _Layout:
    return _laid_out(descriptor, {})


def _laid_out(descriptor: Descriptor, known: dict[str, _Layout]) -> _Layout:
    name = descriptor.full_name
    if name in known:
        return known[name]
    is_entry = descriptor.GetOptions().map_entry
    layout = known[name] = _Layout(wraps=name in _WRAPPERS or is_entry, is_any=name == _ANY)
    for each in descriptor.fields:
        tag = each.number << 3 | LENGTH
        if each.message_type is not None:
            layout.parts[tag] = _laid_out(each.message_type, known)
        elif each.is_packed and each.cpp_type != FieldDescriptor.CPPTYPE_STRING:
            layout.parts[tag] = None
    return layout


class _Count:
    """Counts the nodes of one message, up to the limit.

    Args:
        what: Its name in error texts.
        limit: How many nodes it may have.
    """

    def __init__(self, what: str, limit: int) -> None:
        self.nodes = 0
        self._what = what
        self._limit = limit

    def of_message(
        self, data: bytes | memoryview, start: int, end: int, layout: _Layout, *, opens_any: bool = False
    ) -> None:
        """Counts the nodes of a message in ``data``; with ``opens_any``, also those of the values of Any."""
        waiting = [(start, end, layout)]
        try:
            while waiting:
                place, end, layout = waiting.pop()
                if layout.is_any and opens_any:
                    self._of_any(data, place, end, waiting)
                else:
                    self._of_fields(data, place, end, layout.parts, waiting)
        except IndexError:
            raise SerializationError(f"{self._what} cannot be read: it breaks off within a field") from None

    def _of_fields(  # noqa: C901, PLR0912 - a call for each field would take twice as long
        self,
        data: bytes | memoryview,
        place: int,
        end: int,
        parts: Mapping[int, _Layout | None],
        waiting: list[tuple[int, int, _Layout]],
    ) -> None:
        nodes, limit = self.nodes, self._limit
        while place < end:
            tag = data[place]
            place += 1
            if tag >= MORE:
                tag, place = read_varint(data, place - 1)
            kind = tag & 7
            nodes += 1
            if kind == LENGTH:
                size = data[place]
                place += 1
                if size >= MORE:
                    size, place = read_varint(data, place - 1)
                if tag in parts and size:
                    part = parts[tag]
                    if part is None:
                        nodes += size - 1
                    elif not (part.wraps and _is_leaf(data, place, size, part.parts)):
                        nodes -= part.wraps
                        waiting.append((place, place + size, part))
                place += size
            elif kind == VARINT:
                while data[place] >= MORE:
                    place += 1
                place += 1
            elif kind in (FIXED64, FIXED32):
                place += 8 if kind == FIXED64 else 4
            else:
                raise SerializationError(f"{self._what} cannot be read: it has a field of the unknown wire type {kind}")
            if nodes > limit:
                raise too_many_nodes(self._what, nodes, limit, counted_all=False)
        if place > end:
            raise SerializationError(f"{self._what} cannot be read: a field is {place - end:,} bytes short")
        self.nodes = nodes

    def _of_any(self, data: bytes | memoryview, place: int, end: int, waiting: list[tuple[int, int, _Layout]]) -> None:
        """Counts the value of an Any."""
        found: dict[int, tuple[int, int]] = {}
        while place < end:
            tag, place = read_varint(data, place)
            size, place = read_varint(data, place)
            # Any other form could be read as different values.
            if tag not in (_TYPE_URL_TAG, _VALUE_TAG) or tag in found or place + size > end:
                raise SerializationError(f"{self._what} cannot be read: an Any in it has more than a type and a value")
            found[tag] = place, place + size
            place += size
        first, last = found.get(_TYPE_URL_TAG, (end, end))
        type_url = str(data[first:last], "utf-8", "replace")
        self.of_value(type_url, data, *found.get(_VALUE_TAG, (end, end)), waiting)

    def of_value(
        self,
        type_url: str,
        data: Part,
        start: int,
        end: int,
        waiting: list[tuple[int, int, _Layout]] | None = None,
    ) -> None:
        """Counts a value in ``data``; its messages are added to ``waiting`` if that is given."""
        name = type_url.rpartition("/")[2]
        if name == "dspex.bridge.Json":
            self._add(json_nodes(bytes(data[start:end]), self._limit))
            return
        layout = _layouts().get(name)
        if layout is None:
            # A scalar, an array, a frame, or a value with a codec.
            self._add(1)
        elif waiting is not None:
            self._add(not layout.wraps)
            waiting.append((start, end, layout))
        else:
            self._add(not layout.wraps)
            whole = bytes(data) if isinstance(data, Buffers) else data
            self.of_message(whole, start, end, layout, opens_any=True)

    def _add(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > self._limit:
            raise too_many_nodes(self._what, self.nodes, self._limit)


def _is_leaf(data: bytes | memoryview, place: int, size: int, parts: Mapping[int, _Layout | None]) -> bool:
    """Returns whether a message is one field that is not a message; may return False for some of these."""
    tag = data[place]
    kind = tag & 7
    if kind == LENGTH:
        return tag not in parts and size > 1 and data[place + 1] == size - 2 < MORE
    return size == _BYTES_OF_FIXED if kind == FIXED64 else kind == VARINT and size == _BYTES_OF_SMALL


@cache
def _layouts() -> dict[str, _Layout]:
    from google.protobuf import struct_pb2  # noqa: PLC0415 - only large values need it

    from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue  # noqa: PLC0415 - likewise

    classes: tuple[Any, ...] = (struct_pb2.Value, struct_pb2.ListValue, struct_pb2.Struct, RichValue)
    return {cls.DESCRIPTOR.full_name: _layout(cls.DESCRIPTOR) for cls in classes}
