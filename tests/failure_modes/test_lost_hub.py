"""A hub that is not there, goes away, or comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError, ToolCommunicationError
from integration.connections import RemoteBridge, read
from support.patience import PATIENCE
from support.waiting import soon, until


async def add(a: int, b: int) -> int:
    return a + b


async def count() -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0)


async def _free_address() -> str:
    async with BridgeServer() as server:
        return server.address


async def test_a_hub_that_is_not_there_is_one_clear_error_after_the_tries(remote_bridge: RemoteBridge) -> None:
    address = await _free_address()
    async with remote_bridge(address) as bridge:
        with pytest.raises(ToolCommunicationError) as caught:
            await soon(bridge.initialize(connect_timeout=0.3))
        assert caught.value.code.name == "UNAVAILABLE"
        assert caught.value.retryable
        assert address in str(caught.value)
        assert bridge.session_id is None


async def test_a_hub_that_comes_a_little_later_is_found(remote_bridge: RemoteBridge) -> None:
    address = await _free_address()
    async with remote_bridge(address) as bridge:
        opening = asyncio.create_task(bridge.initialize(connect_timeout=PATIENCE))
        await asyncio.wait([opening], timeout=0.05)
        assert not opening.done()
        async with BridgeServer(address, tools=[add], settings=Settings(shutdown_grace=0)):
            await soon(opening)
            assert await bridge.tools["add"](1, 2) == 3
            await bridge.close()


async def test_a_call_to_a_hub_that_went_away_names_its_address(remote_bridge: RemoteBridge) -> None:
    server = BridgeServer(tools=[add])
    await server.start()
    async with remote_bridge(server.address) as bridge:
        await bridge.initialize()
        await server.stop()
        # Over a link a call waits for the hub to come back, as long as its time lasts.
        impatient = bridge.tools["add"].with_options(timeout=0.2)
        with pytest.raises(ToolCommunicationError) as calling:
            await soon(impatient(1, 2))
        assert (calling.value.tool_name, calling.value.code.name) == ("add", "UNAVAILABLE")
        assert server.address in str(calling.value)


async def test_by_plain_rpc_nothing_waits_for_a_hub_that_went_away() -> None:
    server = BridgeServer(tools=[add])
    await server.start()
    async with GRPCToolBridge(server.address, transport="rpc") as bridge:
        await bridge.initialize()
        await server.stop()
        with pytest.raises(ToolCommunicationError):
            await soon(bridge.tools["add"](1, 2))
        with pytest.raises(ToolCommunicationError):
            await soon(bridge.session_context.get_variable("x"))
        with pytest.raises(ToolCommunicationError):
            await soon(bridge.execute_batch([{"tool_id": "add", "args": [1, 2]}]))
        with pytest.raises(ToolCommunicationError):
            await soon(anext(bridge.session_context.watch_variables("x")))


async def test_a_hub_that_goes_away_ends_its_streams_with_an_error(remote_bridge: RemoteBridge) -> None:
    server = BridgeServer(tools=[count], settings=Settings(shutdown_grace=0))
    await server.start()
    async with remote_bridge(server.address) as bridge:
        await bridge.initialize()
        stream = bridge.tools["count"].stream()
        assert await anext(stream) == 0
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(ToolBridgeError):
            await soon(read(stream, into=[]))
        await soon(stopping)


async def test_by_plain_rpc_the_old_session_is_unknown_after_a_restart_and_a_new_one_works() -> None:
    first = BridgeServer(tools=[add])
    await first.start()
    async with GRPCToolBridge(first.address, transport="rpc") as bridge:
        await bridge.initialize("lasting")
        await bridge.session_context.set_variable("x", 1)
        await first.stop()
        async with BridgeServer(first.address, tools=[add], settings=Settings(shutdown_grace=0)):

            async def ask() -> ToolBridgeError:
                try:
                    await bridge.tools["add"](1, 2)
                except ToolBridgeError as error:
                    return error
                raise AssertionError("a session outlived its hub")

            async with asyncio.timeout(PATIENCE):
                while (error := await ask()).error_type == "ToolCommunicationError":  # noqa: ASYNC110 - gRPC reconnects
                    await asyncio.sleep(0.01)
            assert error.error_type == "SessionNotFound"
            await bridge.initialize("lasting")
            assert await bridge.tools["add"](1, 2) == 3
            assert await bridge.session_context.get_variable("x", "gone") == "gone"
            await bridge.close()


async def test_a_client_that_vanishes_stops_its_stream_at_the_hub(remote_bridge: RemoteBridge) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    async with BridgeServer(tools=[endless], settings=Settings(shutdown_grace=0)) as server:
        bridge = remote_bridge(server.address, keep_session=True)
        await bridge.initialize()
        stream = bridge.tools["endless"].stream()
        assert await anext(stream) == 1
        await bridge.close()
        await soon(ended.wait())
        await until(lambda: server.hub.admission.active == 0)
        await stream.aclose()
