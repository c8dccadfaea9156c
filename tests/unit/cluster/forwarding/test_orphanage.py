"""Sessions whose hub is gone and that nobody asks for are taken, so that they become idle."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.cluster.forwarding import orphanage
from grpc_tool_bridge.cluster.forwarding.orphanage import Orphanage
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.memory_cluster import MemoryCluster
from support.waiting import turns, until


class Orphans:
    """What knows the sessions without a hub."""

    def __init__(self, *session_ids: str) -> None:
        self.session_ids = session_ids
        self.certain = True
        self.looks = 0
        self.error: StoreError | None = None

    def is_certain(self) -> bool:
        return self.certain

    async def orphans(self) -> AsyncIterator[str]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        for session_id in self.session_ids:
            yield session_id


async def _orphaned(cluster: MemoryCluster, *session_ids: str) -> None:
    for session_id in session_ids:
        await cluster["a"].front.initialize_session(pb.InitializeSessionRequest(session_id=session_id))
    await cluster["a"].die()
    cluster.book.closed.add("a")


async def test_all_of_them_are_taken() -> None:
    async with MemoryCluster("ab") as cluster:
        await _orphaned(cluster, "s", "t")
        hub = cluster["b"]
        assert await Orphanage(Orphans("s", "t"), hub.owners, hub.hub).look() == 2
        assert {"s", "t"} <= {session.id for session in hub.hub.store.sessions()}


async def test_one_that_another_hub_has_taken_meanwhile_stays_there() -> None:
    async with MemoryCluster("abc") as cluster:
        await _orphaned(cluster, "s")
        await cluster["c"].front.get_session_info(pb.GetSessionInfoRequest(session_id="s"))
        hub = cluster["b"]
        await Orphanage(Orphans("s"), hub.owners, hub.hub).look()
        assert "s" not in hub.hub.store
        assert "s" in cluster["c"].hub.store


async def test_a_hub_that_is_not_certain_or_shuts_down_takes_none() -> None:
    async with MemoryCluster("ab") as cluster:
        await _orphaned(cluster, "s")
        hub, orphans = cluster["b"], Orphans("s")
        orphans.certain = False
        assert await Orphanage(orphans, hub.owners, hub.hub).look() == 0
        orphans.certain = hub.hub.admission.draining = True
        assert await Orphanage(orphans, hub.owners, hub.hub).look() == 0
        assert "s" not in hub.hub.store


async def test_it_is_looked_for_them_when_a_hub_is_gone_and_not_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphanage, "GRACE_SECONDS", 0.0)
    async with MemoryCluster("ab") as cluster:
        hub, orphans = cluster["b"], Orphans()
        found = Orphanage(orphans, hub.owners, hub.hub)
        looking = asyncio.ensure_future(found.look_always())
        await until(lambda: orphans.looks == 1)
        await turns(50)
        assert orphans.looks == 1
        await _orphaned(cluster, "s")
        orphans.session_ids = ("s",)
        found.hub_gone()
        await until(lambda: "s" in hub.hub.store)
        # It may not have been able to take all of them.
        await until(lambda: orphans.looks > 3)
        orphans.session_ids = ()
        looking.cancel()
        await asyncio.wait([looking])


async def test_it_is_looked_again_where_they_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphanage, "GRACE_SECONDS", 0.0)
    async with MemoryCluster("ab") as cluster:
        hub, orphans = cluster["b"], Orphans()
        orphans.error = StoreError("NATS does not answer")
        looking = asyncio.ensure_future(Orphanage(orphans, hub.owners, hub.hub).look_always())
        await until(lambda: orphans.looks > 3)
        looking.cancel()
        await asyncio.wait([looking])
