"""A hub's part in a cluster, put together."""

import secrets

import pytest

from grpc_tool_bridge import BridgeServer, LocalToolBridge, Settings, ValidationError
from support.nats_nodes import NatsNode
from support.waiting import until


def _url(node: NatsNode) -> str:
    return f"{node.url}/t{secrets.token_hex(4)}"


async def test_a_hub_tells_the_others_where_it_is(node: NatsNode) -> None:
    settings = Settings(hub_name="one")
    async with BridgeServer(store=_url(node), settings=settings) as server:
        leases = server._cluster.store.leases
        await until(lambda: any(record.address for record in leases.hubs()))
        [record] = leases.hubs()
        assert (record.name, record.address) == ("one", server.address)
        assert server.hub_name == "one"
        assert server.cluster_name is not None
        assert "nats://" in server.cluster_name


async def test_the_lease_of_a_hub_that_stops_is_closed(node: NatsNode) -> None:
    url = _url(node)
    async with BridgeServer(store=url, settings=Settings(hub_name="one")) as one:
        async with BridgeServer(store=url, settings=Settings(hub_name="two")):
            leases = one._cluster.store.leases
            await until(lambda: len(leases.hubs()) == 2)
        await until(lambda: [record.name for record in leases.hubs()] == ["one"])


def test_a_hub_without_a_cluster_has_no_name_in_one() -> None:
    server = BridgeServer()
    assert server.hub_name is None
    assert server.cluster_name is None


def test_a_bridge_with_a_hub_of_its_own_belongs_to_no_cluster() -> None:
    with pytest.raises(ValidationError, match="cluster of hubs"):
        LocalToolBridge(store="nats://127.0.0.1:4222")
