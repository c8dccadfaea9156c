"""Values of scalar fields: what is accepted for each type, as exactly what the field holds, single ones and lists."""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from grpc_tool_bridge.adapters.grpc.fields import (
    INTS,
    NULL_VALUE,
    enum_of,
    is_closed,
    is_repeated,
    is_required,
    message_class,
    oneofs_of,
)
from grpc_tool_bridge.adapters.grpc.problems import Problems, WrongError, said, wrong
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.llm.values import plain_of, whole_of
from grpc_tool_bridge.tools.wording import show

# Returns a value as its field holds it; raises WrongError.
Convert = Callable[[Any], Any]
# Writes a value into a message or a container; the levels that are left do not matter.
Fill = Callable[[Any, Any, int], None]

# The largest number of single precision, and the least that no longer rounds to it.
MAX_FLOAT = float.fromhex("0x1.fffffep+127")
FLOAT_END = float.fromhex("0x1.ffffffp+127")
# Up to here a double holds every integer.
MAX_EXACT = 2**53

_DIGITS = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,4})?", re.ASCII)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_URL_SAFE = str.maketrans("-_", "+/")
_MAX_LISTED = 20
_TEXTS = frozenset({str})

_FLOAT, _DOUBLE = FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE

# The types of which every value can be given to protobuf as it is; whether it is in the range, protobuf says.
EXACT: Mapping[int, frozenset[type]] = {
    **{kind: frozenset({int}) for kind in INTS},
    _DOUBLE: frozenset({float, int}),
    _FLOAT: frozenset({float}),
    FieldDescriptor.TYPE_BOOL: frozenset({bool}),
    FieldDescriptor.TYPE_STRING: frozenset({str}),
    FieldDescriptor.TYPE_BYTES: frozenset({bytes}),
}


def converter_of(field: FieldDescriptor) -> Convert:
    """Returns what converts a value for a scalar field, or one item of it."""
    return enum_converter(enum_of(field)) if field.type == FieldDescriptor.TYPE_ENUM else converter_for(field.type)


def converter_for(kind: int) -> Convert:
    """Returns what converts a value of one of protobuf's types, other than enums and messages."""
    if kind in INTS:
        return _int_converter(*INTS[kind])
    return _CONVERTERS[kind]


def fits_float(value: float) -> bool:
    """Whether single precision has a number, rounded, or as one that is not finite."""
    return -FLOAT_END < value < FLOAT_END or not math.isfinite(value)


# ------------------------------------------------------------------------------------------------------------- numbers


