"""Converts the parts of a run to messages."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pydantic_core
from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value

from grpc_tool_bridge.errors import wire_text

# Protobuf parsers stop at a hundred nested messages; a value and its list are two.
_MAX_LEVELS = 30
_MAX_CHARS = 1_000_000


def struct_of(values: Mapping[str, Any]) -> Struct:
    """Converts values to a Struct; values that JSON cannot represent become texts."""
    return _struct(json_of(values), 0)


def json_of(value: Any) -> Any:
    """Converts a value to plain JSON."""
    try:
        return pydantic_core.to_jsonable_python(value, inf_nan_mode="strings", fallback=str, serialize_unknown=True)
    except (pydantic_core.PydanticSerializationError, ValueError):
        return whole_text(value)


def whole_text(value: Any) -> Any:
    """Replaces lone surrogates, which a model may write in JSON, but messages and prompts cannot hold."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))


def _struct(values: Mapping[str, Any], level: int) -> Struct:
    return Struct(fields={wire_text(str(name), _MAX_CHARS): _value(value, level + 1) for name, value in values.items()})


def _value(value: Any, level: int) -> Value:
    match value:
        case None:
            return Value(null_value=NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() | float() if abs(value) < 2**1023 and math.isfinite(value):
            return Value(number_value=value)
        case dict() if level < _MAX_LEVELS:
            return Value(struct_value=_struct(value, level))
        case list() if level < _MAX_LEVELS:
            return Value(list_value=ListValue(values=[_value(item, level + 1) for item in value]))
        case str():
            return Value(string_value=wire_text(value, _MAX_CHARS))
    return Value(string_value=wire_text(str(value), _MAX_CHARS))
