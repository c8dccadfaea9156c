"""Many calls in one request."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any

from grpc_tool_bridge.client.arguments import pack_arguments, put_arguments, result_of
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.listing import BatchResults
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool, call_in_batch, explain_error, warn_of_deprecation
from grpc_tool_bridge.config.argument_checks import (
    check_named,
    check_positional,
    list_of,
    refuse_type,
)
from grpc_tool_bridge.errors import ProtocolError, ToolExecutionError, ToolTimeoutError, ValidationError
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
    if caller.middleware is not None or caller.options.default_metadata:
        # An item has no place for metadata, and middleware may do anything around each.
        return await _Apart(caller, tool_of, items, config, timeout).run()
    request = BatchToolCallRequest(session_id=caller.require_session(), batch_id=uuid.uuid4().hex, config=config)
    tools = []
    for index, item in enumerate(items):
        tool_id, args, kwargs = _checked(index, item)
        tool = tool_of(tool_id)
        spec = tool.spec
        tools.append(tool)
        warn_of_deprecation(tool)
        message = request.items.add(index=index, tool_id=spec.tool_id or spec.name)
        pack = partial(pack_arguments, args, kwargs, partial(_name_item, index, spec.name), spec)
        put_arguments(message, await outside_loop(pack))
    if not tools:
        return BatchResults()
    with caller.span("BatchExecuteTools", "") or nullcontext():
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
        explain_error(tool, error)
        return error


class _Apart:
    """The items of a batch, each made as a call of its own."""

    def __init__(
        self,
        caller: Caller,
        tool_of: Callable[[str], AsyncGRPCProxyTool],
        items: Sequence[Mapping[str, Any]],
        config: BatchConfig,
        timeout: float,
    ) -> None:
        caller.require_session()
        self._items = [(tool_of(name), args, kwargs) for name, args, kwargs in map(_checked, count(), items)]
        for tool, _, _ in self._items:
            warn_of_deprecation(tool)
        self._results: list[Any] = [None] * len(self._items)
        self._left = iter(range(len(self._items)))
        self._config = config
        self._end = time.monotonic() + timeout
        self._stopped = False

    async def run(self) -> BatchResults:
        """Makes the calls, at most ``max_parallel`` at once, and returns their results in order."""
        width = (self._config.max_parallel or len(self._items)) if self._config.parallel else 1
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(width, len(self._items))):
                    group.create_task(self._work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return BatchResults(self._results, [tool.name for tool, _, _ in self._items])

    async def _work(self) -> None:
        for place in self._left:
            tool, args, kwargs = self._items[place]
            try:
                self._results[place] = await self._one(tool, args, kwargs)
            except ToolExecutionError as error:
                self._results[place] = error
                self._stopped = self._stopped or self._config.stop_on_error

    async def _one(self, tool: AsyncGRPCProxyTool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self._stopped:
            text = f"{tool.name} was not called: an item before it failed, and stop_on_error is set"
            raise ToolExecutionError(tool.name, "Cancelled", text, {"origin": "bridge"})
        left = self._end - time.monotonic()
        if left <= 0:
            text = f"{tool.name} was not called: the time of its batch was over"
            raise ToolTimeoutError(tool.name, "TimeoutError", text, {"origin": "bridge"})
        return await call_in_batch(tool, args, kwargs, left)
