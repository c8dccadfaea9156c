"""A tool's arguments, as a model is told of them."""

import json
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_MAX_LEVELS = 20
_REFERENCE = "#/$defs/"


def tool_args(spec: ToolSpec) -> dict[str, Any]:
    """Returns the JSON Schema of each argument by name, whole in itself.

    A schema that refers to itself ends after one turn; a tool whose schema cannot be read has no arguments to tell of.
    """
    try:
        schema = json.loads(spec.input_schema or "{}")
    except ValueError:
        return {}
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    definitions = schema.get("$defs")
    known = definitions if isinstance(definitions, dict) else {}
    return {name: _whole(part, known, (), _MAX_LEVELS) for name, part in properties.items()}


def _whole(part: Any, definitions: Mapping[str, Any], within: tuple[str, ...], levels: int) -> Any:
    if levels == 0:
        return {}
    if isinstance(part, list):
        return [_whole(item, definitions, within, levels - 1) for item in part]
    if not isinstance(part, dict):
        return part
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REFERENCE):
        name = reference.removeprefix(_REFERENCE)
        rest = {key: value for key, value in part.items() if key != "$ref"}
        if name in within or name not in definitions:
            return {"title": name, **rest}
        return {**_whole(definitions[name], definitions, (*within, name), levels - 1), **rest}
    return {key: _whole(value, definitions, within, levels - 1) for key, value in part.items()}
