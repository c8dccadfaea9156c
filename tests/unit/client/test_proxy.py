"""A proxy against a stub that is a mock: what it sends, and what it makes of each answer."""

import asyncio
import inspect
import pydoc
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge import (
    ArgumentSpec,
    AsyncGRPCProxyTool,
    ProtocolError,
    ResourceLimits,
    SerializationError,
    StreamingGRPCProxyTool,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolSpec,
    ToolTimeoutError,
    ToolType,
    ValidationError,
    deserialize_value,
    serialize_value,
)
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.client.proxy import make_proxy, with_fresh_key
from grpc_tool_bridge.errors import NotFoundError, UnavailableError
from grpc_tool_bridge.link.status import link_status_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    LogRecord,
    Progress,
    StreamMetadata,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
)
from grpc_tool_bridge.transport.link_stub import LinkStub
from unit.client.fakes import FakeTransport, Streams, rpc_error


@pytest.fixture
def tool_spec() -> ToolSpec:
    """Sample tool specification."""
    return ToolSpec(
        tool_id="test_tool_456",
        name="calculate_sum",
        description="Adds two numbers",
        type=ToolType.STANDARD,
        arguments=[
            ArgumentSpec(name="a", python_type="int", required=True),
            ArgumentSpec(name="b", python_type="int", required=True),
        ],
    )


class TestAsyncGRPCProxyTool:
    """Test the core proxy tool functionality."""

    @pytest.fixture
    def mock_session_context(self) -> MagicMock:
        """Create mock session context with gRPC stub."""
        context = MagicMock()
        context.session_id = "test_session_123"
        context.stub = AsyncMock()
        return context

    async def test_successful_execution(self, mock_session_context: MagicMock, tool_spec: ToolSpec) -> None:
        """Test successful tool execution."""
        tool = AsyncGRPCProxyTool(tool_spec, mock_session_context)
        mock_response = MagicMock()
        mock_response.success = True
        mock_response.result = serialize_value(42)
        mock_session_context.stub.ExecuteTool.return_value = mock_response

        result = await tool(5, 37)

        assert result == 42
        mock_session_context.stub.ExecuteTool.assert_called_once()
        call_args = mock_session_context.stub.ExecuteTool.call_args[0][0]
        assert call_args.tool_id == "test_tool_456"
        assert len(call_args.args) == 2

    async def test_execution_error(self, mock_session_context: MagicMock, tool_spec: ToolSpec) -> None:
        """Test tool execution error handling."""
        tool = AsyncGRPCProxyTool(tool_spec, mock_session_context)
        mock_response = MagicMock()
        mock_response.success = False
        mock_response.error.type = "ValidationError"
        mock_response.error.message = "Invalid input"
        mock_response.error.details = {"field": "a", "reason": "negative"}
        mock_session_context.stub.ExecuteTool.return_value = mock_response

        with pytest.raises(ToolExecutionError) as exc_info:
            await tool(-5, 10)

        assert exc_info.value.tool_name == "calculate_sum"
        assert exc_info.value.error_type == "ValidationError"
        assert "Invalid input" in str(exc_info.value)
        assert exc_info.value.details["field"] == "a"

    async def test_grpc_error(self, mock_session_context: MagicMock, tool_spec: ToolSpec) -> None:
        """Test gRPC communication error handling."""
        tool = AsyncGRPCProxyTool(tool_spec, mock_session_context)
        mock_session_context.stub.ExecuteTool.side_effect = rpc_error(
            grpc.StatusCode.UNAVAILABLE, "Service unavailable"
        )

        with pytest.raises(ToolCommunicationError) as exc_info:
            await tool(5, 10)

        assert exc_info.value.tool_name == "calculate_sum"
        assert exc_info.value.code == grpc.StatusCode.UNAVAILABLE

    async def test_timeout(self, mock_session_context: MagicMock, tool_spec: ToolSpec) -> None:
        """Test execution timeout handling."""
        tool = AsyncGRPCProxyTool(tool_spec, mock_session_context)

        async def slow_execution(*args: Any) -> None:
            await asyncio.Event().wait()

        mock_session_context.stub.ExecuteTool = slow_execution

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(tool(5, 10), timeout=0.01)


# ------------------------------------------------------------------------------- a context with two names, no more


