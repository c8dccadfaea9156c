"""Agents and their runs as a client sees them: steps as they happen, also across a connection that is lost."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.timeouts import was_cancelled
from grpc_tool_bridge.client.proxy import bridge_closed, stream_ended, to_milliseconds
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.config.argument_checks import check_text, check_type, list_of
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    SerializationError,
    ToolBridgeError,
    ToolCommunicationError,
    ValidationError,
    error_from_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AgentExecutionChunk,
    CancelAgentRunRequest,
    CreateReActAgentRequest,
    ErrorInfo,
    ExecuteAgentRequest,
)
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import close_stream
from grpc_tool_bridge.values.serialization import MAX_DEPTH, deserialize_value, serialize_value
from grpc_tool_bridge.values.structs import read_struct

if TYPE_CHECKING:
    from grpc_tool_bridge.client.client import ToolBridgeClient

# A hub that is there hears so soon that a run is wanted no more; one that is not lets it end by itself.
CANCEL_SECONDS = 5.0

# What a run is asked for with; each field's type, and what that is called.
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
_EXECUTE = "ExecuteAgent"

_log = logging.getLogger(__name__)


async def create_agent(
    client: "ToolBridgeClient",
    signature: str,
    tool_names: Iterable[str] | None,
    max_iters: int,
    llm_config: Mapping[str, Any] | None,
    *,
    return_intermediate_steps: bool,
    verbose: bool,
) -> str:
    """Makes an agent in the client's session; arguments and errors as of ``ToolBridgeClient.create_react_agent``."""
    if tool_names is not None:
        called = "a list of names"
        tool_names = list(tool_names) if isinstance(tool_names, Mapping) else list_of("tool_names", tool_names, called)
        for name in tool_names:
            check_text("one of tool_names", name, "a tool's name")
    check_type("signature", signature, str, 'a text such as "Question -> Answer"')
    check_type("max_iters", max_iters, int, "a whole number")
    check_type("llm_config", llm_config, Mapping | None, "a dict of settings of the model")
    for name in llm_config or {}:
        check_text("a key of llm_config", name)
    for name, flag in (("return_intermediate_steps", return_intermediate_steps), ("verbose", verbose)):
        check_type(name, flag, bool, "True or False")
    if not 0 < max_iters < _MANY:
        raise ValidationError(f"max_iters is {max_iters}; it is 1 or more")
    request = CreateReActAgentRequest(
        session_id=client.require_session(), signature=signature, tool_names=tool_names or (), max_iters=max_iters
    )
    if tool_names is not None and not request.tool_names:
        raise ValidationError("tool_names is empty; None gives the agent every tool of the session")
    request.config.return_intermediate_steps = return_intermediate_steps
    request.config.verbose = verbose
    for name, value in (llm_config or {}).items():
        request.config.llm_config[name].CopyFrom(serialize_value(value))
    return str((await client.call("CreateReActAgent", request)).agent_id)


async def cancel_run(client: "ToolBridgeClient", run_id: str, *, timeout: float = CALL_TIMEOUT) -> None:
    """Cancels a run of the client's session."""
    check_text("run_id", run_id, "the id of a run")
    request = CancelAgentRunRequest(session_id=client.require_session(), run_id=run_id)
    await client.call("CancelAgentRun", request, timeout=timeout)


