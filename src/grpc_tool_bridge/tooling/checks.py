"""An annotation compiled once, so that values can be checked against it and described by it."""

import sys
import typing
from collections.abc import Container
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Required, Union
from uuid import UUID

import typing_extensions
from pydantic import ConfigDict, TypeAdapter
from pydantic_core import SchemaValidator

from grpc_tool_bridge.tooling.strictness import Schema, strict_schema, with_parts
from grpc_tool_bridge.tooling.structs import describes_struct, has_struct_fields

# Unknown fields are refused as unknown arguments are; a class that pydantic does not know is checked by isinstance.
_CONFIG = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
_EXACT_TYPES: dict[str, type] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "bytes": bytes,
    "none": NoneType,
    "datetime": datetime,
    "date": date,
    "time": time,
    "timedelta": timedelta,
    "uuid": UUID,
}
# What may stand in a schema without narrowing the values.
_UNCONSTRAINED = frozenset({"type", "metadata", "ref", "microseconds_precision"})


class _Everything:
    """Contains every type."""

    def __contains__(self, item: object) -> bool:
        return True


EVERYTHING = _Everything()


@dataclass(frozen=True, slots=True)
class Check:
    """What one annotation accepts.

    Attributes:
        schema: Pydantic's core schema of it, as pydantic made it.
        accepts: Types whose values pass as they are, without asking ``validator``; a subclass is not among them.
        validator: Checks and converts any other value.
    """

    schema: Schema
    accepts: Container[type]
    validator: SchemaValidator


def compile_check(annotation: Any, where: str) -> Check:
    """Compiles an annotation.

    Args:
        annotation: The annotation, with names resolved.
        where: What to call its place in errors, such as "add: parameter 'a'".

    Returns:
        The check.

    Raises:
        TypeError: Values cannot be checked against it.
    """
    try:
        schema = _core_schema(_portable(annotation))
        # Without pydantic's own compiled validators of models, which know nothing of how they travel.
        validator = SchemaValidator(typing.cast("Any", strict_schema(schema)), None, False)
    except Exception as error:
        reason = " ".join(str(error).partition("\n\nFor further information")[0].split())
        raise TypeError(f"{where}: values cannot be checked against its annotation {annotation!r}: {reason}") from error
    return Check(schema, _exact_types(schema), validator)


def _core_schema(annotation: Any, within: frozenset[Any] = frozenset()) -> Schema:
    # Alone, a dataclass or a TypedDict would not take the configuration; inside a list it does.
    schema = typing.cast("Schema", TypeAdapter(list[annotation], config=_CONFIG).core_schema)
    if schema["type"] == "definitions":
        schema = {**schema, "schema": schema["schema"]["items_schema"]}
    else:
        schema = schema["items_schema"]
    return _described(schema, within)


def _described(schema: Schema, within: frozenset[Any]) -> Schema:
    """Describes the fields of classes that pydantic knows nothing of."""
    if schema["type"] == "is-instance":
        return describes_struct(schema, _core_schema, within) if has_struct_fields(schema["cls"]) else schema
    return with_parts(schema, lambda part: _described(part, within))


def _exact_types(schema: Schema) -> Container[type]:
    kind = schema["type"]
    if kind == "any":
        return EVERYTHING
    if kind == "is-instance":
        return frozenset({schema["cls"]})
    if kind in _EXACT_TYPES and schema.keys() <= _UNCONSTRAINED:
        return frozenset({_EXACT_TYPES[kind]})
    if kind == "nullable":
        return _joined([{"type": "none"}, schema["schema"]])
    if kind == "union":
        return _joined(schema["choices"])
    return frozenset()


def _joined(schemas: list[Schema]) -> Container[type]:
    found = [_exact_types(schema) for schema in schemas]
    known = [types for types in found if isinstance(types, frozenset)]
    return frozenset().union(*known) if len(known) == len(found) else EVERYTHING


def _portable(annotation: Any) -> Any:
    """Replaces ``typing.TypedDict``, which pydantic refuses before Python 3.12, by the one that it accepts."""
    if sys.version_info >= (3, 12):
        return annotation
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        hints = typing.get_type_hints(annotation, include_extras=True)
        fields = {name: _portable_field(annotation, name, hint) for name, hint in hints.items()}
        make: Any = typing_extensions.TypedDict
        return make(annotation.__name__, fields)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return Annotated[(_portable(args[0]), *args[1:])]
    portable = tuple(_portable(item) for item in args)
    if origin is None or all(new is old for new, old in zip(portable, args, strict=True)):
        return annotation
    return (Union if origin is UnionType else origin)[portable]


def _portable_field(owner: Any, name: str, hint: Any) -> Any:
    if typing.get_origin(hint) in (Required, NotRequired):
        hint = typing.get_args(hint)[0]
    return (Required if name in owner.__required_keys__ else NotRequired)[_portable(hint)]