Answer = Callable[[Any], Any]


def proxy_with(
    spec: ToolSpec, *, execute: Any = None, stream: Any = None, options: CallOptions | None = None
) -> AsyncGRPCProxyTool:
    """Makes a proxy whose context and stub have nothing but what the contract says that it uses."""
    methods = {"ExecuteTool": execute, "StreamTool": stream}
    stub = FakeTransport(**{name: answer for name, answer in methods.items() if answer is not None}).stub
    return make_proxy(spec, SimpleNamespace(session_id="s", stub=stub), options or CallOptions())


def answering(response: object) -> Answer:
    async def execute(request: Any) -> object:
        return response

    return execute


def chunk(sequence: int, **content: Any) -> ToolStreamChunk:
    return ToolStreamChunk(stream_id="st", sequence=sequence, **content)


def data(sequence: int, value: object) -> ToolStreamChunk:
    return chunk(sequence, data=serialize_value(value))


def complete(sequence: int) -> ToolStreamChunk:
    return chunk(sequence, complete=CompleteSignal(total_chunks=sequence))


def streaming(*messages: Any) -> Answer:
    return Streams(list(messages))


async def collect(tool: AsyncGRPCProxyTool, *args: Any) -> list[Any]:
    return [value async for value in tool.stream(*args)]


async def test_a_proxy_calls_the_stub_with_the_request_alone(tool_spec: ToolSpec) -> None:
    # A stub with one positional parameter takes neither a time-out nor metadata.
    got: list[Any] = []

    async def execute(request: Any, /) -> ToolCallResponse:
        got.append(request)
        return ToolCallResponse(success=True, result=serialize_value(1))

    assert await proxy_with(tool_spec, execute=execute)(1, b=2) == 1

    (request,) = got
    assert request.session_id == "s"
    assert [deserialize_value(arg) for arg in request.args] == [1]
    assert deserialize_value(request.kwargs["b"]) == 2
    assert request.timeout_ms == 30_000


async def test_the_tool_s_name_stands_in_where_its_id_is_empty() -> None:
    execute = AsyncMock(return_value=ToolCallResponse(success=True, result=serialize_value(1)))

    await proxy_with(ToolSpec(name="add"), execute=execute)()

    assert execute.call_args.args[0].tool_id == "add"


async def test_the_session_and_the_stub_are_read_when_the_call_is_made(tool_spec: ToolSpec) -> None:
    context = SimpleNamespace(session_id=None, stub=None)
    tool = AsyncGRPCProxyTool(tool_spec, context)
    with pytest.raises(ProtocolError, match="initialize"):
        await tool(1, 2)

    execute = AsyncMock(return_value=ToolCallResponse(success=True, result=serialize_value(3)))
    context.session_id, context.stub = "later", SimpleNamespace(ExecuteTool=execute)

    assert await tool(1, 2) == 3
    assert execute.call_args.args[0].session_id == "later"


@pytest.mark.parametrize(
    "response",
    [
        SimpleNamespace(success=True, result=serialize_value(7)),
        SimpleNamespace(success=True, result=serialize_value(7), error="?", metrics=3, request_id=None),
    ],
    ids=["only what is needed", "everything else wrong"],
)
async def test_a_success_needs_its_result_and_nothing_else(tool_spec: ToolSpec, response: object) -> None:
    assert await proxy_with(tool_spec, execute=answering(response))(1, 2) == 7


