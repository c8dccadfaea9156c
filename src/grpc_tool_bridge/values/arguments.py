"""How the arguments of a call are written: by what the tool's spec says that it takes."""

from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values.guarded import declared_in
from grpc_tool_bridge.values.scalars import SCALARS, Packed
from grpc_tool_bridge.values.serialization import Writing, pack_json, pack_value

# Under this key the metadata of a tool that runs in a process of its own says so: what it is given may be larger.
EXECUTOR_KEY = "executor"

_STARRED = "var-positional"


def pack_argument(value: Any, which: int | str, spec: ToolSpec | None, *, max_depth: int = 100) -> Packed:
    """Encodes one argument.

    Args:
        value: The argument.
        which: Its position or its name.
        spec: Of the tool; None where it is not known.
        max_depth: Levels of nested containers allowed.

    Raises:
        SerializationError: It cannot be represented; the text names it.
        MessageTooLargeError: What an iterator in it gives takes more than a message may have.
        ForeignCodeError: Code of a stranger's would run in an event loop.
    """
    scalar = SCALARS.get(type(value))
    try:
        if scalar is not None:
            return scalar(value)
        # Plain data says nothing that its receiver would have to declare.
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
