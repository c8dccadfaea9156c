"""Tools: listed and called."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.gateway.mcp.answerers import answered_by
from grpc_tool_bridge.gateway.mcp.asks import FormAnswerer, can_answer, missing_capability
from grpc_tool_bridge.gateway.mcp.call_events import CallEvents
from grpc_tool_bridge.gateway.mcp.results import error_result, result_of
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionClients
from grpc_tool_bridge.gateway.mcp.specs import tool_of
from grpc_tool_bridge.gateway.mcp.waiting_calls import EventTaker, WaitingCalls
from grpc_tool_bridge.llm.texts import error_facts
from grpc_tool_bridge.llm.values import from_json
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Tools on one page: no list of them is longer than a model could read.
PAGE_TOOLS = 1_000


class ToolHandlers:
    """Answers requests about tools.

    Args:
        sessions: The sessions that the clients use.
    """

    def __init__(self, sessions: SessionClients) -> None:
        self._sessions = sessions
        self._waiting = WaitingCalls(sessions.tasks)
        sessions.on_end.append(self._waiting.end_session)

    async def list_tools(self, context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        """Lists a page of the session's tools, by name."""
        session = await self._sessions.of(context)
        after = (params.cursor if params is not None else None) or ""
        names = sorted(name for name in session.client.tools if name > after)
        page = names[:PAGE_TOOLS]
        tools = [tool_of(session.client.tools[name].spec, context.protocol_version) for name in page]
        return ListToolsResult(tools=tools, next_cursor=page[-1] if len(names) > len(page) else None)

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        """Calls a tool; what it fails with is a result that the model reads.

        Raises:
            MCPError: There is no such tool; or it asks something, and the client cannot ask its user.
        """
        session = await self._sessions.of(context)
        work = partial(self._answer, context, session.client, params)
        is_modern, asks = context.protocol_version in MODERN_PROTOCOL_VERSIONS, can_answer(context)
        if is_modern and (asks or params.request_state is not None):
            return await self._waiting.run(context, session.key, params, work)
        events = CallEvents.of(context)
        with answered_by(FormAnswerer(context, self._sessions.tasks) if asks else None):
            if events is None:
                return await work(None)
            async with events:
                return await work(events)

    async def _answer(
        self, context: Context, client: ToolBridgeClient, params: CallToolRequestParams, events: EventTaker | None
    ) -> CallToolResult:
        name = params.name
        try:
            return await self._call(context, client, name, params.arguments or {}, events)
        except ToolBridgeError as error:
            if error.error_type == "ToolNotFound" and getattr(error, "tool_name", name) == name:
                raise MCPError(code=INVALID_PARAMS, message=error.message, data=error_facts(error)) from None
            return error_result(name, missing_capability(context, name, error))

    async def _call(
        self,
        context: Context,
        client: ToolBridgeClient,
        name: str,
        arguments: Mapping[str, Any],
        events: EventTaker | None,
    ) -> CallToolResult:
        proxy = client.tool(name)
        spec: ToolSpec = proxy.spec
        given = from_json(spec, arguments)
        if events is not None:
            proxy = proxy.with_options(on_progress=events.progress, on_log=events.log)
        value = await proxy(**given)
        return result_of(spec, value, context.protocol_version)
