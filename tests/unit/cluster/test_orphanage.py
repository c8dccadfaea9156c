"""Sessions whose hub is gone and that nobody asks for are taken, so that they become idle."""

from collections.abc import AsyncIterator

from grpc_tool_bridge.cluster.orphanage import Orphanage
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.memory_cluster import MemoryCluster


class Orphans:
    """What knows the sessions without a hub."""

    def __init__(self, *session_ids: str) -> None:
        self.session_ids = session_ids
        self.certain = True

    def is_certain(self) -> bool:
        return self.certain

    async def orphans(self) -> AsyncIterator[str]:
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
