"""Structs, lists and values of any type as plain data, and back."""

import math
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.adapters.grpc.problems import (
    LEVELS_OF_DICT,
    LEVELS_OF_LIST,
    Problems,
    TooDeepError,
    WrongError,
    said,
    step_to,
    too_deep,
    wrong,
)
from grpc_tool_bridge.adapters.grpc.scalars import MAX_EXACT, text
from grpc_tool_bridge.llm.values import whole_of
from grpc_tool_bridge.tools.wording import show


def read_value(message: Any, left: int) -> Any:
    """Reads a google.protobuf.Value; one without any value is None.

    Raises:
        TooDeepError: It is nested deeper than ``left`` levels.
    """
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "number_value":
        return _number(message.number_value)
    if kind == "struct_value":
        return read_struct(message.struct_value, left - 1)
    if kind == "list_value":
        return read_list(message.list_value, left - 1)
    return getattr(message, kind)


def _number(number: float) -> int | float:
    """Returns a whole number as int, as JSON has no other."""
    if number.is_integer() and -MAX_EXACT <= number <= MAX_EXACT and (number or math.copysign(1, number) > 0):
        return int(number)
    return number


def read_struct(message: Any, left: int) -> dict[str, Any]:
    """Reads a google.protobuf.Struct; raises as ``read_value``."""
    if left < 0:
        raise TooDeepError
    fields = message.fields
    return {name: read_value(fields[name], left) for name in fields}


def read_list(message: Any, left: int) -> list[Any]:
    """Reads a google.protobuf.ListValue; raises as ``read_value``."""
    if left < 0:
        raise TooDeepError
    return [read_value(item, left) for item in message.values]


def fill_value(message: Any, value: Any, left: int) -> None:
    """Writes plain data into a google.protobuf.Value.

    Raises:
        WrongError: It cannot hold it.
    """
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = bool(value)
    elif isinstance(value, int | float):
        message.number_value = _exact(value)
    elif isinstance(value, str):
        message.string_value = text(value)
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        fill_struct(message.struct_value, value, left - LEVELS_OF_DICT)
    elif isinstance(plain := whole_of(value), list | tuple):
        message.list_value.SetInParent()
        fill_list(message.list_value, plain, left - LEVELS_OF_LIST)
    else:
        raise wrong("plain data: None, a boolean, a number, a text, a list or a dict", value)


def _exact(value: float) -> float:
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        raise said(f"should be an integer of at most 2^53, since it is sent as a double, got {show(value)}")
    return float(value)


def fill_struct(message: Any, value: Any, left: int) -> None:
    """Writes a dict into a google.protobuf.Struct; raises as ``fill_value``."""
    if not isinstance(value, Mapping):
        raise wrong("a dict", value)
    if left < 0:
        raise too_deep()
    fields = message.fields
    problems = Problems()
    for name, item in value.items():
        try:
            if not isinstance(name, str):
                raise wrong("a dict with texts as keys", name)
            fill_value(fields[text(name)], item, left)
        except WrongError as error:
            problems.add(step_to(name), error)
    problems.end()


def fill_list(message: Any, value: Any, left: int) -> None:
    """Writes a list into a google.protobuf.ListValue; raises as ``fill_value``."""
    items = whole_of(value)
    if not isinstance(items, list | tuple):
        raise wrong("a list", value)
    if left < 0:
        raise too_deep()
    values = message.values
    problems = Problems()
    for place, item in enumerate(items):
        try:
            fill_value(values.add(), item, left)
        except WrongError as error:
            problems.add(f"[{place}]", error)
    problems.end()
