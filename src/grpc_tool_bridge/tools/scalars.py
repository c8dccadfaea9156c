"""The checks of scalars: strictly by type, or read from an equivalent value.

Types that JSON cannot carry are accepted as the Python object or as its JSON form in both cases. NumPy's scalars, and
numbers as JSON and models write them, are read as Python's own. NumPy is never imported for this: a value of NumPy's
shows that it is imported. A value without an exact reading is refused here, or returned as it is for the next check to
refuse.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from functools import partial
from typing import Any
from uuid import UUID

from pydantic_core import PydanticCustomError, PydanticKnownError

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.tools.rewriting import Rewrites, Schema, after, before, lax_or_strict, move_ref, without_ref
from grpc_tool_bridge.values.jsontext import MAX_DIGITS, check_decimal, decimal_of

_BASES = (bool, int, float, str, bytes)
# NumPy's kinds: truth values, integers, floats, complex numbers, bytes, texts.
_PLAIN_KINDS = "biufcSU"
# Years and months have no fixed length.
_NO_LENGTH = ("[Y]", "[M]")

_PLAIN_TYPES = (str, int, float, bool, bytes)
_MAX_LISTED = 20
# Characters of a regular expression, at some 10 µs each.
_MAX_PATTERN = 4_096
_PYDANTICS = "pydantic._internal._validators"
_PYTHON_TIMEDELTA = re.compile(r"(?:(-?\d{1,9}) days?, )?(\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)


def plain_scalar(value: Any) -> Any:
    """Reads a NumPy scalar, or an array of no dimensions, as a Python scalar; any other value stays as it is."""
    if not _is_numpy(value) or value.dtype.kind not in _PLAIN_KINDS:
        return value
    item = value.item()
    if type(item) in (*_BASES, complex):
        return item
    # A longdouble is its own item.
    number = float(item) if value.dtype.kind == "f" else None
    return number if number == item or number != number else value  # noqa: PLR0124 - a NaN


def base_scalar(value: Any) -> Any:
    """Reads a scalar of a subclass, such as a member of an IntEnum, as its base, and NumPy's as Python's."""
    value = plain_scalar(value)
    match value:
        case int() if not isinstance(value, bool):
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case str():
            return str.__str__(value)
        case bytes():
            return bytes.__bytes__(value)
    return value


def whole_number(value: Any) -> Any:
    """Reads a float that is integral as an int, as JSON Schema does; any other value stays as it is."""
    value = plain_scalar(value)
    # By the base's own: a subclass may have code for it.
    return int(float.__float__(value)) if isinstance(value, float) and float.is_integer(value) else value


def real_number(value: Any) -> Any:
    """Reads an int, a float, and a Decimal or Fraction that is exact as a float; nothing else with ``__float__``."""
    value = plain_scalar(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, Decimal | Fraction) and (number := _exact_float(value)) is not None:
        return number
    raise PydanticKnownError("float_type")


def plain_bytes(value: Any) -> Any:
    """Reads the buffers that travel as bytes."""
    return bytes(value) if isinstance(value, bytearray | memoryview) else plain_scalar(value)


def exact_decimal(value: Any) -> Any:
    """Reads integers and text; a float with a fraction is inexact, and stays as it is."""
    value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    try:
        return decimal_of(value) if isinstance(value, str) else Decimal(value)
    except ArithmeticError:
        raise PydanticCustomError("text_form", "should be a decimal number") from None
    except SerializationError:
        raise PydanticCustomError("text_form", f"should be a decimal number of at most {MAX_DIGITS:,} digits") from None


def short_fraction(value: Any) -> Any:
    """Refuses a Decimal or a text whose Fraction would take too long to make; any other value stays as it is."""
    try:
        if isinstance(value, Decimal):
            check_decimal(value)
        elif isinstance(value, str) and "/" not in value:
            check_decimal(decimal_of(value))
    except ArithmeticError:
        # The next check handles anything else.
        return value
    except SerializationError:
        raise PydanticCustomError("text_form", f"should be a fraction of at most {MAX_DIGITS:,} digits") from None
    return value


def exact_datetime(value: Any) -> Any:
    """Reads a ``datetime64`` of whole microseconds; any other value stays as it is."""
    if not _is_numpy(value) or value.dtype.kind != "M":
        return value
    micros = value.astype("datetime64[us]")
    read = micros.item()
    if not isinstance(read, datetime) or micros != value:
        raise PydanticCustomError(
            "datetime_exact", "should be a date and time in whole microseconds, of years 1 to 9999"
        )
    return read


def exact_date(value: Any) -> Any:
    """Reads a ``datetime64`` at midnight; any other value stays as it is."""
    read = exact_datetime(value)
    if read is value:
        return value
    if read.time() != time.min:
        raise PydanticCustomError("date_exact", "should be a date, with no time of the day")
    return date(read.year, read.month, read.day)


def exact_timedelta(value: Any) -> Any:
    """Reads a ``timedelta64`` of whole microseconds; any other value stays as it is."""
    if not _is_numpy(value) or value.dtype.kind != "m":
        return value
    unit = value.dtype.str[3:]
    micros = value.astype("timedelta64[us]")
    read = micros.item()
    if not unit or unit.endswith(_NO_LENGTH) or not isinstance(read, timedelta) or micros != value:
        raise PydanticCustomError("time_delta_exact", "should be a duration in whole microseconds")
    return read


def _is_numpy(value: Any) -> bool:
    """Whether it is a NumPy scalar or an array of no dimensions, and not masked."""
    module = type(value).__module__
    return (module == "numpy" or module.startswith("numpy.")) and not hasattr(value, "mask") and _ndim(value) == 0


def _ndim(value: Any) -> Any:
    return getattr(value, "ndim", None) if hasattr(value, "dtype") else None


def _exact_float(value: Decimal | Fraction) -> float | None:
    try:
        number = float(value)
        exact = Decimal(repr(number)) == value if isinstance(value, Decimal) else Fraction(number) == value
    except (ArithmeticError, ValueError):
        return None
    return number if exact or number != number else None  # noqa: PLR0124 - a NaN


# --------------------------------------------------------------------------------------------------------- core schemas


def _strict(node: Schema) -> Schema:
    node.setdefault("strict", True)
    return node


def _itself(kind: Any, rule: Callable[[Schema], Schema]) -> Callable[[Schema], Schema]:
    """Reads instances of a subclass, such as NumPy's, as the type itself; pydantic would leave them as they are."""

    def plain(value: Any) -> Any:
        return value if type(value) is kind else kind(value)

    def rewrite(node: Schema) -> Schema:
        return after(plain, rule(node))

    return rewrite


