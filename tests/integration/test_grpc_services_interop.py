"""The test cases of gRPC's own service for interoperability, by the tools of a hub that has taken it in."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from grpc_tool_bridge import GRPCToolBridge, ToolTimeoutError
from grpc_tool_bridge.adapters.grpc import import_grpc
from support.grpc_services.bridges import bridge_of, refused, values_of
from support.grpc_services.interop import INITIAL_KEY, TEST_SERVICE, TRAILING_KEY, UNIMPLEMENTED_SERVICE, Interop
from support.grpc_services.serving import honest_reflection, service_handler, serving
from support.waiting import soon

REQUEST_SIZES = [27_182, 8, 1_828, 45_904]
RESPONSE_SIZES = [31_415, 9, 2_653, 58_979]


@pytest_asyncio.fixture
async def bridge() -> AsyncIterator[GRPCToolBridge]:
    service = Interop()
    handlers = (
        service_handler(service.types, TEST_SERVICE, service.handlers()),
        honest_reflection(service.types, [TEST_SERVICE, UNIMPLEMENTED_SERVICE]),
    )
    async with (
        serving(*handlers) as address,
        bridge_of(import_grpc(address, forward=[INITIAL_KEY, TRAILING_KEY])) as bridge,
    ):
        yield bridge


def method(bridge: GRPCToolBridge, name: str) -> Any:
    return bridge.tools[f"{TEST_SERVICE}.{name}"]


def sizes(responses: list[Any]) -> list[int]:
    return [len(response["payload"]["body"]) for response in responses]


def sized(*numbers: int) -> list[dict[str, int]]:
    return [{"size": number} for number in numbers]


async def test_empty_unary(bridge: GRPCToolBridge) -> None:
    assert await soon(method(bridge, "EmptyCall")()) == {}


async def test_large_unary(bridge: GRPCToolBridge) -> None:
    response = await soon(method(bridge, "UnaryCall")(response_size=314_159, payload={"body": bytes(271_828)}))
    assert response["payload"]["body"] == bytes(314_159)
    assert response["payload"]["type"] == "COMPRESSABLE"


async def test_client_streaming(bridge: GRPCToolBridge) -> None:
    requests = [{"payload": {"body": bytes(size)}} for size in REQUEST_SIZES]
    assert await soon(method(bridge, "StreamingInputCall")(requests=requests)) == {"aggregated_payload_size": 74_922}


async def test_server_streaming(bridge: GRPCToolBridge) -> None:
    stream = method(bridge, "StreamingOutputCall").stream(response_parameters=sized(*RESPONSE_SIZES))
    assert sizes(await soon(values_of(stream))) == RESPONSE_SIZES


@pytest.mark.parametrize("name", ["FullDuplexCall", "HalfDuplexCall"])
async def test_ping_pong(bridge: GRPCToolBridge, name: str) -> None:
    requests = [
        {"response_parameters": sized(back), "payload": {"body": bytes(there)}}
        for there, back in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True)
    ]
    assert sizes(await soon(values_of(method(bridge, name).stream(requests=requests)))) == RESPONSE_SIZES


async def test_empty_stream(bridge: GRPCToolBridge) -> None:
    assert await soon(values_of(method(bridge, "FullDuplexCall").stream(requests=[]))) == []


async def test_custom_metadata(bridge: GRPCToolBridge) -> None:
    call = method(bridge, "UnaryCall").with_options(metadata={INITIAL_KEY: "initial", TRAILING_KEY: "trailing"})
    assert await soon(call(response_size=1))


@pytest.mark.parametrize(
    "message", ["test status message", "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"]
)
async def test_status_code_and_message(bridge: GRPCToolBridge, message: str) -> None:
    status = {"code": 2, "message": message}
    unary = await refused(method(bridge, "UnaryCall")(response_status=status))
    duplex = await refused(values_of(method(bridge, "FullDuplexCall").stream(requests=[{"response_status": status}])))
    for error in (unary, duplex):
        assert error.details["status"] == "UNKNOWN"
        assert error.message.endswith(message)


async def test_unimplemented_method_and_service(bridge: GRPCToolBridge) -> None:
    assert (await refused(method(bridge, "UnimplementedCall")())).error_type == "Unimplemented"
    assert (await refused(bridge.tools[f"{UNIMPLEMENTED_SERVICE}.UnimplementedCall"]())).error_type == "Unimplemented"


async def test_cancel_after_first_response(bridge: GRPCToolBridge) -> None:
    stream = method(bridge, "FullDuplexCall").stream(
        requests=[{"response_parameters": [{"size": 31_415}, {"size": 9, "interval_us": 3_600_000_000 // 2}]}]
    )
    assert sizes([await soon(anext(stream))]) == [31_415]
    await soon(stream.aclose())


async def test_timeout_on_sleeping_server(bridge: GRPCToolBridge) -> None:
    call = method(bridge, "FullDuplexCall").with_options(timeout=0.1)
    requests = [{"response_parameters": [{"size": 9, "interval_us": 1_800_000_000}]}]
    with pytest.raises(ToolTimeoutError):
        await soon(values_of(call.stream(requests=requests)))


async def test_many_calls_at_once(bridge: GRPCToolBridge) -> None:
    calls = [method(bridge, "UnaryCall")(response_size=size) for size in range(200)]
    assert sizes(await soon(asyncio.gather(*calls))) == list(range(200))
