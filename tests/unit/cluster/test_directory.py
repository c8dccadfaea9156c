"""The hubs of a cluster, told by their leases."""

import secrets
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.directory import GONE_SECONDS, ClusterDirectory
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.nats_nodes import NatsNode
from support.waiting import until
from unit.cluster.members.test_leases import Hub as Leased
from unit.cluster.members.test_leases import hubs


class Links:
    """Links to hubs, which a test says the state of."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, str]] = {}
        self.asked: list[tuple[str, str]] = []

    def link_state(self, incarnation: str) -> tuple[str, str]:
        return self.states.get(incarnation, ("linked", ""))

    async def ask(self, incarnation: str, method: str, request: bytes, timeout: float, caller: str) -> bytes:
        self.asked.append((incarnation, method))
        raise UnavailableError("no link")


class Seen:
    """Hub a as it sees b."""

    def __init__(self, a: Leased, b: Leased) -> None:
        self.a, self.b, self.links = a, b, Links()
        self.directory = ClusterDirectory(
            a.lease, a.book, self.links, [lambda: {"cluster_takes": 4}, lambda: {"cluster_links": 1}]
        )

    def rows(self) -> dict[str, pb.HubInfo]:
        return {row.name: row for row in self.directory.hubs()}


@pytest.fixture
async def seen(node: NatsNode) -> AsyncIterator[Seen]:
    async with hubs(node.url, "a", "b", cluster=f"d-{secrets.token_hex(4)}") as (a, b):
        yield Seen(a, b)


async def test_each_hub_has_a_row_with_what_its_lease_tells(seen: Seen) -> None:
    await seen.b.lease.update(address="b:50051", http_address="b:8080", version="1.2.3", room=7)
    await until(lambda: seen.rows()["b"].room == 7)
    a, b = seen.rows()["a"], seen.rows()["b"]
    assert (seen.directory.name, seen.directory.incarnation) == ("a", seen.a.lease.incarnation)
    assert (a.is_self, a.state, a.link, b.is_self, b.state, b.link) == (True, "serving", "", False, "serving", "linked")
    assert (b.address, b.http_url, b.version) == ("b:50051", "http://b:8080", "1.2.3")
    assert b.incarnation == seen.b.lease.incarnation
    assert b.HasField("started_at")
    seen.links.states[b.incarnation] = ("refused", "another secret")
    assert (seen.rows()["b"].link, seen.rows()["b"].link_error) == ("refused", "another secret")


async def test_a_hub_that_drains_or_is_gone_says_so_and_is_forgotten_later(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seen.b.lease.update(is_draining=True)
    await until(lambda: seen.rows()["b"].state == "not serving")
    assert seen.rows()["b"].reason == "it drains"
    await seen.b.lease.close("it was updated")
    await until(lambda: seen.rows()["b"].state == "gone")
    assert (seen.rows()["b"].reason, seen.rows()["b"].link) == ("it was updated", "")
    assert seen.directory.counts()["cluster_hubs_gone"] == 1
    later = clock.now() + GONE_SECONDS + 1
    monkeypatch.setattr(clock, "now", lambda: later)
    assert "b" not in seen.rows()


async def test_a_hub_that_is_not_certain_is_cut_off_and_says_why(seen: Seen) -> None:
    await seen.a.stop_renewing()
    await until(lambda: seen.rows()["a"].state == "cut off")
    assert seen.rows()["a"].reason
    assert seen.directory.counts()["cluster_certain"] == 0


async def test_counts_are_those_of_all_parts(seen: Seen) -> None:
    await until(lambda: seen.a.lease.renewals > 0)
    counts = seen.directory.counts()
    assert (counts["cluster_hubs_serving"], counts["cluster_hubs_cut_off"], counts["cluster_certain"]) == (2, 0, 1)
    assert (counts["cluster_takes"], counts["cluster_links"]) == (4, 1)
    assert counts["cluster_renewals"]


async def test_a_hub_lists_the_others_through_it(seen: Seen) -> None:
    hub = Hub(Settings(), [])
    hub.directory = seen.directory
    await hub.start()
    response = await hub.list_hubs(pb.ListHubsRequest())
    assert [(row.name, row.state) for row in response.hubs] == [("a", "serving"), ("b", "serving")]
    assert response.missing_hubs == ["b"]
    assert seen.links.asked == [(seen.b.lease.incarnation, "ListHubs")]
    await hub.drain(0)
    await hub.aclose()
