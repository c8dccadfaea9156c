"""The links of a hub follow its lives; over a real node of NATS."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from grpc_tool_bridge import BridgeServer, Settings
from support.nats_nodes import NatsNode
from support.waiting import soon, until


@pytest.fixture
async def two(node: NatsNode) -> AsyncIterator[list[BridgeServer]]:
    url = f"{node.url}/t{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(BridgeServer(store=url, settings=Settings(hub_name=name, shutdown_grace=0)))
            for name in "ab"
        ]


async def test_hubs_link_to_one_another_by_their_leases(two: list[BridgeServer]) -> None:
    links = [server._cluster.links for server in two]
    await until(
        lambda: all(link.is_linked for own in links for link in own.links()) and all(own.links() for own in links)
    )
    assert [[link.hub.name for link in own.links()] for own in links] == [["b"], ["a"]]
    incarnation = two[1]._cluster.store.lease.incarnation
    found = links[0].get(incarnation)
    assert found is not None
    assert found.hub.name == "b"
    assert links[0].get("none") is None


async def test_a_hub_that_lives_anew_is_linked_by_its_new_incarnation(two: list[BridgeServer]) -> None:
    a, b = (server._cluster for server in two)
    await until(lambda: a.links.links() and a.links.links()[0].is_linked)
    before = b.store.lease.incarnation
    # As if another hub had closed the lease.
    await soon(b.store.lease.close("a test closes it"))
    await soon(b.store.lease.begin())
    after = b.store.lease.incarnation
    assert after != before
    await until(lambda: (link := a.links.get(after)) is not None and link.is_linked)
    assert a.links.get(before) is None
