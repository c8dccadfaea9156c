"""What a tool's types accept: pydantic's rules, without the guesses.

Pydantic compiles an annotation to a core schema; ``strict_schema`` rewrites that so that

- int, float, str, bool and bytes take nothing but themselves (and float an int);
- ``reading_schema`` takes what means the same as well: NumPy's scalars, and a float that is integral for an int;
- what JSON cannot carry is taken as the Python object or as its JSON form: ISO text for dates and times, text for UUID
  and Decimal, the value of an Enum, a list for tuples and sets, text for the keys of a dict;
- a union reports its choices under labels that ``wording`` can tell from names of the caller.

A pydantic model keeps its own rules, and so does what it holds; but it is read from whatever it travels as.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any
from uuid import UUID

from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import PydanticCustomError, PydanticKnownError, ValidationError

from grpc_tool_bridge.tooling.reading import reads_fields, reads_json
from grpc_tool_bridge.tooling.scalars import (
    base_scalar,
    exact_date,
    exact_datetime,
    exact_decimal,
    exact_timedelta,
    plain_bytes,
    plain_scalar,
    real_number,
    whole_number,
)

# Begins the label of a union's choice in the path of an error. No argument can be called so.
CHOICE_MARK = "\0"

# Where a schema keeps the schemas that it is made of.
_PARTS = frozenset(
    {
        "schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "lax_schema", "strict_schema",
        "json_schema", "python_schema", "arguments_schema", "var_args_schema", "var_kwargs_schema", "choices", "fields",
        "steps", "definitions",
    }
)  # fmt: skip
_PLAIN_TYPES = (str, int, float, bool, bytes)
_MAX_LISTED = 20
_PYTHON_TIMEDELTA = re.compile(r"(?:(-?\d{1,9}) days?, )?(\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)

Schema = dict[str, Any]
Rewrites = Mapping[str, Callable[[Schema], Schema]]


def strict_schema(schema: Schema) -> Schema:
    """Rewrites a core schema, and every schema in it, to the rules of this module. The given one is left alone."""
    return _rewritten(schema, _REWRITES, _own_rules)


def reading_schema(schema: Schema) -> Schema:
    """Rewrites a core schema as ``strict_schema`` does, to one that also reads scalars that are not quite Python's own.

    It is for values that the strict one refuses: of a union, it may choose another of two types that both can be read.
    """
    return _rewritten(schema, _READINGS, _own_rules)


def with_nulls(schema: Schema) -> Schema:
    """Lets what has null for a default take it: fields of dataclasses and of NamedTuples, and what ``Field`` says."""
    return _rewritten(schema, {"default": _null_default}, lambda model: model)


def takes_null(schema: Schema) -> bool:
    """Whether None is known to pass a core schema."""
    match schema["type"]:
        case "any" | "none" | "nullable":
            return True
        case "literal":
            return None in schema["expected"]
        case "union":
            return any(takes_null(item[0] if isinstance(item, tuple) else item) for item in schema["choices"])
        case "default" | "definitions":
            return takes_null(schema["schema"])
    return False


def _rewritten(schema: Schema, rewrites: Rewrites, own: Callable[[Schema], Schema]) -> Schema:
    kind = schema["type"]
    if kind == "model" or (kind == "dataclass" and is_pydantic_dataclass(schema["cls"])):
        return own(schema)
    rewrite = rewrites.get(kind)
    node = with_parts(schema, lambda part: _rewritten(part, rewrites, own))
    return rewrite(node) if rewrite else node


def _own_rules(schema: Schema) -> Schema:
    """Leaves a model its rules, but lets it and what it holds be read from what they travel as."""
    rewrite = _READS.get(schema["type"])
    node = with_parts(schema, _own_rules)
    return rewrite(node) if rewrite else node


def with_parts(schema: Schema, rewrite: Callable[[Schema], Schema]) -> Schema:
    """Copies a schema with its parts rewritten."""

    def rewritten(part: Any) -> Any:
        if isinstance(part, dict):
            if isinstance(part.get("type"), str):
                return rewrite(part)
            return {key: rewritten(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            return type(part)(rewritten(item) for item in part)
        return part

    return {key: rewritten(value) if key in _PARTS else value for key, value in schema.items()}


def _null_default(node: Schema) -> Schema:
    if node.get("default", ...) is None and not takes_null(node["schema"]):
        node["schema"] = {"type": "nullable", "schema": node["schema"]}
    return node


def _before(check: Callable[[Any], Any], node: Schema) -> Schema:
    outer = {"type": "function-before", "function": {"type": "no-info", "function": check}, "schema": node}
    return _move_ref(node, outer)


def _move_ref(node: Schema, outer: Schema) -> Schema:
    """Lets ``outer`` stand where ``node`` stood: what refers to the one must find the other."""
    if "ref" in node:
        outer["ref"] = node.pop("ref")
    return outer


def _strict(node: Schema) -> Schema:
    node.setdefault("strict", True)
    return node


def _float(node: Schema) -> Schema:
    if node.get("strict") is False:
        return node
    # Pydantic would take whatever has a __float__, such as a timedelta64, also where it is strict.
    real = {"type": "is-instance", "cls": (int, float)}
    return _move_ref(node, {"type": "chain", "steps": [real, _strict(node)]})


def _scalar(read: Callable[[Any], Any], strict: Callable[[Schema], Schema] = _strict) -> Callable[[Schema], Schema]:
    """Accepts what is of the type itself or NumPy's of it, and what ``read`` makes of other values."""

    def rewrite(node: Schema) -> Schema:
        if "strict" in node:
            # Who asks for pydantic's own reading, or for none, gets it; of NumPy's scalars as well.
            return _before(plain_scalar, strict(node))
        exact = strict({key: value for key, value in node.items() if key != "ref"})
        both = {"strict_schema": _before(plain_scalar, exact), "lax_schema": _before(read, exact)}
        return _move_ref(node, {"type": "lax-or-strict", **both})

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
            return parse(value)
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
    lax = _before(read, exact if strict else plain)
    return _move_ref(node, {"type": "lax-or-strict", "strict_schema": exact, "lax_schema": lax})


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
        if value.lstrip("+-").startswith("P"):
            return value
        found = _PYTHON_TIMEDELTA.fullmatch(value)
        if found is None:
            raise PydanticCustomError("text_form", "should be an ISO 8601 duration")
        days, hours, minutes, seconds, fraction = found.groups(default="0")
        micros = int(fraction.ljust(6, "0"))
        return timedelta(int(days), int(seconds), micros, minutes=int(minutes), hours=int(hours))

    return _object_or(read, node, strict=False)


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

    return _before(check, node)


