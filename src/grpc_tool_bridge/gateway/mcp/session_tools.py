"""The tools of a session as MCP clients see and call them, over any transport."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError, ValidationError
from grpc_tool_bridge.gateway.mcp.agents import AgentTools, run_agent
from grpc_tool_bridge.gateway.mcp.client_names import client_names, own_name
from grpc_tool_bridge.gateway.mcp.results import WireResult, error_result, result_of, text_result
from grpc_tool_bridge.gateway.mcp.sessions import GONE, OpenSession, SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.specs import tool_of
from grpc_tool_bridge.gateway.mcp.tool_choice import HasSpec, ToolChoice, stands_for_search
from grpc_tool_bridge.gateway.mcp.waiting_calls import EventTaker
from grpc_tool_bridge.llm.found_tools import CALL_TOOL, SEARCH_TOOLS, describe_found
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT
from grpc_tool_bridge.llm.values import from_json
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values.offload import in_reader

# The output schema of a tool is checked when the tool is first told; a larger one in a thread.
_SMALL_SCHEMA_CHARS = 1_024


def _as_it_is(_: str, error: ToolBridgeError) -> ToolBridgeError:
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a tool.

    Attributes:
        key: The session in which it is called.
        choice: What the client may call.
        name: The tool.
        arguments: By name.
        version: The client's, of the protocol.
        events: Takes what the tool tells; None: nobody wants it.
        timeout: Seconds that the client waits; None: it has not said.
        failure: Called with the tool's name and what it failed with; returns the error that the client is told.
    """

    key: SessionKey
    choice: ToolChoice
    name: str
    arguments: Mapping[str, Any]
    version: str
    events: EventTaker | None = None
    timeout: float | None = None
    failure: Callable[[str, ToolBridgeError], ToolBridgeError] = _as_it_is

    def check(self, tool: HasSpec) -> None:
        """Refuses a tool that the client has not chosen; raises NotFoundError."""
        if not (self.choice.is_whole or self.choice.passes(tool.spec)):
            text = f"there is no tool {self.name!r:.140} among those that the address chooses"
            raise NotFoundError(text, error_type="ToolNotFound")


@dataclass(frozen=True, slots=True)
class ToolList:
    """What a client sees of a session.

    Attributes:
        specs: The tools, by name.
        names: Their names for clients, by their own; those that are the same are left out.
    """

    specs: Sequence[ToolSpec]
    names: Mapping[str, str]

    async def written(self, version: str) -> AsyncIterator[tuple[ToolSpec, dict[str, Any]]]:
        """Writes each tool as clients of a protocol version read it; gives other tasks their turns."""
        turns = Turns()
        for spec in self.specs:
            if turns.due:
                await turns.give()
            write = partial(tool_of, spec, version, self.names.get(spec.name, spec.name))
            yield spec, write() if len(spec.output_schema) <= _SMALL_SCHEMA_CHARS else await in_reader(write)


class SessionTools:
    """Lists and calls tools.

    Args:
        sessions: The sessions that the clients use.
        agents: The agents that clients see as tools.

    Attributes:
        agents: As given.
    """

    def __init__(self, sessions: SessionClients, agents: AgentTools) -> None:
        self.agents = agents
        self._sessions = sessions

    async def listed(self, key: SessionKey, choice: ToolChoice, after: str = "") -> ToolList:
        """Returns the tools of a session whose names come after ``after``.

        Raises:
            ToolBridgeError: The session cannot be used.
        """
        async with self._sessions.use_key(key) as session:
            if not session.follows_tools:
                await session.client.refresh_tools()
            tools: dict[str, HasSpec] = {**self.agents.of(session.key.session_id), **session.client.tools}
            return ToolList(choice.listed(tools, after), client_names(tools))

    async def call(self, call: Call) -> WireResult:
        """Calls a tool; what it fails with is a result that the model reads.

        Raises:
            ToolBridgeError: There is no such tool, or the session cannot be used.
        """
        for is_last in (False, True):
            async with self._sessions.use_key(call.key) as session:
                result = await self._answer(call, session, may_reopen=not is_last)
                if result is not None:
                    return result
                self._sessions.lose(session)
        raise AssertionError("the last try returns or raises")

    async def _answer(self, call: Call, session: OpenSession, *, may_reopen: bool) -> WireResult | None:
        """Calls a tool, or the search; returns None if the hub has ended the session before the call."""
        is_search = stands_for_search(call.name, session.client.tools)
        name = call.name
        try:
            await session.await_link()
            name = self._own_name(call.name, session)
            call = replace(call, name=name)
            return await (self._search(call, session) if is_search else self._call(call, session))
        except ToolBridgeError as error:
            # Those of a lost connection are a text.
            details = error.details if isinstance(error.details, Mapping) else {}
            is_refusal = details.get("origin", "bridge") == "bridge"
            if is_refusal and may_reopen and error.error_type in GONE:
                return None
            is_unknown = is_refusal and error.error_type == "ToolNotFound"
            if is_unknown and not is_search and getattr(error, "tool_name", name) == name:
                raise
            return error_result(name, call.failure(name, error))

    def _own_name(self, name: str, session: OpenSession) -> str:
        """Returns the own name of the tool that a client means."""
        tools = session.client.tools
        return name if name in tools else own_name(name, {**self.agents.of(session.key.session_id), **tools})

    async def _call(self, call: Call, session: OpenSession) -> WireResult:
        client, events = session.client, call.events
        agent = None if call.name in client.tools else self.agents.find(session.key.session_id, call.name)
        if agent is not None:
            call.check(agent)
            return await run_agent(client, agent, call.arguments, events, call.version)
        proxy = client.tool(call.name)
        call.check(proxy)
        if events is not None:
            proxy = proxy.with_options(on_progress=events.progress, on_log=events.log)
        if call.timeout is not None:
            proxy = proxy.with_options(timeout=call.timeout)
        value = await proxy(**from_json(proxy.spec, call.arguments))
        return await result_of(proxy.spec, value, call.version)

    async def _search(self, call: Call, session: OpenSession) -> WireResult:
        client, arguments = session.client, call.arguments
        if call.name == CALL_TOOL:
            wanted, given = arguments.get("name"), arguments.get("arguments") or {}
            if not isinstance(wanted, str) or not isinstance(given, dict):
                raise ValidationError(f"{CALL_TOOL} takes the name of a tool, and an object with its arguments")
            wanted = own_name(wanted, client.tools)
            if wanted not in client.tools:
                raise NotFoundError(f"there is no tool {wanted!r:.140}; find one with {SEARCH_TOOLS}")
            return await self._call(replace(call, name=wanted, arguments=given), session)
        query, limit = arguments.get("query", ""), arguments.get("limit", DEFAULT_LIMIT)
        found = await client.search_tools(query, limit=limit, tool_filter=call.choice.finds)
        return text_result(describe_found(proxy.spec for proxy in found))
