"""Arguments in a query string, read by the schema of the tool."""

import json
from collections.abc import Collection
from typing import Any

from starlette.datastructures import QueryParams

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values.tagged_json import loads

# Types whose values are taken from a query as they are.
_PLAIN = frozenset({"string", "integer", "number", "boolean"})


def query_arguments(spec: ToolSpec, query: QueryParams, taken: Collection[str]) -> dict[str, Any]:
    """Reads the arguments of a tool by their names.

    A parameter of a string is taken as it is, one of an array may come several times, and any other is JSON.

    Args:
        spec: The tool's.
        query: The query.
        taken: Names that are not arguments.

    Raises:
        ValidationError: A parameter that may come once came more often.
    """
    parts = tool_args(spec)
    found: dict[str, Any] = {}
    for name in dict.fromkeys(key for key, _ in query.multi_items()):
        if name in taken and name not in parts:
            continue
        part = parts.get(name, {})
        texts = query.getlist(name)
        if _is_array(part) and not (len(texts) == 1 and texts[0].startswith("[")):
            found[name] = [_read(text, part.get("items", {})) for text in texts]
        elif len(texts) > 1:
            raise ValidationError(f"{spec.name}: {name!r} came {len(texts)} times in the query; it takes one value")
        else:
            found[name] = _read(texts[0], part)
    return found


def _is_array(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "array"


def _read(text: str, part: Any) -> Any:
    """Reads one value; what is not JSON is left to the tool, which says what it takes."""
    if query_kind(part) == "string":
        return text
    try:
        return loads(text)
    except (ValueError, json.JSONDecodeError):
        return text


def query_kind(part: Any) -> str | None:
    """Returns the type of an argument that comes in a query as it is, by its schema; None: it comes as JSON.

    An argument that may be null as well is left out then.
    """
    if not isinstance(part, dict):
        return None
    choices = part.get("anyOf")
    if not isinstance(choices, list):
        kind = part.get("type")
        return kind if isinstance(kind, str) and kind in _PLAIN else None
    kinds = {choice.get("type") if isinstance(choice, dict) else None for choice in choices} - {"null"}
    return "string" if kinds == {"string"} else None
