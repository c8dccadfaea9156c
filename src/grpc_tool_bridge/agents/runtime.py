"""The agent runtime: creates agents, and runs them with the tools of a session."""

import asyncio
import functools
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.agents.model_reports import model_reporter
from grpc_tool_bridge.agents.models import choose_model, load_engine, make_lm
from grpc_tool_bridge.agents.run import Agent, OpenSession, Run
from grpc_tool_bridge.agents.settings import AgentSettings
from grpc_tool_bridge.agents.signatures import read_signature
from grpc_tool_bridge.errors import (
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    wire_text,
)
from grpc_tool_bridge.llm.agent_search import read_agent_tools
from grpc_tool_bridge.llm.live_index import LiveIndexes
from grpc_tool_bridge.llm.values import text_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.values.offload import read_value
from grpc_tool_bridge.values.serialization import MAX_DEPTH, deserialize_value
from grpc_tool_bridge.values.structs import read_struct

DEFAULT_MAX_ITERS = 5

_ENDS = "the agent runtime is shutting down"

# Maximum characters of one context value that a client sends for the tools.
_MAX_CONTEXT = 10_000

# Maximum nodes of a setting of an agent's model.
_MAX_CONFIG_NODES = 10_000

# Larger inputs are read in a thread: a megabyte of small values takes half a second.
_QUICK_BYTES = 64 * 1024


