"""Nodes of NATS that tests run."""

import socket
from contextlib import aclosing

from support.buses import open_bus
from support.nats_nodes import free_ports, one_node, three_nodes
from support.waiting import is_gone


async def test_a_node_keeps_its_port_over_its_lives_and_ends_with_its_block() -> None:
    with one_node() as node:
        first, port, folder = node.pid, node.port, node.folder
        await node.restart()
        assert is_gone(first)
        assert (node.port, node.is_running) == (port, True)
        node.pause()
    assert is_gone(node.pid)
    assert not folder.exists()


async def test_a_node_keeps_what_it_has_stored_until_it_loses_its_disk() -> None:
    with one_node() as node:
        async with aclosing(await open_bus(node.url, "kept")) as bus:
            await bus.append(bus.names.fact("x"), b"", last=0)
        await node.restart()
        async with aclosing(await open_bus(node.url, "kept")) as bus:
            assert await bus.last(bus.names.fact("x")) is not None
        node.lose_disk()
        node.start()
        await node.ready()
        async with aclosing(await open_bus(node.url, "kept")) as bus:
            assert await bus.last(bus.names.fact("x")) is None


async def test_a_cluster_is_whole_again_when_a_node_is_back() -> None:
    with three_nodes() as nodes:
        assert nodes.is_whole()
        assert len(set(nodes.urls)) == 3
        await nodes[0].restart()
        await nodes.whole()


def test_free_ports_are_several_on_which_one_can_listen() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    with socket.create_server(("127.0.0.1", ports[0])):
        pass
