"""What tools and agents can request from the hub whose call they run for, over the link of that call."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.errors import DeadlineExceededError
from grpc_tool_bridge.link.reports import Reports
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask, LogRecord, Progress, ToolSpec, VariableInfo
from grpc_tool_bridge.rpc.methods import METHODS, ORIGIN_KEY
from grpc_tool_bridge.runner.asking import AskingCall, ask
from grpc_tool_bridge.runner.calls import CallSession
from grpc_tool_bridge.transport.link_stub import LinkStub


class LinkedCall(AskingCall, Protocol):
    """A call that a hub has sent over a link.

    Attributes:
        session: Its session.
        deadline: On the monotonic clock.
        origin: The hub's call, as the transport knows it; None: there is no link.
    """

    deadline: float

    @property
    def session(self) -> CallSession:
        """Its session."""

    @property
    def origin(self) -> Any:
        """The hub's call, as the transport knows it; None: there is no link."""


class LinkedSession:
    """The session of a call from the hub, over the link of that call.

    Args:
        session_id: The session's id.
        origin: The call from the hub; calls made here are nested in it.
        deadline: The call's deadline, on the monotonic clock.
        where: The hub's address, for error texts.
        who: Who makes the calls, for error texts.
        metadata: Metadata for the context of every tool that is called here.
    """

    def __init__(
        self,
        session_id: str,
        origin: Any,
        deadline: float,
        *,
        where: str,
        who: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._session_id = session_id
        self._origin = origin
        self._deadline = deadline
        self._where = where
        self._who = who
        self._metadata = metadata
        self._client: ToolBridgeClient | None = None

    async def tools(self) -> list[ToolSpec]:
        """Lists the tools that the session sees, hidden ones too."""
        tools = await self._opened().refresh_tools()
        return [proxy.spec for proxy in (*tools.values(), *tools.hidden.values())]

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls another tool; raises ToolExecutionError."""
        return await self._tool(tool_id)(*args, **kwargs)

    async def stream_tool(
        self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Streams another tool; raises ToolExecutionError."""
        values = self._tool(tool_id).stream(*args, **kwargs)
        try:
            async for value in values:
                yield value
        finally:
            await values.aclose()

    def _tool(self, tool_id: str) -> AsyncGRPCProxyTool:
        return self._opened().tool(tool_id).with_options(timeout=self._left(), metadata=self._metadata)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"{self._who} has no time left for a request to the hub")
        return left

    def _opened(self) -> ToolBridgeClient:
        if self._client is None:
            transport = _OriginTransport(LinkStub(self._origin.link), self._origin.number, self._where)
            self._client = ToolBridgeClient(transport)
            self._client.session_id = self._session_id
            # The hub logs it: nobody reads the warnings of a worker or an agent.
            self._client.caller.warns = False
        return self._client


class LinkedRuntime(LinkedSession):
    """The runtime of the context of a tool that runs for another process; its calls are nested in the tool's call.

    Args:
        call: The call.
        where: The hub's address, for error texts.
    """

    def __init__(self, call: LinkedCall, where: str) -> None:
        super().__init__(call.session.id, call.origin, call.deadline, where=where, who=call.tool.name)
        self._call = call
        self._reports = None if call.origin is None else Reports(call.origin)

    async def get_variable(self, name: str) -> Any:
        """Returns the value; raises NotFoundError."""
        return await self._opened().session_context.get_variable(name)

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        """Sets the value and returns its new revision; raises ConflictError."""
        return await self._opened().session_context.set_variable(name, value, expected_revision=expected_revision)

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        """Deletes the variable; raises NotFoundError, ConflictError."""
        await self._opened().session_context.delete_variable(name, expected_revision=expected_revision)

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        """Lists the session's variables by name."""
        return [found.message() for found in await self._opened().session_context.list_variables(prefix=prefix)]

    async def ask(self, question: Ask) -> Answer:
        """Asks the caller of the outermost call, through the hub; raises UnimplementedError."""
        return await ask(self._call, question)

    def told(self, event: Progress | LogRecord) -> None:
        """Sends progress and log records of the tool to the hub; from any thread."""
        if self._reports is not None:
            self._reports.send(event)


class _OriginTransport:
    """A transport over one link, whose calls carry the id of their origin."""

    on_relinked: Callable[[Any], Awaitable[None]] | None = None
    on_moved: Callable[[], None] | None = None
    resumes = False
    is_linked = True

    def __init__(self, stub: Any, number: int, where: str) -> None:
        self.stub: Any = _OriginStub(stub, number)
        self.where = where

    async def connect(self, seconds: float) -> None:
        """Does nothing: the link is open."""

    async def close(self) -> None:
        """Does nothing: the link belongs to the worker."""


class _OriginStub:
    """A stub that adds the origin to the metadata of each call."""

    takes_metadata = True

    def __init__(self, stub: Any, number: int) -> None:
        self._stub = stub
        self._metadata = ((ORIGIN_KEY, str(number)),)

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)
        method, own = getattr(self._stub, name), self._metadata

        def call(request: Any, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
            return method(request, metadata=(*own, *metadata))

        return call
