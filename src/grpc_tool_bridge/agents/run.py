"""A run of an agent, from the first thought to the result."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from dspy.utils.exceptions import AdapterParseError

from grpc_tool_bridge.agents.chunks import struct_of
from grpc_tool_bridge.agents.finding import OpenIndex, RunTools
from grpc_tool_bridge.agents.model_errors import model_error, shown
from grpc_tool_bridge.agents.model_reports import OnModel
from grpc_tool_bridge.agents.models import ModelChoice
from grpc_tool_bridge.agents.react import FINISH, ReAct, Step, TokenCount, unread_step
from grpc_tool_bridge.agents.signatures import AgentSignature
from grpc_tool_bridge.errors import (
    InternalError,
    ResourceExhaustedError,
    SerializationError,
    ToolBridgeError,
    error_info,
    wire_text,
)
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.llm.live_index import LiveIndex
from grpc_tool_bridge.llm.texts import failure_text
from grpc_tool_bridge.llm.values import from_json, text_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, ToolSpec
from grpc_tool_bridge.rpc.tracing import Span, process, usage
from grpc_tool_bridge.values.serialization import serialize_value

_log = logging.getLogger(__name__)

_MAX_TEXT = 65_536
# Maximum size of a tool's result that is sent to the client; for a larger one, the model's text is sent.
_MAX_VALUE_BYTES = 1024 * 1024
# Maximum values that are read from a tool that yields, since it may yield forever.
_MAX_VALUES = 10_000
# Retries for an answer that cannot be read; each try may use two forms.
_ANSWER_RETRIES = 3
# Characters of all steps in a result: a message has 10 MB, and a character up to four bytes.
_STEPS_CHARS = 2_000_000
# Share of the time, and maximum seconds, reserved for delivering the result before the caller's timeout.
_KEPT_SHARE = 0.1
_KEPT_SECONDS = 1.0


class AgentSession(Protocol):
    """The tools that an agent may call."""

    async def tools(self) -> list[ToolSpec]:
        """Returns the tools of the session."""
        ...

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls a tool; raises ToolExecutionError."""
        ...

    def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Streams a tool; raises ToolExecutionError."""
        ...


# Returns the session of a run. Arguments: its id, the origin of the run's calls, the run's deadline on the monotonic
# clock, and the metadata for the context of its tools.
OpenSession = Callable[[str, Any, float, Mapping[str, str]], AgentSession]


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent.

    Attributes:
        signature: Its inputs and outputs.
        tool_names: The tools that it may call, or ``search_tools``; empty: every tool of the session.
        max_iters: Maximum number of steps.
        intermediate_steps: Whether its result lists the steps.
        verbose: Whether its steps are logged.
        choice: Its model.
        lm: The LM that sends requests to the model.
    """

    signature: AgentSignature
    tool_names: tuple[str, ...]
    max_iters: int
    intermediate_steps: bool
    verbose: bool
    choice: ModelChoice
    lm: Any


class _OverError(Exception):
    """The run timed out or was cancelled."""


