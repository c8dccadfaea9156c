"""What a tool's types accept: pydantic's rules, without the guesses.

Pydantic compiles an annotation to a core schema; ``strict_schema`` rewrites that so that

- int, float, str, bool and bytes take nothing but themselves (and float an int);
- what JSON cannot carry is taken as the Python object or as its JSON form: ISO text for dates and times, text for UUID
  and Decimal, the value of an Enum, a list for tuples and sets, text for the keys of a dict;
- a union reports its choices under labels that ``wording`` can tell from names of the caller.

A pydantic model keeps its own rules, and so does what it holds.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import PydanticCustomError, PydanticKnownError, ValidationError

from grpc_tool_bridge.wire.annotated import read_as
from grpc_tool_bridge.wire.packages import home_of

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


def strict_schema(schema: Schema) -> Schema:
    """Rewrites a core schema, and every schema in it, to the rules of this module. The given one is left alone."""
    kind = schema["type"]
    if kind == "model" or (kind == "dataclass" and is_pydantic_dataclass(schema["cls"])):
        return schema
    node = {key: _strict_part(value) if key in _PARTS else value for key, value in schema.items()}
    rewrite = _REWRITES.get(kind)
    return rewrite(node) if rewrite else node


def _strict_part(part: Any) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            return strict_schema(part)
        return {key: _strict_part(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(_strict_part(item) for item in part)
    return part


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


def _or_text(parse: Callable[[str], Any], problem: str) -> Callable[[Schema], Schema]:
    """Accepts the object itself, or text that ``parse`` reads."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
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
    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int):
            return value
        try:
            return Decimal(value)
        except ArithmeticError:
            raise PydanticCustomError("text_form", "should be a decimal number") from None

    node.setdefault("allow_inf_nan", True)
    return _object_or(read, node)


def _timedelta(node: Schema) -> Schema:
    def read(value: Any) -> Any:
        # Pydantic reads ISO 8601 well, but "-1 day, 0:00:05", as Python writes it, with another meaning.
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

    def check(value: Any) -> Any:
        if type(value) in _PLAIN_TYPES and type(value) not in kinds:
            raise PydanticKnownError("enum", {"expected": _listing(values)})
        return value

    return _before(check, node)


def _literal(node: Schema) -> Schema:
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
    if keys is not None and keys["type"] not in ("str", "any"):
        function = {"type": "no-info", "function": _read_key}
        node["keys_schema"] = {"type": "function-wrap", "function": function, "schema": keys}
    return node


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
    return check(decoded)


def _union(node: Schema) -> Schema:
    choices = [choice[0] if isinstance(choice, tuple) else choice for choice in node["choices"]]
    node["choices"] = [(choice, f"{CHOICE_MARK}{number}") for number, choice in enumerate(choices)]
    return node


def _generator(node: Schema) -> Schema:
    # Pydantic's own is checked item by item while the tool runs, too late to say what was wrong with the argument.
    return _container("list_type")({**node, "type": "list"})


def _instance(node: Schema) -> Schema:
    """Makes a Series of polars, an array of Arrow and their like of the frames that they travel as."""
    cls = node["cls"]
    if not isinstance(cls, type) or home_of(cls) is None:
        return node
    return _before(partial(read_as, cls), node)


_REWRITES: dict[str, Callable[[Schema], Schema]] = {
    "int": _strict,
    "float": _strict,
    "str": _strict,
    "bool": _strict,
    "bytes": _strict,
    "datetime": _or_text(_iso(datetime.fromisoformat), "should be an ISO 8601 date and time"),
    "date": _or_text(_iso(date.fromisoformat), "should be an ISO 8601 date"),
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
    "union": _union,
    "generator": _generator,
    "is-instance": _instance,
}
