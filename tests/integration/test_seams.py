"""The seams of the hub: each takes a toy of its kind, and the call path does not notice."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import AccessError, BridgeServer, GRPCToolBridge, ToolContext, ToolExecutionError, ToolSpec, tool
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolStreamChunk
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.values.serialization import serialize_value
from support.waiting import soon


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool
async def twice(ctx: ToolContext, a: int) -> Any:
    return await ctx.call_tool("add", a, a)


class Parrot:
    """A backend: answers each call with the number of its bytes."""

    def prepare(self, call: Any, request: Any, payload: Payload, size: int) -> None:
        call.prepared = size

    async def call(self, call: Any, request: Any, answer: Any, *, as_bytes: bool) -> None:
        answer.result.CopyFrom(serialize_value(call.prepared))
        answer.success = True

    async def stream(self, call: Any, request: Any, *, as_bytes: bool) -> AsyncGenerator[ToolStreamChunk, None]:
        for sequence in range(2):
            yield ToolStreamChunk(stream_id=request.stream_id, sequence=sequence, data=serialize_value(call.prepared))

    def try_call(self, call: Any, request: Any, payload: Payload, done: Any) -> None:
        """Goes by ``call``."""


class OnlyAdds:
    """An authorizer: nobody may call anything but one tool."""

    def authorize(self, call: Any, context: Any) -> None:
        if call.tool.name != "add":
            who = context.principal.name if context.principal is not None else "everybody"
            raise AccessError(f"{who} may not call {call.tool.name}")


class Counts:
    """A tracer: what began and how it ended."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[tuple[str, bool]] = []

    def follows(self, context: Any) -> bool:
        return True

    def begin(self, call: Any, context: Any) -> None:
        self.began.append(call.tool.name)

    def end(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        assert duration_us >= 0
        self.ended.append((call.tool.name, ok))


@pytest.fixture(params=["link", "rpc"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_another_backend_runs_calls_and_streams(transport: Any) -> None:
    async with BridgeServer(tools=[add]) as server, GRPCToolBridge(server.address, transport=transport) as bridge:
        (far,) = server.hub.registry.register_batch("", [ToolSpec(name="far")])
        far.backend = Parrot()
        await bridge.initialize()
        assert await soon(bridge.call_tool("far")) > 0
        first, second = [value async for value in bridge.stream_tool("far")]
        assert first == second > 0
        assert await bridge.call_tool("add", 1, 2) == 3


async def test_an_authorizer_refuses_calls_streams_and_nested_calls(transport: Any) -> None:
    async with (
        BridgeServer(tools=[add, twice]) as server,
        GRPCToolBridge(server.address, transport=transport) as bridge,
    ):
        await bridge.initialize()
        server.hub.admission.authorizer = OnlyAdds()
        assert await soon(bridge.call_tool("add", 1, 2)) == 3
        for call in (bridge.call_tool("twice", 2), anext(aiter(bridge.stream_tool("twice", 2)))):
            with pytest.raises(ToolExecutionError) as caught:
                await soon(call)
            assert caught.value.error_type == "PermissionDenied"
            assert "everybody may not call twice" in str(caught.value)
        server.hub.admission.authorizer = None
        assert await soon(bridge.call_tool("twice", 2)) == 4


async def test_a_tracer_follows_calls_and_those_within_them(transport: Any) -> None:
    counts = Counts()
    async with (
        BridgeServer(tools=[add, twice]) as server,
        GRPCToolBridge(server.address, transport=transport) as bridge,
    ):
        await bridge.initialize()
        server.hub.admission.tracer = counts
        assert await soon(bridge.call_tool("twice", 2)) == 4
        with pytest.raises(ToolExecutionError):
            await soon(bridge.call_tool("add", "no", 1))
        assert [item async for item in bridge.tools["add"].stream(1, 1)] == [2]
    assert counts.began == ["twice", "add", "add", "add"]
    assert counts.ended == [("add", True), ("twice", True), ("add", False), ("add", True)]


async def test_the_token_makes_the_principal_of_a_call(transport: Any) -> None:
    seen: list[Any] = []

    class Looks:
        def authorize(self, call: Any, context: Any) -> None:
            seen.append(context.principal)

    async with (
        BridgeServer(tools=[add], settings=Settings(token=SecretStr("hush"))) as server,
        GRPCToolBridge(server.address, transport=transport, token="hush") as bridge,
    ):
        await bridge.initialize()
        server.hub.admission.authorizer = Looks()
        assert await soon(bridge.call_tool("add", 1, 2)) == 3
    assert [principal.name for principal in seen] == ["token"]