def _is_signal(value: Any) -> bool:
    """Whether a value cannot even be looked up."""
    return isinstance(value, Decimal) and value.is_snan()


def _enum_reading(node: Schema) -> Schema:
    has_floats = any(isinstance(member.value, float) for member in node["members"])
    exact = _enum({key: value for key, value in node.items() if key != "ref"})
    lax = exact if has_floats else _before(whole_number, exact)
    return _move_ref(node, {"type": "lax-or-strict", "strict_schema": exact, "lax_schema": lax})


def _literal(node: Schema) -> Schema:
    return _picked(node, _literal_picker(node))


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
    return _move_ref(node, {"type": "lax-or-strict", **both})


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
    return _move_ref(node, {"type": "function-plain", "function": {"type": "no-info", "function": pick}})


def _listing(values: Iterable[Any]) -> str:
    texts = list(dict.fromkeys(repr(item.value if isinstance(item, Enum) else item) for item in values))
    if len(texts) > _MAX_LISTED:
        texts[_MAX_LISTED:] = [f"{len(texts) - _MAX_LISTED} more"]
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def _container(error_type: Any, *refused: type) -> Callable[[Schema], Schema]:
    """Refuses what would be read only once, and types whose order means nothing where order does."""

    def check(value: Any) -> Any:
        if isinstance(value, (Iterator, *refused)):
            raise PydanticKnownError(error_type)
        return value

    return lambda node: _before(check, node)


