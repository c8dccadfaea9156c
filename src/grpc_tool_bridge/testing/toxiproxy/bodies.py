"""JSON as Go reads it into a struct: by field, whatever the case of its name; what is unknown or null is left out."""

import json
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.testing.toxiproxy.errors import ApiError

MAX_BYTES = 1 << 20
_MAX_INTEGER = (1 << 63) - 1
# The largest number of 32 bits.
_MAX_FLOAT = 3.4028234663852886e38
_NAMES = {str: "string", int: "int64", float: "float32", bool: "bool", dict: "object"}

Fields = Mapping[str, type]


def read(body: bytes) -> Any:
    """Reads the first JSON value of a body; what follows it is ignored.

    Raises:
        ApiError: There is none.
    """
    if len(body) > MAX_BYTES:
        raise _bad(f"it has {len(body)} bytes, and may have {MAX_BYTES}")
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise _bad("EOF")
    try:
        value, _ = json.JSONDecoder(parse_constant=_refuse, parse_int=_integer).raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"json: {error}") from None
    return value


def read_object(value: Any, fields: Fields, where: str) -> dict[str, Any]:
    """Returns the fields of an object that are given; null gives none.

    Args:
        value: What was read.
        fields: The types of the fields, by name.
        where: What the object is, for errors.

    Raises:
        ApiError: It is no object, or a field is of another type.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(f"json: cannot unmarshal {_kind(value)} into Go value of type {where}")
    given: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in fields else key.lower()
        if name in fields and item is not None:
            given[name] = _checked(item, fields[name], f"{where}.{name}")
    return given


def read_list(value: Any, where: str) -> list[Any] | None:
    """Returns a list; None for null.

    Raises:
        ApiError: It is neither.
    """
    if value is not None and not isinstance(value, list):
        raise _bad(f"json: cannot unmarshal {_kind(value)} into Go value of type []{where}")
    return value


def _checked(value: Any, wanted: type, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is float:
        fits = is_number and abs(value) <= _MAX_FLOAT
    elif wanted is int:
        fits = is_number and isinstance(value, int) and -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER
    else:
        fits = isinstance(value, wanted)
    if not fits:
        raise _bad(f"json: cannot unmarshal {_kind(value)} into Go struct field {where} of type {_NAMES[wanted]}")
    # What is no text, such as half of a surrogate pair, could not be sent back.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _kind(value: Any) -> str:
    kinds = {bool: "bool", str: "string", list: "array", dict: "object", type(None): "null"}
    return kinds.get(type(value), f"number {value!s:.30}")


def _integer(digits: str) -> int | float:
    # Longer ones fit no field, and would take long to read.
    return int(digits) if len(digits) < 400 else float("inf")  # noqa: PLR2004 - more digits than any field takes


def _refuse(constant: str) -> None:
    raise ValueError(f"invalid character {constant[:1]!r} looking for beginning of value")


def _bad(text: str) -> ApiError:
    return ApiError(f"bad request body: {text}", 400)