def execute_agent(client: "ToolBridgeClient", asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """Runs an agent; argument, chunks and errors as of ``ToolBridgeClient.execute_agent_streaming``."""
    return LoopStream(_execute(client, asked), what="the run of an agent", ended=lambda: stream_ended(_EXECUTE))


async def _execute(client: "ToolBridgeClient", asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    run = _RunView(client, _request(client, asked))
    try:
        while True:
            chunks = client.stub.ExecuteAgent(run.request)
            try:
                async for chunk in chunks:
                    if run.is_new(chunk):
                        yield run.take(chunk)
                    if run.over:
                        return
                raise ProtocolError(f"the run {run.id!r} ended without a result or an error")
            except RpcError as error:
                lost = from_rpc_error(error, method=_EXECUTE, where=client.where)
                if not _is_lost(lost):
                    raise lost from error
            except asyncio.CancelledError:
                if was_cancelled():
                    raise
                raise bridge_closed(_EXECUTE) from None
            finally:
                await close_stream(chunks)
            await run.come_back(lost)
    except (GeneratorExit, asyncio.CancelledError, ProtocolError, SerializationError):
        await run.leave()
        raise


class _RunView:
    """Where a client stands in a run.

    Args:
        client: Holds the stub.
        request: What was asked for.

    Attributes:
        request: What to ask for next.
        over: Whether nothing is left to be cancelled.
    """

    def __init__(self, client: "ToolBridgeClient", request: ExecuteAgentRequest) -> None:
        self.request = request
        self.over = False
        self._client = client
        self._next = request.from_sequence
        # Whether the hub has answered over the present connection.
        self._attached = False
        self._give_up_at: float | None = None
        self._waits = back_off()

    @property
    def id(self) -> str:
        """The run's id."""
        return self.request.run_id

    def is_new(self, chunk: Any) -> bool:
        """Tells whether a chunk was not seen before."""
        if not isinstance(chunk, AgentExecutionChunk):
            raise ProtocolError(f"a chunk of the run {self.id!r} is {chunk!r:.60}")
        if self.request.stream and chunk.sequence > self._next:
            raise ProtocolError(
                f"the run {self.id!r} has a gap: chunk {chunk.sequence} came where {self._next} was due"
            )
        return chunk.sequence >= self._next

    def take(self, chunk: AgentExecutionChunk) -> dict[str, Any]:
        """Reads a chunk; raises the error of a run that failed."""
        self._next = chunk.sequence + 1
        self._give_up_at, self._waits = None, back_off()
        self._attached = True
        kind = chunk.WhichOneof("content")
        self.over = kind in ("result", "error")
        if kind == "error":
            raise error_from_info(chunk.error)
        read = _READERS.get(kind or "")
        if read is None:
            raise ProtocolError(f"chunk {chunk.sequence} of the run {self.id!r} is empty")
        return {"type": kind, "sequence": chunk.sequence, "run_id": chunk.run_id or self.id, **read(chunk)}

    async def come_back(self, lost: ToolBridgeError) -> None:
        """Makes ready to attach again; raises ``lost`` where there was no connection for long enough."""
        now = asyncio.get_running_loop().time()
        if self._give_up_at is None:
            self._give_up_at = now + CALL_TIMEOUT
        elif now > self._give_up_at:
            raise lost
        _log.debug("attaching to the run %s again from chunk %d: %s", self.id, self._next, lost)
        await asyncio.sleep(next(self._waits))
        if self._next:
            # It has begun and keeps its own time; attaching takes no longer than any call.
            self.request.timeout_ms = 0
        self.request.from_sequence = self._next
        self._attached = False

    async def leave(self) -> None:
        """Cancels what it began and nobody reads to its end; over a link, the end of an answered stream has said so."""
        if self.over or not self.request.agent_id or (self._attached and self._client.is_linked):
            return
        with contextlib.suppress(ToolBridgeError):
            await cancel_run(self._client, self.id, timeout=CANCEL_SECONDS)


def _request(client: "ToolBridgeClient", asked: Mapping[str, Any]) -> ExecuteAgentRequest:
    check_type("the request", asked, Mapping, "a dict such as {'agent_id': …, 'input': …}")
    unknown = sorted(map(str, asked.keys() - _FIELDS.keys()))
    if unknown:
        raise ValidationError(f"a run takes {', '.join(sorted(_FIELDS))}; it was given {', '.join(unknown)}")
    given = {name: _checked(name, asked.get(name)) for name in _FIELDS}
    if not given["agent_id"] and not given["run_id"]:
        raise ValidationError("a run needs the agent_id that create_react_agent gave, or the run_id to attach to")
    if given["input"] is None and not given["run_id"]:
        raise ValidationError("a run needs an input, a dict of the signature's inputs; or the run_id to attach to")
    request = ExecuteAgentRequest(
        session_id=client.require_session(),
        agent_id=given["agent_id"] or "",
        # Made up here, so that a lost connection does not begin a second run.
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
            raise ValidationError(f"the input of an agent is a dict of what JSON holds: {error}") from None
        # Also where it is empty, it is there.
        request.input.SetInParent()
    for name, value in (given["context"] or {}).items():
        check_text("a key of context", name)
        request.context[name].CopyFrom(serialize_value(value))
    if request.ByteSize() > client.max_message_bytes:
        raise MessageTooLargeError.of("the input of an agent", request.ByteSize(), client.max_message_bytes)
    return request


def _checked(name: str, value: Any) -> Any:
    if value is not None:
        check_type(name, value, *_FIELDS[name])
    if name == "input":
        for key in value or {}:
            check_text("a key of input", key, may_be_empty=True)
    if name == "from_sequence" and value is not None and not 0 <= value < _MANY:
        raise ValidationError(f"{name} is {value}; it is the number of a chunk, from 0")
    return value


def _is_lost(error: ToolBridgeError) -> bool:
    """Tells whether the connection was lost, rather than the request refused."""
    return isinstance(error, ToolCommunicationError) and error.code_name == "UNAVAILABLE"


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
