"""What a hub counts of its part in the cluster, for its metrics."""

from collections.abc import Mapping

from grpc_tool_bridge.cluster.forwarding.front import ClusterHub
from grpc_tool_bridge.cluster.links.own_links import OwnLinks
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.cluster.tools.guests import Guests


class Counting:
    """Counts, and reads what the parts count.

    Args:
        store: The hub's store.
        links: Its links to other hubs.
        front: Its front.
        guests: The calls that it runs for other hubs.
    """

    def __init__(self, store: NatsStore, links: OwnLinks, front: ClusterHub, guests: Guests) -> None:
        self._store = store
        self._links = links
        self._front = front
        self._guests = guests
        self._sessions_lost = 0

    def note_lost(self, sessions: int) -> None:
        """Counts sessions that this hub owned and had to forget."""
        self._sessions_lost += sessions

    def counts(self) -> Mapping[str, int | float | str]:
        """Returns the counts by name, as ``HubDirectory.counts`` says."""
        hub, frames = self._front.hub, self._links.counts()
        return {
            "cluster_links": sum(link.is_linked for link in self._links.links()),
            "cluster_sessions_owned": len(hub.store),
            "cluster_forwarded_requests": self._front.passing.passed,
            "cluster_peer_calls_sent": hub.workers.sent_to_peers,
            "cluster_peer_calls_run": self._guests.begun,
            "cluster_takes": self._front.owners.taken,
            "cluster_sessions_lost": self._sessions_lost,
            "cluster_frames_sent": frames["sent"],
            "cluster_frames_received": frames["received"],
            "cluster_frames_refused": frames["forged"] + frames["repeated"] + frames["malformed"],
            "cluster_fenced_writes": self._store.fenced,
            "cluster_reconnects": self._store.bus.reconnects,
        }
