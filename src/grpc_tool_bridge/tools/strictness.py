"""What a tool's types accept: pydantic's rules, without guessing.

Pydantic compiles an annotation to a core schema; ``strict_schema`` rewrites that so that

- int, float, str, bool and bytes accept only themselves (and float an int);
- ``reading_schema`` also accepts equivalent values: NumPy's scalars, and an integral float for an int;
- types that JSON cannot carry are accepted as Python object or JSON form: ISO text for dates and times, text for UUID
  and Decimal, the value of an Enum, a list for tuples and sets, text for the keys of a dict;
- a union reports its choices under labels that ``wording`` can tell from names given by the caller.

A pydantic model and its fields keep their own rules, but are read from the form in which they travel.
"""

import json
import typing
from collections import abc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import PydanticCustomError, PydanticKnownError, ValidationError

from grpc_tool_bridge.optional import home_of
from grpc_tool_bridge.tools.lookalikes import (
    made_of_row,
    nearest_dict,
    nearest_list,
    nearest_missing,
    nearest_scalar,
    row_bases,
)
from grpc_tool_bridge.tools.reading import CHOICE_MARK, reads_choice, reads_fields, reads_json
from grpc_tool_bridge.tools.rewriting import (
    Rewrites,
    Schema,
    around,
    before,
    calls,
    lax_or_strict,
    with_parts,
    without_ref,
)
from grpc_tool_bridge.tools.scalars import (
    READING_SCALARS,
    STRICT_SCALARS,
    bounds_pattern,
    literal_of_values,
    short_fraction,
)
from grpc_tool_bridge.values.conversions import read_as
from grpc_tool_bridge.values.hashes import MAX_SAME_HASH, have_same_hash, same_hashes
from grpc_tool_bridge.values.rows import is_data

_ABSTRACT = frozenset({abc.Sequence, abc.Collection, abc.Iterable, abc.Reversible, abc.Container})
_ROWS = frozenset({list, tuple, set, frozenset})

# This many members with the same hash take a millisecond.
_PIECE = 256

_COLLECTIONS = (list, tuple, set, frozenset, dict)


def strict_schema(schema: Schema) -> Schema:
    """Returns a copy of a core schema in which every schema follows the rules of this module."""
    return _rewritten(schema, _REWRITES)


def reading_schema(schema: Schema) -> Schema:
    """Like ``strict_schema``, but the result also reads scalars that are equivalent to the declared type.

    It is for values that the strict one refuses: in a union, it may choose a different type if several fit.
    """
    return _rewritten(schema, _READINGS)


def with_nulls(schema: Schema) -> Schema:
    """Makes fields with a null default accept null, such as ``limit: int = None``; a model's own fields as well."""
    node = with_parts(schema, with_nulls)
    if schema["type"] == "default" and schema.get("default", ...) is None and not takes_null(node["schema"]):
        node["schema"] = {"type": "nullable", "schema": node["schema"]}
    return node


def takes_null(schema: Schema) -> bool:
    """Whether a core schema is known to accept None."""
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


def _rewritten(schema: Schema, rewrites: Rewrites) -> Schema:
    kind = schema["type"]
    if kind == "model" or (kind == "dataclass" and is_pydantic_dataclass(schema["cls"])):
        return _own_rules(schema)
    rewrite = rewrites.get(kind)
    node = with_parts(schema, lambda part: _rewritten(part, rewrites))
    return rewrite(node) if rewrite else node


def _own_rules(schema: Schema) -> Schema:
    """Keeps a model's rules, but lets it and its fields be read from the form in which they travel."""
    rewrite = _READS.get(schema["type"])
    node = with_parts(schema, _own_rules)
    return rewrite(node) if rewrite else node


def _container(error_type: Any, *refused: type) -> Callable[[Schema], Schema]:
    """Refuses iterators, and unordered types where order matters."""

    def check(value: Any) -> Any:
        if type(value) in _ROWS:
            if isinstance(value, refused):
                raise PydanticKnownError(error_type)
            return value
        listed = nearest_list(value, error_type)
        if isinstance(listed, (Iterator, *refused)):
            raise PydanticKnownError(error_type)
        return listed

    return lambda node: before(check, node)


def _container_of_model(error_type: Any) -> Callable[[Schema], Schema]:
    """Keeps a model's rules, except for frames: iterating over one would yield the names of its columns."""

    def check(value: Any) -> Any:
        return nearest_list(value, error_type) if is_data(type(value)) else value

    return lambda node: before(check, node)


def _bounded(rewrite: Callable[[Schema], Schema]) -> Callable[[Schema], Schema]:
    return lambda node: rewrite(bounds_hashes(node))


def _dict(node: Schema) -> Schema:
    keys = node.get("keys_schema")
    if keys is not None and not _is_text(keys):
        node["keys_schema"] = calls("wrap", _read_key, keys)
    return _bounded_dict(node)


def _bounded_dict(node: Schema) -> Schema:
    # A peer cannot choose the hash of a text.
    keys = node.get("keys_schema")
    return node if keys is None or _is_text(keys) else bounds_hashes(node)


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
            # "1" and "1.0" would become the same key.
            raise
        return read


