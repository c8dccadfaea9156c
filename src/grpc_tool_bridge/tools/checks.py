"""An annotation compiled once, so that values can be checked against it and described by it.

The serializers in a result's annotation are applied: the output schema describes what they return. User code never
runs in the event loop. The contents of a model or a dataclass are serialized by its own class (``values.records``).
"""

import typing
import warnings
from collections.abc import Container
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.warnings import ArbitraryTypeWarning
from pydantic_core import SchemaSerializer, SchemaValidator, ValidationError

from grpc_tool_bridge.tools.annotations import (
    UnresolvedNameError,
    checkable,
    modules_of,
    names_around,
    typed_dicts_taken,
)
from grpc_tool_bridge.tools.reading import CLASSES, with_classes
from grpc_tool_bridge.tools.rewriting import Schema, after, with_parts, without_ref
from grpc_tool_bridge.tools.strictness import reading_schema, strict_schema, with_nulls
from grpc_tool_bridge.tools.structs import describes_struct, has_struct_fields
from grpc_tool_bridge.values.foreign import foreign
from grpc_tool_bridge.values.records import is_pydantics, writing_mode

# Unknown fields are refused, like unknown arguments; a class that pydantic does not know is checked by isinstance.
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
# Keys of a schema that do not narrow the values.
_UNCONSTRAINED = frozenset({"type", "metadata", "ref", "microseconds_precision"})

_OWN_RULES = frozenset({"model", "dataclass", "chain"})
_NO_PARTS = frozenset({"metadata", "serialization", "cls", "config"})

_COLLECTIONS = frozenset({"list", "tuple", "set", "frozenset", "dict"})


class _Everything:
    """Contains every type."""

    def __contains__(self, item: object) -> bool:
        return True


EVERYTHING = _Everything()


class Validator:
    """Checks and converts values by a core schema, with the rules of ``strictness``.

    Nearly all values have exactly the declared type, so the strict schema is tried first. Only if it fails does the
    slower schema, which reads more, go through the value; errors come from that one alone.
    """

    __slots__ = ("_reading", "_schema", "_strict")

    def __init__(self, schema: Schema, *, first_only: bool = False) -> None:
        self._schema = with_classes(_failing_fast(schema) if first_only else schema)
        self._strict = _compiled(strict_schema(self._schema))
        self._reading: SchemaValidator | None = None

    def validate_python(self, value: Any) -> Any:
        """Checks and converts a value.

        Raises:
            pydantic_core.ValidationError: The value is not valid.
        """
        try:
            return self._strict.validate_python(value)
        except ValidationError:
            if self._reading is None:
                self._reading = _compiled(reading_schema(self._schema))
        return self._reading.validate_python(value)


@dataclass(frozen=True, slots=True)
class Check:
    """What one annotation accepts.

    Attributes:
        schema: Pydantic's core schema of the annotation.
        accepts: Types whose values pass without calling ``validator``; their subclasses do not.
        validator: Checks and converts any other value.
        reads_iterators: Whether the validator may consume an iterator in place; otherwise it refuses iterators.
    """

    schema: Schema
    accepts: Container[type]
    validator: Validator
    reads_iterators: bool = True

    def first_only(self) -> "Check":
        """Returns the same check, but one that stops at the first problem in a list or a dict."""
        return Check(self.schema, self.accepts, Validator(self.schema, first_only=True), self.reads_iterators)


def _failing_fast(schema: Schema) -> Schema:
    node = with_parts(schema, _failing_fast)
    if node["type"] in _COLLECTIONS:
        node["fail_fast"] = True
    return node


def _compiled(schema: Schema) -> SchemaValidator:
    # Without the validators that pydantic has compiled for models, which do not know these rules.
    return SchemaValidator(typing.cast("Any", schema), None, False)


def compile_check(annotation: Any, where: str, *, output: bool = False) -> Check:
    """Compiles an annotation.

    Args:
        annotation: The annotation, with names resolved.
        where: How errors name its place, such as "add: parameter 'a'".
        output: Whether it annotates a result, to which its serializers are applied.

    Raises:
        TypeError: Values cannot be checked against it; an ``UnresolvedNameError`` if it refers to an undefined name.
    """
    try:
        schema = with_nulls(_core_schema(annotation, output=output))
        validator = Validator(schema)
    except (NameError, PydanticUndefinedAnnotation) as error:
        raise UnresolvedNameError(
            f"{where}: its annotation {annotation!r} holds a name that cannot be resolved ({_reason(error)}); import "
            "or define what it names at module level, outside 'if TYPE_CHECKING'"
        ) from error
    except Exception as error:
        raise TypeError(
            f"{where}: values cannot be checked against its annotation {annotation!r}: {_reason(error)}"
        ) from error
    return Check(schema, _exact_types(schema), validator, _reads_iterators(schema))


