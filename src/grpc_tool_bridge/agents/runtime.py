"""The runtime of agents: makes them, and runs them over the tools of a session."""

import asyncio
import difflib
import hashlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from grpc_tool_bridge.agents.chunks import struct_of, text_of
from grpc_tool_bridge.agents.models import ModelChoice, choose_model, load_engine, make_lm, model_error
from grpc_tool_bridge.agents.react import FINISH, ReAct, Step
from grpc_tool_bridge.agents.settings import AgentSettings
from grpc_tool_bridge.agents.signatures import AgentSignature, read_signature
from grpc_tool_bridge.errors import (
    InternalError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    error_info,
    wire_text,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, ToolSpec
from grpc_tool_bridge.wire.structs import read_struct
from grpc_tool_bridge.wire.values import MAX_DEPTH, deserialize_value, serialize_value

_log = logging.getLogger(__name__)

DEFAULT_MAX_ITERS = 5
_MAX_TEXT = 65_536
# The result has to be there before whoever asked gives up: so much of the time is kept for its way.
_KEPT_SHARE = 0.1
_KEPT_SECONDS = 1.0


class AgentSession(Protocol):
    """The session of a run, as its agent sees it."""

    async def tools(self) -> list[ToolSpec]:
        """Returns the tools that the session sees."""
        ...

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls a tool; raises ToolExecutionError."""
        ...

    def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Streams a tool; raises ToolExecutionError."""
        ...


OpenSession = Callable[[str, Any, float], AgentSession]


@dataclass(frozen=True, slots=True)
class _Agent:
    signature: AgentSignature
    tool_names: tuple[str, ...]
    max_iters: int
    intermediate_steps: bool
    choice: ModelChoice
    lm: Any


class AgentRuntime:
    """Makes agents and runs them.

    It keeps nothing of a session. What it keeps of an agent can be made again of its definition at any time.

    Args:
        settings: Which models there are, and what a run may take.
        open_session: Gives the session of a run, from its id, what the run's calls are made for, and the run's
            deadline (``time.monotonic``).
    """

    def __init__(self, settings: AgentSettings, open_session: OpenSession) -> None:
        self._settings = settings
        self._open_session = open_session
        self._agents: OrderedDict[str, _Agent] = OrderedDict()
        self._runs = 0
        self._closed = False

    @property
    def runs(self) -> int:
        """Runs that are under way."""
        return self._runs

    async def create_react_agent(self, request: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        """Checks an agent's definition and makes the agent.

        Its tools are looked up when it runs, in the session that it runs in.

        Raises:
            ValidationError: The signature, the settings of the model, or a number is wrong.
            AccessError: The runtime does not offer the model or the base URL.
        """
        agent_id = _agent_id(request)
        if agent_id not in self._agents:
            agent = self._made(request)
            await asyncio.to_thread(load_engine, agent.lm)
            self._agents[agent_id] = agent
            if len(self._agents) > self._settings.max_agents:
                # Its model's connections close when its last run has let go of it.
                self._agents.popitem(last=False)
        self._agents.move_to_end(agent_id)
        return pb.CreateReActAgentResponse(
            agent_id=agent_id, tool_count=len(request.tool_names), capabilities=["streaming", "cancel"]
        )

    async def execute_agent(
        self,
        request: pb.ExecuteAgentRequest,
        *,
        deadline: float | None = None,
        payload: bytes = b"",  # noqa: ARG002 - of the served method
        origin: Any = None,
    ) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        """Runs an agent.

        Closing the generator, or cancelling whoever reads it, ends the call of the model or the tool that runs.

        Args:
            request: Whose ``stream`` says whether the steps are sent too.
            deadline: When the run must have ended, by ``time.monotonic``.
            payload: The request as it came; not looked at.
            origin: What the calls of the run are made for.

        Yields:
            Thought, action and observation of each step, then one result or one error; numbered from 0.

        Raises:
            NotFoundError: The runtime does not know the agent; create it again.
            ValidationError: The inputs do not fit the signature.
            ResourceExhaustedError: There are as many runs as there may be.
        """
        if self._closed:
            raise UnavailableError("the agent runtime is about to end")
        agent = self._agents.get(request.agent_id)
        if agent is None:
            raise NotFoundError(
                f"this agent runtime has no agent {wire_text(request.agent_id, 100)!r}", error_type="AgentNotFound"
            )
        self._agents.move_to_end(request.agent_id)
        inputs = agent.signature.bind(read_struct(request.input.SerializeToString(), MAX_DEPTH))
        if self._runs >= self._settings.max_runs:
            raise ResourceExhaustedError(
                f"the agent runtime has {self._runs} runs, as many as it may", details={"retry_after": "1"}
            )
        self._runs += 1
        try:
            ends = self._end_of(request, deadline)
            session = self._open_session(request.session_id, origin, ends)
            run = _Run(agent, session, inputs, ends=ends, observation_chars=self._settings.max_observation_chars)
            number = 0
            async for chunk in run.chunks():
                if request.stream or chunk.HasField("result") or chunk.HasField("error"):
                    chunk.agent_id, chunk.run_id, chunk.sequence = request.agent_id, request.run_id, number
                    number += 1
                    yield chunk
        finally:
            self._runs -= 1

    async def aclose(self) -> None:
        """Refuses further runs and closes the connections to models; those who run agents end them before."""
        self._closed = True
        agents = list(self._agents.values())
        self._agents.clear()
        for agent in agents:
            if agent.lm is not self._settings.lm:
                await agent.lm.aclose()
        if "litellm" in sys.modules:
            await sys.modules["litellm"].close_litellm_async_clients()

    def _made(self, request: pb.CreateReActAgentRequest) -> _Agent:
        if not 0 <= request.max_iters <= self._settings.max_iters:
            raise ValidationError(
                f"max_iters is {request.max_iters}; it is from 1 to {self._settings.max_iters}, or 0 for "
                f"{DEFAULT_MAX_ITERS}",
                details={"max_iters": str(request.max_iters)},
            )
        signature = read_signature(request.signature)
        config = {name: deserialize_value(value) for name, value in request.config.llm_config.items()}
        choice = choose_model(config, self._settings)
        return _Agent(
            signature=signature,
            tool_names=tuple(dict.fromkeys(request.tool_names)),
            max_iters=request.max_iters or DEFAULT_MAX_ITERS,
            intermediate_steps=request.config.return_intermediate_steps,
            choice=choice,
            lm=make_lm(choice, self._settings),
        )

    def _end_of(self, request: pb.ExecuteAgentRequest, deadline: float | None) -> float:
        now = time.monotonic()
        seconds = request.timeout_ms / 1000 if request.timeout_ms > 0 else self._settings.run_timeout
        return now + seconds if deadline is None else min(now + seconds, deadline)


class _OutOfTimeError(Exception):
    """The run's time is over."""


class _Run:
    """One run of an agent."""

    def __init__(
        self, agent: _Agent, session: AgentSession, inputs: Mapping[str, Any], *, ends: float, observation_chars: int
    ) -> None:
        self._agent = agent
        self._session = session
        self._inputs = inputs
        self._observation_chars = observation_chars
        left = max(0.0, ends - time.monotonic())
        self._ends = asyncio.get_running_loop().time() + left - min(left * _KEPT_SHARE, _KEPT_SECONDS)
        self._steps: list[pb.IntermediateStep] = []
        self._taken = 0

    async def chunks(self) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        """Takes the steps; the last chunk is the result or the error."""
        try:
            async for chunk in self._taken_steps():
                yield chunk
        except _OutOfTimeError:
            yield self._result("time", {})
        except ToolBridgeError as error:
            yield pb.AgentExecutionChunk(error=error_info(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the run ends with one chunk that says so
            known = model_error(error)
            if known is None:
                known = InternalError.new()
                _log.error("fault in a run of an agent (%s)", known.details["error_id"], exc_info=error)
            yield pb.AgentExecutionChunk(error=error_info(known))

    async def _taken_steps(self) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        agent = self._agent
        tools = _chosen(await self._in_time(self._session.tools()), agent.tool_names)
        react = ReAct(agent.signature, list(tools.values()), agent.lm)
        stop_reason = "max_iters"
        for number in range(1, agent.max_iters + 1):
            if self._is_spent(react):
                break
            step = await self._in_time(react.next_step(self._inputs))
            if step is None:
                break
            self._taken = number
            yield _thought(step, number)
            yield _action(step, number)
            began = time.monotonic()
            value, text, error = await self._observed(step, tools)
            react.observe(step, text)
            self._keep(step, text)
            yield _observation(value, error, number, seconds=time.monotonic() - began, react=react)
            if step.tool == FINISH:
                stop_reason = "finished"
                break
        if self._is_spent(react):
            yield self._result("tokens", {})
        else:
            # Out of steps, the model still says what it makes of what it has seen; the reason tells that from success.
            yield self._result(stop_reason, await self._in_time(react.answer(self._inputs)))

    async def _observed(self, step: Step, tools: Mapping[str, ToolSpec]) -> tuple[Any, str, ErrorInfo | None]:
        """Calls the tool; returns its value, how the model reads it, and its error."""
        if step.tool == FINISH:
            return "Completed.", "Completed.", None
        spec = tools.get(step.tool)
        try:
            if spec is None:
                raise NotFoundError(
                    f"there is no tool {wire_text(step.tool, 100)!r}; there are {', '.join([*tools, FINISH])}",
                    error_type="ToolNotFound",
                )
            value = await self._in_time(self._called(spec, step.args))
        except ToolBridgeError as error:
            name = wire_text(step.tool, 100)
            said = f"Execution error in {name}: {error.error_type}: {error.message.removeprefix(f'{name}: ')}"
            text = text_of(said, self._observation_chars)
            return text, text, error_info(error)
        return value, text_of(value, self._observation_chars), None

    async def _called(self, spec: ToolSpec, args: dict[str, Any]) -> Any:
        tool_id = spec.tool_id or spec.name
        if spec.type != pb.STREAMING:
            return await self._session.call_tool(tool_id, (), args)
        values = self._session.stream_tool(tool_id, (), args)
        try:
            return [value async for value in values]
        finally:
            await values.aclose()

    async def _in_time(self, work: Any) -> Any:
        limit = asyncio.timeout_at(self._ends)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise _OutOfTimeError from None
            raise

    def _is_spent(self, react: ReAct) -> bool:
        return 0 < self._agent.choice.max_total_tokens <= react.tokens.total

    def _keep(self, step: Step, text: str) -> None:
        if self._agent.intermediate_steps:
            action = f"{step.tool}({text_of(step.args, _MAX_TEXT)})"
            self._steps.append(
                pb.IntermediateStep(
                    thought=wire_text(step.thought, _MAX_TEXT), action=wire_text(action, _MAX_TEXT), observation=text
                )
            )

    def _result(self, stop_reason: str, answer: Mapping[str, Any]) -> pb.AgentExecutionChunk:
        return pb.AgentExecutionChunk(
            result=pb.ResultChunk(
                final_answer=struct_of(answer), total_steps=self._taken, steps=self._steps, stop_reason=stop_reason
            )
        )


def _agent_id(request: pb.CreateReActAgentRequest) -> str:
    definition = pb.CreateReActAgentRequest()
    definition.CopyFrom(request)
    # The same agent serves any session.
    definition.ClearField("session_id")
    return f"agent-{hashlib.sha256(definition.SerializeToString(deterministic=True)).hexdigest()[:24]}"


def _chosen(specs: list[ToolSpec], names: tuple[str, ...]) -> dict[str, ToolSpec]:
    tools = {spec.name: spec for spec in specs}
    if names:
        missing = [name for name in names if name not in tools]
        if missing:
            alike = difflib.get_close_matches(missing[0], tools, n=1)
            hint = f"; did you mean {alike[0]}?" if alike else ""
            raise NotFoundError(
                f"the session has no tool {', '.join(missing)}{hint}",
                error_type="ToolNotFound",
                details={"tool_names": ", ".join(missing)},
            )
        tools = {name: tools[name] for name in names}
    if FINISH in tools:
        raise ValidationError(
            f"an agent cannot be given the tool {FINISH}, which is how it says that it is done; "
            "name the others in tool_names",
            details={"tool_names": FINISH},
        )
    return tools


def _thought(step: Step, number: int) -> pb.AgentExecutionChunk:
    return pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text=wire_text(step.thought, _MAX_TEXT), step=number))


def _action(step: Step, number: int) -> pb.AgentExecutionChunk:
    action = pb.ActionChunk(tool_name=wire_text(step.tool, _MAX_TEXT), tool_input=struct_of(step.args), step=number)
    return pb.AgentExecutionChunk(action=action)


def _observation(
    value: Any, error: ErrorInfo | None, number: int, *, seconds: float, react: ReAct
) -> pb.AgentExecutionChunk:
    metrics = pb.ExecutionMetrics(duration_ms=max(1, round(seconds * 1e3)), duration_us=round(seconds * 1e6))
    metrics.custom_metrics["prompt_tokens"] = react.tokens.asked
    metrics.custom_metrics["completion_tokens"] = react.tokens.answered
    observation = pb.ObservationChunk(tool_output=serialize_value(value), step=number, metrics=metrics, error=error)
    return pb.AgentExecutionChunk(observation=observation)
