"""Descriptions of values that are neutral between languages: JSON with a ``kind`` for each value.

README.md lists the kinds.
"""

import base64
import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from google.protobuf.any_pb2 import Any as AnyMessage

from conformance.doubles import bits_of, number_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichDateTime, Tensor
from grpc_tool_bridge.values.rich import read_datetime, read_time, write_moment
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from grpc_tool_bridge.values.tensor import read_array

Description = dict[str, Any]

# A peer whose language has no such type may hold these values as they came.
OPAQUE_KINDS = frozenset(
    {
        "tuple", "set", "frozenset", "datetime", "date", "time", "timedelta", "uuid", "decimal", "complex", "tensor",
        "tensor_scalar", "typed",
    }
)  # fmt: skip


def describe(value: Any) -> Description:
    """Describes a Python value of a row of the table of values."""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return {"kind": _KINDS[type(value)], **writer(value)}
    if isinstance(value, np.ndarray | np.generic):
        kind = "tensor" if isinstance(value, np.ndarray) else "tensor_scalar"
        array = np.asarray(value)
        return {"kind": kind, "dtype": array.dtype.str, "shape": [*array.shape], "base64": _text(array.tobytes())}
    message = serialize_value(value, strict=True)
    return typed(message)


def typed(message: AnyMessage) -> Description:
    """Describes a value that is nothing but the bytes under its type URL."""
    return {"kind": "typed", "type_url": message.type_url, "base64": _text(message.value)}


def realize(description: Description) -> Any:
    """Returns the Python value of a description.

    Raises:
        ValueError: It is not a description.
    """
    try:
        return _READERS[description["kind"]](description)
    except (LookupError, TypeError, AttributeError) as failure:
        raise ValueError(f"not a description of a value: {failure!r}") from failure


def same_meaning(expected: Description, actual: Description) -> bool:
    """Returns whether two descriptions are of the same value.

    ``actual`` may have ``opaque`` in the place of a value of OPAQUE_KINDS.
    """
    return _canonical(expected) == _canonical(actual) or _equal_frames(expected, actual)


def holds_opaque(description: Any) -> bool:
    """Returns whether an opaque value is in a description."""
    if isinstance(description, dict):
        return description.get("kind") == "opaque" or any(map(holds_opaque, description.values()))
    return isinstance(description, list) and any(map(holds_opaque, description))


def _canonical(description: Description) -> Any:
    kind = description.get("kind")
    match kind:
        case "opaque":
            value = realize(description)
            found = describe(value)
            return _canonical(found) if found["kind"] in OPAQUE_KINDS else ["not to be opaque", found]
        case "set" | "frozenset":
            return [kind, sorted((_canonical(item) for item in description["items"]), key=_text_of)]
        case "list" | "tuple":
            return [kind, [_canonical(item) for item in description["items"]]]
        case "dict":
            return [kind, [[_canonical(key), _canonical(item)] for key, item in description["entries"]]]
        case "float":
            return [kind, description.get("bits")]
        case _:
            return {key: value for key, value in description.items() if value not in ("", False)}


def _text_of(canonical: Any) -> str:
    # A peer may write the fields of a meaning in any order.
    return json.dumps(canonical, sort_keys=True)


def _equal_frames(expected: Description, actual: Description) -> bool:
    """Returns whether both are frames of the same contents, which two versions of Arrow may write differently."""
    if expected.get("kind") != "typed" or actual.get("kind") not in ("typed", "opaque"):
        return False
    if expected["type_url"] != actual.get("type_url"):
        return False
    equals: Callable[[Any], bool] | None = getattr(realize(expected), "equals", None)
    return equals is not None and equals(realize(actual))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _moment(value: dt.datetime | dt.time) -> Description:
    message = RichDateTime()
    write_moment(value, message)
    return {
        "iso": message.iso,
        "zone": message.zone,
        "fold": message.fold,
        "offset_name": message.offset_name,
    }


def _read_moment(description: Description) -> RichDateTime:
    return RichDateTime(
        iso=description["iso"],
        zone=description.get("zone", ""),
        fold=description.get("fold", False),
        offset_name=description.get("offset_name", ""),
    )


def _read_tensor(description: Description) -> "np.ndarray[Any, Any]":
    data = base64.b64decode(description["base64"], validate=True)
    return read_array(Tensor(dtype=description["dtype"], shape=description["shape"], data=data))


def _read_typed(description: Description) -> Any:
    payload = base64.b64decode(description["base64"], validate=True)
    return deserialize_value(AnyMessage(type_url=description["type_url"], value=payload))


def _items(value: Any) -> Description:
    return {"items": [describe(item) for item in value]}


def _members(value: Any) -> Description:
    return {"items": sorted((describe(item) for item in value), key=json.dumps)}


_KINDS: Mapping[type, str] = {
    type(None): "null", bool: "boolean", int: "integer", float: "float", str: "text", bytes: "bytes", list: "list",
    dict: "dict", tuple: "tuple", set: "set", frozenset: "frozenset", dt.datetime: "datetime", dt.date: "date",
    dt.time: "time", dt.timedelta: "timedelta", uuid.UUID: "uuid", decimal.Decimal: "decimal", complex: "complex",
}  # fmt: skip

_WRITERS: Mapping[type, Callable[[Any], Description]] = {
    type(None): lambda _: {},
    bool: lambda value: {"value": value},
    int: lambda value: {"text": str(value)},
    float: lambda value: {"bits": bits_of(value), "text": repr(value)},
    str: lambda value: {"text": value},
    bytes: lambda value: {"base64": _text(value)},
    list: _items,
    dict: lambda value: {"entries": [[describe(key), describe(item)] for key, item in value.items()]},
    tuple: _items,
    set: _members,
    frozenset: _members,
    dt.datetime: _moment,
    dt.date: lambda value: {"iso": value.isoformat()},
    dt.time: _moment,
    dt.timedelta: lambda value: {
        "days": value.days,
        "seconds": value.seconds,
        "microseconds": value.microseconds,
    },
    uuid.UUID: lambda value: {"text": str(value)},
    decimal.Decimal: lambda value: {"text": str(value)},
    complex: lambda value: {"real": bits_of(value.real), "imag": bits_of(value.imag)},
}

_READERS: Mapping[str, Callable[[Description], Any]] = {
    "null": lambda _: None,
    "boolean": lambda given: bool(given["value"]),
    "integer": lambda given: int(given["text"]),
    "float": lambda given: number_of(given["bits"]),
    "text": lambda given: str(given["text"]),
    "bytes": lambda given: base64.b64decode(given["base64"], validate=True),
    "list": lambda given: [realize(item) for item in given["items"]],
    "dict": lambda given: {realize(key): realize(item) for key, item in given["entries"]},
    "tuple": lambda given: tuple(realize(item) for item in given["items"]),
    "set": lambda given: {realize(item) for item in given["items"]},
    "frozenset": lambda given: frozenset(realize(item) for item in given["items"]),
    "datetime": lambda given: read_datetime(_read_moment(given)),
    "date": lambda given: dt.date.fromisoformat(given["iso"]),
    "time": lambda given: read_time(_read_moment(given)),
    "timedelta": lambda given: dt.timedelta(given["days"], given["seconds"], given["microseconds"]),
    "uuid": lambda given: uuid.UUID(given["text"]),
    "decimal": lambda given: decimal.Decimal(given["text"]),
    "complex": lambda given: complex(number_of(given["real"]), number_of(given["imag"])),
    "tensor": _read_tensor,
    "tensor_scalar": lambda given: _read_tensor(given)[()],
    "typed": _read_typed,
    "opaque": _read_typed,
}
