"""The bridge as an MCP server."""

from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.subscriptions import ToolsListChanged
from mcp_types import SetLevelRequestParams, SubscriptionsListenRequestParams, SubscriptionsListenResult
from opentelemetry import trace

from grpc_tool_bridge.gateway.mcp.call_events import set_level
from grpc_tool_bridge.gateway.mcp.changes import Changes
from grpc_tool_bridge.gateway.mcp.connections import Connections
from grpc_tool_bridge.gateway.mcp.resources import ResourceHandlers
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers
from grpc_tool_bridge.gateway.mcp.variable_watches import VariableWatches
from grpc_tool_bridge.rpc.budgets import Budget

NAME = "grpc-tool-bridge"
TITLE = "gRPC tool bridge"


def make_server(
    sessions: SessionClients,
    version: str,
    handlers: ToolHandlers,
    *,
    memory: Budget | None = None,
    find_schema: Callable[[str], Mapping[str, Any] | None] | None = None,
) -> Server[Any]:
    """Makes the server that answers clients over any transport.

    Args:
        sessions: The sessions that the clients use.
        version: The package's.
        handlers: Answer requests about tools.
        memory: Charged with the clients' connections; None: nothing is.
        find_schema: Returns the schema of a tool whose arguments stand in headers, too.
    """
    changes = Changes(sessions)
    # A dict of the wire is taken where a result is.
    list_tools: Any = handlers.list_tools
    call_tool: Any = handlers.call_tool
    resources = ResourceHandlers(sessions, VariableWatches(sessions, changes.publish, sessions.tasks))
    handlers.agents.watch(lambda session_id: _publish_agents(changes, session_id))

    async def listen(context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        async with resources.listening(context, params.notifications):
            return await changes.listen(context, params)

    server: Server[Any] = Server(
        NAME,
        version=version,
        title=TITLE,
        get_tool_input_schema=find_schema or (lambda _: None),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.list_resources,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
        on_subscribe_resource=resources.subscribe,
        on_unsubscribe_resource=resources.unsubscribe,
        on_subscriptions_listen=listen,
    )
    # The constructor would warn of it: the latest protocol has another way.
    server.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # Nobody traces; spans that go nowhere would be a tenth of a call.
        server.middleware.clear()
    server.middleware.append(Connections(sessions, changes, memory))
    make_options = server.create_initialization_options

    def options(*_: Any, **__: Any) -> InitializationOptions:
        return make_options(NotificationOptions(tools_changed=True, resources_changed=True))

    server.create_initialization_options = options  # type: ignore[method-assign]
    return server


def _publish_agents(changes: Changes, session_id: str) -> None:
    """Tells that a session's agents, which are shown as tools, have changed."""
    for is_own in (False, True):
        changes.publish(SessionKey(session_id, is_own=is_own), ToolsListChanged())
