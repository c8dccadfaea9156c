"""What a hub counts of its part in a cluster."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from grpc_tool_bridge.cluster.counting import Counting
from grpc_tool_bridge.core.interfaces import HubDirectory


def test_all_counts_that_a_directory_promises_of_its_parts_are_there() -> None:
    links: Any = SimpleNamespace(
        links=lambda: [SimpleNamespace(is_linked=True), SimpleNamespace(is_linked=False)],
        counts=lambda: Counter(sent=7, received=5, forged=1, repeated=1, malformed=1, unknown=9),
    )
    hub = SimpleNamespace(store=["s1", "s2"], workers=SimpleNamespace(sent_to_peers=3))
    front: Any = SimpleNamespace(hub=hub, passing=SimpleNamespace(passed=4), owners=SimpleNamespace(taken=6))
    store: Any = SimpleNamespace(fenced=8, bus=SimpleNamespace(reconnects=2))
    guests: Any = SimpleNamespace(begun=11)
    counting = Counting(store, links, front, guests)
    counting.note_lost(5)

    counts = counting.counts()

    assert counts == {
        "cluster_links": 1,
        "cluster_sessions_owned": 2,
        "cluster_forwarded_requests": 4,
        "cluster_peer_calls_sent": 3,
        "cluster_peer_calls_run": 11,
        "cluster_takes": 6,
        "cluster_sessions_lost": 5,
        "cluster_frames_sent": 7,
        "cluster_frames_received": 5,
        "cluster_frames_refused": 3,
        "cluster_fenced_writes": 8,
        "cluster_reconnects": 2,
    }
    promised = " ".join((HubDirectory.counts.__doc__ or "").split())
    assert all(f"``{name}``" in promised for name in counts)
