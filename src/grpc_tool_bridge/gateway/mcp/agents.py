"""Agents as tools: their steps are progress, their answers results.

A session's own agents are known where the hub is in this process. Agents that are declared for all sessions are known
everywhere; each session creates such an agent when it is called for the first time.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from pydantic import TypeAdapter

from grpc_tool_bridge.agents.signature_fields import AgentField, SignatureFields, read_fields
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.errors import (
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    ToolBridgeError,
    wire_text,
)
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.gateway.mcp.results import WireResult, result_of, text_result
from grpc_tool_bridge.gateway.mcp.waiting_calls import EventTaker
from grpc_tool_bridge.llm.values import value_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, LogRecord, Progress, ToolSpec

# Characters of a step that are shown; the observation alone may be a long document.
MAX_STEP_CHARS = 2_000
# The key of a run's facts in ``_meta`` of its result.
RUN_META = "grpc-tool-bridge/run"

_log = logging.getLogger(__name__)


class AgentSource(Protocol):
    """Knows the agents of sessions, as ``core.agents.Agents`` does."""

    def definitions(self, session_id: str) -> Mapping[str, CreateReActAgentRequest]:
        """Returns the agents of a session by id, as they were created."""

    def watch(self, changed: Callable[[str], None]) -> None:
        """Calls ``changed`` with the id of a session after each change of its agents."""


@dataclass(frozen=True, slots=True)
class AgentTool:
    """An agent as a tool.

    Attributes:
        name: The tool's.
        signature: What the agent is given, and what it answers with.
        agent_id: The agent; empty: it is declared, and each session creates it.
    """

    name: str
    signature: str
    agent_id: str = ""

    @property
    def spec(self) -> ToolSpec:
        """What a client is told of it."""
        return _spec(self.name, self.signature)


class AgentTools:
    """The agents that clients see as tools.

    Args:
        declared: Agents of all sessions: signatures by name.
        source: Knows the agents of sessions; None: nobody does.
    """

    def __init__(self, declared: Mapping[str, str], source: AgentSource | None) -> None:
        self._declared = {name: AgentTool(name, signature) for name, signature in declared.items()}
        self._source = source

    def of(self, session_id: str) -> dict[str, AgentTool]:
        """Returns the agents of a session by the names of their tools. A tool of the session goes before them."""
        found = dict(self._declared)
        own = {} if self._source is None else self._source.definitions(session_id)
        for agent_id, definition in own.items():
            if not self._is_declared(definition) and _is_readable(definition.signature):
                found[agent_id] = AgentTool(agent_id, definition.signature, agent_id)
        return found

    def find(self, session_id: str, name: str) -> AgentTool | None:
        """Returns an agent by the name of its tool."""
        known = self._declared.get(name)
        return known if known is not None or self._source is None else self.of(session_id).get(name)

    def watch(self, changed: Callable[[str], None]) -> None:
        """Calls ``changed`` with the id of a session after each change of its agents."""
        if self._source is not None:
            self._source.watch(changed)

    def _is_declared(self, definition: CreateReActAgentRequest) -> bool:
        """Returns whether an agent is one that is declared, as it is created here; it has a name already."""
        has_own = bool(definition.tool_names) or bool(definition.config.ByteSize())
        return not has_own and any(definition.signature == agent.signature for agent in self._declared.values())


async def run_agent(
    client: ToolBridgeClient, agent: AgentTool, given: Mapping[str, Any], events: EventTaker | None, version: str
) -> WireResult:
    """Runs an agent; cancelling this cancels the run.

    Args:
        client: Of the session.
        agent: Which one.
        given: Its inputs by name.
        events: Takes its steps, each as progress and as a log line.
        version: The client's, of the protocol.

    Raises:
        ToolBridgeError: The run failed, or a limit ended it before there was an answer.
    """
    agent_id = agent.agent_id or await client.create_react_agent(agent.signature)
    steps = _Steps(agent.name, events)
    chunks = client.execute_agent_streaming({"agent_id": agent_id, "input": dict(given), "stream": events is not None})
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk["type"] == "result":
                return await _result(agent, chunk, version)
            steps.take(chunk)
    raise NotFoundError(f"the run of {agent.name} ended without a result", error_type="RunNotFound")


class _Steps:
    """Tells what an agent does, as events of a tool."""

    def __init__(self, name: str, events: EventTaker | None) -> None:
        self._name = name
        self._events = events
        self._count = 0

    def take(self, chunk: Mapping[str, Any]) -> None:
        """Tells of a step."""
        if self._events is None:
            return
        self._count += 1
        text = wire_text(step_text(chunk), MAX_STEP_CHARS)
        self._events.progress(Progress(current=self._count, message=text))
        fields = {"kind": str(chunk["type"]), "step": str(chunk["step"]), "run_id": str(chunk["run_id"])}
        self._events.log(LogRecord(level="info", logger=self._name, message=text, fields=fields))


def step_text(chunk: Mapping[str, Any]) -> str:
    """Writes a step of an agent for people: what it thinks, does, or sees."""
    match chunk["type"]:
        case "thought":
            return f"Thought: {chunk['text']}"
        case "action":
            return f"Action: {chunk['tool_name']}({value_text(chunk['tool_input'])})"
        case _:
            error = chunk.get("error")
            seen = f"{error['type']}: {error['message']}" if error else value_text(chunk.get("output"))
            return f"Observation: {seen}"


async def _result(agent: AgentTool, chunk: Mapping[str, Any], version: str) -> WireResult:
    given: Mapping[str, Any] = chunk["final_answer"]
    outputs = _fields(agent.signature).outputs
    if not outputs.keys() <= given.keys():
        raise ResourceExhaustedError(
            f"the agent {agent.name} reached its limit of {chunk['stop_reason']} after {chunk['total_steps']} steps, "
            "before it had an answer",
            details={"stop_reason": chunk["stop_reason"], "run_id": chunk["run_id"]},
            retryable=False,
        )
    # A runtime may add to the outputs, and an output without a type is a text.
    answer = {name: given[name] if field.typed else _text(given[name]) for name, field in outputs.items()}
    result = await result_of(agent.spec, answer, version)
    if "structuredContent" not in result:
        raise ProtocolError(
            f"the agent {agent.name} answered with {clipped_repr(answer, 200)}, which does not fit its signature",
            details={"run_id": chunk["run_id"]},
        )
    if len(outputs) == 1:
        result["content"] = text_result(value_text(answer[next(iter(outputs))]))["content"]
    result["_meta"] = {RUN_META: {name: chunk[name] for name in ("run_id", "stop_reason", "total_steps")}}
    return result


def _text(value: Any) -> str:
    return value if isinstance(value, str) else value_text(value)


@lru_cache(maxsize=256)
def _fields(signature: str) -> SignatureFields:
    return read_fields(signature)


@lru_cache(maxsize=256)
def _spec(name: str, signature: str) -> ToolSpec:
    fields = _fields(signature)
    told = fields.instructions or "An agent that works with the tools of the session until it has an answer."
    return ToolSpec(
        tool_id=name,
        name=name,
        description=f"{told}\n\n{fields.line}",
        input_schema=json.dumps(_schema(fields.inputs, lambda field: not field.optional, untyped={})),
        output_schema=json.dumps(_schema(fields.outputs, lambda _: True, untyped={"type": "string"})),
    )


def _schema(
    fields: Mapping[str, AgentField], is_required: Callable[[AgentField], bool], *, untyped: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: TypeAdapter(field.type).json_schema() if field.typed else untyped for name, field in fields.items()
        },
        "required": [name for name, field in fields.items() if is_required(field)],
        "additionalProperties": False,
    }


def _is_readable(signature: str) -> bool:
    try:
        _fields(signature)
    except ToolBridgeError as error:
        # A runtime in another language may have accepted it.
        _log.debug("an agent is not shown as a tool: %s", error)
        return False
    return True