def _reads_iterators(schema: Any) -> bool:
    """Whether a schema has parts with rules of their own: models and user functions."""
    if isinstance(schema, dict):
        kind = schema.get("type")
        if isinstance(kind, str) and (kind in _OWN_RULES or kind.startswith("function-")):
            return True
        return any(_reads_iterators(part) for key, part in schema.items() if key not in _NO_PARTS)
    return isinstance(schema, list | tuple) and any(map(_reads_iterators, schema))


def _reason(error: Exception) -> str:
    text = str(error).partition("\n\nFor further information")[0]
    # Pydantic's message for an unknown type ends with advice that would let every value pass.
    return " ".join(text.partition(", Pydantic will allow any object")[0].split())


def _core_schema(annotation: Any, within: frozenset[Any] = frozenset(), *, output: bool = False) -> Schema:
    annotation = checkable(annotation)
    with typed_dicts_taken(annotation), warnings.catch_warnings():
        # A read-only value is the tool's own copy.
        warnings.filterwarnings("ignore", message=r"(?s).*`ReadOnly` qualifier", category=UserWarning)
        # Values would pass without any check.
        warnings.simplefilter("error", ArbitraryTypeWarning)
        # Alone, a dataclass or a TypedDict would not take the configuration; inside a list it does.
        adapter = TypeAdapter(list[annotation], config=_CONFIG)
        if not adapter.pydantic_complete:
            # Some name is undefined or local; only this error says which one.
            adapter.rebuild(raise_errors=True, _types_namespace=names_around(modules_of(annotation)))
        schema = typing.cast("Schema", adapter.core_schema)
    if schema["type"] == "definitions":
        schema = {**schema, "schema": schema["schema"]["items_schema"]}
    else:
        schema = schema["items_schema"]
    return _described(serialized(schema) if output else schema, within)


def _described(schema: Schema, within: frozenset[Any]) -> Schema:
    """Describes the fields of classes that pydantic does not know."""
    if schema["type"] == "is-instance":
        return describes_struct(schema, _core_schema, within) if has_struct_fields(schema["cls"]) else schema
    return with_parts(schema, lambda part: _described(part, within))


def _exact_types(schema: Schema) -> Container[type]:
    kind = schema["type"]
    if "serialization" in schema:
        return frozenset()
    if kind == "any":
        return EVERYTHING
    if kind == "is-instance":
        return frozenset({schema["cls"]})
    if kind in _EXACT_TYPES and schema.keys() <= _UNCONSTRAINED:
        return frozenset({_EXACT_TYPES[kind]})
    if kind == "nullable":
        return _joined([{"type": "none"}, schema["schema"]])
    if kind == "default":
        return _exact_types(schema["schema"])
    if kind == "union":
        return _joined(schema["choices"])
    return frozenset()


def _joined(schemas: list[Schema]) -> Container[type]:
    found = [_exact_types(schema) for schema in schemas]
    known = [types for types in found if isinstance(types, frozenset)]
    return frozenset().union(*known) if len(known) == len(found) else EVERYTHING


CLASSES.compile_by(lambda cls: compile_check(cls, cls.__qualname__).validator.validate_python)


# -------------------------------------------------------------------------------------------------------------- results


def serialized(schema: Schema) -> Schema:
    """Makes a core schema apply its serializers to the values that it has checked."""
    definitions = schema["definitions"] if schema["type"] == "definitions" else []
    return _serialized(schema, definitions)


def _serialized(schema: Schema, definitions: list[Schema]) -> Schema:
    if schema["type"] in ("model", "dataclass"):
        return schema
    mode = writing_mode(schema) if "serialization" in schema else ""
    if not mode:
        return _outside_loop(with_parts(schema, lambda part: _serialized(part, definitions)))
    whole: Any = without_ref(schema)
    if definitions:
        whole = {"type": "definitions", "schema": whole, "definitions": definitions}
    write = SchemaSerializer(whole).to_python

    def written(value: Any) -> Any:
        foreign(value)
        return write(value, mode=mode, by_alias=True, warnings="error")

    return after(written, dict(schema))


def _outside_loop(node: Schema) -> Schema:
    """Makes the validator of a schema run in a thread if it is user code."""
    if not node["type"].startswith("function-") or is_pydantics(node["function"]["function"]):
        return node
    check = node["function"]["function"]

    def checked(value: Any, *rest: Any) -> Any:
        foreign(value)
        return check(value, *rest)

    return {**node, "function": {**node["function"], "function": checked}}
