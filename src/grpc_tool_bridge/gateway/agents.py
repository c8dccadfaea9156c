"""Agents and their runs over HTTP."""

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.core.agents.agents import Agent
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.pages import page_of
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.bodies import MAX_COUNT, count_of, fields_of, name_of, path_name, timeout_of, whole_number
from grpc_tool_bridge.gateway.errors import JsonResponse, failed, status_response
from grpc_tool_bridge.gateway.events import Event, EventStream
from grpc_tool_bridge.gateway.hub_calls import HubCalls, principal_of
from grpc_tool_bridge.gateway.message_json import error_json, message_json
from grpc_tool_bridge.llm.agent_search import is_search
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import serialize_value
from grpc_tool_bridge.values.text import is_text

# Tools of one agent that a list names.
MAX_TOOLS = 100

# An agent with its session, and how many of its runs are under way.
_Entry = tuple[Session, Agent, int]


class AgentRoutes:
    """The routes of agents.

    Args:
        calls: Makes the calls.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls

    async def list_all(self, request: Request) -> Response:
        """Lists the agents, a page of them, those of the oldest sessions first; ``?session_id=`` those of one session.

        ``tool_count`` is how many tools an agent is given, or may find if it searches for them, and ``tools`` names the
        first of those that its definition names. ``runs`` are under way.
        """
        hub, session_id = self._calls.hub, name_of(request, "session_id")
        wanted = None
        if session_id:
            here = session_id in hub.store
            wanted = hub.store.peek(session_id) if here else await hub.find_session(session_id)
            self._calls.checked(request, wanted)
        shown, principal = self._calls.shown, principal_of(request)

        def write(entry: _Entry) -> dict[str, Any] | None:
            session, agent, runs = entry
            if shown is not None and not shown.sees_agent(session, agent.id, principal):
                return None
            return None if session.ended is not None else _agent_json(hub, session, agent, runs)

        page = await page_of(
            hub.agents.agents(wanted),
            lambda entry: (entry[0].created_at, f"{entry[0].id} {entry[1].id}"),
            write,
            what="agents",
            token=request.query_params.get("page_token", ""),
            size=count_of(request, "page_size"),
            bytes_of=lambda line: len(json.dumps(line)),
        )
        return JsonResponse({"agents": page.entries, "next_page_token": page.next_token})

    async def create(self, request: Request) -> Response:
        """Makes an agent of a session."""
        given = fields_of(await self._calls.body(request), signature=str, tool_names=list, max_iters=int, config=dict)
        asked = pb.CreateReActAgentRequest(
            session_id=path_name(request, "sid"),
            signature=given.get("signature", ""),
            tool_names=_texts("tool_names", given.get("tool_names", [])),
            max_iters=given.get("max_iters", 5),
        )
        config = fields_of(given.get("config", {}), verbose=bool, return_intermediate_steps=bool, llm_config=dict)
        asked.config.verbose = config.get("verbose", False)
        asked.config.return_intermediate_steps = config.get("return_intermediate_steps", False)
        for name, value in config.get("llm_config", {}).items():
            asked.config.llm_config[name].CopyFrom(serialize_value(value))
        response = await self._calls.ask(request, "create_react_agent", asked)
        if response.HasField("error"):
            return failed(response.error)
        answer = {"agent_id": response.agent_id, "tool_count": response.tool_count}
        return JsonResponse({**answer, "capabilities": list(response.capabilities)}, 201)

    async def execute(self, request: Request) -> EventStream:
        """Runs an agent; each step is an event."""
        given = fields_of(
            await self._calls.body(request), input=dict, context=dict, stream=bool, run_id=str, timeout_ms=int
        )
        asked = pb.ExecuteAgentRequest(
            session_id=path_name(request, "sid"),
            agent_id=path_name(request, "agent"),
            run_id=given.get("run_id") or uuid.uuid4().hex,
            stream=given.get("stream", True),
            timeout_ms=timeout_of(given),
        )
        try:
            asked.input.update(given.get("input", {}))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValidationError(f"input must be an object of JSON values: {error}") from None
        asked.input.SetInParent()
        for name, value in given.get("context", {}).items():
            asked.context[name].CopyFrom(serialize_value(value))
        return self._read(request, asked)

    async def attach(self, request: Request) -> EventStream:
        """Attaches to a run; ``Last-Event-ID`` is the number of the last chunk that was seen."""
        last = request.headers.get("last-event-id", "")
        number = whole_number(last, MAX_COUNT - 1)
        if last and number is None:
            raise ValidationError(f"Last-Event-ID must be the number of a chunk, not {last!r:.80}")
        asked = pb.ExecuteAgentRequest(
            session_id=path_name(request, "sid"),
            run_id=path_name(request, "run"),
            stream=True,
            from_sequence=0 if number is None else number + 1,
        )
        return self._read(request, asked)

    async def cancel(self, request: Request) -> Response:
        """Cancels a run."""
        asked = pb.CancelAgentRunRequest(session_id=path_name(request, "sid"), run_id=path_name(request, "run"))
        return status_response(await self._calls.ask(request, "cancel_agent_run", asked))

    def _read(self, request: Request, asked: pb.ExecuteAgentRequest) -> EventStream:
        chunks = self._calls.hub.execute_agent(asked, self._calls.context(request))
        return self._calls.event_stream(request, _chunk_events(chunks))


def _agent_json(hub: Hub, session: Session, agent: Agent, runs: int) -> dict[str, Any]:
    """Writes what a list says of an agent."""
    definition = agent.definition
    names = list(definition.tool_names)
    known = hub.store.tools.names.keys() | (session.tools.names.keys() if session.tools else set())
    searches = not names or any(is_search(name, known) for name in names)
    return {
        "agent_id": agent.id,
        "session_id": session.id,
        "signature": definition.signature,
        "tools": names[:MAX_TOOLS],
        "tool_count": hub.registry.count(session) if searches else len(names),
        "max_iters": definition.max_iters,
        "runs": runs,
    }


async def _chunk_events(chunks: Any) -> AsyncGenerator[Event, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            message = pb.AgentExecutionChunk.FromString(chunk) if isinstance(chunk, bytes) else chunk
            kind = str(message.WhichOneof("content"))
            number = str(message.sequence)
            if kind == "error":
                yield Event("error", error_json(message.error), number)
                return
            told = {**message_json(getattr(message, kind)), "run_id": message.run_id}
            yield Event("complete" if kind == "result" else kind, told, number)


def _texts(name: str, given: list[Any]) -> list[str]:
    if not all(isinstance(item, str) and is_text(item) for item in given):
        raise ValidationError(f"{name} must be an array of strings without lone surrogates")
    return given
