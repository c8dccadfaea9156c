"""A process that offers tools over a connection that it dials itself."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from grpc_tool_bridge import (
    AccessError,
    AlreadyExistsError,
    BridgeServer,
    GRPCToolBridge,
    ProtocolError,
    SessionExpiredError,
    Settings,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolWorker,
)
from grpc_tool_bridge.config import DEFAULT_CAPACITY
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.testing import MockBridgeServer, ToxicProxy
from support.patience import PATIENCE
from support.waiting import soon, until


async def add(a: int, b: int) -> int:
    return a + b


async def name() -> str:
    return "own"


def hub(*tools: Any, **settings: Any) -> BridgeServer:
    return BridgeServer(
        tools=tools, settings=Settings(**{"shutdown_grace": 0.0, "worker_grace_period": 0.0, **settings})
    )


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with hub() as server:
        yield server


def workers(server: BridgeServer) -> list[str]:
    return [worker.id for worker in server.hub.workers.workers()]


class Gate:
    """A tool that waits until it may go on."""

    def __init__(self) -> None:
        self.running = 0
        self.open = asyncio.Event()

    async def wait(self) -> str:
        self.running += 1
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        return "done"


async def test_it_serves_while_inside(server: BridgeServer) -> None:
    async with server.bridge() as bridge:
        await bridge.initialize()
        async with ToolWorker(server.address, [add, name], worker_id="w") as worker:
            assert worker.tools == ["add", "name"]
            assert worker.address == server.address
            assert workers(server) == ["w"]
            assert server.hub.workers.workers()[0].capacity == DEFAULT_CAPACITY
            assert await soon(bridge.client.tool("add")(1, 2)) == 3
        await until(lambda: not workers(server))
        with pytest.raises(ToolExecutionError):
            await soon(bridge.client.tool("add")(1, 2))


def test_what_cannot_be_a_worker_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="capacity is 0"):
        ToolWorker(tools=[add], capacity=0)
    with pytest.raises(TypeError):
        ToolWorker(tools=[1])
    with pytest.raises(AlreadyExistsError):
        ToolWorker(tools=[add, add])


def test_it_calls_itself_something_of_its_own() -> None:
    assert ToolWorker().worker_id != ToolWorker().worker_id
    assert ToolWorker(worker_id="w").worker_id == "w"


async def test_it_serves_once_only(server: BridgeServer) -> None:
    async with ToolWorker(server.address, [add]) as worker:
        with pytest.raises(ProtocolError, match="create another"):
            await worker.start()


async def test_a_hub_that_is_not_there_is_one_clear_error() -> None:
    async with hub() as gone:
        address = gone.address
    worker = ToolWorker(address, [add])
    with pytest.raises(ToolCommunicationError, match=address):
        await soon(worker.start(connect_timeout=0.1))
    with pytest.raises(ToolCommunicationError):
        await soon(ToolWorker(address, [add]).run(connect_timeout=0.1))


async def test_a_hub_that_knows_no_links_is_one_clear_error() -> None:
    with MockBridgeServer() as server, pytest.raises(ToolCommunicationError, match="does not support Link"):
        await soon(ToolWorker(server.address, [add]).start())


async def test_a_hub_that_does_not_let_it_in_says_so() -> None:
    async with hub(token="secret") as server:
        for token in (None, "wrong"):
            with pytest.raises(AccessError):
                await soon(ToolWorker(server.address, [add], token=token).start())
        async with ToolWorker(server.address, [add], token="secret"):
            assert len(workers(server)) == 1


async def test_a_name_that_is_taken_is_one_clear_error_and_leaves_nothing(server: BridgeServer) -> None:
    async with hub(add) as taken:
        with pytest.raises(AlreadyExistsError, match="a tool of the hub itself"):
            await soon(ToolWorker(taken.address, [add]).start())
        await until(lambda: not len(taken._server._links))
        assert workers(taken) == []


async def test_it_serves_one_session_where_it_is_told_so(server: BridgeServer) -> None:
    async with (
        ToolWorker(server.address, [add], session_id="s"),
        server.bridge() as other,
        server.bridge(keep_session=True) as bridge,
    ):
        await other.initialize()
        assert "add" not in other.tools
        await bridge.initialize("s")
        assert await soon(bridge.tools["add"](1, 2)) == 3


async def test_run_serves_until_it_is_cancelled(server: BridgeServer) -> None:
    running = asyncio.create_task(ToolWorker(server.address, [add]).run())
    await until(lambda: workers(server))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)
    await until(lambda: not workers(server))


async def test_run_ends_when_it_has_drained(server: BridgeServer) -> None:
    worker = ToolWorker(server.address, [add])
    await worker.start()
    running = asyncio.create_task(worker.run())
    assert await soon(worker.drain())
    await soon(running)
    assert not workers(server)


async def test_draining_finishes_the_calls_in_flight(server: BridgeServer) -> None:
    gate = Gate()
    worker = ToolWorker(server.address, [gate.wait])
    await worker.start()
    async with server.bridge() as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.tools["wait"]())
        await until(lambda: gate.running)
        draining = asyncio.create_task(worker.drain(60))
        await until(lambda: all(known.gone for known in server.hub.workers.workers()))
        assert not draining.done()
        gate.open.set()
        assert await soon(call) == "done"
        assert await soon(draining)


async def test_draining_ends_what_takes_longer_than_its_grace(server: BridgeServer) -> None:
    gate = Gate()
    worker = ToolWorker(server.address, [gate.wait])
    await worker.start()
    async with server.bridge() as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.tools["wait"]())
        await until(lambda: gate.running)
        assert not await soon(worker.drain(0.02))
        with pytest.raises(ToolExecutionError) as caught:
            await soon(call)
        assert caught.value.error_type == "Cancelled"
        assert not gate.running


async def test_leaving_at_once_ends_the_calls_in_flight(server: BridgeServer) -> None:
    gate = Gate()
    worker = ToolWorker(server.address, [gate.wait])
    await worker.start()
    async with server.bridge() as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.tools["wait"]())
        await until(lambda: gate.running)
        await soon(worker.close())
        with pytest.raises(ToolExecutionError) as caught:
            await soon(call)
        assert caught.value.error_type == "WorkerUnavailable"
        assert not gate.running


async def test_a_link_that_is_lost_is_dialled_again_and_the_tools_are_registered_anew(server: BridgeServer) -> None:
    async with (
        ToxicProxy(server.address) as proxy,
        ToolWorker(proxy.address, [add], worker_id="w"),
        server.bridge() as bridge,
    ):
        await bridge.initialize()
        for _ in range(3):
            (before,) = server.hub.workers.workers()
            proxy.cut()
            await until(lambda: workers(server) == ["w"] and server.hub.workers.workers() != [before])  # noqa: B023
            assert await soon(bridge.client.tool("add")(1, 2)) == 3


async def test_another_hub_at_the_same_place_gets_the_tools_and_the_session(server: BridgeServer) -> None:
    async with ToxicProxy(server.address) as proxy, ToolWorker(proxy.address, [add], session_id="s"), hub() as second:
        proxy.target = second.address
        proxy.cut()
        await until(lambda: workers(second))
        async with second.bridge(keep_session=True) as bridge:
            await bridge.initialize("s")
            assert await soon(bridge.tools["add"](1, 2)) == 3


async def test_draining_without_a_link_takes_no_time(server: BridgeServer) -> None:
    async with ToxicProxy(server.address) as proxy:
        worker = ToolWorker(proxy.address, [add], settings=Settings(shutdown_grace=2 * PATIENCE))
        await worker.start()
        proxy.refuse()
        proxy.cut()
        await until(lambda: not workers(server))
        assert await soon(worker.drain())


async def test_draining_while_a_hub_that_says_nothing_is_dialled_takes_no_time(server: BridgeServer) -> None:
    reached = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    async with ToxicProxy(server.address) as proxy, await asyncio.start_server(say_nothing, "127.0.0.1") as silent:
        worker = ToolWorker(proxy.address, [add], settings=Settings(shutdown_grace=2 * PATIENCE))
        await worker.start()
        proxy.target = "{}:{}".format(*silent.sockets[0].getsockname())
        proxy.cut()
        await soon(reached.wait())
        assert await soon(worker.drain())


async def test_a_hub_that_takes_the_tools_no_more_is_asked_again_until_the_worker_leaves(
    server: BridgeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with ToxicProxy(server.address) as proxy, hub(add) as taken:
        worker = ToolWorker(proxy.address, [add], settings=Settings(shutdown_grace=2 * PATIENCE))
        await worker.start()
        proxy.target = taken.address
        proxy.cut()
        await until(lambda: len([r for r in caplog.records if "were not registered" in r.getMessage()]) >= 2)
        assert await soon(worker.drain())
        await until(lambda: not len(taken._server._links))


async def test_a_worker_that_leaves_while_it_is_linked_again_registers_nothing_more(server: BridgeServer) -> None:
    async with ToxicProxy(server.address) as proxy, hub() as second:
        worker = ToolWorker(proxy.address, [add])
        await worker.start()
        proxy.target = second.address
        proxy.cut()
        worker._leaving = True
        await until(lambda: len(second._server._links))
        await until(lambda: worker._transport._current is not None)
        assert not workers(second)
        await soon(worker.close())


async def test_a_worker_whose_session_is_over_serves_no_more(
    server: BridgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ToxicProxy(server.address) as proxy:
        worker = ToolWorker(proxy.address, [add], session_id="s")
        await worker.start()
        running = asyncio.create_task(worker.run())

        async def over(_: Any) -> None:
            raise SessionExpiredError("it is over")

        monkeypatch.setattr(worker, "_rejoin", over)
        proxy.cut()
        with pytest.raises(SessionExpiredError, match="it is over"):
            await soon(running)


async def test_a_hub_that_lets_it_in_no_more_is_dialled_again(
    server: BridgeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ToxicProxy(server.address) as proxy,
        hub(token="other") as strict,
        ToolWorker(proxy.address, [add], worker_id="w"),
    ):
        proxy.target = strict.address
        proxy.cut()
        await until(lambda: "requires a token" in caplog.text)
        proxy.target = server.address
        proxy.cut()
        await until(lambda: workers(server) == ["w"])


async def test_two_workers_of_one_name_do_not_last_beside_each_other(
    server: BridgeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = ToolWorker(server.address, [add], worker_id="w")
    await first.start()
    (known,) = server.hub.workers.workers()
    async with ToolWorker(server.address, [add], worker_id="w"):
        await until(lambda: known not in server.hub.workers.workers())
        assert workers(server) == ["w"]
        await soon(first.close())
    assert "has reconnected" in caplog.text


async def test_whatever_ends_a_start_leaves_nothing(server: BridgeServer) -> None:
    worker = ToolWorker(server.address, [add])
    starting = asyncio.create_task(worker.start())
    await until(lambda: len(server._server._links))
    if starting.cancel():
        with suppress(asyncio.CancelledError, ToolBridgeError):
            await soon(starting)
    else:
        # It was faster.
        await worker.close()
    await until(lambda: not len(server._server._links))
    async with GRPCToolBridge(server.address) as bridge:
        assert "add" not in await soon(bridge.initialize())


async def test_a_worker_that_waits_names_the_hub_and_one_that_is_not_admitted_does_not_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = ToolWorker("localhost:1", [add], proxy="http://ann:s3cr3t@localhost:2")
    assert worker._dial_again(link_error(Code.UNAVAILABLE, "Connection refused"))
    assert "waiting for the hub at localhost:1 (through the proxy http://***@localhost:2): Connection" in caplog.text
    caplog.clear()
    assert not worker._dial_again(link_error(Code.UNAUTHENTICATED, "the token is wrong"))
    assert not caplog.records


@pytest.mark.parametrize("leave", ["close", "drain"])
async def test_a_worker_that_is_closed_while_it_starts_does_not_start(leave: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        worker = ToolWorker(f"127.0.0.1:{nobody.getsockname()[1]}", [add])
        starting = asyncio.create_task(worker.start(connect_timeout=PATIENCE))
        await until(lambda: worker._transport._dialled is not None)
        await soon(getattr(worker, leave)())
        with pytest.raises(ToolCommunicationError, match="closed"):
            await soon(starting)


async def test_a_worker_that_was_closed_cannot_be_started(server: BridgeServer) -> None:
    worker = ToolWorker(server.address, [add])
    await soon(worker.close())
    with pytest.raises(ProtocolError, match="closed before it was started"):
        await worker.start()
    assert not server._server._links._links
