"""Arguments of a call as JSON, which is all that an MCP server reads."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.values import is_plain_json, plain_of


def json_arguments(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the arguments of a call.

    Plain data stays as it is. Bytes become base64, moments and UUIDs texts, tuples and sets lists, frames CSV and
    arrays lists.

    Raises:
        ValidationError: An argument has no form in JSON; ``details`` names it.
    """
    return {name: _plain(tool, name, value) for name, value in arguments.items()}


def _plain(tool: str, name: str, value: Any) -> Any:
    if is_plain_json(value):
        return value
    try:
        return json.loads(to_json(_without_bytes(value), inf_nan_mode="strings", fallback=_fallback))
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        problem = f"cannot be written as JSON: {str(error)[:200]}"
        raise ValidationError(f"{tool}: argument {name!r}: {problem}", details={name: problem}) from None


def _without_bytes(value: Any) -> Any:
    """Replaces bytes by base64 of the usual alphabet, which is that of MCP; pydantic writes the other one."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: _without_bytes(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_bytes(item) for item in value]
    return plain_of(value)


def _fallback(value: Any) -> Any:
    plain = plain_of(value)
    if plain is value:
        raise TypeError(f"a {type(value).__name__} has no form in JSON")
    return plain
