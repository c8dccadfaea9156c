"""Whose quota a call uses, and what of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.auth.quotas.quotas import Quotas
from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.auth.quotas.usage import Usage
from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.core.payers import count_answer, counted
from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, ToolCallRequest, ToolStreamChunk
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from unit.core.test_forwarder import World

BOT = Principal("bot", method="token")


def usage(**limits: Any) -> Usage:
    return Usage("bot", QuotaRule(("*",), **limits), max_waiting=10)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.leave()
    await made.pool.aclose()
    await made.executor.aclose()


async def test_a_message_that_is_larger_than_its_bytes_is_counted_as_it_was_checked(world: World) -> None:
    # An entry of a map without a key and a value: as a message it has both.
    data = ToolCallRequest(session_id="s", tool_id="add", request_id="r").SerializeToString()
    field = ToolCallRequest.DESCRIPTOR.fields_by_name["context"].number
    data += bytes([field << 3 | 2, 0])
    request = ToolCallRequest.FromString(data)
    assert request.ByteSize() > len(data)
    # What is left is enough for the bytes, and not for the message.
    quotas = Quotas([QuotaRule(("*",), bytes_per_minute=100)], 10)
    used = quotas.of(BOT)
    assert used is not None
    used.take(100 - len(data))
    world.executor.admission.payers.quotas = quotas
    context = RequestContext(deadline=time.monotonic() + 60, payload=data, principal=BOT)
    begun: Any = world.executor.begin(request, context, lambda *_: None)
    assert not asyncio.iscoroutine(begun)
    begun.cancel()
    world.assert_nothing_is_left()


async def test_a_call_of_the_short_way_that_has_to_wait_for_its_principal_holds_nothing(world: World) -> None:
    used, admission = usage(concurrent_calls=1), world.executor.admission
    tool, context = world.registry.find(world.session, "add"), RequestContext(principal=BOT)
    tool.limiter = ConcurrencyLimiter(3, 10, "a tool")
    context.quota = used
    held = admission.enter_directly(world.session, tool, (context,))
    assert held == (used.limiter, world.session.limiter, tool.limiter)
    assert admission.enter_directly(world.session, tool, (context,)) is None
    assert used.limiter is not None
    assert (used.limiter.used, world.session.active, tool.limiter.used) == (1, 1, 1)
    context.quota = usage(calls_per_minute=1)
    assert admission.enter_directly(world.session, tool, (context,)) == (world.session.limiter, tool.limiter)


@pytest.mark.parametrize(
    ("answer", "size"), [(b"12345", 5), (ErrorInfo(message="12345"), 7), (ValueError("12345"), 0), (None, 0)]
)
def test_an_answer_is_counted_as_it_is_sent(answer: Any, size: int) -> None:
    used = usage(bytes_per_minute=1_000)
    count_answer(used, answer, time.monotonic())
    used.take(1_000 - size)
    with pytest.raises(ResourceExhaustedError):
        used.take(1)
    count_answer(None, answer, time.monotonic())


async def test_a_stream_is_closed_once_its_bytes_are_used() -> None:
    closed = asyncio.Event()

    async def chunks() -> AsyncIterator[Any]:
        try:
            while True:
                yield b"x" * 100
                yield ToolStreamChunk(stream_id="x" * 98)
        finally:
            closed.set()

    source: Any = chunks()
    read: list[Any] = []

    async def read_all() -> None:
        async for chunk in counted(usage(bytes_per_minute=350), source):
            read.append(chunk)  # noqa: PERF401 - what was read before the error counts

    with pytest.raises(ResourceExhaustedError, match="350 bytes a minute"):
        await read_all()
    assert len(read) == 3
    assert closed.is_set()


def test_without_a_quota_of_bytes_a_stream_is_as_it_was() -> None:
    source: Any = object()
    assert counted(None, source) is source
    assert counted(usage(calls_per_minute=1), source) is source
