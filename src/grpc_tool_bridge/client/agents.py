"""Agents and their runs on the client's side: steps as they happen, also across a lost connection."""

import asyncio
import contextlib
import uuid
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.portal import AsyncApi
from grpc_tool_bridge.client.agent_tools import agent_tool_names
from grpc_tool_bridge.client.caller import Caller, stream_ended
from grpc_tool_bridge.client.options import to_milliseconds
from grpc_tool_bridge.client.resume import is_lost, resumed
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.config.argument_checks import check_text, check_type
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    SerializationError,
    ToolBridgeError,
    ValidationError,
    error_from_info,
)
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AgentExecutionChunk,
    CancelAgentRunRequest,
    CreateReActAgentRequest,
    ErrorInfo,
    ExecuteAgentRequest,
    ToolSpec,
)
from grpc_tool_bridge.values.serialization import MAX_DEPTH, deserialize_value, serialize_value
from grpc_tool_bridge.values.structs import read_struct

# Seconds to tell the hub that a run is no longer wanted; without that, the run expires.
CANCEL_SECONDS = 5.0

# The fields of a run's request: type and, for error texts, what it must be.
_FIELDS: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "agent_id": (str, "a text"),
        "input": (Mapping, "a dict of the signature's inputs"),
        "stream": (bool, "True or False"),
        "run_id": (str, "a text"),
        "from_sequence": (int, "a whole number"),
        "timeout": (int | float, "a number of seconds"),
        "context": (Mapping, "a dict"),
    }
)
_MANY = 2**31