def _dict(node: Schema) -> Schema:
    keys = node.get("keys_schema")
    if keys is not None and not _is_text(keys):
        function = {"type": "no-info", "function": _read_key}
        node["keys_schema"] = {"type": "function-wrap", "function": function, "schema": keys}
    return node


def _is_text(keys: Schema) -> bool:
    if keys["type"] in ("lax-or-strict", "function-before"):
        return _is_text(keys["lax_schema"] if "lax_schema" in keys else keys["schema"])
    return keys["type"] in ("str", "any")


def _read_key(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        if not isinstance(value, str) or value != value.strip():
            raise
        try:
            decoded = json.loads(value)
        except (ValueError, RecursionError):
            decoded = value
        read = check(decoded)
        if isinstance(decoded, float) and not isinstance(read, float):
            # Of "1" and "1.0", one would replace the other.
            raise
        return read


def _named_tuple(node: Schema) -> Schema:
    # Before pydantic 2.14 it was the call of a class.
    cls = node.get("cls") or node.get("function")
    if not isinstance(cls, type):
        return node
    parts = {key: value for key, value in node.items() if key != "ref"}
    # In this form, a union prefers a choice that is the value's own class.
    own = {"type": "chain", "steps": [{"type": "is-instance", "cls": cls}, parts]}
    lax = _container("tuple_type", set, frozenset)(dict(parts))
    return _move_ref(node, {"type": "lax-or-strict", "strict_schema": own, "lax_schema": lax})


def _union(node: Schema) -> Schema:
    choices = [choice[0] if isinstance(choice, tuple) else choice for choice in node["choices"]]
    node["choices"] = [(choice, f"{CHOICE_MARK}{number}") for number, choice in enumerate(choices)]
    return node


def _generator(node: Schema) -> Schema:
    # Pydantic's own is checked item by item while the tool runs, too late to say what was wrong with the argument.
    return _container("list_type")({**node, "type": "list"})


# Of models, which keep their own rules for all else.
_READS: Rewrites = {
    "model": reads_fields,
    "dataclass": reads_fields,
    "json": reads_json,
}
_REWRITES: Rewrites = {
    "int": _strict,
    "float": _float,
    "str": _strict,
    "bool": _strict,
    "bytes": _strict,
    "datetime": _or_text(_iso(datetime.fromisoformat), "should be an ISO 8601 date and time", exact_datetime),
    "date": _or_text(_iso(date.fromisoformat), "should be an ISO 8601 date", exact_date),
    "time": _or_text(_iso(time.fromisoformat), "should be an ISO 8601 time"),
    "timedelta": _timedelta,
    "uuid": _or_text(UUID, "should be a UUID"),
    "decimal": _decimal,
    "enum": _enum,
    "literal": _literal,
    "list": _container("list_type", set, frozenset),
    "tuple": _container("tuple_type", set, frozenset),
    "set": _container("set_type"),
    "frozenset": _container("frozen_set_type"),
    "dict": _dict,
    "call": _named_tuple,
    "named-tuple": _named_tuple,
    "union": _union,
    "generator": _generator,
    "dataclass": reads_fields,
    "json": reads_json,
}
_READINGS: Rewrites = {
    **_REWRITES,
    "int": _scalar(whole_number),
    "float": _scalar(real_number, _float),
    "str": _scalar(plain_scalar),
    "bool": _scalar(plain_scalar),
    "bytes": _scalar(plain_bytes),
    "complex": _scalar(plain_scalar, lambda node: node),
    "enum": _enum_reading,
    "literal": _literal_reading,
}
