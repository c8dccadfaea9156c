"""Plain data as messages: what ``reading`` gives, and what else people and models write for it.

Fields are named as in the proto or as in JSON. None means that a field is not set, except where null is a value.
What a field cannot hold exactly is refused, each wrong part by its path, such as ``legs[2].stop.city``.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from grpc_tool_bridge.adapters.grpc.fields import (
    MESSAGES,
    REQUEST,
    REQUESTS,
    VALUE_TYPES,
    entry_of,
    form_of,
    is_map,
    is_repeated,
    is_required,
    json_names,
    message_class,
    message_of,
    oneofs_of,
    takes_null,
    takes_request,
)
from grpc_tool_bridge.adapters.grpc.problems import (
    LEVELS_OF_ENTRY,
    MAX_LEVELS,
    Problems,
    WrongError,
    as_validation_error,
    said,
    step_to,
    too_deep,
    unknown,
    wrong,
)
from grpc_tool_bridge.adapters.grpc.scalars import (
    Convert,
    converter_for,
    converter_of,
    into_scalars,
    items_of,
    key_converter,
    octets,
    put_scalar,
    quick_maker,
)
from grpc_tool_bridge.adapters.grpc.types import BYTES_KEY, TYPE_KEY, VALUE_KEY, Types
from grpc_tool_bridge.adapters.grpc.well_known import duration, fill_list, fill_struct, fill_value, mask, moment

# Writes a value into a message, with the levels that are left for messages in it; raises WrongError.
Fill = Callable[[Any, Any, int], None]

_TEXTS = frozenset({str})
# Of the fields of a oneof, an error lists so many.
_MAX_LISTED = 20


def writer_of(descriptor: Descriptor, pool: DescriptorPool, what: str) -> Callable[[Mapping[str, Any]], Message]:
    """Returns a function that makes a message of a type of the arguments of a call.

    Args:
        descriptor: The type.
        pool: Where the types of each ``Any`` and extensions are looked up.
        what: What the arguments are of, for errors, such as the name of a tool.

    Returns:
        Takes the arguments by name: those of ``input_schema_of``. It raises ValidationError, whose ``details`` have a
        text for each wrong path.
    """
    return Writers(pool).writer_of(descriptor, what)


def requests_writer_of(
    descriptor: Descriptor, pool: DescriptorPool, what: str
) -> Callable[[Mapping[str, Any]], list[Message]]:
    """Returns a function that makes the messages of a stream of the only argument ``requests``, a list.

    Args:
        descriptor: The type of the messages.
        pool: As of ``writer_of``.
        what: As of ``writer_of``.
    """
    return Writers(pool).requests_writer_of(descriptor, what)


class Writers:
    """Makes writers, each type's once.

    Args:
        pool: Where the types of each ``Any`` and extensions are looked up.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._types = Types(pool)
        self._made: dict[Descriptor, _Writer] = {}

    def writer_of(self, descriptor: Descriptor, what: str) -> Callable[[Mapping[str, Any]], Message]:
        """Returns a function that makes a message of arguments; see the function of this name."""
        cls = message_class(descriptor)
        fill = self._of(descriptor)
        if takes_request(descriptor):
            return _whole(cls, fill, what)
        quick = quick_maker(descriptor)

        def write(given: Mapping[str, Any]) -> Message:
            made: Message | None = quick(given)
            return _filled(cls, fill, given, what) if made is None else made

        return write

    def requests_writer_of(self, descriptor: Descriptor, what: str) -> Callable[[Mapping[str, Any]], list[Message]]:
        """Returns a function that makes the messages of a stream; see the function of this name."""
        cls = message_class(descriptor)
        fill = self._of(descriptor)

        def write(given: Mapping[str, Any]) -> list[Message]:
            try:
                return _listed(cls, fill, _only(given, REQUESTS))
            except (WrongError, RecursionError) as error:
                raise as_validation_error(what, _as_wrong(error)) from None

        return write

    def _of(self, descriptor: Descriptor) -> "_Writer":
        found = self._made.get(descriptor)
        if found is None:
            found = self._made[descriptor] = _Writer(lambda: self._compiled(descriptor))
        return found

    def _compiled(self, descriptor: Descriptor) -> Fill:
        form = form_of(descriptor)
        if form:
            return self._fill_any if form == "Any" else _FORMS[form]
        return _fields_filler(descriptor, self._puts(descriptor))

    def _puts(self, descriptor: Descriptor) -> dict[str, Fill]:
        """Returns what writes each field, by all of its names."""
        found = {field.name: self._put(field) for field in descriptor.fields}
        for alias, name in json_names(descriptor).items():
            found[alias] = found[name]
        for label, field in self._types.extensions_of(descriptor).items():
            found[label] = self._put_extension(descriptor, field)
        return found

    def _put(self, field: FieldDescriptor) -> Fill:
        name = field.name
        if is_repeated(field):
            into = self._into(field)

            def put_all(message: Any, value: Any, left: int) -> None:
                into(getattr(message, name), value, left)

            return put_all
        if field.type not in MESSAGES:
            return put_scalar(field)
        inner = self._of(message_of(field))
        mark = message_class(message_of(field)).SetInParent

        def put(message: Any, value: Any, left: int) -> None:
            part = getattr(message, name)
            mark(part)
            inner.fill(part, value, left - 1)

        return put

    def _put_extension(self, descriptor: Descriptor, field: FieldDescriptor) -> Fill:
        extensions = message_class(descriptor).Extensions.__get__
        if is_repeated(field):
            into = self._into(field)
            return lambda message, value, left: into(extensions(message)[field], value, left)
        if field.type in MESSAGES:
            inner = self._of(message_of(field))
            mark = message_class(message_of(field)).SetInParent

            def put_message(message: Any, value: Any, left: int) -> None:
                part = extensions(message)[field]
                mark(part)
                inner.fill(part, value, left - 1)

            return put_message
        convert = converter_of(field)

        def put(message: Any, value: Any, _: int) -> None:
            extensions(message)[field] = convert(value)

        return put

    def _into(self, field: FieldDescriptor) -> Fill:
        """Returns what fills the list or the map of a field."""
        if is_map(field):
            return self._into_map(field)
        return self._into_messages(field) if field.type in MESSAGES else into_scalars(field)

    def _into_messages(self, field: FieldDescriptor) -> Fill:
        inner = self._of(message_of(field))

        def fill(container: Any, value: Any, left: int) -> None:
            problems = Problems()
            for place, item in enumerate(items_of(value)):
                try:
                    inner.fill(container.add(), item, left - 1)
                except WrongError as error:
                    problems.add(f"[{place}]", error)
            problems.end()

        return fill

    def _into_map(self, field: FieldDescriptor) -> Fill:
        key, item = entry_of(field)
        key_of = key_converter(key)
        put = self._put_item(item)
        nullable = takes_null(item)

        def fill(container: Any, value: Any, left: int) -> None:
            if not isinstance(value, Mapping):
                raise wrong("a dict", value)
            problems = Problems()
            for name, part in value.items():
                try:
                    key = _key(key_of, name)
                    if key in container:
                        raise said("its key is given twice")
                    if part is None and not nullable:
                        raise wrong("a value", part)
                    put(container, key, part, left)
                except WrongError as error:
                    problems.add(f"[{name!r:.80}]", error)
            problems.end()

        return fill

    def _put_item(self, item: FieldDescriptor) -> Callable[[Any, Any, Any, int], None]:
        if item.type in MESSAGES:
            inner = self._of(message_of(item))
            return lambda container, key, value, left: inner.fill(container[key], value, left - LEVELS_OF_ENTRY)
        convert = converter_of(item)

        def put(container: Any, key: Any, value: Any, _: int) -> None:
            container[key] = convert(value)

        return put

    def _fill_any(self, message: Any, value: Any, left: int) -> None:
        if not isinstance(value, Mapping):
            raise wrong(f"a dict with '{TYPE_KEY}'", value)
        if not value:
            return
        if left < 0:
            raise too_deep()
        url = value.get(TYPE_KEY)
        if not isinstance(url, str):
            raise said(f"should have '{TYPE_KEY}', the URL of its type, such as 'type.googleapis.com/package.Message'")
        rest = {name: item for name, item in value.items() if name != TYPE_KEY}
        message.type_url = converter_for(FieldDescriptor.TYPE_STRING)(url)
        descriptor = self._types.of_url(url)
        message.value = self._any_bytes(url, descriptor, rest, left)

    def _any_bytes(self, url: str, descriptor: Descriptor | None, rest: Mapping[str, Any], left: int) -> bytes:
        own = BYTES_KEY if descriptor is not None else VALUE_KEY
        if descriptor is None or rest.keys() == {BYTES_KEY}:
            if rest.keys() - {own}:
                raise said(f"{url!r:.200} is no type of this service; give its bytes as '{own}'")
            return octets(rest.get(own, b""))
        cls = message_class(descriptor)
        inner = cls()
        if form_of(descriptor):
            if rest.keys() != {VALUE_KEY}:
                raise said(f"should have '{VALUE_KEY}' beside '{TYPE_KEY}', and nothing else")
            try:
                self._of(descriptor).fill(inner, rest[VALUE_KEY], left - 1)
            except WrongError as error:
                raise WrongError(*((f".{VALUE_KEY}{path}", text) for path, text in error.problems)) from None
        else:
            self._of(descriptor).fill(inner, rest, left - 1)
        written: bytes = cls.SerializeToString(inner, deterministic=True)
        return written


