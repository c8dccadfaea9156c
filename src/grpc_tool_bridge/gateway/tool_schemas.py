"""The schemas of a tool, made fit for a document that has many others beside it.

A schema may come from a peer in any language, and need not be one. What is taken over is what JSON Schema 2020-12
knows; a schema that is wrong in itself, refers to what is not in it, or is too large is not taken over at all.
"""

import json
import re
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from grpc_tool_bridge.gateway.message_schemas import reference

# Of one schema: its text, its parts, how deep they are nested, and the text of one pattern.
MAX_SCHEMA_CHARS = 100_000
_MAX_PARTS = 5_000
_MAX_LEVELS = 50
_MAX_PATTERN_CHARS = 1_000

_DIGIT = "[A-Za-z0-9+/_-]"
_BASE64 = f"^({_DIGIT}{{4}})*({_DIGIT}{{2}}==|{_DIGIT}{{3}}=)?$"
_DEFINITION = re.compile(r"#/\$defs/([A-Za-z0-9._-]+)")
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (isinstance(value, int) and not isinstance(value, bool)) or _is_whole(value),
    "string": lambda value: isinstance(value, str),
}


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _is_count(value: Any) -> bool:
    return _TYPES["integer"](value) and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value) and len({*value}) == len(value)


def _is_type(value: Any) -> bool:
    return (isinstance(value, str) and value in _TYPES) or (
        _are_names(value) and bool(value) and all(item in _TYPES for item in value)
    )


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _MAX_PATTERN_CHARS:
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True


# What a keyword may have that has no schema in it.
_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _are_names,
    "pattern": _is_pattern,
    "enum": lambda value: isinstance(value, list),
    "const": lambda _: True,
    "multipleOf": lambda value: _TYPES["number"](value) and value > 0,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _TYPES["number"]),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_count),
    **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), _is_count),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _TYPES["boolean"]),
    **dict.fromkeys(("title", "description", "format", "contentEncoding", "contentMediaType"), _TYPES["string"]),
    "examples": _TYPES["array"],
    "dependentRequired": lambda value: isinstance(value, dict) and all(map(_are_names, value.values())),
}
# What applies to the same value as the schema that it stands in; a circle of these has no end.
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SINGLE = frozenset(
    {"not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames"}
    | {"unevaluatedItems", "unevaluatedProperties", "contentSchema"}
)
_KNOWN = frozenset({"$ref", *_PLAIN}) | _LISTS | _MAPS | _SINGLE
# They would change what a reference in the schema refers to.
_FOREIGN = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$recursiveRef"})


class _UnsoundError(Exception):
    """The schema is not taken over."""


def local_schema(text: str, name: str, *, answered: bool = False) -> Any:
    """Makes a schema part of a document.

    Args:
        text: The schema, as text.
        name: Name among the schemas of the document, where what it refers to is found in ``$defs``.
        answered: Whether it is of what a tool answers, where a value that JSON has no form for is a ``Tagged``.

    Returns:
        The schema; None if there is none, or if it cannot be used.
    """
    return _written(text, reference(name)["$ref"], answered=answered)


def whole_schema(text: str) -> Any:
    """Makes a schema a document of its own, which refers to nothing outside itself.

    One that JSON Schema 2020-12 does not allow, such as one of an older draft, is returned as it is.

    Args:
        text: The schema, as text.

    Returns:
        The schema; None if there is none, or if it is no schema at all or too large.
    """
    written = _written(text, "#", answered=False)
    if written is not None or not text or len(text) > MAX_SCHEMA_CHARS:
        return written
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict | bool) and _levels_of(schema) <= _MAX_LEVELS else None


def _levels_of(part: Any) -> int:
    """Returns how deep an object or an array is nested; the recursion is limited as that of the reader is."""
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
    return 0 if inner is None else 1 + max(map(_levels_of, inner), default=0)


