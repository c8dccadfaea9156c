"""Values for language models: results as text, arguments as JSON.

Does not need DSPy; the adapters of other frameworks use it as well.
"""

import base64
import binascii
import json
import math
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_BASE64 = "base64"
_JSON_FORM: dict[str, Any] = {"bytes_mode": "base64", "inf_nan_mode": "constants"}
_URL_SAFE = str.maketrans("-_", "+/")

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""The texts for numbers that JSON does not have."""

# Rows of a frame; a model that needs more calls a tool that aggregates them.
MAX_ROWS = 1_000
# Values of an array that are written out; of a larger one, only both ends.
MAX_ITEMS = 1_000

_DOUBLE_BYTES = 8
# Units of datetime64 that are a date.
_DAYS = frozenset({"Y", "M", "W", "D"})


def value_text(value: Any) -> str:
    """Writes a result for a model: a text as it is, a frame as CSV, everything else as JSON.

    Values without a JSON form become their text, and bytes base64. Non-finite numbers become ``NaN``, ``Infinity`` and
    ``-Infinity``, in frames and arrays too.
    """
    plain = value if isinstance(value, str) else plain_of(value)
    if isinstance(plain, str):
        return _whole(str(plain))
    try:
        return to_json(plain, fallback=_fallback, **_JSON_FORM).decode()
    except (PydanticSerializationError, ValueError):
        return _rewritten_json(plain)


def is_plain_json(value: Any) -> bool:
    """Returns whether every JSON writer writes a value exactly as ``value_text`` does."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(is_plain_json, value))
    if kind is dict:
        return all(type(key) is str and is_plain_json(item) for key, item in value.items())
    return value is None or kind in (bool, int) or (kind is str and _whole(value) == value)


def text_of(value: Any, limit: int) -> str:
    """Writes a result for a model, in at most about ``limit`` characters."""
    return wire_text(value_text(value), limit)