def _key(convert: Convert, name: Any) -> Any:
    try:
        return convert(name)
    except WrongError as error:
        raise WrongError(*((path, f"its key {text}") for path, text in error.problems)) from None


class _Writer:
    """The writer of a type, which is made when it is first used: types refer to each other, and most are never sent."""

    __slots__ = ("_make", "fill")

    def __init__(self, make: Callable[[], Fill]) -> None:
        self._make = make
        self.fill: Fill = self._first

    def _first(self, message: Any, value: Any, left: int) -> None:
        self.fill = self._make()
        self.fill(message, value, left)


# --------------------------------------------------------------------------------------------------- a message's fields


class GivenNames:
    """What is checked of the names of the fields that are given.

    Attributes:
        nullable: Names of fields for which null is a value.
        required: Names of fields that must be given.
        watched: Names that need to be checked: JSON names, and members of oneofs.
        listed: The names that errors list.
    """

    def __init__(self, descriptor: Descriptor, names: Collection[str]) -> None:
        self._aliases = json_names(descriptor)
        by_name = descriptor.fields_by_name
        fields = {name: by_name.get(self._aliases.get(name, name)) for name in names}
        self.nullable = {name for name, field in fields.items() if field is not None and takes_null(field)}
        self.required = [field.name for field in descriptor.fields if is_required(field)]
        self._oneofs = [[item.name for item in items] for _, items in oneofs_of(descriptor) if len(items) > 1]
        self.watched = {name for names in self._oneofs for name in names} | self._aliases.keys()
        self.listed = [name for name in names if name not in self._aliases]

    def check(self, given: Mapping[str, Any], problems: Problems) -> None:
        """Refuses a field given by both of its names, several fields of a oneof, and that one is missing."""
        names = [name for name in given if given[name] is not None or name in self.nullable]
        by_name: dict[str, str] = {}
        for name in names:
            field = self._aliases.get(name, name)
            if field in by_name:
                alias = name if name != field else by_name[field]
                problems.add(step_to(field), said(f"given twice, as '{field}' and as '{alias}'"))
            by_name[field] = name
        for members in self._oneofs:
            chosen = [member for member in members if member in by_name]
            if len(chosen) > 1:
                listed = ", ".join(f"'{member}'" for member in members[:_MAX_LISTED])
                problems.add(step_to(chosen[1]), said(f"only one of {listed} may be given, '{chosen[0]}' is as well"))
        for name in self.required:
            if name not in by_name:
                problems.add(step_to(name), said("missing"))


