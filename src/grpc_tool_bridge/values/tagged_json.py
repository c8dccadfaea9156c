"""Values as JSON, in both directions: types that JSON lacks are ``{"$type": …, "value": …}``."""

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichDateTime
from grpc_tool_bridge.values.rich import read_datetime, read_time, write_moment
from grpc_tool_bridge.values.tables import ARRAY_READERS, array_json, frame_json, is_missing
from grpc_tool_bridge.values.text import is_text

_KEYS = {"$type", "value"}
# JavaScript's numbers, and those of many other parsers, are exact up to here; Python's parser refuses long ones.
_EXACT = 2**53 - 1


def _moment(value: datetime | time) -> Any:
    """Writes a moment as ISO 8601; one with a named zone as an object, since its offset says less."""
    told = RichDateTime()
    try:
        write_moment(value, told)
    except SerializationError:
        return value.isoformat()
    named = {field.name: content for field, content in told.ListFields()}
    return named if len(named) > 1 else told.iso


def _seconds(value: timedelta) -> Any:
    """Writes a duration in seconds, or in its parts where a float would change it."""
    seconds = value.total_seconds()
    # The largest duration is rounded to one that there is not.
    if value.days < timedelta.max.days and timedelta(seconds=seconds) == value:
        return seconds
    return {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    bytes: lambda value: base64.b64encode(value).decode(),
    datetime: _moment,
    date: date.isoformat,
    time: _moment,
    timedelta: _seconds,
    UUID: str,
    Decimal: str,
    complex: lambda value: [to_json(value.real), to_json(value.imag)],
    tuple: lambda value: [to_json(item) for item in value],
    # Sorted, so that equal sets print the same.
    set: lambda value: sorted((to_json(item) for item in value), key=repr),
    frozenset: lambda value: sorted((to_json(item) for item in value), key=repr),
}

_READERS: Mapping[str, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "datetime": lambda value: _read_moment(value, datetime.fromisoformat, read_datetime),
    "date": date.fromisoformat,
    "time": lambda value: _read_moment(value, time.fromisoformat, read_time),
    "timedelta": lambda value: timedelta(**value) if isinstance(value, dict) else timedelta(seconds=value),
    "UUID": UUID,
    "Decimal": Decimal,
    "complex": lambda value: complex(*value),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "float": float,
    "int": int,
    "str": lambda value: value.decode("utf-8", "surrogatepass"),
    "dict": dict,
    **ARRAY_READERS,
}


def dumps(value: Any) -> str:
    """Writes a value as JSON text on one line, in ASCII, which every terminal and pipe can carry."""
    return json.dumps(to_json(value), allow_nan=False)


def loads(text: str) -> Any:
    """Reads a value from JSON text.

    Raises:
        ValueError: It is not JSON, or a ``$type`` in it cannot be read.
    """
    try:
        return from_json(json.loads(text, parse_constant=_refuse_constant))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def to_json(value: Any) -> Any:
    """Converts a value to what ``json.dumps`` can write."""
    if value is None or is_missing(value):
        return None
    if isinstance(value, str | bool | int) or type(value) is float:
        return _scalar(value)
    if isinstance(value, dict):
        # A dict that looks like a tagged value, or has keys that JSON cannot have, becomes a list of pairs.
        if all(isinstance(key, str) and is_text(key) for key in value) and value.keys() != _KEYS:
            return {key: to_json(item) for key, item in value.items()}
        return {"$type": "dict", "value": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    # A cell of a frame may be of a subclass, such as pandas.Timestamp.
    known = next((cls for cls in type(value).__mro__ if cls in _WRITERS), None)
    if known is not None:
        return {"$type": known.__name__, "value": _WRITERS[known](value)}
    tagged = frame_json(value, to_json) or array_json(value, to_json)
    return tagged if tagged is not None else {"$type": type(value).__name__, "value": str(value)}


def from_json(value: Any) -> Any:
    """Converts what ``json.loads`` returned back to values.

    Raises:
        ValueError: A ``$type`` is not known, or its value is not of that type.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != _KEYS:
        return {key: from_json(item) for key, item in value.items()}
    name = value["$type"]
    reader = _READERS.get(name) if isinstance(name, str) else None
    if reader is None:
        raise ValueError(f'a value of "$type" {name!r} is not supported here; supported: {", ".join(_READERS)}')
    inner = from_json(value["value"])
    try:
        return reader(inner)
    except Exception as error:  # noqa: BLE001 - polars and NumPy raise classes of their own
        raise ValueError(f'the value of "$type" {name!r} cannot be read: {error}') from None


def _read_moment(value: Any, plain: Callable[[str], Any], named: Callable[[RichDateTime], Any]) -> Any:
    return named(RichDateTime(**value)) if isinstance(value, dict) else plain(value)


def _scalar(value: Any) -> Any:
    """Writes a value that JSON can represent; one that parsers refuse or change is tagged."""
    match value:
        case bool():
            return value
        case int():
            return value if -_EXACT <= value <= _EXACT else {"$type": "int", "value": str(value)}
        case float():
            return value if math.isfinite(value) else {"$type": "float", "value": str(value)}
        case _:
            if is_text(value):
                return value
            return {"$type": "str", "value": to_json(value.encode("utf-8", "surrogatepass"))}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