@pytest.mark.parametrize(
    "error",
    [
        SimpleNamespace(type="Oops", message="it broke"),
        SimpleNamespace(type="Oops", message="it broke", details=3, stacktrace=4, retryable="yes", timestamp=object()),
        SimpleNamespace(type="Oops", message="it broke", details={1: "a", "b": 2}),
    ],
    ids=["only what is needed", "everything else wrong", "details of wrong types"],
)
async def test_a_failure_needs_its_type_and_message_and_nothing_else(tool_spec: ToolSpec, error: object) -> None:
    tool = proxy_with(tool_spec, execute=answering(SimpleNamespace(success=False, error=error)))

    with pytest.raises(ToolExecutionError, match="it broke") as caught:
        await tool(1, 2)

    assert caught.value.error_type == "Oops"
    assert caught.value.details == {}
    assert caught.value.remote_traceback == ""
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (None, "neither success nor failure"),
        (SimpleNamespace(), "neither success nor failure"),
        (SimpleNamespace(success=1), "neither success nor failure"),
        (MagicMock(spec=ToolCallResponse), "neither success nor failure"),
        (SimpleNamespace(success=True), "no result"),
        (SimpleNamespace(success=True, result=42), "no result"),
        (ToolCallResponse(success=True), "no result"),
        (SimpleNamespace(success=False), "error.type"),
        (ToolCallResponse(success=False), "error.type"),
        (SimpleNamespace(success=False, error=SimpleNamespace(type="Oops")), "error.message"),
        (SimpleNamespace(success=False, error=SimpleNamespace(type=1, message="m")), "error.type"),
        (SimpleNamespace(success=False, error=SimpleNamespace(type="Oops", message=b"m")), "error.message"),
    ],
)
async def test_an_answer_that_lacks_what_is_needed_breaks_the_protocol(
    tool_spec: ToolSpec, response: object, text: str
) -> None:
    with pytest.raises(ProtocolError, match=text):
        await proxy_with(tool_spec, execute=answering(response))(1, 2)


async def test_a_result_that_cannot_be_read_is_a_serialization_error(tool_spec: ToolSpec) -> None:
    response = ToolCallResponse(success=True)
    response.result.type_url = "type.googleapis.com/nobody.Knows"

    with pytest.raises(SerializationError, match=r"nobody\.Knows"):
        await proxy_with(tool_spec, execute=answering(response))(1, 2)


async def test_a_timeout_that_the_hub_reports_is_a_timeout_error(tool_spec: ToolSpec) -> None:
    error = ErrorInfo(type="TimeoutError", message="too slow", details={"origin": "bridge"})
    tool = proxy_with(tool_spec, execute=answering(ToolCallResponse(error=error)))

    with pytest.raises(TimeoutError) as caught:
        await tool(1, 2)

    assert isinstance(caught.value, ToolTimeoutError)
    assert caught.value.retryable


async def test_a_timeout_error_of_the_tool_s_own_is_not_the_call_s(tool_spec: ToolSpec) -> None:
    error = ErrorInfo(type="TimeoutError", message="its database was", details={"origin": "tool"})
    tool = proxy_with(tool_spec, execute=answering(ToolCallResponse(error=error)))

    with pytest.raises(ToolExecutionError) as caught:
        await tool(1, 2)

    assert not isinstance(caught.value, ToolTimeoutError)


async def test_an_argument_that_cannot_be_represented_is_named(tool_spec: ToolSpec) -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]

    tool = proxy_with(tool_spec, execute=answering(None))
    with pytest.raises(SerializationError, match=r"calculate_sum: argument 1: .*nest"):
        await tool(1, deep)
    with pytest.raises(SerializationError, match=r"calculate_sum: argument 'b': .*nest"):
        await tool(1, b=deep)


async def test_a_request_over_the_limit_is_refused_before_it_is_sent(tool_spec: ToolSpec) -> None:
    execute = AsyncMock()
    tool = proxy_with(tool_spec, execute=execute, options=CallOptions(max_message_bytes=1_000))

    with pytest.raises(ToolExecutionError, match="message too large") as caught:
        await tool("x" * 1_001, 1)

    assert caught.value.error_type == "MessageTooLarge"
    assert caught.value.details["limit"] == "1000"
    assert not caught.value.retryable
    execute.assert_not_called()


async def test_a_message_that_grpc_finds_too_large_says_so_too(tool_spec: ToolSpec) -> None:
    execute = AsyncMock(
        side_effect=rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)")
    )

    with pytest.raises(ToolExecutionError, match="message too large") as caught:
        await proxy_with(tool_spec, execute=execute)(1, 2)

    assert caught.value.error_type == "MessageTooLarge"


# ------------------------------------------------------------------------------------------------------ time-outs


