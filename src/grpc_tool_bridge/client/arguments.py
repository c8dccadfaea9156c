"""Encodes the arguments of a call into its request, and reads the result from its response."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import any_pb2

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, SerializationError, error_from_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolSpec, ToolStreamRequest
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Payload
from grpc_tool_bridge.rpc.large_messages import LargeToolCall, LargeValue
from grpc_tool_bridge.rpc.nodes import NODE_BYTES, check_values
from grpc_tool_bridge.values.arguments import EXECUTOR_KEY, pack_argument
from grpc_tool_bridge.values.offload import in_reader
from grpc_tool_bridge.values.scalars import SCALARS, pack_large, utf8

# Pairs of type URL and payload, by position and by name.
PackedArgument = tuple[str, Payload]
PackedArguments = tuple[list[PackedArgument], dict[str, PackedArgument]]

# Scalars whose encoding never fails; a text can fail on a lone surrogate.
_SURE: dict[type, Callable[[Any], PackedArgument]] = {
    **{kind: write for kind, write in SCALARS.items() if kind is not str},
    bytes: lambda value: SCALARS[bytes](value) if len(value) <= LARGE_BYTES else pack_large(value),
}

# Maximum bytes of a character, of the tags and lengths around one argument, and of a call without its arguments.
MAX_UTF8 = 4
FIELD_OVERHEAD = 32
REQUEST_OVERHEAD = 4_096

# Encoding a larger call takes long enough to delay small calls of the same program.
SLOW_ARGUMENTS_BYTES = 256 * 1024


def pack_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], what: Callable[[], str], spec: ToolSpec | None = None
) -> PackedArguments:
    """Encodes the arguments of a call.

    Args:
        args: Arguments by position.
        kwargs: Arguments by name.
        what: Returns whose arguments they are, for error texts.
        spec: The tool's spec; some types are only encoded if it declares them.

    Raises:
        SerializationError: An argument cannot be represented; the text names it.
        MessageTooLargeError: An iterator yields too much.
        ForeignCodeError: Foreign code would run in an event loop.
    """
    try:
        by_position = [
            _SURE[type(value)](value) if type(value) in _SURE else _pack(value, place, spec)
            for place, value in enumerate(args)
        ]
        for name in kwargs:
            if not name.isascii():
                _check_name(name)
        return by_position, {name: _pack(value, name, spec) for name, value in kwargs.items()}
    except (SerializationError, MessageTooLargeError) as error:
        raise type(error)(f"{what()}: {error.message}", details=error.details) from None


def _check_name(name: str) -> None:
    """Raises SerializationError if the name of an argument has a lone surrogate."""
    try:
        utf8(name)
    except SerializationError as error:
        raise SerializationError(f"the argument name {name!r}: {error.message}") from None


def _pack(value: Any, which: int | str, spec: ToolSpec | None) -> PackedArgument:
    if (type(value) is str or type(value) is bytes) and len(value) > LARGE_BYTES:
        # A text that has no UTF-8 form is refused below, where the error names the argument.
        with contextlib.suppress(SerializationError):
            return pack_large(value)
    return pack_argument(value, which, spec)


def large_call(head: ToolCallRequest, packed: PackedArguments) -> LargeToolCall:
    """Returns the request of a call with large arguments, which are not copied into it.

    Args:
        head: The request without its arguments.
        packed: The arguments.
    """
    by_position, by_name = packed
    return LargeToolCall(
        head,
        [LargeValue(*value) for value in by_position],
        {name: LargeValue(*value) for name, value in by_name.items()},
    )


def put_arguments(request: ToolCallRequest | ToolStreamRequest | ToolCallItem, packed: PackedArguments) -> None:
    """Puts encoded arguments into a request."""
    by_position, by_name = packed
    for type_url, payload in by_position:
        request.args.add(type_url=type_url, value=payload if type(payload) is bytes else bytes(payload))
    for name, value in by_name.items():
        message = request.kwargs[name]
        type_url, payload = value
        message.type_url, message.value = type_url, payload if type(payload) is bytes else bytes(payload)


def size_of_arguments(packed: PackedArguments) -> int:
    """Returns the maximum number of bytes that encoded arguments take in a request."""
    by_position, by_name = packed
    size = 0
    for type_url, payload in by_position:
        size += len(payload) + len(type_url) * MAX_UTF8 + FIELD_OVERHEAD
    for name, (type_url, payload) in by_name.items():
        size += len(payload) + (len(type_url) + len(name)) * MAX_UTF8 + FIELD_OVERHEAD
    return size


async def check_nodes(packed: PackedArguments, what: str, spec: ToolSpec, max_nodes: int) -> None:
    """Refuses arguments that the hub would refuse. Tools with executor="process" have no limit of nodes.

    Args:
        packed: The arguments.
        what: Whose arguments they are, for error texts.
        spec: The tool's spec, which names its executor.
        max_nodes: Maximum number of elements, keys, texts and numbers in all of them.

    Raises:
        MessageTooLargeError: They have more.
    """
    by_position, by_name = packed
    values = [*by_position, *by_name.values()]
    if sum(len(payload) for _, payload in values) <= max_nodes * NODE_BYTES:
        return
    if spec.metadata.get(EXECUTOR_KEY) != "process":
        await in_reader(functools.partial(check_values, values, what, max_nodes))


def result_of(response: Any, tool_name: str) -> Any:
    """Returns the encoded result of a call's response.

    Raises:
        ToolExecutionError: The response is an error.
        ProtocolError: The response is neither a result nor an error.
    """
    success = getattr(response, "success", None)
    if success is True:
        result = getattr(response, "result", None)
        if not isinstance(result, any_pb2.Any | LargeValue) or not result.type_url:
            raise ProtocolError(f"the answer to {tool_name} reports success, but has no result")
        return result
    if success is False:
        error = error_from_info(getattr(response, "error", None), tool_name)
        request_id = getattr(response, "request_id", "")
        error.request_id = request_id if isinstance(request_id, str) else ""
        raise error
    raise ProtocolError(f"the answer to {tool_name} says neither success nor failure (success is {success!r:.60})")