def _fields_filler(descriptor: Descriptor, puts: Mapping[str, Fill]) -> Fill:
    names = GivenNames(descriptor, puts)
    nullable, watched = names.nullable, names.watched
    owner = descriptor.full_name
    quick = quick_maker(descriptor)
    copy = message_class(descriptor).CopyFrom

    def fill(message: Any, given: Any, left: int) -> None:
        if not isinstance(given, Mapping):
            raise wrong("a dict", given)
        if left < 0:
            raise too_deep()
        made = quick(given)
        if made is not None:
            copy(message, made)
            return
        problems = Problems()
        for name, value in given.items():
            try:
                put = puts.get(name)
                if put is None:
                    raise unknown(name, names.listed, owner)
                if value is not None or name in nullable:
                    put(message, value, left)
            except WrongError as error:
                problems.add(step_to(name), error)
        if names.required or not watched.isdisjoint(given):
            names.check(given, problems)
        problems.end()

    return fill


# ------------------------------------------------------------------------------------------------------ forms of values


def _fill_moment(message: Any, value: Any, _: int) -> None:
    message.seconds, message.nanos = moment(value)


def _fill_duration(message: Any, value: Any, _: int) -> None:
    message.seconds, message.nanos = duration(value)


def _fill_mask(message: Any, value: Any, _: int) -> None:
    message.paths.extend(mask(value))


