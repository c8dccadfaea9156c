"""The cluster of the hub, as Prometheus reads it."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

# Of the metrics of the cluster: the label here, and the name there.
_STATES = (
    ("serving", "hub.cluster_hubs_serving"),
    ("cut off", "hub.cluster_hubs_cut_off"),
    ("gone", "hub.cluster_hubs_gone"),
)
_FRAMES = (
    ("sent", "hub.cluster_frames_sent"),
    ("received", "hub.cluster_frames_received"),
    ("refused", "hub.cluster_frames_refused"),
)
_PEER_CALLS = (("sent", "hub.cluster_peer_calls_sent"), ("run", "hub.cluster_peer_calls_run"))
# The name and the help text here, and the name there.
_GAUGES = (
    ("certain", "Whether the hub is certain of its lease: 1, or 0.", "hub.cluster_certain"),
    ("links", "Links to other hubs that are open.", "hub.cluster_links"),
    ("sessions_owned", "Sessions that this hub owns.", "hub.cluster_sessions_owned"),
)
_COUNTERS = (
    ("forwarded_requests", "Requests that were forwarded to the owner.", "hub.cluster_forwarded_requests"),
    ("takes", "Sessions that were taken from hubs that had gone.", "hub.cluster_takes"),
    ("sessions_lost", "Sessions that this hub owned and had to forget.", "hub.cluster_sessions_lost"),
    ("renewal_failures", "Renewals of the lease that failed.", "hub.cluster_renewal_failures"),
    ("fenced_writes", "Writes refused because another hub owns the session.", "hub.cluster_fenced_writes"),
    ("reconnects", "Connections to NATS that were made anew.", "hub.cluster_reconnects"),
)


class ClusterCollector(Collector):
    """The metrics of a cluster at one moment; nothing if the hub has none.

    Args:
        hub: The hub's own metrics, by name.
    """

    def __init__(self, hub: Mapping[str, int | float | str]) -> None:
        self._hub = hub

    def describe(self) -> list[Metric]:
        """Names nothing beforehand, so that a registry need not collect twice."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        if not any(name.startswith("hub.cluster_") for name in self._hub):
            return
        if "hub.cluster_renewals" in self._hub:
            yield SummaryMetricFamily(
                "tool_bridge_cluster_renewal_duration_seconds",
                "How long renewals of the hub's lease took.",
                count_value=int(self._hub["hub.cluster_renewals"]),
                sum_value=float(self._hub.get("hub.cluster_renewal_seconds", 0.0)),
            )
        hubs = GaugeMetricFamily("tool_bridge_cluster_hubs", "Hubs, as this one sees them.", labels=["state"])
        yield self._labelled(hubs, _STATES)
        for name, text, source in _GAUGES:
            if source in self._hub:
                yield GaugeMetricFamily(f"tool_bridge_cluster_{name}", text, float(self._hub[source]))
        for name, text, source in _COUNTERS:
            if source in self._hub:
                yield CounterMetricFamily(f"tool_bridge_cluster_{name}", text, float(self._hub[source]))
        calls = CounterMetricFamily(
            "tool_bridge_cluster_peer_calls", "Calls sent to other hubs, and run for them.", labels=["direction"]
        )
        yield self._labelled(calls, _PEER_CALLS)
        frames = CounterMetricFamily(
            "tool_bridge_cluster_frames", "Frames of the links to other hubs.", labels=["direction"]
        )
        yield self._labelled(frames, _FRAMES)

    def _labelled(
        self, family: GaugeMetricFamily | CounterMetricFamily, sources: tuple[tuple[str, str], ...]
    ) -> GaugeMetricFamily | CounterMetricFamily:
        for label, source in sources:
            if source in self._hub:
                family.add_metric([label], float(self._hub[source]))
        return family
