"""Ending a hub: what runs may finish, what is new is refused, nothing is left."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    LocalToolBridge,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    UnavailableError,
    ValidationError,
)
from integration.connections import Connect, RemoteBridge, World
from support.patience import PATIENCE
from support.waiting import soon, until


class Gate:
    """Tools that wait until they are let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()

    async def work(self) -> str:
        self.started.set()
        try:
            await self.go_on.wait()
        finally:
            self.ended.set()
        return "finished"

    async def stream(self) -> AsyncIterator[int]:
        yield 1
        await self.work()
        yield 2


def add(a: int, b: int) -> int:
    return a + b


async def _begin(connect: Connect, name: str) -> tuple[World, Gate, "asyncio.Task[Any]"]:
    gate = Gate()
    world = await connect(gate.work, gate.stream, add)
    task = asyncio.create_task(world.tools[name]())
    await soon(gate.started.wait())
    return world, gate, task


@pytest.mark.parametrize("name", ["work", "stream"])
async def test_what_runs_may_finish_within_the_grace(connect: Connect, name: str) -> None:
    world, gate, task = await _begin(connect, name)
    stopping = asyncio.create_task(world.server.stop(grace=PATIENCE))
    await until(lambda: world.hub.admission.draining)
    assert not task.done()
    gate.go_on.set()
    assert await soon(task) in ("finished", [1, 2])
    await soon(stopping)


@pytest.mark.parametrize("name", ["work", "stream"])
async def test_what_does_not_finish_is_ended_and_told_why(connect: Connect, name: str) -> None:
    world, gate, task = await _begin(connect, name)
    await soon(world.server.stop(grace=0.05))
    await asyncio.wait([task], timeout=PATIENCE)
    error = task.exception()
    assert isinstance(error, ToolExecutionError)
    assert error.error_type == "Cancelled"
    assert "is shutting down" in error.message
    await soon(gate.ended.wait())


async def test_new_calls_and_sessions_are_refused_while_the_hub_drains(connect: Connect) -> None:
    world, gate, task = await _begin(connect, "work")
    stopping = asyncio.create_task(world.server.stop(grace=PATIENCE))
    await until(lambda: world.hub.admission.draining)
    if world.has_link:
        # A call waits for the next hub, as long as its own time lasts, once the client knows that it must.
        await until(lambda: not world.bridge.client.is_linked)
        soon_over = world.tools["add"].with_options(timeout=0.3)
        with pytest.raises(ToolCommunicationError, match="the hub is shutting down") as waiting:
            await soon_over(1, 2)
        assert waiting.value.retryable
    else:
        with pytest.raises(ToolExecutionError) as calling:
            await world.tools["add"](1, 2)
        assert calling.value.error_type == "WorkerUnavailable"
        assert calling.value.retryable
        with pytest.raises(ToolExecutionError, match="shutting down"):
            await anext(world.tools["add"].stream(1, 2))
        with pytest.raises(UnavailableError, match="shutting down"):
            await anext(world.variables.watch_variables("x"))
        assert await world.bridge.client.health_check() is False
    with pytest.raises(UnavailableError, match="shutting down"):
        await world.bridge.client.initialize_session("late", connect_timeout=0.01)
    gate.go_on.set()
    assert await soon(task) == "finished"
    await soon(stopping)


async def test_watches_end_at_once_when_the_hub_stops_while_calls_may_still_finish(connect: Connect) -> None:
    world, gate, call = await _begin(connect, "work")
    watch = asyncio.create_task(anext(world.variables.watch_variables("x")))
    await until(lambda: any(session.watches for session in world.hub.store.sessions()))
    stop = asyncio.create_task(world.server.stop(grace=PATIENCE))
    await until(lambda: not any(session.watches for session in world.hub.store.sessions()))
    assert not call.done()
    if world.has_link:
        # It waits for the hub to come back.
        assert not watch.done()
        watch.cancel()
    await asyncio.wait([watch], timeout=PATIENCE)
    if not world.has_link:
        error = watch.exception()
        assert isinstance(error, ToolBridgeError)
        assert "is shutting down" in str(error)
    gate.go_on.set()
    assert await soon(call) == "finished"
    await soon(stop)


