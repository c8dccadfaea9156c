"""The rules of nats-py that are replaced."""

from contextlib import aclosing
from typing import Any
from urllib.parse import urlparse

import pytest
from nats.aio.client import Server
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError

from grpc_tool_bridge.cluster.bus.connection import LAST_WAIT_SECONDS, next_server
from support.buses import open_bus
from support.nats_nodes import one_node
from support.waiting import soon, turns, until


def server(name: str, reconnects: int) -> Server:
    return Server(urlparse(f"nats://{name}:4222"), reconnects)


def test_a_node_that_has_not_refused_yet_is_dialled_at_once_before_any_other() -> None:
    for _ in range(20):
        chosen, wait = next_server([server("a", 2), server("b", 0), server("c", 1)], {})
        assert (chosen.uri.hostname, wait) == ("b", 0.0)


def test_the_waits_grow_up_to_a_bound() -> None:
    waits = [next_server([server("a", count)], {})[1] for count in (1, 3, 6, 1_000)]
    assert 0.05 <= waits[0] <= 0.1
    assert waits[:3] == sorted(waits[:3])
    assert LAST_WAIT_SECONDS / 2 <= waits[-1] <= LAST_WAIT_SECONDS


async def test_what_was_not_sent_before_the_connection_was_lost_is_not_sent_after_it() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            subject = bus.names.fact("late")
            node.pause()
            # More than goes into the socket, and then what waits behind it.
            await bus.nc.publish("nowhere", bytes(1_000_000))
            for _ in range(64):
                await bus.nc.publish("nowhere", bytes(1_000_000))
            await turns()
            await bus.nc.publish(subject, b"late")
            await until(lambda: not bus.is_connected)
            await node.restart()
            await until(lambda: bus.is_connected)
            assert await bus.append(subject, b"first", last=0)


async def test_an_error_with_which_the_server_ends_the_connection_does_not_end_it_for_good() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            states: list[bool] = []
            bus.on_state(states.append)
            # With its header it is over the server's limit.
            await bus.nc.publish("nowhere", bytes(bus.max_payload), headers={"A": "b"})
            await until(lambda: states == [False, True])
            assert await bus.append(bus.names.fact("x"), b"", last=0)


async def test_a_permission_that_is_lacking_does_not_end_the_connection() -> None:
    user = '{ user: a, password: a, permissions: { publish: { deny: "secret.>" } } }'
    with one_node(f"authorization {{ users: [{user}] }}") as node:
        async with aclosing(await open_bus(f"nats://a:a@127.0.0.1:{node.port}")) as bus:
            await bus.nc.publish("secret.x", b"")
            await until(lambda: "secret.x" in bus.refused)
            assert bus.is_connected


async def test_a_node_that_no_longer_reads_is_left_for_another_even_with_much_still_to_send() -> None:
    with one_node() as hung, one_node() as other:
        async with aclosing(await open_bus(hung.url)) as bus:
            states: list[bool] = []
            bus.on_state(states.append)
            bus.nc.set_server_pool([other.url])
            hung.pause()
            for _ in range(64):
                await bus.nc.publish("nowhere", bytes(1_000_000))
            await until(lambda: states == [False, True])


async def test_a_connection_to_a_node_that_no_longer_reads_can_be_closed() -> None:
    with one_node() as node:
        bus = await open_bus(node.url)
        node.pause()
        for _ in range(64):
            await bus.nc.publish("nowhere", bytes(1_000_000))
        await soon(bus.aclose())
        assert not bus.is_connected


async def test_what_is_taken_directly_comes_in_order_with_its_headers_also_after_the_connection_was_lost() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            taken: list[tuple[bytes, object]] = []
            await bus.nc.subscribe_directly("news.*", lambda message: taken.append((message.data, message.headers)))
            await bus.nc.publish("news.a", b"1", headers={"A": "b"})
            await bus.nc.publish("news.b", b"2")
            await until(lambda: taken == [(b"1", {"A": "b"}), (b"2", None)])
            node.kill()
            await until(lambda: not bus.is_connected)
            await node.restart()
            await until(lambda: bus.is_connected)
            await bus.nc.publish("news.a", b"3")
            await until(lambda: len(taken) == 3)


