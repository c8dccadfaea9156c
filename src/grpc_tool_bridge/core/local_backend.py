"""The tools of this process, run by its runner."""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.runner.arguments import LARGE_BYTES
from grpc_tool_bridge.runner.runner import ToolRunner
from grpc_tool_bridge.tools.tool import Tool


class LocalBackend:
    """Runs functions.

    Args:
        runner: What runs them.
    """

    def __init__(self, runner: ToolRunner) -> None:
        self._runner = runner

    def prepare(
        self, call: HubCall, request: ToolCallRequest | ToolCallItem | ToolStreamRequest, payload: bytes, size: int
    ) -> Awaitable[None] | None:
        """Reads the arguments and binds them."""
        del payload
        tool = call.tool.tool
        assert tool is not None  # noqa: S101 - what has none has another backend
        if size > LARGE_BYTES:
            return self._prepare_large(call, tool, request, size)
        call.prepared = self._runner.arguments(tool, request, size)
        return None

    async def _prepare_large(
        self, call: HubCall, tool: Tool, request: ToolCallRequest | ToolCallItem | ToolStreamRequest, size: int
    ) -> None:
        call.prepared = await self._runner.large_arguments(call, tool, request, size)

    def call(
        self, call: HubCall, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Awaitable[None]:
        """Runs the function; its answer is a message."""
        del as_bytes
        tool = call.tool.tool
        assert tool is not None  # noqa: S101 - likewise
        return self._runner.call(call, tool, request, call.prepared, answer)

    async def stream(
        self, call: HubCall, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk, None]:
        """Yields a chunk for each value and, where the caller asked for them, for each event."""
        del as_bytes
        tool = call.tool.tool
        assert tool is not None  # noqa: S101 - likewise
        args, kwargs = call.prepared
        chunks = self._runner.chunks(call, tool, request, args, kwargs, stream_id=request.stream_id)
        async with aclosing(chunks) as made:
            async for chunk in made:
                yield chunk

    def try_call(self, call: HubCall, request: ToolCallRequest, payload: bytes, done: Any) -> None:
        """Leaves it to ``call``: a function is not called back."""
