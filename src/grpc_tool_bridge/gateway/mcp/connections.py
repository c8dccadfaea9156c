"""The clients of the handshake protocol, whose connections stay."""

from mcp.server.context import CallNext, HandlerResult

from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.gateway.mcp.changes import Changes
from grpc_tool_bridge.gateway.mcp.errors import protocol_error
from grpc_tool_bridge.gateway.mcp.event_store import opening_events
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionClients, connection_of
from grpc_tool_bridge.rpc.budgets import Budget, Lease

# What a connection takes: its tasks, its streams and the SDK's objects.
CONNECTION_BYTES = 64 * 1024

_TOLD_KEY = "grpc-tool-bridge/told"


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

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Lets a request pass."""
        if ctx.method == "initialize":
            self._open(ctx)
        result = await call_next(ctx)
        if ctx.method == "notifications/initialized":
            connection = connection_of(ctx)
            if connection.initialized.is_set() and _TOLD_KEY not in connection.state:
                connection.state[_TOLD_KEY] = True
                self._changes.tell(connection, self._sessions.key_of(ctx))
        return result

    def _open(self, context: Context) -> None:
        connection = connection_of(context)
        if self._memory is not None:
            held = Lease(self._memory, "a connection of an MCP client")
            try:
                held.resize(CONNECTION_BYTES)
            except ResourceExhaustedError as error:
                raise protocol_error(error) from None
            connection.exit_stack.callback(held.release)
        key = self._sessions.key_of(context)
        if key.is_own:
            connection.exit_stack.callback(self._sessions.end, key)
        events = opening_events.get()
        if events is not None:
            connection.exit_stack.callback(events.close)