def _named_tuple(node: Schema) -> Schema:
    # Before pydantic 2.14 it was the call of a class.
    cls = node.get("cls") or node.get("function")
    if not isinstance(cls, type):
        return node
    parts = without_ref(node)
    # This way, a union prefers the value's own class.
    own = {"type": "chain", "steps": [{"type": "is-instance", "cls": cls}, parts]}
    lax = _container("tuple_type", set, frozenset)(dict(parts))
    return lax_or_strict(node, strict=own, lax=lax)


def _instance(node: Schema) -> Schema:
    """Makes an instance from the form in which it travels, such as a MappingProxyType from a dict."""
    origin: Any = typing.get_origin(node["cls"])
    cls = origin or node["cls"]
    if not isinstance(cls, type):
        return node
    if cls in _ABSTRACT:
        return before(nearest_list, node)
    if home_of(cls) is not None:
        return before(partial(read_as, cls), node)
    bases = row_bases(cls)
    return before(partial(made_of_row, cls, bases), node) if bases else node


def _union(node: Schema) -> Schema:
    choices = [choice[0] if isinstance(choice, tuple) else choice for choice in node["choices"]]
    node["choices"] = [(choice, f"{CHOICE_MARK}{number}") for number, choice in enumerate(choices)]
    return reads_choice(node)


def _generator(node: Schema) -> Schema:
    # Pydantic's own checks the items while the tool runs: too late to report a wrong argument.
    return _container("list_type")({**node, "type": "list"})


def _travelled(node: Schema) -> Schema:
    """Reads a value in its Python or its JSON form: a strict model would accept only the Python form."""
    return {**node, "strict": False}


# For models, which keep their own rules for everything else.
_READS: Rewrites = {
    **dict.fromkeys(("enum", "lax-or-strict", "deque"), _travelled),
    **dict.fromkeys(("counter", "ordered-dict", "frozendict"), lambda node: _bounded_dict(_travelled(node))),
    "literal": literal_of_values,
    "union": reads_choice,
    "fraction": partial(before, short_fraction),
    "function-plain": bounds_pattern,
    "is-instance": _instance,
    "model": reads_fields,
    "dataclass": reads_fields,
    "json": reads_json,
    "list": _container_of_model("list_type"),
    "tuple": _container_of_model("tuple_type"),
    "set": _bounded(_container_of_model("set_type")),
    "frozenset": _bounded(_container_of_model("frozen_set_type")),
    "dict": _bounded_dict,
}
_CONTAINERS: Rewrites = {
    "list": _container("list_type", set, frozenset),
    "tuple": _container("tuple_type", set, frozenset),
    "set": _bounded(_container("set_type")),
    "frozenset": _bounded(_container("frozen_set_type")),
    "dict": _dict,
    "counter": _bounded_dict,
    "ordered-dict": _bounded_dict,
    "frozendict": _bounded_dict,
    "call": _named_tuple,
    "named-tuple": _named_tuple,
    "union": _union,
    "generator": _generator,
    "dataclass": reads_fields,
    "is-instance": _instance,
    "json": reads_json,
    "nullable": partial(before, nearest_scalar),
}
_REWRITES: Rewrites = {**STRICT_SCALARS, **_CONTAINERS}
_READINGS: Rewrites = {
    **READING_SCALARS,
    **_CONTAINERS,
    "dict": lambda node: before(nearest_dict, _dict(node)),
    "typed-dict": partial(before, nearest_dict),
    "nullable": partial(before, nearest_missing),
}


# -------------------------------------------------------------------------------------------------- members of one hash


def bounds_hashes(node: Schema) -> Schema:
    """Makes the core schema of a set, a frozenset or a dict refuse too many members or keys with the same hash.

    Only their own schema determines the members: a text may become a number. So a large collection is first checked in
    pieces, each too small to take long, before pydantic builds it.
    """
    return around(_checked, node)


def _checked(value: Any, check: Callable[[Any], Any]) -> Any:
    if isinstance(value, _COLLECTIONS) and len(value) > _PIECE:
        _refuse_same_hashes(value, check)
    return check(value)


def _refuse_same_hashes(value: Any, check: Callable[[Any], Any]) -> None:
    found: list[Any] = []
    seen = 0
    for piece in _pieces(value):
        seen += len(piece)
        try:
            read = check(piece)
        except ValidationError:
            if not _have_same_hash(found):
                # Validates everything up to here, so that the positions are right; the rest is not checked.
                check(_made_like(value, islice(_items(value), seen)))
            break
        if _have_same_hash(read):
            raise _refusal()
        found.extend(read)
    if _have_same_hash(found):
        raise _refusal()


def _have_same_hash(items: Any) -> bool:
    suspects = same_hashes(items)
    return bool(suspects) and have_same_hash(items, suspects)


def _pieces(value: Any) -> Iterator[Any]:
    items = iter(_items(value))
    while piece := _made_like(value, islice(items, _PIECE)):
        yield piece


def _items(value: Any) -> Iterable[Any]:
    return value.items() if isinstance(value, dict) else value


def _made_like(value: Any, items: Iterable[Any]) -> Any:
    # A strict model does not accept a list for a set.
    make: Any = next(kind for kind in _COLLECTIONS if isinstance(value, kind))
    return make(items)


def _refusal() -> PydanticCustomError:
    return PydanticCustomError(
        "same_hash",
        "has more than {most} members or keys with the same hash, which is too slow to read; declare a list instead",
        {"most": MAX_SAME_HASH},
    )