async def test_who_fails_to_take_a_message_does_not_end_the_reading() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            taken: list[bytes] = []

            def take(message: Msg) -> None:
                if message.data == b"bad":
                    raise ValueError("bad")
                taken.append(message.data)

            await bus.nc.subscribe_directly("news", take)
            await bus.nc.publish("news", b"bad")
            await bus.nc.publish("news", b"good")
            await until(lambda: taken == [b"good"])


async def test_who_has_unsubscribed_takes_nothing_more() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            taken: list[bytes] = []
            subscription = await bus.nc.subscribe_directly("news", lambda message: taken.append(message.data))
            await subscription.unsubscribe()
            await bus.nc.publish("news", b"late")
            await bus.nc.flush()
            assert not taken
            assert subscription._id not in bus.nc._direct


async def test_the_first_message_of_a_turn_is_written_at_once_and_the_others_together() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            written: list[int] = []
            transport: Any = bus.nc._transport
            writer = transport._io_writer
            write = writer.writelines

            def count(pieces: list[bytes]) -> None:
                written.append(len(pieces))
                write(pieces)

            writer.writelines = count
            taken: list[bytes] = []
            await bus.nc.subscribe_directly("news", lambda message: taken.append(message.data))
            await bus.nc.flush()
            written.clear()
            for number in range(5):
                await bus.nc.publish("news", b"%d" % number)
            assert written == [1]
            await until(lambda: len(taken) == 5)
            assert written == [1, 4]
            assert taken == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_is_posted_comes_in_its_place_among_what_is_published() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            taken: list[tuple[bytes, bytes, bytes]] = []
            await bus.nc.subscribe_to_bytes("news.*", lambda *message: taken.append(message))
            bus.nc.post(b"news.a", b"0")
            await bus.nc.publish("news.b", b"1", reply="back")
            bus.nc.post(b"news.a", b"2")
            await bus.nc.publish("news.b", b"3", headers={"A": "b"})
            await turns()
            bus.nc.post(b"news.a", bytes(3_000_000)[: bus.max_payload])
            bus.nc.post(b"news.a", b"5")
            await until(lambda: len(taken) == 6)
            assert [data[:1] for *_, data in taken] == [b"0", b"1", b"2", b"3", b"\0", b"5"]
            assert taken[1] == (b"news.b", b"back", b"1")


async def test_what_is_posted_while_the_socket_is_full_is_sent_later_and_nothing_is_posted_without_a_connection() -> (
    None
):
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            taken: list[bytes] = []
            await bus.nc.subscribe_to_bytes("news", lambda _, __, data: taken.append(data))
            await bus.nc.flush()
            node.pause()
            for number in range(32):
                bus.nc.post(b"news", b"%d " % number + bytes(500_000))
            assert bus.nc.pending_data_size
            node.resume()
            await until(lambda: len(taken) == 32)
            assert [int(data.partition(b" ")[0]) for data in taken] == list(range(32))
            node.kill()
            await until(lambda: not bus.is_connected)
            with pytest.raises(ConnectionClosedError):
                bus.nc.post(b"news", b"late")


async def test_who_fails_to_take_bytes_does_not_end_the_reading() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url)) as bus:
            taken: list[bytes] = []

            def take(_: bytes, __: bytes, data: bytes) -> None:
                if data == b"bad":
                    raise ValueError("bad")
                taken.append(data)

            await bus.nc.subscribe_to_bytes("news", take)
            await bus.nc.publish("news", b"bad")
            await bus.nc.publish("news", b"bad", headers={"A": "b"})
            bus.nc.post(b"news", b"good")
            await until(lambda: taken == [b"good"])