def _float(node: Schema) -> Schema:
    if node.get("strict") is False:
        return node
    # Pydantic would accept anything with a __float__, such as a timedelta64, even in strict mode.
    real = {"type": "is-instance", "cls": (int, float)}
    return move_ref(node, {"type": "chain", "steps": [real, _strict(node)]})


def _scalar(read: Callable[[Any], Any], strict: Callable[[Schema], Schema] = _strict) -> Callable[[Schema], Schema]:
    """Accepts the type itself, its NumPy counterpart, and what ``read`` makes of other values."""

    def rewrite(node: Schema) -> Schema:
        if "strict" in node:
            # An annotation that requests pydantic's lax or strict mode gets it, for NumPy's scalars too.
            return before(plain_scalar, strict(node))
        exact = strict(without_ref(node))
        return lax_or_strict(node, strict=before(plain_scalar, exact), lax=before(read, exact))

    return rewrite


def _or_text(
    parse: Callable[[str], Any], problem: str, other: Callable[[Any], Any] = plain_scalar
) -> Callable[[Schema], Schema]:
    """Accepts the object itself, text that ``parse`` reads, or what ``other`` makes of other values."""

    def read(value: Any) -> Any:
        value = plain_scalar(value)
        if not isinstance(value, str):
            return other(value)
        try:
            return parse(str.__str__(value))
        except (ValueError, ArithmeticError):
            raise PydanticCustomError("text_form", problem) from None

    return lambda node: _object_or(read, node)