def _written(text: str, where: str, *, answered: bool) -> Any:
    if not text or len(text) > MAX_SCHEMA_CHARS:
        return None
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
        return _Writer(schema, where, answered=answered).whole()
    except (ValueError, RecursionError, _UnsoundError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Writer:
    """Writes one schema anew, with its references where they are found: ``where`` is that of the schema itself."""

    def __init__(self, schema: Any, where: str, *, answered: bool) -> None:
        definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
        if not isinstance(definitions, dict):
            raise _UnsoundError
        self._schema = schema
        self._where = where
        self._definitions = definitions
        self._answered = answered
        self._left = _MAX_PARTS
        # By definition: those that it is, in part or whole. The schema itself has no name.
        self._made_of: dict[str, set[str]] = {}

    def whole(self) -> Any:
        """Writes the schema."""
        written = self._part(self._schema, 0, "")
        named = {name: self._part(part, 1, name) for name, part in self._definitions.items()}
        try:
            TopologicalSorter(self._made_of).prepare()
        except CycleError:
            raise _UnsoundError from None
        return {**written, "$defs": named} if named and isinstance(written, dict) else written

    def _part(self, part: Any, level: int, within: str | None) -> Any:
        """Writes a part; ``within`` is the definition whose value it applies to, None: it applies to a part of it."""
        self._left -= 1
        if self._left < 0 or level > _MAX_LEVELS:
            raise _UnsoundError
        if isinstance(part, bool):
            return part
        if not isinstance(part, dict) or _FOREIGN & part.keys():
            raise _UnsoundError
        known = [keyword for keyword in part if keyword in _KNOWN]
        written = {keyword: self._value(keyword, part[keyword], level + 1, within) for keyword in known}
        if "default" in part and _takes(written, part["default"]):
            written["default"] = part["default"]
        if written.get("contentEncoding") == "base64" and not self._answered:
            # No keyword of JSON Schema says it otherwise.
            written.setdefault("pattern", _BASE64)
        if written.get("type") == "array":
            # Redundant, but programs that read such documents require it.
            written.setdefault("items", {})
        return {"anyOf": [written, reference("Tagged")]} if self._answered and _may_be_tagged(written) else written

    def _value(self, keyword: str, value: Any, level: int, within: str | None) -> Any:
        if keyword == "$ref":
            return self._reference(value, within)
        if keyword not in _PLAIN:
            return self._parts(keyword, value, level, within if keyword in _IN_PLACE else None)
        if not _PLAIN[keyword](value):
            raise _UnsoundError
        return value

    def _parts(self, keyword: str, value: Any, level: int, within: str | None) -> Any:
        if keyword in _SINGLE:
            return self._part(value, level, within)
        if keyword in _MAPS and isinstance(value, dict):
            if keyword == "patternProperties" and not all(map(_is_pattern, value)):
                raise _UnsoundError
            return {name: self._part(part, level, within) for name, part in value.items()}
        if keyword in _LISTS and isinstance(value, list) and value:
            return [self._part(part, level, within) for part in value]
        raise _UnsoundError

    def _reference(self, value: Any, within: str | None) -> str:
        found = _DEFINITION.fullmatch(value) if isinstance(value, str) else None
        if value != "#" and (found is None or found[1] not in self._definitions):
            raise _UnsoundError
        name = "" if found is None else found[1]
        if within is not None:
            self._made_of.setdefault(within, set()).add(name)
        return f"{self._where}/$defs/{name}" if name else self._where


def _takes(schema: Mapping[str, Any], value: Any) -> bool:
    """Returns whether a default is of the type that its schema names."""
    kinds = schema.get("type", [])
    names = [kinds] if isinstance(kinds, str) else kinds
    is_one = not names or any(_TYPES[name](value) for name in names)
    return is_one and value in schema.get("enum", [value]) and _is_exact(value)


def _is_exact(value: Any) -> bool:
    """Returns whether every reader of JSON reads a value as it is: integers beyond 2^53 become others in many."""
    if isinstance(value, dict | list):
        return all(map(_is_exact, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or -(2**53) < value < 2**53


def _may_be_tagged(schema: Mapping[str, Any]) -> bool:
    """Returns whether a value of this schema may need a tag, such as NaN, a date or a tuple."""
    kinds = schema.get("type", [])
    names = {kinds} if isinstance(kinds, str) else {*kinds}
    if names & {"integer", "number", "array"}:
        return True
    if "string" in names and schema.keys() & {"format", "contentEncoding"}:
        return True
    return "object" in names and "properties" not in schema
