"""Schemas of results: what a client is told, and whether a result is what it was told."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import ValidationError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic_core import SchemaValidator, core_schema

from grpc_tool_bridge.llm.mcp_names import RESULT, WRAPPED
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tools.content_check import UNBOUNDED, ContentCheck, Rules, check_schema

_MAX_SCHEMA_CHARS = 65_536
_DEFINITIONS = "#/$defs/"
_DIALECTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"})
# Kinds of content that stand beside the data, by the ``type`` of their schema.
_MEDIA = frozenset({"image", "audio", "resource", "resource_link"})

Schema = dict[str, Any]


class UndecidedError(Exception):
    """It takes longer to find out whether a content is what its schema says."""


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
        self._check = ContentCheck(schema, _RULES)

    def allows(self, content: Any, *, is_quick: bool = False) -> bool:
        """Returns whether a structured content is what the schema says; one that takes too long to check is not.

        Args:
            content: The content.
            is_quick: Whether it is to be found out within a few milliseconds.

        Raises:
            UndecidedError: It takes longer, which only a quick check says.
        """
        problem = self._check.quick(content) if is_quick else self._check(content)
        if problem is None:
            raise UndecidedError
        return not problem


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
        if not isinstance(schema, dict) or not schema or _has_media(schema) or _is_unbounded(schema):
            return None
        if schema.get("$schema", next(iter(_DIALECTS))) not in _DIALECTS:
            return None
        check_schema(schema)
        if is_list:
            schema = _around(schema, lambda item: {"type": "array", "items": item})
        schema = _rooted(schema)
        if schema.get("type") == "object":
            # What an older client reads is checked by its library.
            return OutputSchema(schema, wraps=False) if _is_readable(schema) else None
        found = OutputSchema(schema, wraps=False)
        return found if any_value and not _may_be_null(found) else OutputSchema(_around(schema, _wrap), wraps=True)
    except (ValueError, RecursionError):
        return None


def _may_be_null(schema: OutputSchema) -> bool:
    try:
        return schema.allows(None, is_quick=True)
    except UndecidedError:
        return True


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


def _is_unbounded(part: Any) -> bool:
    """Returns whether a schema has rules that may take a check any time, and that a client would check all the same."""
    if isinstance(part, list):
        return any(map(_is_unbounded, part))
    return isinstance(part, dict) and (not part.keys().isdisjoint(UNBOUNDED) or any(map(_is_unbounded, part.values())))


def _check_pattern(_: Any, pattern: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    """Checks a text in linear time: the pattern may be a stranger's."""
    if isinstance(instance, str) and not _matcher(pattern).isinstance_python(instance):
        yield ValidationError(f"the text does not match {pattern!r:.100}")


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> SchemaValidator:
    """Returns what matches a pattern; raises SchemaError for one that looks behind, say, so that nothing fits it."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern))


# All else is checked as a client does it.
_RULES: Rules = (("pattern", _check_pattern),)