def _iso(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        # ISO 8601 allows "170000" for a time, but the sender may well mean a number.
        if text.isdigit():
            raise ValueError(text)
        return parse(text)

    return read


def _object_or(read: Callable[[Any], Any], node: Schema, *, strict: bool = True) -> Schema:
    """Accepts the object itself, or what ``read`` converts to it; if not ``strict``, pydantic may convert as well."""
    plain = without_ref(node)
    exact = {**plain, "strict": True}
    # This way, a union prefers the object's own type to a choice that reads its text.
    return lax_or_strict(node, strict=exact, lax=before(read, exact if strict else plain))


def _decimal(node: Schema) -> Schema:
    # Only numbers have digits to count; no schema of pydantic's does that and accepts NaN.
    if "max_digits" not in node and "decimal_places" not in node:
        node.setdefault("allow_inf_nan", True)
    return _object_or(exact_decimal, node)


def _timedelta(node: Schema) -> Schema:
    def read(value: Any) -> Any:
        # Pydantic reads ISO 8601 well, but misreads "-1 day, 0:00:05", as Python writes it.
        value = exact_timedelta(plain_scalar(value))
        if isinstance(value, timedelta):
            return value
        if not isinstance(value, str):
            raise PydanticKnownError("time_delta_type")
        value = str.__str__(value)
        if value.lstrip("+-").startswith("P"):
            return value
        found = _PYTHON_TIMEDELTA.fullmatch(value)
        if found is None:
            raise PydanticCustomError("text_form", "should be an ISO 8601 duration")
        days, hours, minutes, seconds, fraction = found.groups(default="0")
        micros = int(fraction.ljust(6, "0"))
        return timedelta(int(days), int(seconds), micros, minutes=int(minutes), hours=int(hours))

    return _object_or(read, node, strict=False)


def bounds_pattern(node: Schema) -> Schema:
    """Bounds the text of a regular expression: Python takes seconds to compile a long one."""
    function = node["function"]["function"]
    if getattr(function, "__module__", "") != _PYDANTICS or not function.__name__.startswith("pattern_"):
        return node
    return before(_short_pattern, node)


def _short_pattern(value: Any) -> Any:
    if isinstance(value, str | bytes) and len(value) > _MAX_PATTERN:
        raise PydanticCustomError("text_form", f"should be a regular expression of at most {_MAX_PATTERN:,} characters")
    return value


def _enum(node: Schema) -> Schema:
    values = [member.value for member in node["members"]]
    kinds = {type(value) for value in values}
    is_flag = issubclass(node["cls"], Flag)

    def check(value: Any) -> Any:
        value = plain_scalar(value)
        # For a Flag, a negative number would mean the complement.
        is_other = type(value) in _PLAIN_TYPES and type(value) not in kinds
        # Looking up a signal raises.
        is_signal = isinstance(value, Decimal) and value.is_snan()
        if is_other or (is_flag and isinstance(value, int) and value < 0) or is_signal:
            raise PydanticKnownError("enum", {"expected": _listing(values)})
        return value

    return before(check, node)


def _enum_reading(node: Schema) -> Schema:
    has_floats = any(isinstance(member.value, float) for member in node["members"])
    exact = _enum(without_ref(node))
    return lax_or_strict(node, strict=exact, lax=exact if has_floats else before(whole_number, exact))


def literal_of_values(node: Schema) -> Schema:
    """Accepts the value of an Enum for its member in a Literal; pydantic checks the rest."""
    members = [item for item in node["expected"] if isinstance(item, Enum)]
    if not members:
        return node
    others = {(type(item), item) for item in node["expected"] if not isinstance(item, Enum)}
    table = {(type(item.value), item.value): item for item in members}

    def read(value: Any) -> Any:
        try:
            key = type(value), value
            return value if key in others else table.get(key, value)
        except TypeError:
            return value

    return before(read, node)


def _literal_reading(node: Schema) -> Schema:
    pick = _literal_picker(node)

    def read(value: Any) -> Any:
        value = base_scalar(value)
        try:
            return pick(value)
        except PydanticKnownError:
            if not isinstance(value, float):
                raise
        return pick(whole_number(value))

    part = without_ref(node)
    return lax_or_strict(node, strict=_picked(part, pick), lax=_picked(part, read))


def _literal_picker(node: Schema) -> Callable[[Any], Any]:
    # By type as well: 1, 1.0 and True are equal.
    table: dict[tuple[type, Any], Any] = {(type(item), item): item for item in node["expected"]}
    for item in node["expected"]:
        if isinstance(item, Enum):
            table.setdefault((type(item.value), item.value), item)

    def pick(value: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):
            raise PydanticKnownError("literal_error", {"expected": _listing(node["expected"])}) from None

    return pick


def _picked(node: Schema, pick: Callable[[Any], Any]) -> Schema:
    return move_ref(node, {"type": "function-plain", "function": {"type": "no-info", "function": pick}})


def _listing(values: Iterable[Any]) -> str:
    texts = list(dict.fromkeys(repr(item.value if isinstance(item, Enum) else item) for item in values))
    if len(texts) > _MAX_LISTED:
        texts[_MAX_LISTED:] = [f"{len(texts) - _MAX_LISTED} more"]
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


# By the name of a core schema. These accept the type, or its JSON form.
STRICT_SCALARS: Rewrites = {
    "int": _strict,
    "float": _float,
    "str": _strict,
    "bool": _strict,
    "bytes": _itself(bytes, _strict),
    "complex": _itself(complex, lambda node: node),
    "datetime": _or_text(_iso(datetime.fromisoformat), "should be an ISO 8601 date and time", exact_datetime),
    "date": _or_text(_iso(date.fromisoformat), "should be an ISO 8601 date", exact_date),
    "time": _or_text(_iso(time.fromisoformat), "should be an ISO 8601 time"),
    "timedelta": _timedelta,
    "uuid": _or_text(UUID, "should be a UUID"),
    "decimal": _decimal,
    "fraction": partial(before, short_fraction),
    "function-plain": bounds_pattern,
    "enum": _enum,
    "literal": lambda node: _picked(node, _literal_picker(node)),
}
# These also accept equivalent values.
READING_SCALARS: Rewrites = {
    **STRICT_SCALARS,
    "int": _scalar(whole_number),
    "float": _scalar(real_number, _float),
    "str": _scalar(plain_scalar),
    "bool": _scalar(plain_scalar),
    "bytes": _scalar(plain_bytes),
    "complex": _scalar(plain_scalar, lambda node: node),
    "enum": _enum_reading,
    "literal": _literal_reading,
}
