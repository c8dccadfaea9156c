"""What a tool in the hub's process can do through its ToolContext."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Mapping
from functools import partial
from typing import Any, Protocol

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.variables import listing
from grpc_tool_bridge.errors import ToolExecutionError, error_from_info
from grpc_tool_bridge.llm.tool_marks import deprecated_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Answer,
    Ask,
    LogRecord,
    Progress,
    ToolCallRequest,
    ToolSpec,
    ToolStreamRequest,
    VariableInfo,
)
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.runner.asking import ask
from grpc_tool_bridge.tools.deprecation import warn_deprecated
from grpc_tool_bridge.values.arguments import pack_argument
from grpc_tool_bridge.values.offload import outside_loop, read_value, written


class Calls(Protocol):
    """The methods of the executor that tools use."""

    def execute(self, request: ToolCallRequest, context: RequestContext) -> Awaitable[Any]:
        """Runs one call."""

    def stream(self, request: ToolStreamRequest, context: RequestContext) -> AsyncGenerator[Any, None]:
        """Runs one stream."""

    def spec_of(self, session_id: str, tool_id: str) -> ToolSpec | None:
        """Returns the spec of a tool that a session sees."""

    def told(self, call: HubCall, event: Progress | LogRecord) -> None:
        """Handles progress and log records of a tool; from any thread."""


class HubRuntime:
    """Implements the context of one call of a local tool.

    Args:
        call: The call; calls that the tool makes share its deadline and permit.
        calls: Executes them.
        store: Has the session's variables.
    """

    def __init__(self, call: HubCall, calls: Calls, store: SessionStore) -> None:
        self._call = call
        self._calls = calls
        self._store = store
        self._most = store.settings.max_message_nodes

    async def get_variable(self, name: str) -> Any:
        """Returns the value of a variable; raises NotFoundError."""
        return await self._store.get_variable(self._call.session.id, name)

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        """Sets a variable and returns its new revision; raises ConflictError."""
        encoded = await written(value, max_nodes=self._most)
        variable = await self._store.set_encoded(
            self._call.session.id, name, encoded, expected_revision=expected_revision
        )
        return variable.revision

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        """Deletes the variable; raises NotFoundError, ConflictError."""
        await self._store.delete_variable(self._call.session.id, name, expected_revision=expected_revision)

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        """Lists the session's variables, sorted by name."""
        chosen = await self._store.variables(self._call.session.id).select(prefix=prefix)
        # The list does not leave the process, so it has no limit.
        return list((await listing(chosen, sys.maxsize)).variables)

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls another tool; raises ToolExecutionError."""
        self._warn(tool_id)
        request = ToolCallRequest(session_id=self._call.session.id, tool_id=tool_id)
        await self._fill(request, args, kwargs)
        response = await self._calls.execute(request, self._context())
        if not response.success:
            raise error_from_info(response.error, tool_id)
        return await read_value(response.result, max_nodes=self._most)

    async def stream_tool(
        self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Streams another tool; raises ToolExecutionError."""
        self._warn(tool_id)
        request = ToolStreamRequest(session_id=self._call.session.id, tool_id=tool_id)
        await self._fill(request, args, kwargs)
        chunks = self._calls.stream(request, self._context())
        try:
            async for chunk in chunks:
                kind = chunk.WhichOneof("content")
                if kind == "data":
                    yield await read_value(chunk.data, max_nodes=self._most)
                elif kind == "error":
                    error = error_from_info(chunk.error, tool_id)
                    assert isinstance(error, ToolExecutionError)  # noqa: S101 - it is one if a tool is named
                    raise error
        finally:
            await chunks.aclose()

    async def ask(self, question: Ask) -> Answer:
        """Asks the caller of the outermost call; raises UnimplementedError."""
        return await ask(self._call, question)

    def told(self, event: Progress | LogRecord) -> None:
        """Handles progress and log records of the tool; from any thread."""
        self._calls.told(self._call, event)

    def _context(self) -> RequestContext:
        """Returns the context of a nested call."""
        call = self._call
        return RequestContext(parent=call, principal=call.principal, via=call.delegation)

    def _warn(self, tool_id: str) -> None:
        """Warns the calling tool of a deprecated one, as a client does; Python shows the same warning once."""
        spec = self._calls.spec_of(self._call.session.id, tool_id)
        if spec is not None and (replacement := deprecated_of(spec)):
            warn_deprecated(spec.name, replacement)

    async def _fill(
        self, request: ToolCallRequest | ToolStreamRequest, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        spec = self._calls.spec_of(request.session_id, request.tool_id)
        for position, value in enumerate(args):
            type_url, payload = await outside_loop(partial(pack_argument, value, position, spec))
            request.args.add(type_url=type_url, value=payload)
        for name, value in kwargs.items():
            message = request.kwargs[name]
            message.type_url, message.value = await outside_loop(partial(pack_argument, value, name, spec))
