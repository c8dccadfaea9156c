"""Tools: listed and called."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from mcp_types import CallToolRequestParams, InputRequiredResult, PaginatedRequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.gateway.mcp.agents import AgentTools
from grpc_tool_bridge.gateway.mcp.answerers import answered_by
from grpc_tool_bridge.gateway.mcp.asks import FormAnswerer, can_answer, missing_capability
from grpc_tool_bridge.gateway.mcp.call_events import CallEvents
from grpc_tool_bridge.gateway.mcp.callers import acting_for, principal_of
from grpc_tool_bridge.gateway.mcp.client_names import own_name
from grpc_tool_bridge.gateway.mcp.cursors import cursor_after, name_before
from grpc_tool_bridge.gateway.mcp.errors import protocol_error
from grpc_tool_bridge.gateway.mcp.results import WireResult
from grpc_tool_bridge.gateway.mcp.session_tools import Call, SessionTools, ToolList
from grpc_tool_bridge.gateway.mcp.sessions import Context, OpenSession, SessionClients
from grpc_tool_bridge.gateway.mcp.specs import input_schema
from grpc_tool_bridge.gateway.mcp.tool_choice import choice_of
from grpc_tool_bridge.gateway.mcp.waiting_calls import EventTaker, WaitingCalls

# Of one page: many clients read only the first.
PAGE_TOOLS = 1_000
PAGE_BYTES = 1024 * 1024

# Of a list that is of its session, and may change any time.
_COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


class ToolHandlers:
    """Answers requests about tools.

    Args:
        sessions: The sessions that the clients use.
        chosen: The tools that a client sees that chooses none itself; see ``read_choice``.
        agents: The agents that clients see as tools; None: there are none.

    Attributes:
        agents: As given.
    """

    def __init__(self, sessions: SessionClients, chosen: str = "", agents: AgentTools | None = None) -> None:
        self.agents = agents or AgentTools({}, None)
        self._tools = SessionTools(sessions, self.agents)
        self._sessions = sessions
        self._chosen = chosen
        self._waiting = WaitingCalls(sessions.tasks)
        sessions.on_end(self._waiting.end_session)
        sessions.on_close(self._waiting.aclose)

    async def list_tools(self, context: Context, params: PaginatedRequestParams | None) -> WireResult:
        """Lists a page of the session's tools, by name.

        A page begins after the last tool of the page before, whatever has come and gone since.

        Raises:
            MCPError: The cursor is none of ours, or the session cannot be used.
        """
        after = name_before(params)
        try:
            choice = choice_of(context, self._chosen)
            with acting_for(principal_of(context)):
                found = await self._tools.listed(self._sessions.key_of(context), choice, after)
        except ToolBridgeError as error:
            raise protocol_error(error) from None
        return await _page(found, context.protocol_version)

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> WireResult | InputRequiredResult:
        """Calls a tool; what it fails with is a result that the model reads.

        Raises:
            MCPError: There is no such tool, the session cannot be used, or the tool asks a question and the client
                cannot ask its user.
        """
        asks = can_answer(context)
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            if asks or params.request_state is not None:
                work = partial(self._work, context, params)
                return await self._waiting.run(context, self._sessions.key_of(context), params, work)
            asks = False
        if not asks:
            return await self._told(context, params)
        answerer = FormAnswerer(context)
        try:
            with answered_by(answerer):
                return await self._told(context, params)
        finally:
            await answerer.aclose()

    async def _told(self, context: Context, params: CallToolRequestParams) -> WireResult:
        """Calls a tool, and tells the client what the tool tells."""
        events = CallEvents.of(context)
        if events is None:
            return await self._work(context, params, None)
        async with events:
            return await self._work(context, params, events)

    async def _work(self, context: Context, params: CallToolRequestParams, events: EventTaker | None) -> WireResult:
        """Calls a tool, whose events ``events`` takes."""
        try:
            call = Call(
                key=self._sessions.key_of(context),
                choice=choice_of(context, self._chosen),
                name=params.name,
                arguments=params.arguments or {},
                version=context.protocol_version,
                events=events,
                failure=partial(missing_capability, context),
            )
            with acting_for(principal_of(context)):
                return await self._tools.call(call)
        except ToolBridgeError as error:
            raise protocol_error(error) from None

    def header_schema(self, session: OpenSession | None, name: str) -> Mapping[str, Any] | None:
        """Returns the schema of a tool whose arguments stand in headers as well; None for any other tool."""
        tools = {} if session is None else session.client.tools
        proxy = tools.get(own_name(name, tools))
        if proxy is None or "x-mcp-header" not in proxy.spec.input_schema:
            return None
        return input_schema(proxy.spec)


async def _page(found: ToolList, version: str) -> WireResult:
    """Writes tools as far as they fit into a page."""
    tools: list[dict[str, Any]] = []
    size, last = 0, ""
    async for spec, tool in found.written(version):
        size += len(json.dumps(tool))
        if tools and (len(tools) == PAGE_TOOLS or size > PAGE_BYTES):
            return {**_COMPLETE, "tools": tools, "nextCursor": cursor_after(last)}
        tools.append(tool)
        last = spec.name
    return {**_COMPLETE, "tools": tools}
