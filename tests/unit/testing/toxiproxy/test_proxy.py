"""A proxy's chances: which connections a toxic takes part in."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.testing.toxiproxy.effects import LimitData
from grpc_tool_bridge.testing.toxiproxy.proxy import Proxy
from grpc_tool_bridge.testing.toxiproxy.toxics import Toxic
from grpc_tool_bridge.transport.addresses import join_address, split_address
from support.patience import PATIENCE
from support.waiting import soon, until


def toxic(name: str = "cut", toxicity: float = 0.5) -> Toxic:
    """Lets nothing through where it takes part."""
    return Toxic(name=name, type="limit_data", stream="downstream", toxicity=toxicity, effect=LimitData())


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield join_address(*server.sockets[0].getsockname())


async def met(proxy: Proxy, count: int = 40) -> list[bool]:
    """Opens connections one after the other; says of each whether the toxic took part."""
    found = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(*split_address(proxy.listen))
        found.append(await soon(reader.read(1)) == b"")
        writer.close()
        await until(lambda: not proxy.connections)
    return found


async def of_seed(upstream: str, seed: int, name: str = "cut", toxicity: float = 0.5) -> list[bool]:
    proxy = Proxy("it", "127.0.0.1:0", upstream, seed=seed)
    await proxy.start()
    proxy.add_toxic(toxic(name, toxicity))
    found = await met(proxy)
    await proxy.stop()
    return found


async def test_the_same_seed_means_the_same_connections(upstream: str) -> None:
    first = await of_seed(upstream, 1)
    assert await of_seed(upstream, 1) == first
    assert 5 < sum(first) < 35
    assert await of_seed(upstream, 2) != first
    assert await of_seed(upstream, 1, name="other") != first


async def test_a_higher_toxicity_means_the_same_connections_and_more(upstream: str) -> None:
    few, many = await of_seed(upstream, 1, toxicity=0.3), await of_seed(upstream, 1, toxicity=0.7)
    assert sum(few) < sum(many)
    assert all(more for more, one in zip(many, few, strict=True) if one)


async def test_the_same_connections_come_again_after_the_toxics_were_removed(upstream: str) -> None:
    proxy = Proxy("it", "127.0.0.1:0", upstream, seed=1)
    await proxy.start()
    proxy.add_toxic(toxic())
    first = await met(proxy)
    proxy.remove_toxics()
    assert await met(proxy, 3) == [False] * 3
    proxy.remove_toxics()
    proxy.add_toxic(toxic())
    assert await met(proxy) == first
    await proxy.stop()


@pytest.mark.parametrize("upstream", ["nowhere", "http://127.0.0.1:1", f"{'x' * 70}..y:1"])
async def test_an_upstream_that_is_no_address_closes_each_connection(
    upstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy("it", "127.0.0.1:0", upstream, seed=1)
    await proxy.start()
    assert await met(proxy, 1) == [True]
    await proxy.stop()
    assert [record.message.partition(":")[0] for record in caplog.records] == ["proxy it"]


async def test_an_upstream_without_a_host_is_this_machine(upstream: str) -> None:
    proxy = Proxy("it", "127.0.0.1:0", f":{upstream.rpartition(':')[2]}", seed=1)
    await proxy.start()
    assert await met(proxy, 1) == [False]
    await proxy.stop()


async def test_a_stopped_proxy_leaves_no_task(upstream: str) -> None:
    before = asyncio.all_tasks()
    proxy = Proxy("it", "127.0.0.1:0", upstream, seed=1)
    await proxy.start()
    await proxy.start()
    proxy.add_toxic(toxic(toxicity=0.0))
    _, writer = await asyncio.open_connection(*split_address(proxy.listen))
    await until(lambda: proxy.connections)
    await proxy.stop()
    await proxy.stop()
    writer.close()
    assert not proxy.connections
    await until(lambda: not asyncio.all_tasks() - before)


@pytest.mark.parametrize("turns", range(4))
async def test_a_connection_that_comes_as_the_proxy_stops_is_closed(upstream: str, turns: int) -> None:
    proxy = Proxy("a", "127.0.0.1:0", upstream, seed=0)
    await proxy.start()
    with socket.create_connection(split_address(proxy.listen), timeout=PATIENCE) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await soon(proxy.stop())
        gc.collect()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""