def _int_converter(low: int, high: int) -> Convert:
    def convert(value: Any) -> int:
        number = value if type(value) is int else _integer(value)
        if low <= number <= high:
            return number
        raise said(f"should be an integer from {low} to {high}, got {show(number)}")

    return convert


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise wrong("a valid integer", value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    plain = plain_of(value)
    if type(plain) is not type(value) and isinstance(plain, int | float):
        return _integer(plain)
    raise wrong("a valid integer", value)


def double(value: Any) -> float:
    """Converts a number of double precision."""
    if type(value) is float:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise said(f"should be within the range of a double, got {show(value)}") from None
    if isinstance(value, str):
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if _NUMBER.fullmatch(value) and math.isfinite(number := float(value)):
            return number
    plain = plain_of(value)
    if type(plain) is not type(value) and isinstance(plain, int | float):
        return double(plain)
    raise wrong("a valid number", value)


def _single(value: Any) -> float:
    number = double(value)
    if not fits_float(number):
        raise said(f"should be within the range of a float of 32 bits, {MAX_FLOAT:.8g} at most, got {show(value)}")
    return number


# ------------------------------------------------------------------------------------------- texts, bytes, truth values


def text(value: Any) -> str:
    """Converts a text; protobuf refuses what UTF-8 cannot hold."""
    if not isinstance(value, str):
        raise wrong("a valid string", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise said(f"has a lone surrogate (U+{code:04X} at index {error.start}), which UTF-8 cannot hold") from None
    return str.__str__(value)


def octets(value: Any) -> bytes:
    """Converts bytes; a text is base64, of the usual or the URL-safe alphabet."""
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise wrong("bytes", value)
    digits = value.translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise wrong("bytes, or their base64 as text", value) from None


def _truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    plain = plain_of(value)
    if type(plain) is bool:
        return plain
    raise wrong("a valid boolean", value)


_CONVERTERS: Mapping[int, Convert] = {
    _DOUBLE: double,
    _FLOAT: _single,
    FieldDescriptor.TYPE_BOOL: _truth,
    FieldDescriptor.TYPE_STRING: text,
    FieldDescriptor.TYPE_BYTES: octets,
}


def key_converter(field: FieldDescriptor) -> Convert:
    """Returns what converts the key of a map, which may also be the text that JSON has for it."""
    convert = converter_for(field.type)
    if field.type != FieldDescriptor.TYPE_BOOL:
        return convert
    return lambda value: {"true": True, "false": False}[value] if value in ("true", "false") else convert(value)


# --------------------------------------------------------------------------------------------------------------- enums


def names_by_number(enum: EnumDescriptor) -> dict[int, str]:
    """Maps the numbers of an enum to names; of several names for one number, the first counts."""
    found: dict[int, str] = {}
    for value in enum.values:
        found.setdefault(value.number, value.name)
    return found


def enum_converter(enum: EnumDescriptor) -> Convert:
    """Returns what converts a name or a number of an enum to its number."""
    numbers = {value.name: value.number for value in enum.values}
    known = frozenset(numbers.values())
    closed = is_closed(enum)
    low, high = INTS[FieldDescriptor.TYPE_INT32]
    is_null = enum.full_name == NULL_VALUE

    def convert(value: Any) -> int:
        if isinstance(value, str):
            found = numbers.get(value)
            if found is not None:
                return found
        elif value is None and is_null:
            return 0
        else:
            number = _integer_or_none(value)
            if number is not None and (number in known or (not closed and low <= number <= high)):
                return number
        raise _no_name(value, numbers, enum.full_name)

    return convert


def _integer_or_none(value: Any) -> int | None:
    try:
        return _integer(value)
    except WrongError:
        return None


def _no_name(value: Any, names: Mapping[str, int], enum: str) -> WrongError:
    close = near_names(value, names, n=1) if isinstance(value, str) else []
    if close:
        return said(f"is no value of {enum}, did you mean '{close[0]}'? Got {show(value)}")
    listed = ", ".join(f"'{name}'" for name in list(names)[:_MAX_LISTED])
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return said(f"should be one of {listed}{more}, got {show(value)}")


# ----------------------------------------------------------------------------------------------------- fields and lists


def quick_maker(descriptor: Descriptor) -> Callable[[Mapping[str, Any]], Any]:
    """Returns a function that makes a message of values that protobuf can be given as they are.

    It returns None for any others, and for wrong ones.
    """
    if any(map(is_required, descriptor.fields)):
        return lambda _: None
    cls = message_class(descriptor)
    exact = _exact_types(descriptor)
    singles = [field.name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_FLOAT]

    def make(given: Mapping[str, Any]) -> Any:
        for name, value in given.items():
            if type(value) not in exact.get(name, ()):
                return None
        for name in singles:
            if name in given and not fits_float(given[name]):
                return None
        try:
            return cls(**given)
        except (ValueError, TypeError, OverflowError):
            # What is wrong is found field by field.
            return None

    return make


def _exact_types(descriptor: Descriptor) -> dict[str, frozenset[type]]:
    """Returns the types of values that protobuf can be given as they are, by the names of fields that have some."""
    shared = {field.name for _, fields in oneofs_of(descriptor) if len(fields) > 1 for field in fields}
    found: dict[str, frozenset[type]] = {}
    for field in descriptor.fields:
        if is_repeated(field) or field.name in shared:
            continue
        if field.type == FieldDescriptor.TYPE_ENUM:
            found[field.name] = _TEXTS
        elif field.type in EXACT:
            found[field.name] = EXACT[field.type]
    return found


def put_scalar(field: FieldDescriptor) -> Fill:
    """Returns a function that sets a field of a message to a value; it raises WrongError."""
    name = field.name
    convert = converter_of(field)
    exact = frozenset[type]() if field.type == FieldDescriptor.TYPE_FLOAT else EXACT.get(field.type, frozenset())

    def put(message: Any, value: Any, _: int) -> None:
        if type(value) in exact:
            try:
                setattr(message, name, value)
            except (ValueError, TypeError, OverflowError):
                # What is wrong is said below.
                pass
            else:
                return
        setattr(message, name, convert(value))

    return put


def into_scalars(field: FieldDescriptor) -> Fill:
    """Returns a function that fills the list of a field with values; it raises WrongError."""
    convert = converter_of(field)
    exact = EXACT.get(field.type, frozenset())
    is_single = field.type == FieldDescriptor.TYPE_FLOAT

    def fill(container: Any, value: Any, _: int) -> None:
        items = items_of(value)
        if exact.issuperset(map(type, items)) and not (is_single and not all(map(fits_float, items))):
            try:
                container.extend(items)
            except (ValueError, TypeError, OverflowError):
                # Which one it is, is said below; those before it may be there.
                del container[:]
            else:
                return
        problems = Problems()
        for place, item in enumerate(items):
            try:
                container.append(convert(item))
            except WrongError as error:
                problems.add(f"[{place}]", error)
        problems.end()

    return fill


def items_of(value: Any) -> Any:
    """Returns a list or a tuple, or an array as a list; raises WrongError for anything else."""
    if isinstance(value, list | tuple):
        return value
    items = whole_of(value)
    if not isinstance(items, list | tuple):
        raise wrong("a list", value)
    return items
