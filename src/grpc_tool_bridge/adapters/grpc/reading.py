"""Messages as plain data: dicts by the names of the fields, with what is well known in the form that JSON has for it.

A field that is always there is always in the dict; one that is either set or not is there if it is set. Integers are
int whatever their size, bytes are bytes, and values of enums their names, or their numbers where they have none.
"""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from grpc_tool_bridge.adapters.grpc.fields import (
    MESSAGES,
    NULL_VALUE,
    VALUE_TYPES,
    entry_of,
    enum_of,
    form_of,
    has_presence,
    is_empty,
    is_map,
    is_repeated,
    label_of,
    message_class,
    message_of,
)
from grpc_tool_bridge.adapters.grpc.problems import MAX_LEVELS, TooDeepError
from grpc_tool_bridge.adapters.grpc.scalars import names_by_number
from grpc_tool_bridge.adapters.grpc.types import BYTES_KEY, TYPE_KEY, VALUE_KEY, Types
from grpc_tool_bridge.adapters.grpc.well_known import (
    read_duration,
    read_list,
    read_mask,
    read_moment,
    read_struct,
    read_value,
)
from grpc_tool_bridge.errors import SerializationError

# Reads a value, with the levels that are left for messages in it.
Read = Callable[[Any, int], Any]

_FORMS: Mapping[str, Read] = {
    "Duration": lambda message, _: read_duration(message.seconds, message.nanos),
    "FieldMask": lambda message, _: read_mask(message.paths),
    "ListValue": read_list,
    "Struct": read_struct,
    "Timestamp": lambda message, _: read_moment(message.seconds, message.nanos),
    "Value": read_value,
    **dict.fromkeys(VALUE_TYPES, lambda message, _: message.value),
}


def reader_of(descriptor: Descriptor, pool: DescriptorPool) -> Callable[[Message], Any]:
    """Returns a function that reads messages of a type.

    Args:
        descriptor: The type.
        pool: Where the types of each ``Any`` and extensions are looked up.

    Returns:
        Takes a message, and returns a dict, or what the type has as its own form; None for a ``google.protobuf.Empty``.
        It raises SerializationError if the message is nested deeper than 96 levels. A text of proto2 that is not UTF-8
        is bytes.
    """
    return Readers(pool).reader_of(descriptor)


