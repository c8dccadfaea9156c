"""Many calls in one request."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from grpc_tool_bridge.client.arguments import pack_arguments, put_arguments, result_of
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.listing import BatchResults
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.config.argument_checks import (
    check_named,
    check_positional,
    list_of,
    refuse_type,
)
from grpc_tool_bridge.errors import ProtocolError, ToolExecutionError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import BatchConfig, BatchToolCallRequest, BatchToolCallResponse
from grpc_tool_bridge.values.offload import outside_loop, read_value

_A_CALL = "{'tool_id': 'add', 'args': [1, 2]}"


async def execute_batch(
    caller: Caller,
    tool_of: Callable[[str], AsyncGRPCProxyTool],
    items: Sequence[Mapping[str, Any]],
    config: BatchConfig,
    timeout: float,
) -> BatchResults:
    """Makes the calls of a batch; ``tool_of`` finds a tool, for the rest see ``ToolBridgeClient.execute_batch``."""
    items = list_of("the batch", items, f"a list of calls, such as [{_A_CALL}]")
    request = BatchToolCallRequest(session_id=caller.require_session(), batch_id=uuid.uuid4().hex, config=config)
    tools = []
    for index, item in enumerate(items):
        tool_id, args, kwargs = _checked(index, item)
        tool = tool_of(tool_id)
        spec = tool.spec
        tools.append(tool)
        message = request.items.add(index=index, tool_id=spec.tool_id or spec.name)
        pack = partial(pack_arguments, args, kwargs, partial(_name_item, index, spec.name), spec)
        put_arguments(message, await outside_loop(pack))
    if not tools:
        return BatchResults()
    response: BatchToolCallResponse = await caller.call("BatchExecuteTools", request, timeout=timeout)
    if len(response.results) != len(tools):
        raise ProtocolError(f"a batch of {len(tools)} calls was answered with {len(response.results)} results")
    most = caller.options.max_message_nodes
    results = [await _read(result, tool, most) for result, tool in zip(response.results, tools, strict=True)]
    return BatchResults(results, [tool.name for tool in tools])


def _name_item(index: int, name: str) -> str:
    return f"item {index} of the batch ({name})"


def _checked(index: int, item: object) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
    where = f"item {index} of the batch"
    if not isinstance(item, Mapping):
        refuse_type(where, item, f"a dict such as {_A_CALL}")
    if not isinstance(item.get("tool_id"), str) or not item["tool_id"]:
        raise ValidationError(f"{where} is not a call: it needs a 'tool_id', got {item!r:.80}")
    unknown = sorted(map(str, item.keys() - {"tool_id", "args", "kwargs"}))
    if unknown:
        raise ValidationError(f"{where} has {unknown}; it takes tool_id, args and kwargs")
    args, kwargs = item.get("args"), item.get("kwargs")
    if args is not None:
        check_positional(f"args of {where}", args)
    if kwargs is not None:
        check_named(f"kwargs of {where}", kwargs)
    return item["tool_id"], () if args is None else args, kwargs or {}


async def _read(result: Any, tool: AsyncGRPCProxyTool, max_nodes: int) -> Any:
    try:
        return await read_value(result_of(result, tool.name), max_nodes=max_nodes)
    except ToolExecutionError as error:
        tool.explain(error)
        return error
