"""ToxicProxy between plain sockets: what it passes on, what it breaks, and what it counts."""

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from grpc_tool_bridge.testing import ToxicProxy
from grpc_tool_bridge.transport.addresses import split_address
from support.patience import PATIENCE
from support.waiting import soon, until

# More than the proxy and the kernel hold of one direction.
LARGE = b"x" * 32_000_000


class Hub:
    """Sends back what it gets, and keeps it."""

    def __init__(self) -> None:
        self.address = ""
        self.received = b""
        self.ends = 0
        self.resets = 0

    def has(self, count: int) -> bool:
        return len(self.received) >= count

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000_000):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.ends += 1
        except ConnectionError:
            self.resets += 1
        finally:
            writer.close()


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echo(self, data: bytes) -> bytes:
        self.writer.write(data)
        return bytes(await soon(self.reader.readexactly(len(data))))

    async def is_reset(self) -> bool:
        try:
            return await soon(self.reader.read()) is None
        except ConnectionResetError:
            return True


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    server = await asyncio.start_server(hub.serve, "127.0.0.1", 0)
    hub.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield hub


@pytest.fixture
async def proxy(hub: Hub) -> AsyncIterator[ToxicProxy]:
    async with ToxicProxy(hub.address) as proxy:
        yield proxy


@pytest.fixture
async def clients() -> AsyncIterator[list[Client]]:
    clients: list[Client] = []
    yield clients
    for client in clients:
        client.writer.close()


@pytest.fixture
def connect(proxy: ToxicProxy, clients: list[Client]) -> Any:
    async def connect() -> Client:
        host, _, port = proxy.address.rpartition(":")
        clients.append(Client(*await soon(asyncio.open_connection(host, int(port)))))
        return clients[-1]

    return connect


# ------------------------------------------------------------------------------------------------ without trouble