class AgentRuntime:
    """Creates and runs agents.

    It stores nothing about sessions. An agent can be created again from its definition at any time.

    Args:
        settings: The available models, and the limits of a run.
        open_session: Returns the session of a run. Its arguments are the session's id, the origin of the run's calls,
            the run's deadline (``time.monotonic``), and the metadata for the context of its tools.
    """

    def __init__(self, settings: AgentSettings, open_session: OpenSession) -> None:
        self._settings = settings
        self._open_session = open_session
        self._agents: OrderedDict[str, Agent] = OrderedDict()
        self._runs: set[Run] = set()
        self._indexes = LiveIndexes()
        self._closed = False

    async def create_react_agent(self, request: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        """Checks an agent's definition and creates the agent.

        Its tools are looked up when it runs, in the session of the run.

        Raises:
            ValidationError: The signature, a setting of the model, or ``max_iters`` is not valid.
            AccessError: The runtime does not offer the model or the base URL.
        """
        agent_id = _agent_id(request)
        if agent_id not in self._agents:
            agent = self._made(request)
            await asyncio.to_thread(load_engine, agent.lm)
            if self._closed:
                await self._close(agent)
                raise UnavailableError(_ENDS)
            if self._agents.setdefault(agent_id, agent) is not agent:
                # It was created concurrently.
                await self._close(agent)
            if len(self._agents) > self._settings.max_agents:
                # Its model's connections close when its last run ends.
                self._agents.popitem(last=False)
        self._agents.move_to_end(agent_id)
        return pb.CreateReActAgentResponse(
            agent_id=agent_id, tool_count=len(request.tool_names), capabilities=["streaming", "cancel"]
        )

    async def execute_agent(
        self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        """Runs an agent.

        Closing the generator, or cancelling its reader, cancels the current call of the model or of a tool.

        Args:
            request: The request; if ``stream`` is set, the steps are sent too.
            context: Its deadline limits the run; its parent is the origin of the run's calls.

        Yields:
            The thought, action and observation of each step, then one result or error; numbered from 0.

        Raises:
            NotFoundError: The runtime does not have the agent; create it again.
            ValidationError: The inputs do not fit the signature.
            ResourceExhaustedError: The runtime has too many runs.
        """
        if self._closed:
            raise UnavailableError(_ENDS)
        agent = self._agents.get(request.agent_id)
        if agent is None:
            raise NotFoundError(
                f"this agent runtime has no agent {wire_text(request.agent_id, 100)!r}", error_type="AgentNotFound"
            )
        self._agents.move_to_end(request.agent_id)
        inputs = await _inputs(agent, request)
        # Metadata for the tools' context, as texts, like that of a call.
        context.payload = b""
        metadata = {name: text_of(await read_value(value), _MAX_CONTEXT) for name, value in request.context.items()}
        if len(self._runs) >= self._settings.max_runs:
            raise ResourceExhaustedError(
                f"the agent runtime has {len(self._runs)} runs, the most that it allows", details={"retry_after": "1"}
            )
        ends = self._end_of(request, context.deadline)
        run = Run(
            agent,
            self._open_session(request.session_id, context.parent, ends, metadata),
            inputs,
            run_id=request.run_id,
            ends=ends,
            observation_chars=self._settings.max_observation_chars,
            on_model=model_reporter(context),
            open_index=functools.partial(self._indexes.of, request.session_id),
        )
        if process.tracing is not None:
            model = agent.choice.model or str(getattr(agent.lm, "model", ""))
            run.span = process.tracing.agent(request.agent_id, request.session_id, model, context)
        self._runs.add(run)
        try:
            number = 0
            async with aclosing(run.chunks()) as chunks:
                async for chunk in chunks:
                    if request.stream or chunk.HasField("result") or chunk.HasField("error"):
                        chunk.agent_id, chunk.run_id, chunk.sequence = request.agent_id, request.run_id, number
                        number += 1
                        yield chunk
        finally:
            self._runs.discard(run)

    def cancel_all(self, cause: ToolBridgeError) -> None:
        """Cancels all runs."""
        for run in list(self._runs):
            run.cancel(cause)

    async def aclose(self) -> None:
        """Refuses further runs and closes the connections to models; runs must have ended before.

        The connections of litellm belong to the whole process, and stay open.
        """
        self._closed = True
        agents = list(self._agents.values())
        self._agents.clear()
        for agent in agents:
            await self._close(agent)

    async def _close(self, agent: Agent) -> None:
        if agent.lm is not self._settings.lm:
            await agent.lm.aclose()

    def _made(self, request: pb.CreateReActAgentRequest) -> Agent:
        if not 0 <= request.max_iters <= self._settings.max_iters:
            raise ValidationError(
                f"max_iters must be 1 to {self._settings.max_iters}, or 0 for the default, not {request.max_iters}",
                details={"max_iters": str(request.max_iters)},
            )
        # The patterns of a search are valid.
        read_agent_tools(request.tool_names, ()).finds()
        signature = read_signature(request.signature)
        config = {
            name: deserialize_value(value, max_nodes=_MAX_CONFIG_NODES)
            for name, value in request.config.llm_config.items()
        }
        choice = choose_model(config, self._settings)
        return Agent(
            signature=signature,
            tool_names=tuple(dict.fromkeys(request.tool_names)),
            max_iters=request.max_iters or DEFAULT_MAX_ITERS,
            intermediate_steps=request.config.return_intermediate_steps,
            verbose=request.config.verbose,
            choice=choice,
            lm=make_lm(choice, self._settings),
        )

    def _end_of(self, request: pb.ExecuteAgentRequest, deadline: float | None) -> float:
        now = time.monotonic()
        seconds = request.timeout_ms / 1000 if request.timeout_ms > 0 else self._settings.run_timeout
        return now + seconds if deadline is None else min(now + seconds, deadline)


async def _inputs(agent: Agent, request: pb.ExecuteAgentRequest) -> dict[str, Any]:
    data = request.input.SerializeToString()

    def read() -> dict[str, Any]:
        return agent.signature.bind(read_struct(data, MAX_DEPTH))

    return read() if len(data) <= _QUICK_BYTES else await asyncio.to_thread(read)


def _agent_id(request: pb.CreateReActAgentRequest) -> str:
    definition = pb.CreateReActAgentRequest()
    definition.CopyFrom(request)
    # The same agent serves any session.
    definition.ClearField("session_id")
    return f"agent-{hashlib.sha256(definition.SerializeToString(deterministic=True)).hexdigest()[:24]}"
