"""How many values the data of a message will have, counted in its bytes before it is parsed.

Two bytes can be a message in a message, and one with a hundred fields becomes a dict of a hundred values: ten megabytes
would take gigabytes. What is always in the data counts, whether it was sent or not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from grpc_tool_bridge.adapters.grpc.fields import MESSAGES, form_of, has_presence, is_repeated, message_of
from grpc_tool_bridge.adapters.grpc.types import Types
from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.rpc.wireformat import FIXED32, FIXED64, LENGTH, MORE, VARINT, read_varint

MAX_VALUES = 1_000_000
"""The values of one response; a hub refuses results of a quarter of them, unless its settings say otherwise."""

_GROUP, _GROUP_END = 3, 4
# What a field takes at least: a tag, and a number or a length.
_FIELD_BYTES = 2
# Messages of a type that refers to more others are always counted.
_MAX_TYPES = 1_000
_URL_TAG, _VALUE_TAG = 1 << 3 | LENGTH, 2 << 3 | LENGTH
_SIZED = {FIXED64: 8, FIXED32: 4}
# Those that are dicts of their fields if they are not valid.
_WITH_DICTS = frozenset({"Timestamp", "Duration"})
_DICT_OF_TWO = 3
_NEVER_PACKED = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})


@dataclass(slots=True)
class _Weight:
    """What one type counts.

    Attributes:
        own: The values in the data of every message of the type.
        parts: The types of the fields that hold messages, by their numbers.
        packed: Numbers of the fields that hold lists of numbers, which may be one field of the message.
        single: Numbers of the fields that hold one message.
        is_any: Whether it is an Any, whose value is a message.
    """

    own: int = 0
    parts: dict[int, Descriptor] = field(default_factory=dict)
    packed: set[int] = field(default_factory=set)
    single: set[int] = field(default_factory=set)
    is_any: bool = False


_UNKNOWN = _Weight()


class Weights:
    """Counts the values of messages.

    Args:
        types: The types of the service.
    """

    def __init__(self, types: Types) -> None:
        self._types = types
        self._made: dict[Descriptor, _Weight] = {}

    def excess_of(self, descriptor: Descriptor, limit: int) -> Callable[[bytes], bool]:
        """Returns a function that says whether a message of a type has more values than a limit.

        It raises DecodeError if the message cannot be read.
        """
        heaviest, has_any = self._heaviest(descriptor)
        own = self._weight(descriptor).own
        uncounted = -1 if has_any else (limit - own) * _FIELD_BYTES // (heaviest + 1)

        def exceeds(data: bytes) -> bool:
            return len(data) > uncounted and self.count(data, descriptor, limit, once=has_any) > limit

        return exceeds

    def count(self, data: bytes, descriptor: Descriptor, limit: int, *, once: bool = False) -> int:
        """Counts the values of a message; where there are more than ``limit``, only some of them.

        Args:
            data: The message.
            descriptor: Its type.
            limit: After so many, no more are counted.
            once: Whether a field for one message must not come twice: its parts would be joined, so that an Any could
                get its type from one and its value from the other.

        Raises:
            DecodeError: The message cannot be read.
        """
        try:
            return _Count(self._weight, self._types, limit, once=once).of_message(data, descriptor)
        except (IndexError, SerializationError):
            raise DecodeError("it breaks off within a field") from None

    def _heaviest(self, root: Descriptor) -> tuple[int, bool]:
        """Returns what a message that is part of another can count at most, and whether an Any may be among them."""
        seen = {root}
        waiting = [root]
        heaviest = 1
        while waiting:
            weight = self._weight(waiting.pop())
            heaviest = max(heaviest, weight.own)
            fresh = set(weight.parts.values()) - seen
            seen |= fresh
            waiting.extend(fresh)
            if weight.is_any or len(seen) > _MAX_TYPES:
                return heaviest, True
        return heaviest, False

    def _weight(self, descriptor: Descriptor) -> _Weight:
        found = self._made.get(descriptor)
        if found is None:
            found = self._made[descriptor] = _weight_of(descriptor, self._types)
        return found


def _weight_of(descriptor: Descriptor, types: Types) -> _Weight:
    form = form_of(descriptor)
    if form == "Any":
        return _Weight(own=_DICT_OF_TWO, is_any=True)
    is_entry = descriptor.has_options and descriptor.GetOptions().map_entry
    made = _Weight(own=_DICT_OF_TWO if form in _WITH_DICTS else 1)
    if not form and not is_entry:
        made.own += sum(not has_presence(item) for item in descriptor.fields)
    for item in (*descriptor.fields, *types.extensions_of(descriptor).values()):
        if item.type in MESSAGES:
            made.parts[item.number] = message_of(item)
            if not is_repeated(item):
                made.single.add(item.number)
        elif is_repeated(item) and item.type not in _NEVER_PACKED:
            made.packed.add(item.number)
    return made


class _Count:
    """Counts the values of one message; stops when there are too many.

    Args:
        weight_of: Returns what a type counts.
        types: Finds the types of each Any.
        limit: How many values there may be.
        once: As of ``Weights.count``.
    """

    def __init__(self, weight_of: Callable[[Descriptor], _Weight], types: Types, limit: int, *, once: bool) -> None:
        self._weight_of = weight_of
        self._types = types
        self._limit = limit
        self._once = once
        self._count = 0
        self._waiting: list[tuple[int, int, _Weight]] = []

    def of_message(self, data: bytes, descriptor: Descriptor) -> int:
        """Returns the number of values; if there are too many, that of some of them."""
        self._enter(0, len(data), self._weight_of(descriptor))
        while self._waiting and self._count <= self._limit:
            place, end, weight = self._waiting.pop()
            if weight.is_any:
                self._of_any(data, place, end)
            else:
                self._of_fields(data, place, end, weight)
        return self._count

    def _enter(self, place: int, end: int, weight: _Weight) -> None:
        self._count += weight.own
        if place < end:
            self._waiting.append((place, end, weight))

    def _of_fields(  # noqa: C901 - a call for each field would take twice as long
        self, data: bytes, place: int, end: int, weight: _Weight
    ) -> None:
        outer: list[tuple[int, _Weight, set[int]]] = []
        seen: set[int] = set()
        while place < end and self._count <= self._limit:
            tag = data[place]
            place += 1
            if tag >= MORE:
                tag, place = read_varint(data, place - 1)
            kind, number = tag & 7, tag >> 3
            if kind == _GROUP_END:
                opened, weight, seen = outer.pop()
                if opened != number:
                    raise DecodeError("a group in it ends as another one")
                continue
            self._count += 1
            part = weight.parts.get(number)
            if self._once and part is not None and number in weight.single:
                if number in seen:
                    raise DecodeError(f"it has the field {number} twice")
                seen.add(number)
            if kind == _GROUP:
                outer.append((number, weight, seen))
                weight, seen = _UNKNOWN if part is None else self._weight_of(part), set()
                self._count += weight.own
                continue
            start, place = _content(data, place, kind)
            if place > end:
                raise DecodeError("a field of it is longer than itself")
            if kind == LENGTH and part is not None:
                self._enter(start, place, self._weight_of(part))
            elif kind == LENGTH and number in weight.packed:
                self._count += place - start
        if outer and self._count <= self._limit:
            raise DecodeError("a group in it does not end")

    def _of_any(self, data: bytes, place: int, end: int) -> None:
        url, value = (0, 0), (0, 0)
        while place < end:
            tag, place = read_varint(data, place)
            start, place = _content(data, place, tag & 7)
            if tag == _URL_TAG:
                url = start, place
            elif tag == _VALUE_TAG:
                value = start, place
        found = self._types.of_url(data[slice(*url)].decode(errors="replace"))
        self._count += 1
        if found is not None:
            self._enter(*value, self._weight_of(found))


def _content(data: bytes, place: int, kind: int) -> tuple[int, int]:
    """Returns where the content of a field begins and ends."""
    if kind == LENGTH:
        size, place = read_varint(data, place)
        return place, place + size
    if kind == VARINT:
        start = place
        while data[place] >= MORE:
            place += 1
        return start, place + 1
    if kind not in _SIZED:
        raise DecodeError(f"it has a field of the unknown wire type {kind}")
    return place, place + _SIZED[kind]