async def test_bytes_pass_both_ways_and_are_counted(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    first, second = await connect(), await connect()
    assert await first.echo(b"one") == b"one"
    assert await second.echo(b"three") == b"three"
    await until(lambda: (proxy.bytes_to_hub, proxy.bytes_to_client) == (8, 8))
    assert (proxy.connections, proxy.accepted, proxy.refused) == (2, 2, 0)


async def test_many_bytes_arrive_whole(connect: Any) -> None:
    client = await connect()
    data = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
    assert await client.echo(data) == data


async def test_an_end_that_sends_no_more_still_gets_its_answer(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    client.writer.write(b"last")
    client.writer.write_eof()
    assert await soon(client.reader.read()) == b"last"
    await until(lambda: not proxy.connections)
    assert (hub.ends, hub.resets) == (1, 0)


async def test_a_client_that_is_gone_is_gone_for_the_hub(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    await client.echo(b"here")
    client.writer.transport.abort()
    await until(lambda: not proxy.connections)
    await until(lambda: hub.ends + hub.resets == 1)


async def test_a_hub_that_is_not_there_is_a_connection_that_is_reset(proxy: ToxicProxy, connect: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy.target = f"127.0.0.1:{nobody.getsockname()[1]}"
        try:
            reset = await (await connect()).is_reset()
        except ConnectionResetError:
            # It was, before this end had looked whether it is connected.
            reset = True
        assert reset
    await until(lambda: not proxy.connections)
    assert proxy.accepted == 1


async def test_another_target_counts_for_the_connections_that_follow(proxy: ToxicProxy, connect: Any) -> None:
    old = await connect()
    await old.echo(b"old")
    other = Hub()
    async with await asyncio.start_server(other.serve, "127.0.0.1", 0) as server:
        proxy.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await (await connect()).echo(b"new")
        await old.echo(b"old")
        assert other.received == b"new"
        proxy.cut()


# ------------------------------------------------------------------------------------------------ broken connections


async def test_a_cut_resets_all_connections_at_both_ends_and_takes_new_ones(
    hub: Hub, proxy: ToxicProxy, connect: Any
) -> None:
    before = [await connect(), await connect()]
    for client in before:
        await client.echo(b"here")
    proxy.cut()
    assert not proxy.connections
    assert [await client.is_reset() for client in before] == [True, True]
    await until(lambda: hub.resets == 2)
    assert await (await connect()).echo(b"again") == b"again"


async def test_a_cut_with_no_connection_changes_nothing(proxy: ToxicProxy, connect: Any) -> None:
    proxy.cut()
    assert await (await connect()).echo(b"here") == b"here"


async def test_refusing_resets_new_connections_only_until_restored(proxy: ToxicProxy, connect: Any) -> None:
    open_one = await connect()
    await open_one.echo(b"here")
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        # The reset may come before the connection is seen here.
        await soon((await connect()).reader.readexactly(1))
    assert (proxy.connections, proxy.accepted, proxy.refused) == (1, 1, 1)
    assert await open_one.echo(b"still") == b"still"
    proxy.restore()
    assert await (await connect()).echo(b"new") == b"new"


async def test_a_cut_after_some_bytes_passes_on_exactly_these(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    await client.echo(b"12345")
    proxy.cut_after(10)
    client.writer.write(b"abcdefghijklm")
    assert await client.is_reset()
    await until(lambda: hub.resets == 1)
    assert proxy.bytes_to_hub == 15
    assert hub.received == b"12345abcdefghij"
    # Once only.
    assert await (await connect()).echo(b"abcdefghijklm") == b"abcdefghijklm"


async def test_a_cut_after_some_bytes_of_answers_leaves_the_requests_alone(
    hub: Hub, proxy: ToxicProxy, connect: Any
) -> None:
    client = await connect()
    proxy.cut_after(4, "to_client")
    client.writer.write(b"abcdef")
    assert await soon(client.reader.readexactly(4)) == b"abcd"
    assert await client.is_reset()
    assert (hub.received, proxy.bytes_to_client) == (b"abcdef", 4)


async def test_a_cut_after_some_bytes_resets_all_connections(proxy: ToxicProxy, connect: Any) -> None:
    one, other = await connect(), await connect()
    await one.echo(b"here")
    await other.echo(b"here")
    proxy.cut_after(1)
    one.writer.write(b"!")
    assert await one.is_reset()
    assert await other.is_reset()


# ------------------------------------------------------------------------------------------------ slow connections


async def test_what_a_stalled_direction_holds_goes_on_when_it_resumes(
    hub: Hub, proxy: ToxicProxy, connect: Any
) -> None:
    client = await connect()
    proxy.stall("to_client")
    client.writer.write(b"asked")
    await until(lambda: hub.received == b"asked")
    assert proxy.bytes_to_client == 0
    proxy.stall("to_hub")
    client.writer.write(b" again")
    proxy.resume("to_client")
    assert await soon(client.reader.readexactly(5)) == b"asked"
    assert hub.received == b"asked"
    proxy.resume()
    assert await soon(client.reader.readexactly(6)) == b" again"


async def test_a_stalled_direction_holds_up_its_sender(proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    proxy.stall()
    client.writer.write(LARGE)
    draining = asyncio.create_task(client.writer.drain())
    written = len(LARGE)
    await until(lambda: client.writer.transport.get_write_buffer_size() < written)
    assert not draining.done()
    draining.cancel()
    assert proxy.bytes_to_hub == 0
    proxy.cut()
    assert await client.is_reset()


async def test_an_end_waits_behind_what_was_stalled(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    proxy.stall("to_hub")
    client.writer.write(b"last")
    client.writer.write_eof()
    await until(lambda: proxy.connections == 1)
    assert hub.ends == 0
    proxy.resume("to_hub")
    assert await soon(client.reader.read()) == b"last"


async def test_a_delay_holds_bytes_back_that_its_end_lets_go(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    await client.echo(b"here")
    proxy.delay(3_600, "to_hub")
    client.writer.write(b"late")
    answer = asyncio.create_task(client.reader.readexactly(4))
    proxy.delay(0)
    assert await soon(answer) == b"late"


async def test_a_delay_is_kept_by_each_chunk_and_slows_none_behind_it(
    hub: Hub, proxy: ToxicProxy, connect: Any
) -> None:
    loop = asyncio.get_running_loop()
    client = await connect()
    proxy.delay(0.05, "to_client")
    began = loop.time()
    for number in range(10):
        client.writer.write(bytes([number]))
        await until(partial(hub.has, number + 1))
    assert await soon(client.reader.readexactly(10)) == bytes(range(10))
    assert loop.time() - began >= 0.05


async def test_a_limit_holds_the_bytes_back_that_its_end_lets_go(proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    proxy.limit(1, "to_hub")
    client.writer.write(b"many bytes")
    # The first costs nothing.
    assert await soon(client.reader.readexactly(1)) == b"m"
    assert proxy.bytes_to_hub == 1
    proxy.limit(0)
    assert await soon(client.reader.readexactly(9)) == b"any bytes"


async def test_a_limit_is_kept_over_all_bytes(proxy: ToxicProxy, connect: Any) -> None:
    loop = asyncio.get_running_loop()
    client = await connect()
    proxy.limit(1_000_000, "to_client")
    began = loop.time()
    assert await client.echo(b"x" * 100_000) == b"x" * 100_000
    # The last piece of 20 ms costs nothing.
    assert loop.time() - began >= 0.08


async def test_restore_ends_every_trouble(proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    await client.echo(b"here")
    proxy.stall()
    proxy.delay(3_600)
    proxy.limit(1)
    proxy.cut_after(1)
    proxy.refuse()
    client.writer.write(b"asked")
    proxy.restore()
    assert await soon(client.reader.readexactly(5)) == b"asked"
    assert await (await connect()).echo(b"new") == b"new"


# --------------------------------------------------------------------------------------------------------- toxics


async def test_a_toxic_meets_open_connections_until_it_is_removed(hub: Hub, proxy: ToxicProxy, connect: Any) -> None:
    client = await connect()
    await client.echo(b"here")
    assert proxy.add_toxic("latency", stream="upstream", latency=3_600_000) == "latency_upstream"
    client.writer.write(b"late")
    answer = asyncio.create_task(client.reader.readexactly(4))
    proxy.remove_toxic("latency_upstream")
    assert await soon(answer) == b"late"
    assert proxy.toxics == []


async def test_a_toxic_is_changed_for_bytes_that_wait(proxy: ToxicProxy, connect: Any) -> None:
    proxy.add_toxic("latency", name="slow", latency=3_600_000, jitter=1)
    client = await connect()
    client.writer.write(b"late")
    answer = asyncio.create_task(client.reader.readexactly(4))
    proxy.update_toxic("slow", latency=0)
    assert await soon(answer) == b"late"
    (toxic,) = proxy.toxics
    assert toxic == {
        "attributes": {"latency": 0, "jitter": 1},
        "name": "slow",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
    }


async def test_a_finished_stream_stays_open_in_the_other_direction_behind_toxics(
    hub: Hub, proxy: ToxicProxy, connect: Any
) -> None:
    for stream in ("upstream", "downstream"):
        proxy.add_toxic("slicer", stream, average_size=2)
    client = await connect()
    client.writer.write(b"last words")
    client.writer.write_eof()
    assert await soon(client.reader.read()) == b"last words"
    await until(lambda: not proxy.connections)
    assert (hub.ends, hub.resets) == (1, 0)


async def test_reset_removes_toxics_and_ends_every_trouble(proxy: ToxicProxy, connect: Any) -> None:
    proxy.add_toxic("limit_data", bytes=1)
    proxy.add_toxic("reset_peer", "upstream", toxicity=0.5)
    proxy.refuse()
    proxy.stall()
    proxy.reset()
    assert proxy.toxics == []
    assert await (await connect()).echo(b"here") == b"here"


async def test_toxics_stay_when_the_proxy_starts_again() -> None:
    proxy = ToxicProxy("127.0.0.1:1", seed=1)
    with proxy:
        proxy.add_toxic("timeout")
    with proxy:
        assert [toxic["name"] for toxic in proxy.toxics] == ["timeout_downstream"]


def test_a_toxic_that_is_none_is_refused_with_what_there_is() -> None:
    with ToxicProxy("127.0.0.1:1") as proxy:
        with pytest.raises(ValueError, match="'lag' is not a type of toxic; the types are bandwidth, latency"):
            proxy.add_toxic("lag")
        with pytest.raises(ValueError, match="stream must be 'downstream' or 'upstream', not 'up'"):
            proxy.add_toxic("latency", "up")
        with pytest.raises(ValueError, match="a latency toxic has no attribute 'rate'; it has latency and jitter"):
            proxy.add_toxic("latency", rate=1)
        with pytest.raises(ValueError, match="a noop toxic has no attribute 'rate'; it has none"):
            proxy.add_toxic("noop", rate=1)
        half: Any = 0.5
        with pytest.raises(ValueError, match=r"latency must be an integer, not 0\.5"):
            proxy.add_toxic("latency", latency=half)
        proxy.add_toxic("latency")
        with pytest.raises(ValueError, match="there is a toxic named 'latency_downstream'; give it another name"):
            proxy.add_toxic("latency")
        with pytest.raises(ValueError, match="there is no toxic named 'slow'; the toxics are latency_downstream"):
            proxy.remove_toxic("slow")
        with pytest.raises(ValueError, match="toxicity must be from 0 to 1, not 2"):
            proxy.update_toxic("latency_downstream", toxicity=2)


# ------------------------------------------------------------------------------------------------ lifetime and misuse


def test_it_runs_outside_an_event_loop_and_again_after_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub:
        proxy = ToxicProxy(f"127.0.0.1:{hub.getsockname()[1]}")
        for count in (1, 2):
            with proxy, socket.create_connection(split_address(proxy.address)) as client:
                client.sendall(b"hello")
                accepted, _ = hub.accept()
                accepted.settimeout(PATIENCE)
                assert accepted.recv(5) == b"hello"
                accepted.close()
            assert (proxy.accepted, proxy.connections, proxy.bytes_to_hub) == (count, 0, 5 * count)


def test_without_running_it_has_no_address_and_no_troubles() -> None:
    proxy = ToxicProxy("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="enter it with 'with' first"):
        _ = proxy.address
    with pytest.raises(RuntimeError, match="enter it with 'with' first"):
        proxy.cut()
    proxy.stop()


def test_a_second_start_is_refused() -> None:
    with ToxicProxy("127.0.0.1:1") as proxy, pytest.raises(RuntimeError, match="is already running at 127"):
        proxy.start()


def test_an_address_in_use_is_an_error_that_leaves_nothing() -> None:
    with ToxicProxy("127.0.0.1:1") as proxy:
        second = ToxicProxy("127.0.0.1:1", proxy.address)
        with pytest.raises(OSError, match="in use"):
            second.start()
        with pytest.raises(RuntimeError):
            _ = second.address


def test_it_listens_where_it_is_told_to() -> None:
    with ToxicProxy("127.0.0.1:1") as proxy:
        address = proxy.address
    with ToxicProxy("localhost:1", address) as proxy:
        assert (proxy.address, proxy.target) == (address, "localhost:1")


@pytest.mark.parametrize("address", ["nowhere", "http://127.0.0.1:1"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="is not a valid address"):
        ToxicProxy(address)
    with pytest.raises(ValueError, match="is not a valid address"):
        ToxicProxy("127.0.0.1:1", address)
    with pytest.raises(ValueError, match="is not a valid address"):
        ToxicProxy("127.0.0.1:1").target = address


def test_troubles_that_are_none_are_refused() -> None:
    nowhere: Any = "up"
    with ToxicProxy("127.0.0.1:1") as proxy:
        with pytest.raises(ValueError, match=r"to cut immediately, use cut\(\)"):
            proxy.cut_after(0)
        with pytest.raises(ValueError, match="0 or more"):
            proxy.delay(-1)
        with pytest.raises(ValueError, match="0 or more"):
            proxy.limit(-1)
        with pytest.raises(ValueError, match="'to_hub', 'to_client' or 'both'"):
            proxy.stall(nowhere)
