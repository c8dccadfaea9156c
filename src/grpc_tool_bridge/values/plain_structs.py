"""Plain JSON data as a ``google.protobuf.Struct``, whatever its size: what MCP over gRPC carries.

A Struct holds every number as a double, so that an integer beyond 2**53 has no exact form in it, nor has NaN in JSON.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Struct

from grpc_tool_bridge.errors import SerializationError, wire_text
from grpc_tool_bridge.errors.clipped_repr import clipped_repr

# Each level takes three messages, of which protobuf reads 100 within each other; some stand around the Struct.
MAX_LEVELS = 30

_MAX_EXACT = 2**53
_MAX_DOUBLE = 1.7976931348623157e308


def write_struct(data: Mapping[str, Any], *, rounds: bool = False) -> Struct:
    """Writes an object.

    Args:
        data: Its keys are texts, its values plain JSON data.
        rounds: Whether an integer beyond 2**53 becomes the nearest double, as JavaScript reads it.

    Raises:
        SerializationError: A value has no exact form in a Struct, or is nested too deeply; the text says where it is.
    """
    struct = Struct()
    _Writer(rounds).fields(struct, data, "", 1)
    return struct


def read_struct(struct: Struct, *, lenient: bool = False) -> dict[str, Any]:
    """Reads an object that was parsed, so that it has few levels; numbers without a fraction are integers.

    Args:
        struct: The object.
        lenient: Whether a value without a kind is null.

    Raises:
        SerializationError: A value in it has no kind.
    """
    return {key: _read(item, lenient) for key, item in struct.fields.items()}


def _read(value: Any, lenient: bool) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            number: float = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _MAX_EXACT else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return read_struct(value.struct_value, lenient=lenient)
        case "list_value":
            return [_read(item, lenient) for item in value.list_value.values]
        case None if not lenient:
            raise SerializationError("a google.protobuf.Value has no kind set; null is null_value")
    return None


class _Writer:
    """Writes one object.

    Args:
        rounds: As for ``write_struct``.
    """

    def __init__(self, rounds: bool) -> None:
        self._rounds = rounds

    def fields(self, struct: Any, data: Mapping[str, Any], path: str, level: int) -> None:
        _check_level(path, level)
        for key, item in data.items():
            if type(key) is not str:
                raise SerializationError(f"{path or 'it'}: the key {clipped_repr(key, 60)} is no text")
            where = f"{path}.{key}" if path else key
            self._value(struct.fields[_text(key)], item, where, level)

    def _value(self, value: Any, item: Any, path: str, level: int) -> None:
        if item is None:
            value.null_value = NULL_VALUE
        elif isinstance(item, bool):
            value.bool_value = item
        elif isinstance(item, str):
            value.string_value = _text(item)
        elif isinstance(item, int | float):
            value.number_value = self._number(item, path)
        elif isinstance(item, Mapping):
            # Present, if it is empty, too.
            value.struct_value.SetInParent()
            self.fields(value.struct_value, item, path, level + 1)
        elif isinstance(item, list | tuple):
            _check_level(path, level + 1)
            value.list_value.SetInParent()
            for number, part in enumerate(item):
                self._value(value.list_value.values.add(), part, f"{path}[{number}]", level + 1)
        else:
            raise SerializationError(f"{_shown(path)}: {clipped_repr(item, 60)} has no form in JSON")

    def _number(self, item: float, path: str) -> float:
        if isinstance(item, int) and abs(item) > _MAX_EXACT:
            if self._rounds:
                return float(item) if abs(item) < _MAX_DOUBLE else _MAX_DOUBLE * (1 if item > 0 else -1)
            raise SerializationError(
                f"{_shown(path)}: the integer {clipped_repr(item, 60)} is beyond 2**53, up to which a "
                "google.protobuf.Struct holds integers exactly"
            )
        if not isfinite(item):
            raise SerializationError(f"{_shown(path)}: {item} has no form in JSON")
        return item


def _check_level(path: str, level: int) -> None:
    if level > MAX_LEVELS:
        raise SerializationError(
            f"{_shown(path)}: lists and objects in over {MAX_LEVELS} levels; a google.protobuf.Struct cannot carry more"
        )


def _shown(path: str) -> str:
    return path if len(path) <= 120 else f"{path[:60]}…{path[-59:]}"  # noqa: PLR2004 - long enough to be found


def _text(text: str) -> str:
    return text if text.isascii() else wire_text(text, len(text))