async def test_stopping_twice_and_before_the_start_is_no_error() -> None:
    server = BridgeServer(tools=[add])
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_a_second_start_is_refused_and_the_hub_serves_on(remote_bridge: RemoteBridge) -> None:
    async with BridgeServer(tools=[add]) as server, remote_bridge(server.address) as bridge:
        with pytest.raises(ProtocolError, match="make another"):
            await server.start()
        await bridge.initialize()
        assert await bridge.call_tool("add", 1, 2) == 3
    with pytest.raises(ProtocolError, match="make another"):
        await server.start()


async def test_a_hub_may_be_started_and_stopped_from_different_tasks(remote_bridge: RemoteBridge) -> None:
    server = BridgeServer(tools=[add])
    await asyncio.create_task(server.start())
    async with remote_bridge(server.address) as bridge:
        await bridge.initialize()
        assert await bridge.tools["add"](1, 2) == 3
    await asyncio.create_task(server.stop())


async def test_no_task_is_left_after_a_hub_and_its_bridges(remote_bridge: RemoteBridge) -> None:
    before = asyncio.all_tasks()
    async with (
        BridgeServer(tools=[add]) as server,
        remote_bridge(server.address) as remote,
        server.bridge() as local,
    ):
        for bridge in (remote, local):
            await bridge.initialize()
            assert await bridge.tools["add"](1, 2) == 3
    await until(lambda: not (asyncio.all_tasks() - before))


async def test_no_task_is_left_after_a_bridge_in_the_same_process() -> None:
    before = asyncio.all_tasks()
    async with LocalToolBridge([add]) as bridge:
        await bridge.initialize()
        assert await bridge.tools["add"](1, 2) == 3
    assert not (asyncio.all_tasks() - before)


async def test_two_hubs_on_one_port_are_an_error_and_the_first_goes_on(remote_bridge: RemoteBridge) -> None:
    before = asyncio.all_tasks()
    async with BridgeServer(tools=[add]) as server:
        second = BridgeServer(server.address, tools=[add])
        with pytest.raises(OSError, match="in use") as caught:
            await second.start()
        assert server.address in str(caught.value)
        await second.stop()
        async with remote_bridge(server.address) as bridge:
            await bridge.initialize()
            assert await bridge.tools["add"](1, 2) == 3
    await until(lambda: not (asyncio.all_tasks() - before))


async def test_a_port_that_another_program_holds_is_an_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = BridgeServer(f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(OSError, match="in use"):
            await server.start()


async def test_a_port_is_free_again_after_the_hub_has_stopped() -> None:
    async with BridgeServer(tools=[add]) as first:
        address = first.address
    async with BridgeServer(address, tools=[add]) as second:
        assert second.address == address


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:99999", "::1:5", ":5"])
async def test_an_address_that_is_none_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ValidationError, match=r"such as .*:50051"):
        await BridgeServer(address).start()


async def test_a_hub_listens_at_a_unix_socket(remote_bridge: RemoteBridge, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'hub.sock'}"
    async with BridgeServer(address, tools=[add]) as server:
        assert server.address == address
        async with remote_bridge(address) as bridge:
            await bridge.initialize()
            assert await bridge.tools["add"](1, 2) == 3


async def test_a_bridge_that_is_closed_after_its_hub_is_no_error(remote_bridge: RemoteBridge) -> None:
    server = BridgeServer(tools=[add])
    await server.start()
    bridge = remote_bridge(server.address)
    await bridge.initialize()
    await server.stop()
    await soon(bridge.close())
    with pytest.raises(ToolCommunicationError):
        await remote_bridge(server.address).initialize(connect_timeout=0.01)


async def test_a_hub_that_is_cancelled_while_it_starts_listens_no_more() -> None:
    server = BridgeServer("127.0.0.1:0")
    starting = asyncio.ensure_future(server.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    host, _, port = server.address.rpartition(":")
    with pytest.raises(OSError, match=r"Connect call failed|Connection refused"):
        await asyncio.open_connection(host, int(port))
