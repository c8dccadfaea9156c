"""The clients of the handshake protocol, whose connections stay."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params

from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.gateway.mcp.changes import Changes
from grpc_tool_bridge.gateway.mcp.errors import protocol_error
from grpc_tool_bridge.gateway.mcp.event_store import SessionEvents, opening_events
from grpc_tool_bridge.gateway.mcp.sdk_internals import connection_of
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionClients
from grpc_tool_bridge.rpc.budgets import Budget, Lease

# What a connection takes: its tasks, its streams and the SDK's objects.
CONNECTION_BYTES = 64 * 1024

# Keys of a connection's state: what was done for it, and is not done again if its client shakes hands again.
_TOLD_KEY = "grpc-tool-bridge/told"
_ADDED_KEY = "grpc-tool-bridge/added"


@dataclass(eq=False, slots=True)
class OpenConnection:
    """A connection over HTTP.

    Attributes:
        connection: The SDK's.
        events: What its client was sent.
        calls: Its calls that the SDK does not know of, by their ids.
        requests: How many requests of its client are being answered.
        used_at: When the last one was answered, on the event loop's clock.
    """

    connection: Connection
    events: SessionEvents
    calls: dict[Any, "asyncio.Task[Any]"] = field(default_factory=dict)
    requests: int = 0
    used_at: float = 0.0

    def close(self) -> None:
        """Cancels its calls, and forgets what was sent."""
        for task in self.calls.values():
            task.cancel()
        self.events.close()


class Connections:
    """Looks after the connections of clients, as a middleware of the SDK: what they hold, and what ends with them.

    Args:
        sessions: The sessions of the bridge.
        changes: Tells clients what has changed.
        memory: Charged with the connections; None: nothing is.
    """

    def __init__(self, sessions: SessionClients, changes: Changes, memory: Budget | None) -> None:
        self._sessions = sessions
        self._changes = changes
        self._memory = memory
        self._open: dict[str, OpenConnection] = {}

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Lets a request pass."""
        if ctx.method == "initialize":
            self._add(ctx)
        elif ctx.method == "notifications/cancelled":
            self._cancel(ctx)
        result = await call_next(ctx)
        if ctx.method == "notifications/initialized":
            connection = connection_of(ctx)
            if connection.initialized.is_set() and _TOLD_KEY not in connection.state:
                connection.state[_TOLD_KEY] = True
                self._changes.tell(connection, self._sessions.key_of(ctx))
        return result

    def find(self, session_id: str) -> OpenConnection | None:
        """Returns a connection by the id of the client's session."""
        return self._open.get(session_id)

    async def end_idle(self, timeout: float, end: Callable[[str], Awaitable[None]]) -> None:
        """Ends connections that were not used for ``timeout`` seconds, by calling ``end``; runs until cancelled."""
        while True:
            await asyncio.sleep(timeout / 3)
            before = asyncio.get_running_loop().time() - timeout
            for session_id, found in list(self._open.items()):
                if not (found.requests or found.calls) and found.used_at < before:
                    await end(session_id)

    def _add(self, context: Context) -> None:
        connection = connection_of(context)
        if _ADDED_KEY in connection.state:
            return
        if self._memory is not None:
            held = Lease(self._memory, "a connection of an MCP client")
            try:
                held.resize(CONNECTION_BYTES)
            except ResourceExhaustedError as error:
                raise protocol_error(error) from None
            connection.exit_stack.callback(held.release)
        connection.state[_ADDED_KEY] = True
        key = self._sessions.key_of(context)
        if key.is_own:
            connection.exit_stack.callback(self._sessions.end, key)
        events, session_id = opening_events.get(), connection.session_id
        if events is not None and session_id is not None:
            found = OpenConnection(connection, events, used_at=asyncio.get_running_loop().time())
            self._open[session_id] = found
            connection.exit_stack.callback(self._open.pop, session_id, None)
            connection.exit_stack.callback(found.close)

    def _cancel(self, context: Context) -> None:
        """Cancels a call that the SDK does not know of."""
        found = self._open.get(connection_of(context).session_id or "")
        request_id = cancelled_request_id_from_params(context.params)
        if found is not None and request_id is not None:
            task = found.calls.get(coerce_request_id(request_id))
            if task is not None:
                task.cancel()