class Run:
    """A run of an agent.

    Args:
        agent: The agent.
        session: The session with its tools.
        inputs: The inputs, by the names in its signature.
        run_id: The run's id, for the log.
        ends: When the run must have ended, on the clock of ``time.monotonic``.
        observation_chars: Maximum characters of a tool's result that the model is shown.
        on_model: Called with each request to the model, if set.
        open_index: Returns the index of the session's tools; called once an agent searches.

    Attributes:
        span: Its span, which ends with it; None: it is not traced.
    """

    span: Span | None = None
    # That of the step that it takes.
    _step: Span | None = None

    def __init__(
        self,
        agent: Agent,
        session: AgentSession,
        inputs: Mapping[str, Any],
        *,
        run_id: str,
        ends: float,
        observation_chars: int,
        on_model: OnModel | None = None,
        open_index: OpenIndex = LiveIndex,
    ) -> None:
        self._agent = agent
        self._open_index = open_index
        self._on_model = on_model
        self._session = session
        self._inputs = inputs
        self._run_id = run_id
        self._observation_chars = observation_chars
        left = max(0.0, ends - time.monotonic())
        self._ends = asyncio.get_running_loop().time() + left - min(left * _KEPT_SHARE, _KEPT_SECONDS)
        self._limit: asyncio.Timeout | None = None
        self._cause: ToolBridgeError | None = None
        self._react: ReAct | None = None
        self._steps: list[pb.IntermediateStep] = []
        self._step_chars = min(_MAX_TEXT, _STEPS_CHARS // (3 * agent.max_iters))
        self._taken = 0

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the run, and what it waits for, with an error."""
        self._cause = self._cause or cause
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)

    async def chunks(self) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        """Runs the agent and yields its chunks; the last one is the result or the error."""
        failed = "Cancelled"
        try:
            async for chunk in self._all_chunks():
                failed = chunk.error.type if chunk.HasField("error") else ""
                yield chunk
        finally:
            self._end_step(failed)
            if self.span is not None:
                tokens = self._react.tokens if self._react is not None else TokenCount()
                self.span.add(usage(tokens.asked, tokens.answered))
                self.span.end(failed)

    async def _all_chunks(self) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        try:
            async with aclosing(self._taken_steps()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except _OverError:
            if self._cause is None:
                yield self._result("time", {}, self._react)
            else:
                yield pb.AgentExecutionChunk(error=error_info(self._cause))
        except ToolBridgeError as error:
            yield pb.AgentExecutionChunk(error=error_info(error))
        except Exception as error:  # noqa: BLE001 - the run always ends with a result or an error
            known = model_error(error)
            if known is None:
                known = InternalError.new()
                log_fault(_log, "fault in a run of an agent (%s)", known.details["error_id"], error=error)
            yield pb.AgentExecutionChunk(error=error_info(known))

    async def _taken_steps(self) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        agent = self._agent
        tools = RunTools(await self._in_time(self._session.tools()), agent.tool_names, self._open_index)
        react = self._react = ReAct(agent.signature, tools.specs(), agent.lm, self._on_model)
        stop_reason = "max_iters"
        for number in range(1, agent.max_iters + 1):
            if self._is_spent(react):
                break
            self._begin_step(number)
            step = await self._in_time(react.next_step(self._inputs))
            if step is None:
                # The context is full; the model still answers from what it has seen.
                stop_reason = "tokens"
                break
            self._taken = number
            yield _thought(step, number)
            if step.tool:
                yield _action(step, number)
            began = time.monotonic()
            value, text, error = await self._observed(step, tools, react)
            react.observe(step, text)
            self._keep(step, text)
            if agent.verbose:
                self._log(step, text)
            yield _observation(value, text, error, number, seconds=time.monotonic() - began, react=react)
            self._end_step("" if error is None else error.type)
            if step.tool == FINISH:
                stop_reason = "finished"
                break
        self._end_step()
        if self._is_spent(react):
            yield self._result("tokens", {}, react)
        else:
            # Even out of steps, the model answers from what it has seen; the stop reason says so.
            answer = await self._answered(react)
            yield self._result(stop_reason, answer, react)

    async def _answered(self, react: ReAct) -> dict[str, Any]:
        """Asks for the answer; retries if it cannot be read and the run has steps left."""
        for left in range(min(_ANSWER_RETRIES, self._agent.max_iters - self._taken), -1, -1):
            try:
                return await self._in_time(react.answer(self._inputs))  # type: ignore[no-any-return] # DSPy's are untyped
            except AdapterParseError as error:
                if not left or self._is_spent(react):
                    raise
                step = unread_step(error)
                react.observe(step, text_of(_observed_failure(step.tool, step.problem), self._observation_chars))
        raise AssertionError  # the last try returns or raises

    async def _observed(self, step: Step, tools: RunTools, react: ReAct) -> tuple[Any, str, ErrorInfo | None]:
        """Calls the tool; returns its value, the text for the model, and its error."""
        if step.tool == FINISH:
            return "Completed.", "Completed.", None
        spec = tools.get(step.tool)
        try:
            if step.problem is not None and (spec is not None or not step.tool):
                raise step.problem
            if spec is None:
                raise tools.unknown(step.tool)
            if tools.is_search(spec):
                value, changed = await self._in_time(tools.search(step.args))
                if changed:
                    react.offer(tools.specs())
            else:
                value = await self._in_time(self._called(spec, step.args))
        except ToolBridgeError as error:
            text = text_of(_observed_failure(step.tool, error), self._observation_chars)
            return text, text, error_info(error)
        return value, text_of(value, self._observation_chars), None

    async def _called(self, spec: ToolSpec, args: dict[str, Any]) -> Any:
        tool_id = spec.tool_id or spec.name
        args = from_json(spec, args)
        if spec.type != pb.STREAMING:
            return await self._session.call_tool(tool_id, (), args)
        values: list[Any] = []
        size = 0
        async with aclosing(self._session.stream_tool(tool_id, (), args)) as chunks:
            async for value in chunks:
                values.append(value)
                size += serialize_value(value).ByteSize()
                if size > _MAX_VALUE_BYTES or len(values) > _MAX_VALUES:
                    raise ResourceExhaustedError(
                        f"its stream was stopped after {len(values):,} values of {size:,} bytes together; an agent is "
                        f"shown at most {_MAX_VALUES:,} of {_MAX_VALUE_BYTES:,}",
                        retryable=False,
                    )
        return values

    async def _in_time(self, work: Any) -> Any:
        self._limit = limit = asyncio.timeout_at(self._ends if self._cause is None else 0)
        try:
            span = self._step or self.span
            async with limit:
                if span is None:
                    return await work
                with span.use():
                    return await work
        except TimeoutError:
            if limit.expired():
                raise _OverError from None
            raise
        finally:
            self._limit = None

    def _begin_step(self, number: int) -> None:
        if self.span is not None and process.tracing is not None:
            with self.span.use():
                self._step = process.tracing.step(number)

    def _end_step(self, error_type: str = "") -> None:
        step, self._step = self._step, None
        if step is not None:
            step.end(error_type)

    def _is_spent(self, react: ReAct) -> bool:
        return 0 < self._agent.choice.max_total_tokens <= react.tokens.total

    def _keep(self, step: Step, text: str) -> None:
        if self._agent.intermediate_steps:
            limit = self._step_chars
            action = f"{step.tool}({text_of(step.args, limit)})" if step.tool else ""
            self._steps.append(
                pb.IntermediateStep(
                    thought=wire_text(step.thought, limit),
                    action=wire_text(action, limit),
                    observation=wire_text(text, limit),
                )
            )

    def _log(self, step: Step, text: str) -> None:
        # Everything stays on one line, whatever the model and the tool say.
        said = (step.thought, f"{step.tool}({text_of(step.args, _MAX_TEXT)})", text)
        parts = [" ".join(shown(part).split()) for part in said]
        _log.info("run %s, step %d: %s", self._run_id, self._taken, " | ".join(parts))

    def _result(self, stop_reason: str, answer: Mapping[str, Any], react: ReAct | None) -> pb.AgentExecutionChunk:
        return pb.AgentExecutionChunk(
            result=pb.ResultChunk(
                final_answer=struct_of(answer),
                total_steps=self._taken,
                steps=self._steps,
                stop_reason=stop_reason,
                metrics=None if react is None else _taken_by(react),
            )
        )


def _observed_failure(tool: str, error: ToolBridgeError | None) -> str:
    if not tool or error is None:
        return f"{error.error_type}: {error.message}" if error is not None else ""
    return f"Execution error in {failure_text(wire_text(tool, 100), error)}"


def _thought(step: Step, number: int) -> pb.AgentExecutionChunk:
    return pb.AgentExecutionChunk(thought=pb.ThoughtChunk(text=wire_text(step.thought, _MAX_TEXT), step=number))


def _action(step: Step, number: int) -> pb.AgentExecutionChunk:
    action = pb.ActionChunk(tool_name=wire_text(step.tool, _MAX_TEXT), tool_input=struct_of(step.args), step=number)
    return pb.AgentExecutionChunk(action=action)


def _taken_by(react: ReAct) -> pb.ExecutionMetrics:
    """Returns metrics with the tokens that the models of the run have taken so far."""
    metrics = pb.ExecutionMetrics()
    metrics.custom_metrics["prompt_tokens"] = react.tokens.asked
    metrics.custom_metrics["completion_tokens"] = react.tokens.answered
    return metrics


def _observation(
    value: Any, text: str, error: ErrorInfo | None, number: int, *, seconds: float, react: ReAct
) -> pb.AgentExecutionChunk:
    metrics = _taken_by(react)
    metrics.duration_ms, metrics.duration_us = max(1, round(seconds * 1e3)), round(seconds * 1e6)
    try:
        output = serialize_value(value)
    except SerializationError:
        # Such as a list of values with the maximum depth.
        output = serialize_value(text)
    if output.ByteSize() > _MAX_VALUE_BYTES:
        output = serialize_value(text)
    observation = pb.ObservationChunk(tool_output=output, step=number, metrics=metrics, error=error)
    return pb.AgentExecutionChunk(observation=observation)
