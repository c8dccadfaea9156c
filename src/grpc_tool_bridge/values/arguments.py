"""Encodes the arguments of a call, according to what the tool's spec declares."""

from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values.guarded import declared_in
from grpc_tool_bridge.values.scalars import SCALARS, Packed
from grpc_tool_bridge.values.serialization import Writing, pack_json, pack_value

# The metadata key of a tool that runs in its own process: its arguments may be larger.
EXECUTOR_KEY = "executor"

_STARRED = "var-positional"


def pack_argument(value: Any, which: int | str, spec: ToolSpec | None, *, max_depth: int = 100) -> Packed:
    """Encodes one argument.

    Args:
        value: The argument.
        which: Its position or its name.
        spec: The tool's spec; None if it is not known.
        max_depth: Levels of nested containers allowed.

    Raises:
        SerializationError: It cannot be represented; the text names it.
        MessageTooLargeError: An iterator in it yields more than fits in a message.
        ForeignCodeError: Foreign code would run in an event loop.
    """
    scalar = SCALARS.get(type(value))
    try:
        if scalar is not None:
            return scalar(value)
        # Plain data has nothing that its receiver would have to declare.
        packed = pack_json(value, max_depth)
        if packed is not None:
            return packed
        return pack_value(value, _writing(spec, which, max_depth) if spec is not None else Writing(max_depth=max_depth))
    except SerializationError as error:
        raise SerializationError(f"argument {which!r}: {error.message}", details=error.details) from None


def _writing(spec: ToolSpec, which: int | str, max_depth: int) -> Writing:
    path: tuple[Any, ...] = (which,)
    kind = ""
    if isinstance(which, int):
        for place, argument in enumerate(spec.arguments):
            starred = _STARRED in argument.validation.custom_rules
            if place == which or starred:
                path = (argument.name, which - place) if starred else (argument.name,)
                kind = argument.python_type
                break
    else:
        kind = next((argument.python_type for argument in spec.arguments if argument.name == which), "")
    return Writing(max_depth=max_depth, declares=declared_in(spec.input_schema, kind, within=path))