def _wrapper_filler(kind: int) -> Fill:
    convert = converter_for(kind)

    def fill(message: Any, value: Any, _: int) -> None:
        message.value = convert(value)

    return fill


_FORMS: Mapping[str, Fill] = {
    "Duration": _fill_duration,
    "FieldMask": _fill_mask,
    "ListValue": fill_list,
    "Struct": fill_struct,
    "Timestamp": _fill_moment,
    "Value": fill_value,
    **{name: _wrapper_filler(kind) for name, kind in VALUE_TYPES.items()},
}


# ----------------------------------------------------------------------------------------------------- whole arguments


def _filled(cls: Any, fill: "_Writer", value: Any, what: str) -> Message:
    message: Message = cls()
    try:
        fill.fill(message, value, MAX_LEVELS)
    except (WrongError, RecursionError) as error:
        raise as_validation_error(what, _as_wrong(error)) from None
    return message


def _as_wrong(error: WrongError | RecursionError) -> WrongError:
    return error if isinstance(error, WrongError) else too_deep()


def _whole(cls: Any, fill: "_Writer", what: str) -> Callable[[Mapping[str, Any]], Message]:
    """Makes a message of the only argument ``request``."""

    def write(given: Mapping[str, Any]) -> Message:
        message: Message = cls()
        try:
            value = _only(given, REQUEST)
            try:
                fill.fill(message, value, MAX_LEVELS)
            except WrongError as error:
                raise WrongError(*((f".{REQUEST}{path}", text) for path, text in error.problems)) from None
        except (WrongError, RecursionError) as error:
            raise as_validation_error(what, _as_wrong(error)) from None
        return message

    return write


def _only(given: Mapping[str, Any], name: str) -> Any:
    problems = Problems()
    for other in given.keys() - {name}:
        problems.add(step_to(other), said(f"unknown, the tool takes '{name}'"))
    if name not in given:
        problems.add(f".{name}", said("missing"))
    problems.end()
    return given[name]


def _listed(cls: Any, fill: "_Writer", value: Any) -> list[Message]:
    problems = Problems()
    found = []
    try:
        items = items_of(value)
    except WrongError as error:
        raise WrongError(*((f".{REQUESTS}{path}", text) for path, text in error.problems)) from None
    for place, item in enumerate(items):
        message = cls()
        try:
            fill.fill(message, item, MAX_LEVELS)
        except WrongError as error:
            problems.add(f".{REQUESTS}[{place}]", error)
        found.append(message)
    problems.end()
    return found
