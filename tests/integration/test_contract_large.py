"""Large values reach the tool and come back as they were, wherever the tool runs."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import numpy as np
import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, MessageTooLargeError, SessionConfig, ToolExecutionError, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from integration.connections import Reach, RemoteBridge
from support.waiting import soon

LARGE = 1_000_001


def echo(value: Any) -> Any:
    return value


def both(first: bytes, *, second: str) -> list[int]:
    return [len(first), len(second)]


def copies(value: bytes, count: int) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number]) + value


async def copies_in_loop(value: bytes, count: int) -> AsyncGenerator[bytes, None]:
    for number in range(count):
        yield bytes([number]) + value


def body(size: int = LARGE) -> bytes:
    return bytes(range(256)) * (size // 256) + bytes(size % 256)


@pytest.mark.parametrize("size", [32_768, 65_536, 131_073, 300_000, LARGE])
async def test_bytes_of_every_size_come_back(reach: Reach, size: int) -> None:
    bridge = await reach(echo)
    assert await soon(bridge.tools["echo"](body(size))) == body(size)


VALUES = {"str": "ü" * LARGE, "list": ["x" * LARGE, 1], "dict": {"a": list(range(100_000))}}


@pytest.mark.parametrize("kind", VALUES)
async def test_texts_and_containers_come_back(reach: Reach, kind: str) -> None:
    bridge = await reach(echo)
    assert await soon(bridge.tools["echo"](VALUES[kind])) == VALUES[kind]


async def test_an_array_comes_back_writable(reach: Reach) -> None:
    bridge = await reach(echo)
    array = np.arange(200_000, dtype="<f8").reshape(400, 500)
    back = await soon(bridge.tools["echo"](array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert (back == array).all()
    back[0, 0] = 1.0


async def test_arguments_by_position_and_by_name_keep_their_places(reach: Reach) -> None:
    bridge = await reach(both)
    assert await soon(bridge.tools["both"](body(), second="x" * 400_000)) == [LARGE, 400_000]


async def test_a_stream_of_large_values_comes_in_order(reach: Reach) -> None:
    bridge = await reach(copies)
    values = [value async for value in bridge.tools["copies"].stream(body(70_000), 20)]
    assert values == [bytes([number]) + body(70_000) for number in range(20)]


async def test_a_stream_and_a_result_of_the_event_loop_come_back(remote_bridge: RemoteBridge) -> None:
    @tool
    async def back(value: bytes | str) -> bytes | str:
        return value

    async with BridgeServer(tools=[tool(copies_in_loop), back]) as hub, remote_bridge(hub.address) as bridge:
        await bridge.initialize("s")
        values = [value async for value in bridge.tools["copies_in_loop"].stream(body(70_000), 20)]
        assert values == [bytes([number]) + body(70_000) for number in range(20)]
        assert await bridge.tools["back"](body()) == body()
        assert await bridge.tools["back"]("ü" * LARGE) == "ü" * LARGE


async def test_a_call_over_the_limit_is_refused_with_its_size() -> None:
    async with BridgeServer(tools=[tool(echo)]) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize("s")
        with pytest.raises(ToolExecutionError, match="message too large: the call of echo") as refused:
            await bridge.tools["echo"](bytes(11 * 1024 * 1024))
        assert refused.value.error_type == MessageTooLargeError.default_type
        assert await bridge.tools["echo"](1) == 1


async def test_a_stub_that_is_replaced_gets_the_request_as_a_message() -> None:
    async with BridgeServer(tools=[tool(echo)]) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize("s")
        asked: list[ToolCallRequest] = []

        async def answer(request: ToolCallRequest) -> ToolCallResponse:
            asked.append(request)
            return ToolCallResponse(success=True, result=serialize_value("replaced"))

        bridge.client.stub.ExecuteTool = answer
        assert await bridge.tools["echo"](body()) == "replaced"
        assert type(asked[0]) is ToolCallRequest
        assert deserialize_value(asked[0].args[0]) == body()


async def test_a_large_call_with_a_key_runs_once_and_one_that_is_cached_too() -> None:
    runs: list[int] = []

    @tool(idempotent=True)
    async def measure(data: bytes) -> int:
        runs.append(len(data))
        return len(data)

    async with BridgeServer(tools=[measure]) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize("s", config=SessionConfig(enable_caching=True))
        keyed = bridge.tools["measure"].with_options(idempotency_key="once")
        assert [await keyed(body()), await keyed(body())] == [LARGE, LARGE]
        assert runs == [LARGE]
        cached = bridge.tools["measure"]
        assert [await cached(body(LARGE + 1)), await cached(body(LARGE + 1))] == [LARGE + 1] * 2
        assert runs == [LARGE, LARGE + 1]
