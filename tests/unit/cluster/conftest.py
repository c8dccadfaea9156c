"""A node of NATS for the tests of a module, and a bus to it for each test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from support.buses import open_bus
from support.nats_nodes import NatsNode, one_node


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    """A node, which no test of the module stops."""
    with one_node() as started:
        yield started


@pytest.fixture
async def bus(node: NatsNode) -> AsyncIterator[Bus]:
    """A bus of a cluster of its own."""
    async with aclosing(await open_bus(node.url)) as opened:
        yield opened
