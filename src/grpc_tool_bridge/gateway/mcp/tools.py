"""Tools: listed and called."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mcp_types import CallToolRequestParams, InputRequiredResult, PaginatedRequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError, ValidationError
from grpc_tool_bridge.gateway.mcp.agents import AgentTools, run_agent
from grpc_tool_bridge.gateway.mcp.answerers import answered_by
from grpc_tool_bridge.gateway.mcp.asks import FormAnswerer, can_answer, missing_capability
from grpc_tool_bridge.gateway.mcp.call_events import CallEvents
from grpc_tool_bridge.gateway.mcp.client_names import client_names, own_name
from grpc_tool_bridge.gateway.mcp.cursors import cursor_after, name_before
from grpc_tool_bridge.gateway.mcp.errors import protocol_error
from grpc_tool_bridge.gateway.mcp.results import WireResult, error_result, result_of, text_result
from grpc_tool_bridge.gateway.mcp.sessions import GONE, Context, OpenSession, SessionClients
from grpc_tool_bridge.gateway.mcp.specs import input_schema, tool_of
from grpc_tool_bridge.gateway.mcp.tool_choice import HasSpec, ToolChoice, choice_of, stands_for_search
from grpc_tool_bridge.gateway.mcp.waiting_calls import EventTaker, WaitingCalls
from grpc_tool_bridge.llm.found_tools import CALL_TOOL, SEARCH_TOOLS, describe_found
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT
from grpc_tool_bridge.llm.values import from_json
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values.offload import in_reader

# Of one page: many clients read only the first.
PAGE_TOOLS = 1_000
PAGE_BYTES = 1024 * 1024

# Of a list that is of its session, and may change any time.
_COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
# The output schema of a tool is checked when the tool is first told; a larger one in a thread.
_SMALL_SCHEMA_CHARS = 1_024


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Attributes:
        context: Of the request.
        session: Where it is called.
        choice: What the client may call.
        name: The tool.
        arguments: By name.
        events: Takes what the tool tells; None: nobody wants it.
    """

    context: Context
    session: OpenSession
    choice: ToolChoice
    name: str
    arguments: Mapping[str, Any]
    events: EventTaker | None

    def check(self, tool: HasSpec) -> None:
        """Refuses a tool that the client has not chosen; raises NotFoundError."""
        if not (self.choice.is_whole or self.choice.passes(tool.spec)):
            text = f"there is no tool {self.name!r:.140} among those that the address chooses"
            raise NotFoundError(text, error_type="ToolNotFound")


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
            async with self._sessions.use(context) as session:
                if not session.follows_tools:
                    await session.client.refresh_tools()
                tools: dict[str, HasSpec] = {**self.agents.of(session.key.session_id), **session.client.tools}
                specs = choice.listed(tools, after)
        except ToolBridgeError as error:
            raise protocol_error(error) from None
        return await _page(specs, client_names(tools), context.protocol_version)

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
        arguments = params.arguments or {}
        try:
            choice = choice_of(context, self._chosen)
            for is_last in (False, True):
                async with self._sessions.use(context) as session:
                    call = Call(context, session, choice, params.name, arguments, events)
                    result = await self._answer(call, may_reopen=not is_last)
                    if result is not None:
                        return result
                    self._sessions.lose(session)
        except ToolBridgeError as error:
            raise protocol_error(error) from None
        raise AssertionError("the last try returns or raises")

    def header_schema(self, session: OpenSession | None, name: str) -> Mapping[str, Any] | None:
        """Returns the schema of a tool whose arguments stand in headers as well; None for any other tool."""
        tools = {} if session is None else session.client.tools
        proxy = tools.get(own_name(name, tools))
        if proxy is None or "x-mcp-header" not in proxy.spec.input_schema:
            return None
        return input_schema(proxy.spec)

    async def _answer(self, call: Call, *, may_reopen: bool) -> WireResult | None:
        """Calls a tool, or the search; returns None if the hub has ended the session before the call."""
        is_search = stands_for_search(call.name, call.session.client.tools)
        name = call.name
        try:
            await call.session.await_link()
            name = self._own_name(call)
            call = replace(call, name=name)
            return await (self._search(call) if is_search else self._call(call))
        except ToolBridgeError as error:
            # Those of a lost connection are a text.
            details = error.details if isinstance(error.details, Mapping) else {}
            is_refusal = details.get("origin", "bridge") == "bridge"
            if is_refusal and may_reopen and error.error_type in GONE:
                return None
            is_unknown = is_refusal and error.error_type == "ToolNotFound"
            if is_unknown and not is_search and getattr(error, "tool_name", name) == name:
                raise
            return error_result(name, missing_capability(call.context, name, error))

    def _own_name(self, call: Call) -> str:
        """Returns the own name of the tool that a client means."""
        tools, session_id = call.session.client.tools, call.session.key.session_id
        return call.name if call.name in tools else own_name(call.name, {**self.agents.of(session_id), **tools})

    async def _call(self, call: Call) -> WireResult:
        client, events, version = call.session.client, call.events, call.context.protocol_version
        agent = None if call.name in client.tools else self.agents.find(call.session.key.session_id, call.name)
        if agent is not None:
            call.check(agent)
            return await run_agent(client, agent, call.arguments, events, version)
        proxy = client.tool(call.name)
        call.check(proxy)
        if events is not None:
            proxy = proxy.with_options(on_progress=events.progress, on_log=events.log)
        value = await proxy(**from_json(proxy.spec, call.arguments))
        return await result_of(proxy.spec, value, version)

    async def _search(self, call: Call) -> WireResult:
        client, arguments = call.session.client, call.arguments
        if call.name == CALL_TOOL:
            wanted, given = arguments.get("name"), arguments.get("arguments") or {}
            if not isinstance(wanted, str) or not isinstance(given, dict):
                raise ValidationError(f"{CALL_TOOL} takes the name of a tool, and an object with its arguments")
            wanted = own_name(wanted, client.tools)
            if wanted not in client.tools:
                raise NotFoundError(f"there is no tool {wanted!r:.140}; find one with {SEARCH_TOOLS}")
            return await self._call(replace(call, name=wanted, arguments=given))
        query, limit = arguments.get("query", ""), arguments.get("limit", DEFAULT_LIMIT)
        found = await client.search_tools(query, limit=limit, tool_filter=call.choice.finds)
        return text_result(describe_found(proxy.spec for proxy in found))


async def _page(specs: list[ToolSpec], names: Mapping[str, str], version: str) -> WireResult:
    """Writes specs as far as they fit into a page; ``names`` are those for clients by the tools' own."""
    tools: list[dict[str, Any]] = []
    size = 0
    turns = Turns()
    for number, spec in enumerate(specs):
        if turns.due:
            await turns.give()
        write = partial(tool_of, spec, version, names.get(spec.name, spec.name))
        tool = write() if len(spec.output_schema) <= _SMALL_SCHEMA_CHARS else await in_reader(write)
        size += len(json.dumps(tool))
        if tools and (len(tools) == PAGE_TOOLS or size > PAGE_BYTES):
            return {**_COMPLETE, "tools": tools, "nextCursor": cursor_after(specs[number - 1].name)}
        tools.append(tool)
    return {**_COMPLETE, "tools": tools}