class Readers:
    """Makes readers, each type's once.

    Args:
        pool: Where the types of each ``Any`` and extensions are looked up.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._types = Types(pool)
        self._made: dict[Descriptor, _Reader] = {}
        self._names: dict[Any, dict[int, str]] = {}

    def reader_of(self, descriptor: Descriptor) -> Callable[[Message], Any]:
        """Returns a function that reads messages of a type; see the function of this name."""
        name = descriptor.full_name
        if is_empty(descriptor):
            return lambda _: None
        reader = self._of(descriptor)

        def read(message: Message) -> Any:
            try:
                return reader.read(message, MAX_LEVELS)
            except (TooDeepError, RecursionError):
                raise SerializationError(f"a {name} is nested deeper than {MAX_LEVELS} levels") from None
            except UnicodeDecodeError as error:
                raise SerializationError(f"a text in a {name} is not UTF-8: {error}") from None

        return read

    def _of(self, descriptor: Descriptor) -> "_Reader":
        found = self._made.get(descriptor)
        if found is None:
            found = self._made[descriptor] = _Reader(lambda: self._compiled(descriptor))
        return found

    def _compiled(self, descriptor: Descriptor) -> Read:
        form = form_of(descriptor)
        if form:
            return self._read_any if form == "Any" else _FORMS[form]
        if not descriptor.is_extendable and all(map(_is_plain, descriptor.fields)):
            return _flat(tuple(field.name for field in descriptor.fields))
        return self._with_extensions(descriptor) if descriptor.is_extendable else self._by_field(descriptor)

    def _by_field(self, descriptor: Descriptor) -> Read:
        """Reads field after field."""
        is_set = message_class(descriptor).HasField
        steps = [(item.name, has_presence(item), *self._part(item)) for item in descriptor.fields]

        def read(message: Any, left: int) -> dict[str, Any]:
            if left < 0:
                raise TooDeepError
            found = {}
            for name, optional, convert, inner in steps:
                if optional and not is_set(message, name):
                    continue
                value = getattr(message, name)
                if inner is not None:
                    value = inner.read(value, left - 1)
                elif convert is not None:
                    value = convert(value, left)
                found[name] = value
            return found

        return read

    def _with_extensions(self, descriptor: Descriptor) -> Read:
        read_own = self._by_field(descriptor)
        fields_of = message_class(descriptor).ListFields
        known: dict[str, Read] = {}

        def read(message: Any, left: int) -> dict[str, Any]:
            found: dict[str, Any] = read_own(message, left)
            for field, value in fields_of(message):
                if field.is_extension:
                    name = label_of(field)
                    reader = known.get(name)
                    if reader is None:
                        reader = known[name] = self._whole(field)
                    found[name] = reader(value, left)
            return found

        return read

    def _part(self, field: FieldDescriptor) -> "tuple[Read | None, _Reader | None]":
        """Returns what converts the value of a field, or the reader of its message."""
        if field.type in MESSAGES:
            return (self._of_messages(field), None) if is_repeated(field) else (None, self._of(message_of(field)))
        if field.type == FieldDescriptor.TYPE_ENUM:
            return self._of_enum(field), None
        return (_as_list, None) if is_repeated(field) else (None, None)

    def _whole(self, field: FieldDescriptor) -> Read:
        convert, inner = self._part(field)
        if inner is not None:
            return lambda value, left: inner.read(value, left - 1)
        return convert or _unchanged

    def _of_enum(self, field: FieldDescriptor) -> Read:
        enum = enum_of(field)
        names = self._names.get(enum)
        if names is None:
            names = self._names[enum] = names_by_number(enum)
            if enum.full_name == NULL_VALUE:
                names = self._names[enum] = {**names, 0: None}  # type: ignore[dict-item]  # null is its only value
        if is_repeated(field):
            return lambda value, _: [names.get(item, item) for item in value]
        return lambda value, _: names.get(value, value)

    def _of_messages(self, field: FieldDescriptor) -> Read:
        if not is_map(field):
            inner = self._of(message_of(field))
            return lambda value, left: [inner.read(item, left - 1) for item in value]
        _, item = entry_of(field)
        convert, made = self._part(item)
        if made is not None:
            # A name of its own, which is never None.
            values = made
            return lambda value, left: {key: values.read(value[key], left - 1) for key in value}
        if convert is not None:
            change = convert
            return lambda value, left: {key: change(value[key], left) for key in value}
        return lambda value, _: {key: value[key] for key in value}

    def _read_any(self, message: Any, left: int) -> dict[str, Any]:
        if left < 0:
            raise TooDeepError
        url, data = message.type_url, message.value
        if not url and not data:
            return {}
        descriptor = self._types.of_url(url)
        if descriptor is None:
            return {TYPE_KEY: url, VALUE_KEY: data}
        try:
            inner = message_class(descriptor).FromString(data)
            value = self._of(descriptor).read(inner, left - 1)
        except (DecodeError, UnicodeDecodeError):
            return {TYPE_KEY: url, BYTES_KEY: data}
        return {TYPE_KEY: url, VALUE_KEY: value} if form_of(descriptor) else {TYPE_KEY: url, **value}


class _Reader:
    """The reader of a type, which is made when it is first used: types refer to each other, and most are never sent."""

    __slots__ = ("_make", "read")

    def __init__(self, make: Callable[[], Read]) -> None:
        self._make = make
        self.read: Read = self._first

    def _first(self, message: Any, left: int) -> Any:
        self.read = self._make()
        return self.read(message, left)


def _is_plain(field: FieldDescriptor) -> bool:
    """Whether a field is always there, and its value is what protobuf has for it."""
    return (
        field.type not in MESSAGES
        and field.type != FieldDescriptor.TYPE_ENUM
        and not is_repeated(field)
        and not has_presence(field)
    )


def _flat(names: tuple[str, ...]) -> Read:
    """Reads a message of which all fields are plain."""

    def read(message: Any, left: int) -> dict[str, Any]:
        if left < 0:
            raise TooDeepError
        # Faster than an attrgetter and zip.
        return {name: getattr(message, name) for name in names}

    return read


def _as_list(value: Any, _: int) -> list[Any]:
    return list(value)


def _unchanged(value: Any, _: int) -> Any:
    return value