class AgentCalls(AsyncApi):
    """Creates and runs agents; base of the client and the bridge.

    Args:
        caller: Makes the calls.

    Attributes:
        caller: As given.
    """

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    @abstractmethod
    def _specs(self) -> list[ToolSpec]:
        """Returns the session's tools, as they were last read."""

    async def create_react_agent(
        self,
        signature: str,
        tool_names: Iterable[str] | None = None,
        max_iters: int = 5,
        llm_config: Mapping[str, Any] | None = None,
        *,
        return_intermediate_steps: bool = False,
        verbose: bool = False,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
    ) -> str:
        """Creates an agent, which exists as long as the session.

        Args:
            signature: Inputs and outputs, such as ``"Question -> Answer"`` or ``"text, limit: int -> summary"``.
            tool_names: Tools that it may call; None: all tools of the session, except hidden and deprecated ones and
                older versions. With ``"search_tools"`` among them it is
                given a tool that searches the session's tools, and may call what it has found; a tool of the session
                that has this name is meant instead.
            max_iters: Maximum number of steps.
            llm_config: Settings of its model, such as "model" and "temperature"; never an API key.
            return_intermediate_steps: Repeat the steps in the result.
            verbose: Log each step in the agent runtime, at level INFO.
            tool_filter: Only tools that pass it, of those named: a pattern such as ``"weather_*"``, a prefix that ends
                with a separator such as ``"weather_"``, a list of these, or a function that is called with each
                ``ToolSpec``. The tools that pass now are chosen; with ``"search_tools"`` it limits what can be found,
                and patterns also apply to tools that come later. ``"tag:db"`` is a pattern, too.
            tags: Only tools that have all of these tags, likewise.

        Returns: Its id.

        Raises:
            ValidationError: The signature or a setting is not valid.
            NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
            UnavailableError: No agent runtime is connected to the hub.
            ToolCommunicationError: Nobody answered.
        """
        names = agent_tool_names(tool_names, with_tags(tool_filter, tags), self._specs())
        check_type("signature", signature, str, 'a text such as "Question -> Answer"')
        check_type("max_iters", max_iters, int, "a whole number")
        check_type("llm_config", llm_config, Mapping | None, "a dict of settings of the model")
        for name in llm_config or {}:
            check_text("a key of llm_config", name)
        for name, flag in (("return_intermediate_steps", return_intermediate_steps), ("verbose", verbose)):
            check_type(name, flag, bool, "True or False")
        if not 0 < max_iters < _MANY:
            raise ValidationError(f"max_iters must be 1 or more, not {max_iters}")
        request = CreateReActAgentRequest(
            session_id=self.caller.require_session(), signature=signature, tool_names=names, max_iters=max_iters
        )
        request.config.return_intermediate_steps = return_intermediate_steps
        request.config.verbose = verbose
        for name, value in (llm_config or {}).items():
            request.config.llm_config[name].CopyFrom(serialize_value(value))
        return str((await self.caller.call("CreateReActAgent", request)).agent_id)

    def execute_agent_streaming(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Runs an agent, and iterates over its steps.

        If the connection is lost, it resumes over the next one without missing or repeating a step. Closing the
        iterator cancels the run.

        Args:
            request: "agent_id" and "input", a dict of the signature's inputs; "stream" (False: only the result),
                "timeout" in seconds, "context", a dict that every tool of the run finds as texts in
                ``ToolContext.metadata``, "run_id" to set the run's id or to attach to a run, and "from_sequence", the
                first chunk to receive.

        Yields:
            Dicts with "type", "sequence" and "run_id". A "thought" has "text" and "step"; an "action" has "tool_name",
            "tool_input" and "step"; an "observation" has the "output" as the model sees it, the tool's "error" or None,
            and "step"; the "result", which is the last, has "final_answer", "total_steps", "steps" and "stop_reason":
            "finished", or the limit that was reached: "max_iters", "time" or "tokens".

        Raises:
            ToolBridgeError: The run failed; the class depends on the error type.
            NotFoundError: There is no such agent or run.
            ToolCommunicationError: The connection was lost for more than 30 s, or the run did not end within "timeout"
                and a second more.
        """
        chunks = _execute(self.caller, request)
        return LoopStream(chunks, what="the run of an agent", ended=lambda: stream_ended(_Run.method))

    async def cancel_agent_run(self, run_id: str) -> None:
        """Cancels a run, with its model request and its tool; raises NotFoundError if there is no such run."""
        await _cancel(self.caller, run_id)


async def _cancel(caller: Caller, run_id: str, *, timeout: float = CALL_TIMEOUT) -> None:
    check_text("run_id", run_id, "the id of a run")
    request = CancelAgentRunRequest(session_id=caller.require_session(), run_id=run_id)
    await caller.call("CancelAgentRun", request, timeout=timeout)


async def _execute(caller: Caller, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    run = _Run(caller, _request(caller, asked))
    try:
        async with contextlib.aclosing(resumed(caller, run, timeout=asked.get("timeout"))) as chunks:
            async for chunk in chunks:
                yield chunk
                if run.over:
                    return
        raise ProtocolError(f"the run {run.id!r} ended without a result or an error")  # noqa: TRY301 - it is left, too
    except (GeneratorExit, asyncio.CancelledError, ProtocolError, SerializationError):
        await run.leave()
        raise


class _Run:
    """A run that a client reads, for ``resumed``.

    Args:
        caller: Makes the calls.
        request: The first request.

    Attributes:
        over: Whether the run has ended.
    """

    method = "ExecuteAgent"
    keeps_trying = False

    def __init__(self, caller: Caller, request: ExecuteAgentRequest) -> None:
        self.over = False
        self._request = request
        self._caller = caller
        self._next = request.from_sequence
        # Whether the hub has answered over the present connection.
        self._attached = False

    @property
    def id(self) -> str:
        """The run's id."""
        return self._request.run_id

    async def request(self, *, again: bool) -> ExecuteAgentRequest:
        """Returns the request for the run from the first chunk that was not received."""
        if again and self._next:
            # The run has begun and has its deadline; attaching has the default timeout.
            self._request.timeout_ms = 0
        self._request.from_sequence = self._next
        self._attached = False
        return self._request

    async def take(self, message: Any) -> dict[str, Any] | None:
        """Returns a chunk that was not received before; raises the error of a failed run."""
        if not isinstance(message, AgentExecutionChunk):
            raise ProtocolError(f"a chunk of the run {self.id!r} is {message!r:.60}")
        if self._request.stream and message.sequence > self._next:
            raise ProtocolError(
                f"the run {self.id!r} has a gap: chunk {message.sequence} came where {self._next} was due"
            )
        if message.sequence < self._next:
            return None
        self._next = message.sequence + 1
        self._attached = True
        kind = message.WhichOneof("content")
        self.over = kind in ("result", "error")
        if kind == "error":
            raise error_from_info(message.error)
        read = _READERS.get(kind or "")
        if read is None:
            raise ProtocolError(f"chunk {message.sequence} of the run {self.id!r} is empty")
        return {"type": kind, "sequence": message.sequence, "run_id": message.run_id or self.id, **read(message)}

    def resumes_after(self, error: ToolBridgeError) -> bool:
        return is_lost(error) and not self.over

    def has_progressed(self, seconds: float) -> bool:  # noqa: ARG002 - one chunk is enough
        return self._attached

    async def leave(self) -> None:
        """Cancels a run that is no longer read; over a link, ending an answered stream has done so already."""
        if self.over or not self._request.agent_id or (self._attached and self._caller.transport.is_linked):
            return
        with contextlib.suppress(ToolBridgeError):
            await _cancel(self._caller, self.id, timeout=CANCEL_SECONDS)


def _request(caller: Caller, asked: Mapping[str, Any]) -> ExecuteAgentRequest:
    check_type("the request", asked, Mapping, "a dict such as {'agent_id': …, 'input': …}")
    unknown = sorted(map(str, asked.keys() - _FIELDS.keys()))
    if unknown:
        raise ValidationError(f"a run takes {', '.join(sorted(_FIELDS))}; it was given {', '.join(unknown)}")
    given = {name: _checked(name, asked.get(name)) for name in _FIELDS}
    if not given["agent_id"] and not given["run_id"]:
        raise ValidationError("a run needs the agent_id that create_react_agent returned, or the run_id to attach to")
    if given["input"] is None and not given["run_id"]:
        raise ValidationError("a run needs an input, a dict of the signature's inputs; or the run_id to attach to")
    request = ExecuteAgentRequest(
        session_id=caller.require_session(),
        agent_id=given["agent_id"] or "",
        # Generated here, so that a lost connection does not start a second run.
        run_id=given["run_id"] or uuid.uuid4().hex,
        stream=given["stream"] is not False,
        from_sequence=given["from_sequence"] or 0,
    )
    if given["timeout"] is not None:
        request.timeout_ms = to_milliseconds(given["timeout"], "the run")
    if given["input"] is not None:
        try:
            request.input.update(given["input"])
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValidationError(f"the input of an agent must be a dict of JSON values: {error}") from None
        # Present even if it is empty.
        request.input.SetInParent()
    for name, value in (given["context"] or {}).items():
        check_text("a key of context", name)
        request.context[name].CopyFrom(serialize_value(value))
    if request.ByteSize() > caller.options.max_message_bytes:
        raise MessageTooLargeError.of("the input of an agent", request.ByteSize(), caller.options.max_message_bytes)
    return request


def _checked(name: str, value: Any) -> Any:
    if value is not None:
        check_type(name, value, *_FIELDS[name])
    if name == "input":
        for key in value or {}:
            check_text("a key of input", key, may_be_empty=True)
    if name == "from_sequence" and value is not None and not 0 <= value < _MANY:
        raise ValidationError(f"{name} must be the number of a chunk, from 0, not {value}")
    return value


def _thought(chunk: AgentExecutionChunk) -> dict[str, Any]:
    return {"text": chunk.thought.text, "step": chunk.thought.step}


def _action(chunk: AgentExecutionChunk) -> dict[str, Any]:
    action = chunk.action
    return {"tool_name": action.tool_name, "tool_input": _plain(action.tool_input), "step": action.step}


def _observation(chunk: AgentExecutionChunk) -> dict[str, Any]:
    seen = chunk.observation
    return {
        "output": deserialize_value(seen.tool_output) if seen.HasField("tool_output") else None,
        "error": _error(seen.error) if seen.HasField("error") else None,
        "step": seen.step,
    }


def _result(chunk: AgentExecutionChunk) -> dict[str, Any]:
    result = chunk.result
    return {
        "final_answer": _plain(result.final_answer),
        "total_steps": result.total_steps,
        "stop_reason": result.stop_reason,
        "steps": [
            {"thought": step.thought, "action": step.action, "observation": step.observation} for step in result.steps
        ],
    }


_READERS = {"thought": _thought, "action": _action, "observation": _observation, "result": _result}


def _error(info: ErrorInfo) -> dict[str, Any]:
    return {
        "type": info.type,
        "message": info.message,
        "details": dict(info.details),
        "retryable": info.retryable,
    }


def _plain(message: Any) -> dict[str, Any]:
    return read_struct(message.SerializeToString(), MAX_DEPTH)
