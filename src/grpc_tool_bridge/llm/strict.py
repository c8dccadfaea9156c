"""Which JSON Schemas OpenAI's strict mode accepts unchanged."""

from typing import Any

_KEYWORDS = frozenset(
    {
        "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs",
        "title", "description", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "multipleOf", "minItems", "maxItems",
    }
)  # fmt: skip
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
# Keywords that define their values themselves.
_SAYS_WHAT = ("type", "enum", "const", "anyOf", "$ref")


def is_strict(schema: Any) -> bool:
    """Whether strict mode accepts a schema: all objects closed, all arguments required, only supported keywords.

    Other schemas are not converted: an argument with a default would become required for the model.
    """
    if not isinstance(schema, dict) or not schema.keys() <= _KEYWORDS or not any(key in schema for key in _SAYS_WHAT):
        return False
    if "$ref" in schema and len(schema) > 1:
        return False
    if schema.get("format", "date") not in _FORMATS:
        return False
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds and not _is_closed(schema):
        return False
    if "array" in kinds and "items" not in schema:
        return False
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        parts.append(schema["items"])
    return all(is_strict(part) for part in parts)


def _is_closed(schema: dict[str, Any]) -> bool:
    names = schema.get("properties", {}).keys()
    return schema.get("additionalProperties") is False and names == set(schema.get("required", ()))
