"""Calls of the load generator, with answers as no hub should give them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import ToolSpec, serialize_value
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.errors import ProtocolError, SerializationError, SessionNotFoundError, ToolExecutionError
from grpc_tool_bridge.load.exchanges import Target
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.transport.stubs import Unlinked

ADD = ToolSpec(name="add", tool_id="a1", limits=pb.ResourceLimits(timeout_ms=1_500))
ONE = serialize_value(1)


class Stub(Unlinked):
    """Gives prepared answers, and keeps the requests."""

    where = "here"

    def __init__(self, *answers: Any) -> None:
        self.stub: Any = self
        self.answers = list(answers)
        self.requests: list[Any] = []

    async def _answer(self, request: Any) -> Any:
        self.requests.append(request)
        return self.answers.pop(0)

    Heartbeat = ExecuteTool = BatchExecuteTools = _answer

    async def StreamTool(self, request: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        for answer in self.answers:
            yield answer

    async def close(self) -> None:
        """Nothing is open."""


def caller(*answers: Any) -> tuple[Caller, Stub]:
    stub = Stub(*answers)
    made = Caller(stub)
    made.session_id = "s"
    return made, stub


async def test_a_call_sends_the_arguments_and_the_tool_s_own_timeout() -> None:
    hub, stub = caller(pb.ToolCallResponse(success=True, result=ONE))
    exchange = await Target(tool=ADD, args=[1], kwargs={"b": 2}).call_of(hub)()
    (request,) = stub.requests
    assert (request.session_id, request.tool_id, request.timeout_ms) == ("s", "a1", 1_500)
    assert (list(request.args), dict(request.kwargs)) == ([ONE], {"b": serialize_value(2)})
    assert (exchange.sent, exchange.values) == (request.ByteSize(), 1)
    assert exchange.received == pb.ToolCallResponse(success=True, result=ONE).ByteSize()


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({}, 1.5), ({"timeout": 9.0}, 9.0), ({"batch": 2}, 600.0), ({"tool": None}, 30.0), ({"stream": True}, 1.5)],
)
def test_the_timeout_is_the_given_one_or_the_default_of_what_is_called(options: Any, seconds: float) -> None:
    assert Target(**{"tool": ADD, **options}).seconds == seconds


async def test_a_session_that_is_gone_is_an_error() -> None:
    hub, _ = caller(pb.HeartbeatResponse(session_valid=False))
    with pytest.raises(SessionNotFoundError, match="no session 's'"):
        await Target().call_of(hub)()


async def test_a_batch_with_a_failed_call_fails_as_that_does() -> None:
    failed = pb.ToolCallResult(error=pb.ErrorInfo(type="LookupError", message="no"))
    worked = pb.ToolCallResult(success=True, result=ONE)
    hub, _ = caller(pb.BatchToolCallResponse(results=[worked, failed]))
    with pytest.raises(ToolExecutionError, match="LookupError"):
        await Target(tool=ADD, batch=2).call_of(hub)()


async def test_a_batch_with_too_few_results_is_a_protocol_error() -> None:
    hub, _ = caller(pb.BatchToolCallResponse(results=[]))
    with pytest.raises(ProtocolError, match="a batch of 2 calls was answered with 0 results"):
        await Target(tool=ADD, batch=2).call_of(hub)()


async def test_a_stream_is_read_to_its_end_and_events_are_no_values() -> None:
    chunks = [
        pb.ToolStreamChunk(metadata=pb.StreamMetadata(key="log")),
        pb.ToolStreamChunk(data=ONE),
        pb.ToolStreamChunk(data=ONE),
        pb.ToolStreamChunk(complete=pb.CompleteSignal()),
        pb.ToolStreamChunk(data=ONE),
    ]
    hub, _ = caller(*chunks)
    exchange = await Target(tool=ADD, stream=True).call_of(hub)()
    assert exchange.values == 2
    assert exchange.first_at is not None
    assert exchange.received == sum(chunk.ByteSize() for chunk in chunks[:4])


async def test_a_stream_that_fails_or_just_stops_is_an_error() -> None:
    hub, _ = caller(pb.ToolStreamChunk(error=pb.ErrorInfo(type="LookupError", message="no")))
    with pytest.raises(ToolExecutionError, match="LookupError"):
        await Target(tool=ADD, stream=True).call_of(hub)()
    hub, _ = caller(pb.ToolStreamChunk(data=ONE))
    with pytest.raises(ProtocolError, match="ended without 'complete' or 'error'"):
        await Target(tool=ADD, stream=True).call_of(hub)()


def test_arguments_that_cannot_be_sent_are_found_before_any_call() -> None:
    hub, stub = caller()
    with pytest.raises(SerializationError, match="add"):
        Target(tool=ADD, args=[object()]).call_of(hub)
    assert stub.requests == []
