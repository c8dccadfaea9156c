"""The arguments of a call: decoded, bound to the tool's signature and checked."""

from collections.abc import Sequence
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolStreamRequest
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES, check_values, is_slow
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.serialization import deserialize_value

Request = ToolCallRequest | ToolStreamRequest | ToolCallItem

# Requests of more bytes are looked at for whether their arguments are slow to read.
LARGE_BYTES = SLOW_BYTES
# In larger ones, only the first thing that is wrong is looked for: to find all of them takes some 50 µs for each.
FIRST_ONLY_BYTES = 4 * 1024
# So many arguments are read in an event loop, at some µs each.
_MAX_IN_LOOP = 1_000


def is_slow_to_read(request: Request) -> bool:
    """Tells whether reading the arguments of a call may take so long that it does not belong into an event loop."""
    args, kwargs = request.args, request.kwargs
    return len(args) + len(kwargs) > _MAX_IN_LOOP or any(
        is_slow(item.type_url, item.value) for item in (*args, *kwargs.values())
    )


def read_arguments(
    tool: Tool, request: Request, size: int, max_depth: int, max_nodes: int | None
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Decodes, binds and checks the arguments of a call.

    Args:
        tool: The tool.
        request: The call.
        size: Its bytes.
        max_depth: Levels of nested containers in one of them.
        max_nodes: Elements, keys, texts and numbers of all of them; None for any.

    Raises:
        SerializationError: One of them is no value; the text names it.
        MessageTooLargeError: They have too many nodes.
        ValidationError: They do not fit the tool.
    """
    if size > LARGE_BYTES and max_nodes is not None:
        values = [(item.type_url, item.value) for item in (*request.args, *request.kwargs.values())]
        check_values(values, f"the call of {tool.spec.name}", max_nodes)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    which = ""
    try:
        for message in list(request.args):
            args.append(deserialize_value(message, max_depth=max_depth))  # noqa: PERF401 - its length names what fails
        # Asking an empty map for its items costs five times as much as asking whether it is empty.
        if request.kwargs:
            for which, message in request.kwargs.items():
                kwargs[which] = deserialize_value(message, max_depth=max_depth)
    except SerializationError as error:
        named = repr(which) if which else len(args)
        name = tool.spec.name
        raise SerializationError(f"{name}: argument {named}: {error.message}", details=error.details) from None
    return tool.bind(args, kwargs) if size <= FIRST_ONLY_BYTES else tool.bind_first(args, kwargs)
