"""What the hub counts, in the words of Prometheus."""

import subprocess

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from grpc_tool_bridge.core.metrics import OTHER_TOOLS, ToolMetrics
from grpc_tool_bridge.gateway.metrics import HttpCounts, HubCollector
from grpc_tool_bridge.tools.options import TOOL_NAME
from support.needs import needs
from support.patience import PATIENCE

HUB: dict[str, int | float | str] = {
    "hub.epoch": "x",
    "hub.sessions": 3,
    "hub.links": 2,
    "hub.memory_bytes": 5_000,
    "hub.memory_refused": 4,
}


def text_of(**tools: ToolMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(HubCollector(HUB, tools, HttpCounts(connections=7, requests=6), "1.2.3"))
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(text)
    return {(item.name, tuple(item.labels.values())): item.value for family in families for item in family.samples}


def counted(*durations_us: int, errors: int = 0) -> ToolMetrics:
    counts = ToolMetrics()
    for place, duration in enumerate(durations_us):
        counts.record(duration, ok=place >= errors)
    return counts


def test_calls_are_counted_by_tool_and_outcome() -> None:
    found = samples(text_of(add=counted(10, 20, 30, errors=1)))
    assert found["tool_bridge_calls_total", ("success", "add")] == 2
    assert found["tool_bridge_calls_total", ("error", "add")] == 1


def test_durations_are_a_histogram_in_seconds_whose_buckets_add_up() -> None:
    found = samples(text_of(add=counted(90, 400, 1_500_000)))
    name = "tool_bridge_call_duration_seconds"
    buckets = {labels[0]: value for (each, labels), value in found.items() if each == f"{name}_bucket"}
    assert (buckets["0.0001"], buckets["0.0005"], buckets["1.0"], buckets["2.0"], buckets["+Inf"]) == (1, 2, 2, 3, 3)
    assert list(buckets.values()) == sorted(buckets.values())
    assert found[f"{name}_count", ("add",)] == 3
    assert found[f"{name}_sum", ("add",)] == 1.50049


def test_the_hub_s_own_metrics_are_told_as_far_as_it_has_them() -> None:
    found = samples(text_of())
    assert found["tool_bridge_build_info", ("1.2.3",)] == 1
    assert found["tool_bridge_sessions", ()] == 3
    assert found["tool_bridge_links", ()] == 2
    assert found["tool_bridge_memory_bytes", ()] == 5_000
    assert found["tool_bridge_memory_refused_total", ("hub",)] == 4
    assert found["tool_bridge_http_connections", ()] == 7
    assert found["tool_bridge_http_requests_in_progress", ()] == 6
    assert ("tool_bridge_workers", ()) not in found


def test_no_tool_can_have_the_name_of_all_others() -> None:
    assert not TOOL_NAME.fullmatch(OTHER_TOOLS)


@needs("promtool")
def test_promtool_finds_nothing() -> None:
    text = text_of(add=counted(10, 20, errors=1), **{OTHER_TOOLS: counted(5)})
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
