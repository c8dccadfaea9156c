"""How scalars are checked: as nothing but themselves, and read from what means the same.

What JSON cannot carry is taken as the Python object or as its JSON form in both.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import partial
from typing import Any
from uuid import UUID

from pydantic_core import PydanticCustomError, PydanticKnownError

from grpc_tool_bridge.tools.rewriting import Rewrites, Schema, before, move_ref
from grpc_tool_bridge.tools.scalars import (
    base_scalar,
    exact_date,
    exact_datetime,
    exact_decimal,
    exact_timedelta,
    plain_bytes,
    plain_scalar,
    real_number,
    short_fraction,
    whole_number,
)

_PLAIN_TYPES = (str, int, float, bool, bytes)
_MAX_LISTED = 20
# Characters of a regular expression, at some 10 µs each.
_MAX_PATTERN = 4_096
_PYDANTICS = "pydantic._internal._validators"
_PYTHON_TIMEDELTA = re.compile(r"(?:(-?\d{1,9}) days?, )?(\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)


def _strict(node: Schema) -> Schema:
    node.setdefault("strict", True)
    return node


def _itself(kind: Any, rule: Callable[[Schema], Schema]) -> Callable[[Schema], Schema]:
    """Gives what is of a subclass, such as NumPy's, as the type itself; of these pydantic leaves it as it is."""

    def plain(value: Any) -> Any:
        return value if type(value) is kind else kind(value)

    def rewrite(node: Schema) -> Schema:
        inner = rule(node)
        return move_ref(
            inner, {"type": "function-after", "function": {"type": "no-info", "function": plain}, "schema": inner}
        )

    return rewrite


def _float(node: Schema) -> Schema:
    if node.get("strict") is False:
        return node
    # Pydantic would take whatever has a __float__, such as a timedelta64, also where it is strict.
    real = {"type": "is-instance", "cls": (int, float)}
    return move_ref(node, {"type": "chain", "steps": [real, _strict(node)]})


def _scalar(read: Callable[[Any], Any], strict: Callable[[Schema], Schema] = _strict) -> Callable[[Schema], Schema]:
    """Accepts what is of the type itself or NumPy's of it, and what ``read`` makes of other values."""

    def rewrite(node: Schema) -> Schema:
        if "strict" in node:
            # Who asks for pydantic's own reading, or for none, gets it; of NumPy's scalars as well.
            return before(plain_scalar, strict(node))
        exact = strict({key: value for key, value in node.items() if key != "ref"})
        both = {"strict_schema": before(plain_scalar, exact), "lax_schema": before(read, exact)}
        return move_ref(node, {"type": "lax-or-strict", **both})

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
        # ISO 8601 allows "170000" for a time, but who sends that may well mean a number.
        if text.isdigit():
            raise ValueError(text)
        return parse(text)

    return read


def _object_or(read: Callable[[Any], Any], node: Schema, *, strict: bool = True) -> Schema:
    """Accepts the object itself, or what ``read`` makes it of; where not ``strict``, pydantic may do that as well."""
    plain = {key: value for key, value in node.items() if key != "ref"}
    exact = {**plain, "strict": True}
    # In this form, a union prefers a choice that is the object's own type to one that reads its text.
    lax = before(read, exact if strict else plain)
    return move_ref(node, {"type": "lax-or-strict", "strict_schema": exact, "lax_schema": lax})


def _decimal(node: Schema) -> Schema:
    # Digits can be counted of numbers only; pydantic has no schema that does so and takes NaN.
    if "max_digits" not in node and "decimal_places" not in node:
        node.setdefault("allow_inf_nan", True)
    return _object_or(exact_decimal, node)


def _timedelta(node: Schema) -> Schema:
    def read(value: Any) -> Any:
        # Pydantic reads ISO 8601 well, but "-1 day, 0:00:05", as Python writes it, with another meaning.
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
        # Of a Flag, a negative number would be all that it is not.
        is_other = type(value) in _PLAIN_TYPES and type(value) not in kinds
        if is_other or (is_flag and isinstance(value, int) and value < 0) or _is_signal(value):
            raise PydanticKnownError("enum", {"expected": _listing(values)})
        return value

    return before(check, node)


def _is_signal(value: Any) -> bool:
    """Whether a value cannot even be looked up."""
    return isinstance(value, Decimal) and value.is_snan()


def _enum_reading(node: Schema) -> Schema:
    has_floats = any(isinstance(member.value, float) for member in node["members"])
    exact = _enum({key: value for key, value in node.items() if key != "ref"})
    lax = exact if has_floats else before(whole_number, exact)
    return move_ref(node, {"type": "lax-or-strict", "strict_schema": exact, "lax_schema": lax})


def _literal(node: Schema) -> Schema:
    return _picked(node, _literal_picker(node))


def literal_of_values(node: Schema) -> Schema:
    """Lets the value of an Enum stand for its member in a Literal; all else is as pydantic has it."""
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

    part = {key: value for key, value in node.items() if key != "ref"}
    both = {"strict_schema": _picked(part, pick), "lax_schema": _picked(part, read)}
    return move_ref(node, {"type": "lax-or-strict", **both})


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


# By the name of a core schema. These take what is of the type, or its JSON form.
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
    "literal": _literal,
}
# These take what means the same as well.
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
