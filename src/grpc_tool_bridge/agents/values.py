"""Values as models read and write them: results as text, arguments as JSON.

DSPy is not needed for it, and the adapters of other frameworks use it as well.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from grpc_tool_bridge.agents.tool_args import tool_args
from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Of a frame; a model that needs more of them calls a tool that sums them up.
MAX_ROWS = 1_000
# Of an array that is written out; of a larger one, its ends.
MAX_ITEMS = 1_000

_BASE64 = "base64"
_URL_SAFE = str.maketrans("-_", "+/")


def value_text(value: Any) -> str:
    """Writes a result as a model reads it: a text as it is, a frame as CSV, all else as JSON.

    What JSON has no form for becomes its text; bytes become base64.
    """
    if isinstance(value, str):
        return value
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    try:
        return to_json(plain, fallback=_fallback, bytes_mode="base64", inf_nan_mode="constants").decode()
    except (PydanticSerializationError, ValueError):
        return str(value)


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
    plain = _plain(value)
    return str(value) if plain is value else plain


def _plain(value: Any) -> Any:
    """Makes a frame or an array plain, by its own methods: none of their packages is imported for it."""
    match type(value).__module__.partition(".")[0], type(value).__name__:
        case "pandas", "DataFrame":
            labelled = type(value.index).__name__ != "RangeIndex"
            return _rows(value.head(MAX_ROWS).to_csv(index=labelled, lineterminator="\n"), len(value))
        case "pandas", "Series":
            return _plain(value.to_frame())
        case "polars", "DataFrame":
            return _rows(_csv(value.head(MAX_ROWS)), len(value))
        case "pyarrow", "Table":
            return value.slice(0, MAX_ROWS).to_pylist()
        case "numpy", "ndarray" if value.size <= MAX_ITEMS:
            return value.tolist()
        case "numpy", "ndarray":
            return f"array of shape {value.shape}, {value.dtype}: {value}"
        case "numpy", _ if hasattr(value, "item"):
            return value.item()
    return value


def _csv(frame: Any) -> Any:
    try:
        return frame.write_csv()
    except Exception:  # noqa: BLE001 - polars' own, for columns that CSV has no form for
        return frame.to_dicts()


def _rows(rows: Any, count: int) -> Any:
    return f"{rows}… ({count - MAX_ROWS:,} more rows)" if isinstance(rows, str) and count > MAX_ROWS else rows