@pytest.mark.parametrize(
    ("limit_ms", "options", "expected_ms"),
    [
        (0, CallOptions(), 30_000),
        (0, CallOptions(call_timeout=12), 12_000),
        (700, CallOptions(call_timeout=12), 700),
        (700, CallOptions(timeout=0.25), 250),
        (0, CallOptions(timeout=0.0001), 1),
    ],
    ids=["the default", "the bridge's", "the tool's limit", "the call's own", "never 0, which is the default"],
)
async def test_the_time_out_travels_in_the_request(limit_ms: int, options: CallOptions, expected_ms: int) -> None:
    spec = ToolSpec(name="add", limits=ResourceLimits(timeout_ms=limit_ms))
    execute = AsyncMock(return_value=ToolCallResponse(success=True, result=serialize_value(1)))

    await proxy_with(spec, execute=execute, options=options)()

    assert execute.call_args.args[0].timeout_ms == expected_ms


async def test_the_client_keeps_the_time_out_itself_where_the_hub_does_not(
    tool_spec: ToolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.client.caller.CLIENT_SLACK", 0.0)

    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ToolCommunicationError, match="no answer within") as caught:
        await proxy_with(tool_spec, execute=never).with_options(timeout=0.01)(1, 2)

    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.retryable


async def test_a_timeout_error_of_the_stub_s_own_is_passed_on(tool_spec: ToolSpec) -> None:
    tool = proxy_with(tool_spec, execute=AsyncMock(side_effect=TimeoutError("the stub's")))

    with pytest.raises(TimeoutError, match="the stub's"):
        await tool(1, 2)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 3e6])
async def test_a_time_out_that_cannot_be_is_refused_when_it_is_set(tool_spec: ToolSpec, timeout: float) -> None:
    with pytest.raises(ValidationError, match="timeout"):
        proxy_with(tool_spec).with_options(timeout=timeout)


async def test_an_idempotency_key_goes_with_a_call_and_with_no_stream(tool_spec: ToolSpec) -> None:
    execute = AsyncMock(return_value=ToolCallResponse(success=True, result=serialize_value(3)))
    tool = proxy_with(tool_spec, execute=execute).with_options(idempotency_key="k").with_options(timeout=3)

    await tool(1, 2)

    assert execute.await_args is not None
    assert execute.await_args.args[0].idempotency_key == "k"
    with pytest.raises(ValidationError, match="a stream does not take an idempotency key"):
        await collect(tool, 1, 2)
    with pytest.raises(ValidationError, match="without on_progress"):
        await tool.with_options(on_progress=print)(1, 2)


async def test_a_fresh_key_is_another_each_time_unless_the_tool_has_one_or_takes_none(tool_spec: ToolSpec) -> None:
    execute = AsyncMock(return_value=ToolCallResponse(success=True, result=serialize_value(3)))
    tool = proxy_with(tool_spec, execute=execute)
    for _ in range(2):
        await with_fresh_key(tool)(1, 2)
    first, second = (call.args[0].idempotency_key for call in execute.await_args_list)
    assert "" != first != second != ""
    for other in (
        tool.with_options(idempotency_key="k"),
        tool.with_options(on_log=print),
        StreamingGRPCProxyTool(tool_spec, SimpleNamespace(session_id="s", stub=None)),
    ):
        assert with_fresh_key(other) is other


async def test_with_options_changes_a_copy_only(tool_spec: ToolSpec) -> None:
    execute = AsyncMock(return_value=ToolCallResponse(success=True, result=serialize_value(1)))
    tool = proxy_with(tool_spec, execute=execute)
    other = tool.with_options(timeout=2.5, metadata={"trace": "7"}).with_options(timeout=3)

    await tool(1, 2)
    await other(1, 2)

    first, second = (call.args[0] for call in execute.call_args_list)
    assert (first.timeout_ms, dict(first.context)) == (30_000, {})
    assert (second.timeout_ms, dict(second.context)) == (3_000, {"trace": "7"})
    assert type(other) is type(tool)


# -------------------------------------------------------------------------------------------------------- streams


async def test_a_stream_yields_each_value_until_complete(tool_spec: ToolSpec) -> None:
    requests = []

    async def stream(request: Any, /) -> AsyncIterator[ToolStreamChunk]:
        requests.append(request)
        for message in (data(0, "a"), data(1, "b"), complete(2)):
            yield message

    assert await collect(proxy_with(tool_spec, stream=stream), 1, 2) == ["a", "b"]

    (request,) = requests
    assert request.tool_id == "test_tool_456"
    assert request.timeout_ms == 300_000
    assert not request.config.include_events


