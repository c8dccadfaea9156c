"""JSON Schemas of arguments and results, as the types of a module of stubs are read from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from grpc_tool_bridge.llm.values import NOT_FINITE

# Deeper parts are of any type.
MAX_DEPTH = 12
REFERENCE = "#/$defs/"
_MAX_SHAPE_DEPTH = 100
# Of maps of protobuf, by the pattern of their keys in JSON.
_KEY_TYPES = {"^-?[0-9]+$": "int", "^(true|false)$": "bool"}
# How JSON has numbers that in Python are of the same type as all others.
_NOT_FINITE = {"enum": list(NOT_FINITE)}
# What says nothing about which values there are.
_REMARKS = frozenset({"description", "title", "default", "examples", "deprecated", "$comment"})


@dataclass(frozen=True, slots=True)
class Schema:
    """A part of a JSON Schema with what is needed to read it.

    Attributes:
        part: The part.
        definitions: What its references refer to, by name.
        about: What it is of, such as ``find limit``; names a type that has no name.
        is_python: Whether values are Python's: a date-time is a ``datetime``, and not a text.
        is_result: Whether it is of a result.
        is_message: Whether values are those of a message of protobuf: base64 is of ``bytes``, and the keys of a map are
            integers or truth values if their texts can be nothing else.
    """

    part: Any
    definitions: Mapping[str, Any]
    about: str
    is_python: bool
    is_result: bool
    is_message: bool = False

    def of(self, part: Any, more: str = "") -> "Schema":
        """Returns another part of the same schema."""
        return replace(self, part=part, about=f"{self.about} {more}".strip())

    @property
    def is_any(self) -> bool:
        """Whether it is of an Any, which has the fields of the message in it beside its type."""
        return self.is_message and "@type" in self.part.get("properties", ())

    @property
    def key_type(self) -> str:
        """The Python type of the keys of an object."""
        names = self.part.get("propertyNames") if self.is_message else None
        return _KEY_TYPES.get(names.get("pattern", ""), "str") if isinstance(names, dict) else "str"


def choices_of(part: Mapping[str, Any]) -> list[Any]:
    """Returns what a schema allows a choice between; nothing if it is no choice."""
    found = part.get("anyOf", part.get("oneOf"))
    return [choice for choice in found if choice != _NOT_FINITE] if isinstance(found, list) else []


def resolved_part(schema: Schema) -> Mapping[str, Any]:
    """Returns what a part says, or what it refers to, without remarks."""
    part = schema.part
    for _ in range(MAX_DEPTH):
        if not isinstance(part, dict) or "$ref" not in part:
            break
        part = schema.definitions.get(str(part["$ref"]).removeprefix(REFERENCE))
    return {key: value for key, value in part.items() if key not in _REMARKS} if isinstance(part, dict) else {}


def refers(part: Any) -> bool:
    """Returns whether a schema has references."""
    if isinstance(part, dict):
        return "$ref" in part or any(map(refers, part.values()))
    return isinstance(part, list) and any(map(refers, part))


def needed_keys(part: Mapping[str, Any], schema: Schema) -> list[str]:
    """Lists the keys that an object always has; a result of Python's has those with a default, too."""
    required, properties = part.get("required"), part.get("properties")
    needed = {str(key) for key in required} if isinstance(required, list) else set()
    if schema.is_result and schema.is_python and isinstance(properties, dict):
        needed |= {key for key, item in properties.items() if isinstance(item, dict) and "default" in item}
    return sorted(needed)


def shape_of(schema: Schema) -> str:
    """Writes all that decides which values a schema allows, with what it refers to; two of one shape are one type."""
    found: dict[str, Any] = {}
    shape = _shape(schema.part, schema, found)
    return json.dumps([shape, found, schema.is_python, schema.is_message], sort_keys=True)


def _shape(part: Any, schema: Schema, found: dict[str, Any], depth: int = 0) -> Any:
    if depth > _MAX_SHAPE_DEPTH:
        return None
    if isinstance(part, list):
        return [_shape(item, schema, found, depth + 1) for item in part]
    if not isinstance(part, dict):
        return part
    reference = str(part.get("$ref", "")).removeprefix(REFERENCE)
    if reference in schema.definitions and reference not in found:
        found[reference] = None
        found[reference] = _shape(schema.definitions[reference], schema, found, depth + 1)
    made: dict[str, Any] = {}
    for key, value in {**({"required": []} if "properties" in part else {}), **part}.items():
        if key == "properties" and isinstance(value, dict):
            made[key] = {name: _shape(item, schema, found, depth + 1) for name, item in value.items()}
        elif key == "required":
            made[key] = needed_keys(part, schema)
        elif key in ("enum", "const"):
            made[key] = value
        elif key not in _REMARKS and (key, value) != ("additionalProperties", False):
            made[key] = _shape(value, schema, found, depth + 1)
    return made