def from_json(spec: ToolSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a tool's arguments from a model, decoding base64 to bytes where the schema declares it.

    The hub converts nearly everything by the tool's types. Only base64 for bytes would be taken for a text.
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
        # If any text is accepted, it is a text.
        for choice in [] if any(map(_is_text, choices)) else choices:
            value = _decoded(choice, value)
        return value
    match value:
        case str() if part.get("contentEncoding") == _BASE64:
            try:
                return base64.b64decode(value.translate(_URL_SAFE), validate=True)
            except (binascii.Error, ValueError):
                # The hub reports what is wrong with it.
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
    """Escapes lone surrogates, which no message can hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _rewritten_json(value: Any) -> str:
    """Writes JSON of values that pydantic cannot: keys of NumPy types, lone surrogates."""
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


# ---------------------------------------------------------------------------------------------------- frames and arrays


def plain_of(value: Any) -> Any:
    """Converts a frame to text and an array to a list; returns anything else unchanged."""
    package, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if package == "numpy" and hasattr(value, "dtype"):
        return _array(value) if kind == "ndarray" else _items(value)
    if package == "pandas":
        return _pandas(value, kind)
    if (package, kind) == ("polars", "DataFrame"):
        return _rows(_csv(value.head(MAX_ROWS)), len(value))
    if (package, kind) == ("pyarrow", "Table"):
        return value.slice(0, MAX_ROWS).to_pylist()
    return value


def frame_csv(value: Any) -> str | None:
    """Writes all rows of a frame as CSV; None: it is no frame, or has columns without a CSV form."""
    package, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if (package, kind) == ("pandas", "Series"):
        value, kind = value.to_frame(), "DataFrame"
    if (package, kind) == ("pandas", "DataFrame"):
        return _pandas_csv(value)
    if (package, kind) == ("pyarrow", "Table"):
        return _arrow_csv(value)
    rows = _csv(value) if (package, kind) == ("polars", "DataFrame") else None
    return rows if isinstance(rows, str) else None


def whole_of(value: Any) -> Any:
    """Converts an array to a list of its items, and a frame to one of its rows; returns anything else unchanged."""
    package, kind = type(value).__module__.partition(".")[0], type(value).__name__
    match package, kind:
        case "numpy", "ndarray":
            return _items(value)
        case "polars", "DataFrame":
            return value.to_dicts()
        case "pyarrow", "Table":
            return value.to_pylist()
    return value


def _arrow_csv(table: Any) -> str | None:
    csv, pyarrow = import_module("pyarrow.csv"), sys.modules["pyarrow"]
    out = pyarrow.BufferOutputStream()
    try:
        csv.write_csv(table, out)
    except pyarrow.ArrowInvalid:
        return None
    text: str = out.getvalue().to_pybytes().decode()
    return text


def _pandas(value: Any, kind: str) -> Any:
    if kind == "Series":
        value = value.to_frame()
    elif kind != "DataFrame":
        # An index of any kind.
        return value[:MAX_ITEMS].tolist() if hasattr(value, "to_frame") else value
    return _rows(_pandas_csv(value.head(MAX_ROWS)), len(value))


def _pandas_csv(frame: Any) -> str:
    labelled = type(frame.index).__name__ != "RangeIndex"
    rows: str = _named_numbers(frame).to_csv(index=labelled, lineterminator="\n")
    return rows


def _array(value: Any) -> Any:
    if value.size <= MAX_ITEMS:
        return _items(value)
    with sys.modules["numpy"].printoptions(nanstr="NaN", infstr="Infinity"):
        return f"array of shape {value.shape}, {value.dtype}: {value}"


def _items(array: Any) -> Any:
    """Returns the items of an array, or a scalar, as Python's."""
    if array.dtype.kind == "M":
        return _moments(array)
    if array.dtype.kind == "m":
        return array.astype("m8[us]").tolist()
    if array.dtype.kind == "f" and array.dtype.itemsize < _DOUBLE_BYTES:
        # The shortest form: 0.1, not 0.10000000149011612.
        return array.astype(str).astype(float).tolist()
    return array.tolist()


def _moments(array: Any) -> Any:
    numpy = sys.modules["numpy"]
    unit, _ = numpy.datetime_data(array.dtype)
    if unit in _DAYS:
        return array.astype("M8[D]").tolist()
    moments = array.astype("M8[us]")
    if numpy.all((moments == array) | numpy.isnat(array)):
        return moments.tolist()
    # Python has no nanoseconds, and NumPy would return numbers.
    return _without_nat(array.astype(str).tolist())


def _without_nat(items: Any) -> Any:
    if isinstance(items, list):
        return [_without_nat(item) for item in items]
    return None if items == "NaT" else items


def _number(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _named_numbers(frame: Any) -> Any:
    """Writes NaN and infinity in columns of numbers by name; pandas would write nothing and ``inf``."""
    changed = {}
    for position, kind in enumerate(frame.dtypes):
        column = frame.iloc[:, position]
        if getattr(kind, "kind", "") != "f" or abs(column).lt(math.inf).all():
            continue
        # In pandas' own dtypes, a missing value is not NaN, and is written as nothing.
        of_numpy = type(kind).__module__.partition(".")[0] == "numpy"
        changed[position] = [_number(item) for item in (_items(column.to_numpy()) if of_numpy else column.tolist())]
    if not changed:
        return frame
    named = frame.copy(deep=False)
    for position, column in changed.items():
        named.isetitem(position, column)
    return named


def _csv(frame: Any) -> Any:
    try:
        infinite = [column for column in frame.iter_columns() if column.dtype.is_float() and column.is_infinite().any()]
        for column in infinite:
            texts = [None if item is None else str(_number(item)) for item in column.to_list()]
            frame = frame.with_columns(type(column)(column.name, texts))
        return frame.write_csv()
    except Exception:  # noqa: BLE001 - polars raises its own classes for columns without a CSV form
        return frame.to_dicts()


def _rows(rows: Any, count: int) -> Any:
    return f"{rows}… ({count - MAX_ROWS:,} more rows)" if isinstance(rows, str) and count > MAX_ROWS else rows