async def test_awaiting_a_streaming_tool_gives_the_list_of_its_values() -> None:
    spec = ToolSpec(name="count", type=ToolType.STREAMING)
    tool = proxy_with(spec, stream=streaming(data(0, 1), data(1, 2), complete(2)))

    assert isinstance(tool, StreamingGRPCProxyTool)
    assert await tool() == [1, 2]


async def test_an_error_chunk_is_raised_after_the_values_before_it(tool_spec: ToolSpec) -> None:
    failure = chunk(1, error=ErrorInfo(type="KeyError", message="'x'", details={"origin": "tool"}))
    tool = proxy_with(tool_spec, stream=streaming(data(0, "a"), failure))

    seen = []

    async def read() -> None:
        async for value in tool.stream():
            seen.append(value)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ToolExecutionError, match="'x'") as caught:
        await read()

    assert seen == ["a"]
    assert caught.value.error_type == "KeyError"


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([data(1, "a")], "gap: chunk 1 came where 0 was due"),
        ([data(0, "a"), data(0, "a")], "gap: chunk 0 came where 1 was due"),
        ([data(0, "a")], "ended without 'complete' or 'error'"),
        ([], "ended without 'complete' or 'error'"),
        ([chunk(0)], "is empty"),
    ],
)
async def test_a_stream_that_breaks_its_rules_breaks_the_protocol(
    tool_spec: ToolSpec, messages: list[ToolStreamChunk], text: str
) -> None:
    with pytest.raises(ProtocolError, match=text):
        await collect(proxy_with(tool_spec, stream=streaming(*messages)))


