"""Results as plain JSON where the tool's schema says what a plain value means."""

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from grpc_tool_bridge.values.tagged_json import to_json
from grpc_tool_bridge.values.text import is_text

# What a text of a format stands for.
_FORMATS: Mapping[str, type] = {
    "date": date, "date-time": datetime, "time": time, "duration": timedelta, "uuid": UUID,
}  # fmt: skip
_ARRAYS = (list, tuple, set, frozenset)
_MAX_SCHEMA_CHARS = 65_536

Write = Callable[[Any], Any]


def plain_writer(schema: str) -> Write:
    """Returns what writes the values of a schema.

    A date, a moment, a duration, a UUID and bytes become texts, and tuples and sets arrays, where the schema declares
    them. All else is written as ``to_json`` does, so that nothing has to be guessed: numbers beyond 2^53 too, and a
    date where a text may stand as well.

    Args:
        schema: JSON Schema; one that cannot be read declares nothing.
    """
    return _writer(schema) if len(schema) <= _MAX_SCHEMA_CHARS else to_json


@lru_cache(maxsize=256)
def _writer(schema: str) -> Write:
    try:
        whole = json.loads(schema)
    except (ValueError, RecursionError):
        return to_json
    return _Writer(whole).write if isinstance(whole, dict) else to_json


class _Writer:
    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._definitions = schema.get("$defs", {})

    def write(self, value: Any) -> Any:
        """Writes a value of the whole schema."""
        try:
            return self._write(self._schema, value)
        except (AttributeError, TypeError, LookupError):
            # A peer's schema may be anything.
            return to_json(value)

    def _write(self, given: Any, value: Any) -> Any:
        part = self._declared(given, value)
        kind = type(value)
        if kind in _ARRAYS and part.get("type") == "array":
            return self._items(part, sorted(value, key=repr) if kind in (set, frozenset) else value)
        if kind is dict and part.get("type") == "object" and _has_plain_keys(value):
            properties, rest = part.get("properties", {}), part.get("additionalProperties")
            return {key: self._write(properties.get(key, rest), item) for key, item in value.items()}
        if kind is bytes and part.get("contentEncoding") == "base64":
            return to_json(value)["value"]
        if part.get("type") == "string" and _FORMATS.get(part.get("format", "")) is kind:
            return to_jsonable_python(value)
        return to_json(value)

    def _items(self, part: Mapping[str, Any], value: Any) -> list[Any]:
        first = part.get("prefixItems", [])
        rest = part.get("items")
        return [self._write(first[n] if n < len(first) else rest, item) for n, item in enumerate(value)]

    def _declared(self, given: Any, value: Any) -> dict[str, Any]:
        """Returns the one part of a schema that a value can be of; empty if there is none, or several."""
        part = self._resolved(given)
        choices = part.get("anyOf")
        if not isinstance(choices, list):
            return part
        found = [choice for choice in map(self._resolved, choices) if _may_be(choice, value)]
        return found[0] if len(found) == 1 else {}

    def _resolved(self, part: Any) -> dict[str, Any]:
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            part = self._definitions.get(part["$ref"].removeprefix("#/$defs/"))
        return part if isinstance(part, dict) else {}


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    """Returns whether an object can have them, and would not be taken for a tagged value."""
    return value.keys() != {"$type", "value"} and all(isinstance(key, str) and is_text(key) for key in value)


def _may_be(choice: Mapping[str, Any], value: Any) -> bool:
    """Returns whether the plain form of a value could be taken for this choice."""
    if isinstance(value, _ARRAYS):
        return choice.get("type") in ("array", None)
    if isinstance(value, dict):
        return choice.get("type") in ("object", None)
    return choice.get("type") in ("string", None)
