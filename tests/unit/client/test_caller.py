"""How a call is made, and what its failures become."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    MessageTooLargeError,
    SessionExpiredError,
    ToolCommunicationError,
)
from grpc_tool_bridge.client.caller import Caller, caller_of
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallResponse,
    ErrorInfo,
    GetMetricsRequest,
    MetricsResponse,
    StatusResponse,
)
from support.waiting import soon
from unit.client.fakes import FakeTransport, Streams, client_of, rpc_error


async def test_an_error_in_a_response_is_raised_as_its_class() -> None:
    refused = StatusResponse(error=ErrorInfo(type="SessionExpired", message="session 's' has ended"))

    with pytest.raises(SessionExpiredError, match="has ended"):
        await client_of(FakeTransport(CleanupSession=refused)).cleanup_session()


async def test_a_failed_call_names_its_method_and_the_hub() -> None:
    transport = FakeTransport(GetSessionInfo=rpc_error(grpc.StatusCode.UNAVAILABLE, "refused"))

    with pytest.raises(ToolCommunicationError, match=r"GetSessionInfo: UNAVAILABLE: .*the test: refused") as caught:
        await client_of(transport).session_info()

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_nobody_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.client.caller.CLIENT_SLACK", 0.0)

    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    transport = FakeTransport(GetMetrics=never)

    with pytest.raises(ToolCommunicationError) as caught:
        await client_of(transport).call("GetMetrics", MetricsResponse(), timeout=0.01)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_request_over_the_limit_is_not_sent() -> None:
    transport = FakeTransport(BatchExecuteTools=BatchToolCallResponse())
    client = client_of(transport, max_message_bytes=100)

    with pytest.raises(MessageTooLargeError, match="message too large: the request of BatchExecuteTools"):
        await client.execute_batch([{"tool_id": "echo", "args": ["x" * 100]}])
    assert transport.count("BatchExecuteTools") == 0


async def made(kind: str, answer: Any, **options: Any) -> None:
    """Makes a call, or reads a stream."""
    if kind == "unary":
        caller = Caller(FakeTransport(GetMetrics=answer))
        await caller.unary("GetMetrics", GetMetricsRequest(), 5.0, **options)
    else:
        caller = Caller(FakeTransport(GetMetrics=answer if callable(answer) else Streams([answer])))
        async for _ in caller.stream("GetMetrics", GetMetricsRequest(), **options):
            pass


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_that_its_channel_cancels_says_that_the_bridge_was_closed(kind: str) -> None:
    with pytest.raises(ToolCommunicationError, match="GetMetrics: CANCELLED: the bridge was closed") as caught:
        await made(kind, asyncio.CancelledError())
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_that_is_cancelled_from_outside_is_cancelled(kind: str) -> None:
    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    async def silent(request: Any) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    task = asyncio.ensure_future(made(kind, never if kind == "unary" else silent))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", ["unary", "stream"])
@pytest.mark.parametrize("tool", [None, "add"], ids=["a method", "a tool"])
async def test_a_status_becomes_the_bridge_s_error_and_keeps_its_cause(kind: str, tool: str | None) -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE, "refused")
    with pytest.raises(ToolCommunicationError, match=r"no answer from the hub at the test: refused") as caught:
        await made(kind, lost, tool=tool)
    assert caught.value.tool_name == (tool or "GetMetrics")
    assert caught.value.__cause__ is lost


async def test_a_stream_that_is_left_ends_the_call() -> None:
    ended: list[str] = []

    async def messages(request: Any) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("it")

    caller = Caller(FakeTransport(GetMetrics=messages))
    async with aclosing(caller.stream("GetMetrics", GetMetricsRequest())) as stream:
        assert await anext(stream) == 1
    assert ended == ["it"]


async def test_calls_over_another_stub_are_of_the_same_session() -> None:
    caller = Caller(FakeTransport(), options=CallOptions(call_timeout=3))
    caller.session_id = "s"
    other = FakeTransport(GetMetrics=MetricsResponse())
    over = caller.over(other.stub)
    await over.call("GetMetrics", GetMetricsRequest())
    assert other.count("GetMetrics") == 1
    assert (over.require_session(), over.options, over.transport.where) == ("s", caller.options, "the test")
    await over.transport.close()


def test_the_caller_of_a_client_makes_the_calls_of_its_context_and_any_other_context_gets_one() -> None:
    client = client_of(FakeTransport())
    assert caller_of(client.session_context) is caller_of(client.caller) is client.caller
    context = SimpleNamespace(session_id="s", stub=object())
    assert caller_of(context).transport.stub is context.stub
    caller_of(context).transport.stub = other = object()
    assert context.stub is other


async def test_closing_ends_whoever_waits_to_try_again() -> None:
    caller = Caller(FakeTransport())
    waiting = asyncio.create_task(caller.pause(3_600))
    await asyncio.sleep(0)
    caller.close()
    with pytest.raises(ToolCommunicationError, match="the bridge was closed"):
        await soon(waiting)
    await soon(caller.pause(0))


async def test_what_began_before_the_client_was_closed_is_not_tried_again() -> None:
    caller = Caller(FakeTransport())
    before = caller.pauses()
    await soon(before(0))
    caller.close()
    with pytest.raises(ToolCommunicationError, match="the bridge was closed"):
        await soon(before(0))
    # It can be used again.
    await soon(caller.pauses()(0))
