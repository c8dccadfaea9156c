"""The arguments of a tool: their schemas as a model sees them, and their values as it sends them."""

import json
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_REFERENCE = "#/$defs/"
# The limit for all schemas of a tool's arguments together; beyond it, parts are left out.
_MAX_PARTS = 5_000
_MAX_LEVELS = 50
_MAX_CHARS = 200_000


def read_schema(spec: ToolSpec) -> dict[str, Any]:
    """Reads the JSON Schema of a tool's arguments; empty if the tool has no valid one."""
    try:
        schema = json.loads(spec.input_schema or "{}")
    except (ValueError, RecursionError):
        return {}
    return schema if isinstance(schema, dict) else {}


def tool_args(spec: ToolSpec) -> dict[str, Any]:
    """Returns the self-contained JSON Schema of each argument, by name.

    A recursive schema is expanded once; a tool whose schema is not valid has no arguments here.
    """
    schema = read_schema(spec)
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    definitions = schema.get("$defs")
    writer = _Writer(definitions if isinstance(definitions, dict) else {})
    return {name: writer.whole(part, ()) for name, part in properties.items()}


class _Writer:
    """Replaces the references in a schema by their definitions."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._left = _MAX_PARTS
        self._chars_left = _MAX_CHARS

    def whole(self, part: Any, within: tuple[str, ...], level: int = 0) -> Any:
        """Writes a part of a schema with these definitions."""
        self._left -= 1
        if isinstance(part, str):
            self._chars_left -= len(part)
            return part if self._chars_left >= 0 else ""
        if isinstance(part, dict | list) and (self._left < 0 or level > _MAX_LEVELS):
            return {}
        if isinstance(part, list):
            return [self.whole(item, within, level + 1) for item in part]
        if not isinstance(part, dict):
            return part
        reference = part.get("$ref")
        if not isinstance(reference, str) or not reference.startswith(_REFERENCE):
            return {key: self.whole(value, within, level + 1) for key, value in part.items()}
        name = reference.removeprefix(_REFERENCE)
        rest = {key: value for key, value in part.items() if key != "$ref"}
        if name in within or name not in self._definitions:
            return {"title": name, **rest}
        meant = self.whole(self._definitions[name], (*within, name), level + 1)
        return {**meant, **rest} if isinstance(meant, dict) else meant


def read_arguments(name: str, given: Any) -> dict[str, Any]:
    """Reads the arguments of a call by name: an object, or the JSON of one.

    Models that call a tool without arguments send null, an empty text or nothing at all; some send an object as JSON
    within JSON.

    Raises:
        ValidationError: They are not JSON, or not an object; the text says which, so the model can correct it.
    """
    # A text within JSON is parsed once more, but not a third time.
    for _ in range(2):
        if not isinstance(given, str | bytes | bytearray) or not given.strip():
            break
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise refused_arguments(name, f"are not valid JSON ({error})") from None
    if given is None or (isinstance(given, str | bytes | bytearray) and not given.strip()):
        return {}
    if not isinstance(given, Mapping):
        raise refused_arguments(name, f"are {type(given).__name__}, not an object")
    return {str(key): value for key, value in given.items()}


def refused_arguments(name: str, problem: str) -> ValidationError:
    """Returns the error for arguments that cannot be read."""
    text = f"{name}: the arguments {problem}; give one JSON object with the arguments by name"
    return ValidationError(text, details={"arguments": problem})
