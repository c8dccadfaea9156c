"""What the hub counts, as Prometheus reads it."""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.metrics import OTHER_TOOLS, ToolMetrics
from grpc_tool_bridge.core.wrappers import BackendWrappers
from grpc_tool_bridge.gateway.cluster_metrics import ClusterCollector
from grpc_tool_bridge.gateway.store_metrics import StoreCollector, bound_text
from grpc_tool_bridge.values.offload import in_reader

# Tools that are told apart; each has about two dozen time series. All others are one.
MAX_TOOLS = 1_000

_DISTRIBUTION = "grpc-tool-bridge"

# Of the hub's own metrics: the name and the help text here, and the name there.
_GAUGES = (
    ("sessions", "Sessions that are open.", "hub.sessions"),
    ("connections", "gRPC connections that have an RPC or a link open.", "hub.connections"),
    ("links", "Links that are open.", "hub.links"),
    ("workers", "Workers that are connected.", "hub.workers"),
    ("workers_suspect", "Workers that are connected and do not answer pings.", "hub.workers_suspect"),
    ("agent_runs", "Runs of agents that go on.", "hub.agent_runs"),
    ("threads_busy", "Threads that run a tool.", "hub.threads_busy"),
    ("processes_busy", "Processes that run a tool.", "hub.processes_busy"),
    ("audit_waiting", "Lines of the audit trail that are not written yet.", "hub.audit_waiting"),
    ("audit_failing", "Whether the audit trail cannot be written.", "hub.audit_failing"),
    ("memory_bytes", "Bytes that the hub holds for others.", "hub.memory_bytes"),
    ("memory_limit_bytes", "Bytes that the hub may hold for others.", "hub.memory_limit_bytes"),
    ("connections_memory_bytes", "Bytes that are held for gRPC connections.", "hub.peer_memory_bytes"),
    ("largest_connection_memory_bytes", "Bytes that the largest connection holds.", "hub.peer_memory_most_bytes"),
    ("largest_session_memory_bytes", "Bytes that the largest session holds.", "hub.session_memory_most_bytes"),
)
_COUNTERS = (
    (
        "processes_replaced",
        "Processes for tools that were replaced because of their age.",
        "hub.processes_replaced",
    ),
    ("quota_refused", "What was refused because the quota of a principal was used up.", "hub.quota_refused"),
    ("audit_lines", "Lines of the audit trail that were written.", "hub.audit_lines"),
    ("audit_lost", "Lines of the audit trail that were lost.", "hub.audit_lost"),
    ("audit_failures", "Attempts to write the audit trail that failed.", "hub.audit_failures"),
)
_REFUSERS = (
    ("hub", "hub.memory_refused"),
    ("session", "hub.session_memory_refused"),
    ("connection", "hub.peer_memory_refused"),
)


class HttpCounts(NamedTuple):
    """What an HTTP server has open.

    Attributes:
        connections: Connections.
        requests: Requests that are being answered.
    """

    connections: int
    requests: int


class MetricsRoute:
    """The route of metrics.

    Args:
        hub: The hub.
        http: Returns what the HTTP server has open.
    """

    def __init__(self, hub: Hub, http: Callable[[], HttpCounts]) -> None:
        self._hub = hub
        self._http = http
        self._version = version(_DISTRIBUTION)

    async def read(self, request: Request) -> Response:
        """Returns the metrics, as OpenMetrics if the reader asks for it."""
        registry = await self._registry()
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await in_reader(lambda: encode(registry))
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    async def families(self) -> list[Metric]:
        """Returns the metrics of the hub without those of its process."""
        return list((await self._registry()).collect())

    async def _registry(self) -> CollectorRegistry:
        told, others = await self._hub.metrics.by_tool(MAX_TOOLS)
        if others.calls or others.active:
            told[OTHER_TOOLS] = others
        registry = CollectorRegistry()
        counts = self._hub.counts()
        registry.register(HubCollector(counts, told, self._http(), self._version))
        registry.register(StoreCollector(counts, self._hub.durable))
        registry.register(ClusterCollector(counts))
        registry.register(WrapperCollector(self._hub.wrappers))
        return registry


class HubCollector(Collector):
    """The metrics of a hub at one moment.

    Args:
        hub: The hub's own, by name.
        tools: The counts of each tool.
        http: What the HTTP server has open.
        release: The version of the bridge.
    """

    def __init__(
        self, hub: Mapping[str, int | float | str], tools: Mapping[str, ToolMetrics], http: HttpCounts, release: str
    ) -> None:
        self._hub = hub
        self._tools = tools
        self._http = http
        self._release = release

    def describe(self) -> list[Metric]:
        """Names nothing beforehand, so that a registry need not collect twice."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        yield InfoMetricFamily("tool_bridge_build", "The version of the bridge.", {"version": self._release})
        yield from self._calls()
        for name, text, source in _GAUGES:
            if source in self._hub:
                yield GaugeMetricFamily(f"tool_bridge_{name}", text, float(self._hub[source]))
        yield GaugeMetricFamily(
            "tool_bridge_http_connections", "HTTP connections that are open.", self._http.connections
        )
        yield GaugeMetricFamily(
            "tool_bridge_http_requests_in_progress", "HTTP requests that are being answered.", self._http.requests
        )
        for name, text, source in _COUNTERS:
            if source in self._hub:
                yield CounterMetricFamily(f"tool_bridge_{name}", text, float(self._hub[source]))
        refused = CounterMetricFamily(
            "tool_bridge_memory_refused", "Charges of memory that were refused, by whose limit.", labels=["budget"]
        )
        for owner, source in _REFUSERS:
            if source in self._hub:
                refused.add_metric([owner], float(self._hub[source]))
        yield refused

    def _calls(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("tool_bridge_calls", "Calls that have ended.", labels=["tool", "outcome"])
        active = GaugeMetricFamily("tool_bridge_calls_in_progress", "Calls that wait or run.", labels=["tool"])
        durations = HistogramMetricFamily(
            "tool_bridge_call_duration_seconds", "How long calls took, waiting included.", labels=["tool"]
        )
        for tool, counts in self._tools.items():
            calls.add_metric([tool, "success"], counts.calls - counts.errors)
            calls.add_metric([tool, "error"], counts.errors)
            active.add_metric([tool], counts.active)
            buckets = [(bound_text(bound), float(count)) for bound, count in counts.cumulative_buckets()]
            durations.add_metric([tool], buckets, counts.total_us / 1_000_000)
        yield from (calls, active, durations)


class WrapperCollector(Collector):
    """The metrics of tools that are held back, and of faults that are injected; nothing where there are none.

    Args:
        wrappers: Those of the hub.
    """

    def __init__(self, wrappers: BackendWrappers) -> None:
        self._held_back = dict(wrappers.held_back())
        self._injected = dict(wrappers.injected())

    def describe(self) -> list[Metric]:
        """Names nothing beforehand, as above."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        if self._held_back:
            held = GaugeMetricFamily(
                "tool_bridge_tool_held_back", "Whether a tool is held back after failures.", labels=["tool"]
            )
            refused = CounterMetricFamily(
                "tool_bridge_calls_held_back", "Calls that were refused because of that.", labels=["tool"]
            )
            for tool, state in self._held_back.items():
                held.add_metric([tool], float(state.state != "closed"))
                refused.add_metric([tool], state.refused)
            yield from (held, refused)
        if self._injected:
            injected = CounterMetricFamily(
                "tool_bridge_faults_injected", "Faults that chaos has injected on purpose.", labels=["rule", "fault"]
            )
            for (rule, fault), count in self._injected.items():
                injected.add_metric([rule, fault], count)
            yield injected
