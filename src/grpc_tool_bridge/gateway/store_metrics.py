"""The durable store of the hub, as Prometheus reads it."""

import math
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from grpc_tool_bridge.core.interfaces import DurableStore

# Of the hub's own metrics: the name and the help text here, and the name there.
_COUNTERS = (
    ("changes", "Changes that were stored.", "hub.store_changes"),
    ("failures", "Commits that failed, and changes refused at the limit.", "hub.store_failures"),
)
_GAUGES = (
    ("changes_waiting", "Changes that are not stored yet.", "hub.store_waiting"),
    ("bytes", "Bytes of the file of the store.", "hub.store_bytes"),
    ("log_bytes", "Bytes of its write-ahead log.", "hub.store_log_bytes"),
    ("limit_bytes", "Bytes that the file may have; 0: any number.", "hub.store_limit_bytes"),
    ("restored_sessions", "Sessions that were restored when the hub started.", "hub.store_restored_sessions"),
    ("restore_seconds", "How long that took.", "hub.store_restore_seconds"),
)


class StoreCollector(Collector):
    """The metrics of a durable store at one moment; nothing if the hub has none.

    Args:
        hub: The hub's own metrics, by name.
        store: The store; None: there is none.
    """

    def __init__(self, hub: Mapping[str, int | float | str], store: DurableStore | None) -> None:
        self._hub = hub
        self._times = None if store is None else store.commit_times()
        self._is_failing = store is not None and bool(store.failure)

    def describe(self) -> list[Metric]:
        """Names nothing beforehand, so that a registry need not collect twice."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        if self._times is None:
            return
        commits = HistogramMetricFamily(
            "tool_bridge_store_commit_duration_seconds", "How long commits took, the flush of the disk included."
        )
        buckets = [(bound_text(bound), float(count)) for bound, count in self._times.within]
        commits.add_metric([], buckets, self._times.seconds)
        yield commits
        for name, text, source in _COUNTERS:
            if source in self._hub:
                yield CounterMetricFamily(f"tool_bridge_store_{name}", text, float(self._hub[source]))
        for name, text, source in _GAUGES:
            if source in self._hub:
                yield GaugeMetricFamily(f"tool_bridge_store_{name}", text, float(self._hub[source]))
        yield GaugeMetricFamily(
            "tool_bridge_store_failing", "Whether the last change could not be stored.", float(self._is_failing)
        )


def bound_text(bound: float) -> str:
    """Writes the bound of a bucket as Prometheus does."""
    return "+Inf" if math.isinf(bound) else str(bound)