async def test_a_connection_lost_in_a_stream_is_a_communication_error(tool_spec: ToolSpec) -> None:
    tool = proxy_with(tool_spec, stream=streaming(data(0, "a"), rpc_error(grpc.StatusCode.UNAVAILABLE, "lost")))

    with pytest.raises(ToolCommunicationError, match="lost") as caught:
        await collect(tool)

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_that_stalls_ends_with_the_time_out(
    tool_spec: ToolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.client.caller.CLIENT_SLACK", 0.0)

    async def stall(request: Any) -> AsyncIterator[ToolStreamChunk]:
        yield data(0, "a")
        await asyncio.Event().wait()

    with pytest.raises(ToolCommunicationError, match="no answer within"):
        await collect(proxy_with(tool_spec, stream=stall).with_options(timeout=0.05))


async def test_a_timeout_error_within_a_stream_is_passed_on(tool_spec: ToolSpec) -> None:
    with pytest.raises(TimeoutError, match="the stub's"):
        await collect(proxy_with(tool_spec, stream=streaming(TimeoutError("the stub's"))))


async def test_a_reader_that_stops_early_closes_the_stream(tool_spec: ToolSpec) -> None:
    closed = asyncio.Event()

    async def endless(request: Any) -> AsyncIterator[ToolStreamChunk]:
        try:
            for sequence in range(1_000):
                yield data(sequence, sequence)
        finally:
            closed.set()

    values = proxy_with(tool_spec, stream=endless).stream()
    assert await anext(values) == 0
    await values.aclose()

    assert closed.is_set()


async def test_a_stub_that_gives_a_plain_async_iterator_is_enough(tool_spec: ToolSpec) -> None:
    class Chunks:
        def __init__(self) -> None:
            self._left = [data(0, "a"), complete(1)]

        def __aiter__(self) -> "Chunks":
            return self

        async def __anext__(self) -> ToolStreamChunk:
            return self._left.pop(0)

    assert await collect(proxy_with(tool_spec, stream=lambda request: Chunks())) == ["a"]


# --------------------------------------------------------------------------------------------------------- events


def event(sequence: int, key: str, message: Any) -> ToolStreamChunk:
    metadata = StreamMetadata(key=key)
    metadata.value.Pack(message)
    return chunk(sequence, metadata=metadata)


async def test_a_call_with_a_listener_goes_as_a_stream_and_returns_the_one_value(tool_spec: ToolSpec) -> None:
    requests = []

    async def stream(request: Any) -> AsyncIterator[ToolStreamChunk]:
        requests.append(request)
        yield event(0, "progress", Progress(current=1, total=2))
        yield event(1, "log", LogRecord(level="info", message="half way"))
        yield event(2, "from a later version", LogRecord())
        yield data(3, "done")
        yield complete(4)

    progress: list[float] = []
    log: list[str] = []
    tool = proxy_with(tool_spec, stream=stream).with_options(
        on_progress=lambda item: progress.append(item.current), on_log=lambda item: log.append(item.message)
    )

    assert await tool(1, 2) == "done"
    assert progress == [1.0]
    assert log == ["half way"]
    assert requests[0].config.include_events


async def test_events_that_nobody_listens_to_are_dropped(tool_spec: ToolSpec) -> None:
    seen: list[Progress] = []
    messages = [event(0, "log", LogRecord(message="?")), event(1, "progress", Progress(current=1)), data(2, 5)]
    tool = proxy_with(tool_spec, stream=streaming(*messages, complete(3))).with_options(on_progress=seen.append)

    assert await tool(1, 2) == 5
    assert len(seen) == 1


async def test_a_call_with_a_listener_that_gets_two_values_breaks_the_protocol(tool_spec: ToolSpec) -> None:
    tool = proxy_with(tool_spec, stream=streaming(data(0, 1), data(1, 2), complete(2)))

    with pytest.raises(ProtocolError, match="one value, but its stream had 2"):
        await tool.with_options(on_log=lambda record: None)()


# ------------------------------------------------------------------------------------------------- name and doc


def test_a_signature_that_python_cannot_have_is_left_out_of_the_repr() -> None:
    assert repr(proxy_with(ToolSpec(name="t", arguments=[ArgumentSpec(name="not-a-name")]))) == "<AsyncGRPCProxyTool t>"


def test_a_proxy_looks_like_its_tool(tool_spec: ToolSpec) -> None:
    tool_spec.return_type.python_type = "int"
    tool = proxy_with(tool_spec)

    assert tool.__name__ == tool.__qualname__ == "calculate_sum"
    assert tool.__doc__ == "Adds two numbers"
    assert str(inspect.signature(tool)) == "(a: int, b: int) -> int"
    assert repr(tool) == "<AsyncGRPCProxyTool calculate_sum(a: int, b: int) -> int>"


def test_help_shows_the_docstring_of_the_tool_with_its_arguments_and_not_that_of_the_class(tool_spec: ToolSpec) -> None:
    tool_spec.arguments[0].description = "The first."
    text = pydoc.plain(pydoc.render_doc(proxy_with(tool_spec)))
    assert "calculate_sum(a: int, b: int)" in text
    assert "Adds two numbers" in text
    assert "Args:\n        a: The first." in text
    assert "awaitable" not in text
    assert "with_options" not in text
    assert "A tool of the hub." in str(AsyncGRPCProxyTool.__doc__)
    assert "A tool that yields." in str(StreamingGRPCProxyTool.__doc__)


def test_the_repr_of_a_streaming_tool_says_what_it_yields(tool_spec: ToolSpec) -> None:
    tool_spec.type = ToolType.STREAMING
    assert repr(proxy_with(tool_spec)).endswith(" calculate_sum(a: int, b: int) -> AsyncIterator[Any]>")
    tool_spec.return_type.python_type = "int"
    tool = proxy_with(tool_spec)
    assert repr(tool) == "<StreamingGRPCProxyTool calculate_sum(a: int, b: int) -> AsyncIterator[int]>"


@pytest.mark.parametrize("kind", [ToolType.STANDARD, ToolType.STREAMING])
def test_the_public_names_of_a_proxy_are_those_that_its_callers_need(
    tool_spec: ToolSpec, kind: ToolType.ValueType
) -> None:
    tool_spec.type = kind
    names = [name for name in dir(proxy_with(tool_spec)) if not name.startswith("_")]
    assert names == ["name", "spec", "stream", "with_options"]


# --------------------------------------------------------------------------------------- usual calls, as their bytes


class Link:
    """A link that takes bytes, and answers each call with the same."""

    enforces_timeouts = True

    def __init__(self, answer: bytes | Exception = b"") -> None:
        self.answer = answer
        self.takes = True
        self.payloads: list[bytes] = []
        self.requests: list[Any] = []

    def send_request(self, call: Any, request: Any) -> None:
        call.carrier = self
        self.requests.append(request)
        self._reply(call)

    def try_send_bytes(self, call: Any, payload: bytes) -> bool:
        if self.takes:
            call.carrier = self
            self.payloads.append(payload)
            self._reply(call)
        return self.takes

    def cancel(self, call: Any) -> None:
        """Nothing runs."""

    def _reply(self, call: Any) -> None:
        if isinstance(self.answer, Exception):
            call.on_end(link_status_of(self.answer))
        else:
            call.on_reply(self.answer)


def over(link: Link, spec: ToolSpec, **options: Any) -> AsyncGRPCProxyTool:
    return make_proxy(spec, SimpleNamespace(session_id="s", stub=LinkStub(link)), CallOptions(**options))


ANSWERS: list[Any] = [
    ToolCallResponse(success=True, result=serialize_value(value)).SerializeToString()
    for value in (1, "", -0.0, None, True, b"x", 2**70, [1, "two"], "x" * 100_000)
] + [
    ToolCallResponse(success=True, result=serialize_value(1), request_id="r").SerializeToString(),
    ToolCallResponse(error=ErrorInfo(type="ValueError", message="no", stacktrace="Traceback")).SerializeToString(),
    ToolCallResponse(error=ErrorInfo(type="TimeoutError", message="late")).SerializeToString(),
    ToolCallResponse(success=True).SerializeToString(),
    ToolCallResponse(success=True, result=AnyMessage(type_url="unknown")).SerializeToString(),
    ToolCallResponse(
        success=True, result=AnyMessage(type_url=serialize_value(1).type_url, value=b"\x08")
    ).SerializeToString(),
    b"",
    b"\xff",
    NotFoundError("there is no session 's'", error_type="SessionNotFound"),
    UnavailableError("gone", details={"retry_after": "2"}),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: repr(answer)[:40])
async def test_an_answer_gives_the_same_whether_it_is_read_by_hand_or_not(
    tool_spec: ToolSpec, answer: bytes | Exception
) -> None:
    seen = []
    for takes in (True, False):
        link = Link(answer)
        link.takes = takes
        try:
            value = await over(link, tool_spec)(1, b=2)
            seen.append((type(value), repr(value)))
        except ToolBridgeError as error:
            seen.append((type(error), repr(error), error.details, error.retryable, type(error.__cause__)))  # type: ignore[arg-type]  # of another length
        assert (len(link.payloads), len(link.requests)) == (takes, not takes)
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("args", "kwargs", "options", "is_usual"),
    [
        ((), {}, {}, True),
        ((1, "two"), {"c": None, "self": 5}, {}, True),
        ((2**70,), {}, {}, True),
        (("x" * 8_000,), {}, {}, True),
        (("x" * 8_200,), {}, {}, False),
        (([1],), {}, {}, False),
        ((), {"a": (1,)}, {}, False),
        ((1,), {}, {"timeout": 5.0}, True),
        ((1,), {}, {"metadata": {"k": "v"}}, False),
        ((1,), {}, {"idempotency_key": "k"}, False),
        (("x" * 1_000,), {}, {"max_message_bytes": 5_000}, False),
    ],
)
async def test_a_request_is_the_same_whether_it_is_written_by_hand_or_not(
    tool_spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any], is_usual: bool
) -> None:
    link = Link(ANSWERS[0])
    tool = over(link, tool_spec, **options)
    assert await tool(*args, **kwargs) == 1
    assert len(link.payloads) == is_usual
    link.takes = False
    assert await tool(*args, **kwargs) == 1
    if is_usual:
        assert ToolCallRequest.FromString(link.payloads[0]) == link.requests[0]


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (("\ud800",), {}, "argument 0: a text has a lone surrogate"),
        ((), {"a": "\ud800"}, "argument 'a': a text has a lone surrogate"),
        ((), {"\ud800": 1}, r"the argument name '\\ud800': a text has a lone surrogate"),
    ],
)
async def test_a_text_that_utf_8_cannot_hold_is_told_with_its_argument(
    tool_spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    link = Link(ANSWERS[0])
    with pytest.raises(SerializationError, match=f"calculate_sum: {text}"):
        await over(link, tool_spec)(*args, **kwargs)
    assert not link.payloads
    assert not link.requests
