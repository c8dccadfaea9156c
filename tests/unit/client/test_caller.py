"""How a call is made, and what its failures become."""

import asyncio
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    MessageTooLargeError,
    SessionExpiredError,
    ToolCommunicationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallResponse,
    ErrorInfo,
    MetricsResponse,
    StatusResponse,
)
from unit.client.fakes import FakeTransport, client_of, rpc_error


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
