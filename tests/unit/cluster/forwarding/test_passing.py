"""Requests are passed on to the hub that has their session, and again when it has moved."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import tool
from grpc_tool_bridge.cluster.forwarding.passing import Here
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext
from support.memory_cluster import MemoryCluster
from support.waiting import soon, until


@tool
async def waits() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.fixture
async def two() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster("ab", [waits]) as cluster:
        await cluster["a"].front.initialize_session(pb.InitializeSessionRequest(session_id="s"))
        yield cluster


def _pass(two: MemoryCluster, method: str, request: Any) -> Any:
    payload = request.SerializeToString()
    return two["b"].front.passing.call(method, request.session_id, payload, RequestContext())


async def test_a_request_for_a_session_that_is_nowhere_else_is_for_this_hub(two: MemoryCluster) -> None:
    with pytest.raises(Here):
        await _pass(two, "Heartbeat", pb.HeartbeatRequest(session_id="none"))


async def test_a_request_that_is_refused_as_its_session_has_moved_is_passed_on_again(two: MemoryCluster) -> None:
    await _pass(two, "Heartbeat", pb.HeartbeatRequest(session_id="s"))
    two["a"].store.lose(["s"], "it was told to")
    passing = asyncio.ensure_future(_pass(two, "Heartbeat", pb.HeartbeatRequest(session_id="s")))
    before = two["b"].front.passing.passed
    await until(lambda: two["b"].front.passing.passed > before + 1)
    two.book.closed.add("a")
    with pytest.raises(Here):
        await soon(passing)
    assert "s" in two["b"].hub.store


async def test_a_request_that_reads_is_made_again_when_its_hub_was_lost(two: MemoryCluster) -> None:
    held = asyncio.Event()

    async def heartbeat(request: Any) -> Any:
        held.set()
        return await asyncio.get_running_loop().create_future()

    two["a"].hub.heartbeat = heartbeat  # type: ignore[method-assign]
    passing = asyncio.ensure_future(_pass(two, "Heartbeat", pb.HeartbeatRequest(session_id="s")))
    await soon(held.wait())
    await two["a"].die()
    two.book.closed.add("a")
    with pytest.raises(Here):
        await soon(passing)


async def test_a_call_whose_hub_was_lost_is_not_made_again_and_says_so(two: MemoryCluster) -> None:
    request = pb.ToolCallRequest(session_id="s", tool_id="waits")
    passing = asyncio.ensure_future(_pass(two, "ExecuteTool", request))
    session = two["a"].hub.store.find("s")
    await until(lambda: session.active)
    await two["a"].die()
    two.book.closed.add("a")
    with pytest.raises(UnavailableError, match=r"the hub a, .* was lost; whether the request took effect is not known"):
        await soon(passing)
