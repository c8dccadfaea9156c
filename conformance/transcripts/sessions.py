"""Transcripts with the messages of the service in them: a client's session, and a worker's."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from conformance.transcripts.scripts import (
    Script,
    call,
    call_act,
    called,
    chunk,
    end,
    end_act,
    event,
    replied,
    reply,
    send,
    streamed,
    told,
)
from conformance.transcripts.scripts import ended as end_came
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ArgumentSpec,
    CompleteSignal,
    ErrorInfo,
    ExecutionMetrics,
    InitializeSessionRequest,
    InitializeSessionResponse,
    LinkEvent,
    LogRecord,
    RegisterToolsRequest,
    RegisterToolsResponse,
    ToolCallRequest,
    ToolCallResponse,
    ToolSpec,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.values.serialization import serialize_value

_ID = "the-session"
_METRICS = ExecutionMetrics(duration_ms=1, duration_us=250)

_ADD = ToolSpec(
    tool_id="add",
    name="add",
    description="Adds up.",
    arguments=[
        ArgumentSpec(name="a", python_type="int", elixir_type="integer()", required=True),
        ArgumentSpec(name="b", python_type="int", elixir_type="integer()", default_value=serialize_value(2)),
    ],
    return_type=ArgumentSpec(name="return", python_type="int", elixir_type="integer()"),
    input_schema='{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}}, '
    '"required": ["a"], "additionalProperties": false}',
    output_schema='{"type": "integer"}',
)


def sessions() -> Iterator[Script]:
    """Yields the scripts."""
    yield _client()
    yield _stream()
    yield _worker()
    yield _failing_worker()
    yield _streaming_worker()


def _client() -> Script:
    opening, call_of_add = InitializeSessionRequest(session_id=_ID), _request(ToolCallRequest())
    opened = InitializeSessionResponse(
        success=True,
        tool_count=1,
        capabilities=["streaming", "batch", "variables", "link"],
        session_id=_ID,
        tools=[_ADD],
    )
    defaults = {"tool-bridge-call-timeout-ms": "30000", "tool-bridge-idle-timeout-ms": "300000"}
    log = LogRecord(level="debug", logger="tool-bridge.trailing-metadata", fields=defaults)
    added = ToolCallResponse(success=True, result=serialize_value(3), metrics=_METRICS)
    script = Script("session: a client opens one and calls a tool").greeted()
    begun, answered = data(opening), data(opened)
    script.acts(call_act(begun, "InitializeSession"), sends=[call(1, begun, "InitializeSession")]).says(opening)
    script.feed(
        event(1, LinkEvent(log=log)),
        reply(1, answered),
        events=[told(1, LinkEvent(log=log)), replied(1, answered)],
    ).says(opened)
    asked, result = data(call_of_add), data(added)
    script.acts(call_act(asked, timeout_ms=30_000), sends=[call(3, asked, timeout_ms=30_000)]).says(call_of_add)
    return script.feed(reply(3, result), events=[replied(3, result)]).says(added)


def _stream() -> Script:
    request = _request(ToolStreamRequest(stream_id="s-1"))
    asked = data(request)
    script = Script("session: a client reads a stream of a tool").greeted()
    script.acts(
        call_act(asked, "StreamTool", streaming=True, timeout_ms=300_000),
        sends=[call(1, asked, "StreamTool", timeout_ms=300_000)],
    ).says(request)
    chunks = _chunks()
    came = [streamed(1, data(each)) for each in chunks]
    sent = [chunk(1, data(each)) for each in chunks]
    return script.feed(*sent, end(1), events=[*came, end_came(1)]).says(*chunks)


def _worker() -> Script:
    script = _registered("session: a worker registers a tool and runs it")
    request = _request(ToolCallRequest(request_id="r-1"))
    script.feed(call(2, data(request), timeout_ms=30_250), events=[called(2, data(request), timeout_ms=30_250)])
    script.says(request)
    response = ToolCallResponse(success=True, result=serialize_value(3), metrics=_METRICS, request_id="r-1")
    return script.acts(send("reply", 2, data(response)), sends=[reply(2, data(response))]).says(response)


def _failing_worker() -> Script:
    script = _registered("session: a worker's tool raises")
    request = _request(ToolCallRequest())
    script.feed(call(2, data(request)), events=[called(2, data(request))]).says(request)
    error = ErrorInfo(
        type="ZeroDivisionError", message="division by zero", details={"origin": "tool"}, stacktrace="Traceback …"
    )
    response = ToolCallResponse(error=error, metrics=_METRICS)
    return script.acts(send("reply", 2, data(response)), sends=[reply(2, data(response))]).says(response)


def _streaming_worker() -> Script:
    script = _registered("session: a worker streams")
    request = _request(ToolStreamRequest(stream_id="s-1"))
    opening = call(2, data(request), "StreamTool", initial_credit=65_536)
    script.feed(opening, events=[called(2, data(request), "StreamTool", initial_credit=65_536)]).says(request)
    chunks = _chunks()
    acts = [send("chunk", 2, data(each)) for each in chunks]
    sent = [chunk(2, data(each)) for each in chunks]
    return script.acts(*acts, end_act(2), sends=[*sent, end(2)]).says(*chunks)


def _registered(name: str) -> Script:
    """Begins with a worker that has registered its tool."""
    request = RegisterToolsRequest(tools=[_ADD], worker_id="w-1", capacity=7)
    response = RegisterToolsResponse(success=True, tool_ids={"add": "add"})
    asked, answered = data(request), data(response)
    script = Script(name, role="worker").greeted()
    script.acts(call_act(asked, "RegisterTools"), sends=[call(1, asked, "RegisterTools")]).says(request)
    return script.feed(reply(1, answered), events=[replied(1, answered)]).says(response)


def _request(message: Any) -> Any:
    """Fills a request for the tool: 1 by position, 2 by name."""
    message.session_id, message.tool_id = _ID, "add"
    message.args.append(serialize_value(1))
    message.kwargs["b"].CopyFrom(serialize_value(2))
    return message


def _chunks() -> list[Message]:
    metrics = CompleteSignal(total_chunks=2, metrics=_METRICS)
    return [
        ToolStreamChunk(stream_id="s-1", data=serialize_value(1)),
        ToolStreamChunk(stream_id="s-1", sequence=1, data=serialize_value("é")),
        ToolStreamChunk(stream_id="s-1", sequence=2, complete=metrics),
    ]


def data(message: Message) -> bytes:
    """Returns the bytes of a message, the same each time."""
    return message.SerializeToString(deterministic=True)
