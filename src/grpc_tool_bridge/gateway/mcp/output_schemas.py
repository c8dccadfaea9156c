"""Schemas of results: what a client is told, and whether a result is what it was told."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from referencing import Registry
from referencing.exceptions import Unresolvable

from grpc_tool_bridge.llm.mcp_names import RESULT, WRAPPED
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType

_MAX_SCHEMA_CHARS = 65_536
_DEFINITIONS = "#/$defs/"
_DIALECTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"})
# Kinds of content that stand beside the data, by the ``type`` of their schema.
_MEDIA = frozenset({"image", "audio", "resource", "resource_link"})

Schema = dict[str, Any]


class _Refused(Exception):  # noqa: N818 - it is no error: the schema is not used
    """The schema cannot be used."""


class OutputSchema:
    """The schema of a tool's structured content.

    Args:
        schema: As a client of some protocol version is told it.
        wraps: Whether the value is the property ``result`` of an object.

    Attributes:
        schema, wraps: As given.
    """

    def __init__(self, schema: Schema, *, wraps: bool) -> None:
        self.schema = schema
        self.wraps = wraps
        # Nothing is fetched: a reference to another document is an error.
        self._validator = _Validator(schema, registry=Registry())

    def allows(self, content: Any) -> bool:
        """Returns whether a structured content is what the schema says."""
        try:
            return bool(self._validator.is_valid(content))
        except (Unresolvable, RecursionError, _Refused):
            return False


def output_schema(spec: ToolSpec, version: str) -> Schema | None:
    """Returns the schema of the structured content that a client of a protocol version is told; None: there is none."""
    found = declared(spec, version)
    return None if found is None else found.schema


def declared(spec: ToolSpec, version: str) -> OutputSchema | None:
    """Returns the schema of a tool's structured content; None if the tool has none that can be used.

    Before 2026-07-28 the content is an object, so other values stand in one; so does what may be null, which no result
    can hold by itself. Images and other media are content of their own, and have no schema.
    """
    if not spec.output_schema or len(spec.output_schema) > _MAX_SCHEMA_CHARS:
        return None
    return _declared(spec.output_schema, spec.type == ToolType.STREAMING, version in MODERN_PROTOCOL_VERSIONS)


@lru_cache(maxsize=1_024)
def _declared(text: str, is_list: bool, any_value: bool) -> OutputSchema | None:
    try:
        schema = json.loads(text)
        if not isinstance(schema, dict) or not schema or _has_media(schema) or _has_patterns(schema):
            return None
        if schema.get("$schema", next(iter(_DIALECTS))) not in _DIALECTS:
            return None
        Draft202012Validator.check_schema(schema)
        if is_list:
            schema = _around(schema, lambda item: {"type": "array", "items": item})
        schema = _rooted(schema)
        if schema.get("type") == "object":
            # What an older client reads is checked by its library.
            return OutputSchema(schema, wraps=False) if _is_readable(schema) else None
        if any_value and not OutputSchema(schema, wraps=False).allows(None):
            return OutputSchema(schema, wraps=False)
        return OutputSchema(_around(schema, _wrap), wraps=True)
    except (ValueError, RecursionError, SchemaError, Unresolvable):
        return None


def _wrap(item: Schema) -> Schema:
    return {"type": "object", "properties": {RESULT: item}, "required": [RESULT], WRAPPED: True}


def _is_readable(schema: Schema) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return isinstance(properties, dict) and isinstance(required, list)


def _rooted(schema: Schema) -> Schema:
    """Puts the definition that a schema only refers to in its place: a client looks for its type there."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not schema.keys() <= {"$ref", "$defs", "$schema"}:
        return schema
    definitions = schema.get("$defs", {})
    found = definitions.get(reference.removeprefix(_DEFINITIONS))
    if not reference.startswith(_DEFINITIONS) or not isinstance(found, dict) or "$defs" in found:
        return schema
    return {**{key: value for key, value in schema.items() if key != "$ref"}, **found}


def _around(schema: Schema, wrap: Callable[[Schema], Schema]) -> Schema:
    """Puts a schema into another one. Its references find what they did before."""
    inner = dict(schema)
    outer: Schema = {}
    if (dialect := inner.pop("$schema", None)) is not None:
        outer["$schema"] = dialect
    if "$id" not in inner and all(reference.startswith(_DEFINITIONS) for reference in _references(inner)):
        if (definitions := inner.pop("$defs", None)) is not None:
            outer["$defs"] = definitions
    else:
        # It remains a document of its own.
        inner.setdefault("$id", "urn:grpc-tool-bridge:result")
    return {**wrap(inner), **outer}


def _references(part: Any) -> list[str]:
    found: list[str] = []
    if isinstance(part, list):
        for item in part:
            found += _references(item)
    elif isinstance(part, dict):
        for key, item in part.items():
            if key in ("$ref", "$dynamicRef") and isinstance(item, str):
                found.append(item)
            else:
                found += _references(item)
    return found


def _has_media(part: Any) -> bool:
    if isinstance(part, list):
        return any(map(_has_media, part))
    if not isinstance(part, dict):
        return False
    properties = part.get("properties")
    if isinstance(properties, dict):
        kind = properties.get("type")
        if isinstance(kind, dict) and kind.get("const") in _MEDIA and {"data", "contents", "uri"} & properties.keys():
            return True
    return any(map(_has_media, part.values()))


def _has_patterns(part: Any) -> bool:
    """Returns whether names are matched with patterns, which may take a validator any time."""
    if isinstance(part, list):
        return any(map(_has_patterns, part))
    return isinstance(part, dict) and ("patternProperties" in part or any(map(_has_patterns, part.values())))


def _check_pattern(_: Any, pattern: Any, instance: Any, __: Any) -> Any:
    """Checks a text in linear time: the pattern may be a stranger's."""
    if isinstance(instance, str) and not _matcher(pattern)(instance):
        yield ValidationError(f"the text does not match {pattern!r:.100}")


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], bool]:
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern))
    except PatternError:
        # Such as one that looks behind.
        raise _Refused from None
    return lambda text: _is_valid(validator, text)


def _is_valid(validator: SchemaValidator, text: str) -> bool:
    return bool(validator.isinstance_python(text))


_Validator = extend(Draft202012Validator, {"pattern": _check_pattern})
