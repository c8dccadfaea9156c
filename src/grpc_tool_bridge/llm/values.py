"""Values as models read and write them: results as text, arguments as JSON.

DSPy is not needed for it, and the adapters of other frameworks use it as well.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.llm.frames import plain_of
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_BASE64 = "base64"
_JSON_FORM: dict[str, Any] = {"bytes_mode": "base64", "inf_nan_mode": "constants"}
_URL_SAFE = str.maketrans("-_", "+/")


def value_text(value: Any) -> str:
    """Writes a result as a model reads it: a text as it is, a frame as CSV, all else as JSON.

    What JSON has no form for becomes its text; bytes become base64; numbers that JSON has not are ``NaN``, ``Infinity``
    and ``-Infinity`` wherever they stand, in frames and arrays too.
    """
    plain = value if isinstance(value, str) else plain_of(value)
    if isinstance(plain, str):
        return _whole(str(plain))
    try:
        return to_json(plain, fallback=_fallback, **_JSON_FORM).decode()
    except (PydanticSerializationError, ValueError):
        return _rewritten_json(plain)


def is_plain_json(value: Any) -> bool:
    """Tells whether every writer of JSON writes a value alike, and as ``value_text`` does."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(is_plain_json, value))
    if kind is dict:
        return all(type(key) is str and is_plain_json(item) for key, item in value.items())
    return value is None or kind in (bool, int) or (kind is str and _whole(value) == value)


def text_of(value: Any, limit: int) -> str:
    """Writes a result as a model reads it, in at most about ``limit`` characters."""
    return wire_text(value_text(value), limit)


def from_json(spec: ToolSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the arguments of a tool as a model gave them.

    The hub converts nearly all by the types that the tool has. Only bytes, which its schema says are base64, it would
    take for a text.

    Args:
        spec: Of the tool.
        arguments: By name.

    Returns:
        The arguments, with bytes where base64 was asked for and is there.
    """
    if _BASE64 not in spec.input_schema:
        return dict(arguments)
    parts = tool_args(spec)
    return {name: _decoded(parts.get(name), value) for name, value in arguments.items()}


def _decoded(part: Any, value: Any) -> Any:
    if not isinstance(part, dict):
        return value
    choices = part.get("anyOf")
    if isinstance(choices, list):
        # Where any text will do, it is one.
        for choice in [] if any(map(_is_text, choices)) else choices:
            value = _decoded(choice, value)
        return value
    match value:
        case str() if part.get("contentEncoding") == _BASE64:
            try:
                return base64.b64decode(value.translate(_URL_SAFE), validate=True)
            except (binascii.Error, ValueError):
                # The hub says what is wrong with it.
                return value
        case list():
            return [_decoded(part.get("items"), item) for item in value]
        case dict() if isinstance(part.get("properties"), dict):
            return {name: _decoded(part["properties"].get(name), item) for name, item in value.items()}
    return value


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "string" and part.get("contentEncoding") != _BASE64


def _fallback(value: Any) -> Any:
    plain = plain_of(value)
    return str(value) if plain is value or type(plain) is type(value) else plain


def _whole(text: str) -> str:
    """Escapes half characters, which no message can hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _rewritten_json(value: Any) -> str:
    """Writes JSON of what Pydantic has none for: keys of NumPy's types, half characters."""
    try:
        plain = to_jsonable_python(_with_text_keys(value), fallback=_fallback, **_JSON_FORM)
        return _whole(json.dumps(plain, ensure_ascii=False, separators=(",", ":")))
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return _whole(str(value))


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_with_text_keys(item) for item in value]
    return value


def _key(key: Any) -> str:
    text = value_text(key)
    return text[1:-1] if not isinstance(key, str) and text.startswith('"') else text
