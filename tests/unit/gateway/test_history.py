"""How the gateway writes counts."""

import pytest

from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.gateway.history import counts_json


def test_counts_without_calls_have_no_percentiles() -> None:
    counts = ToolMetrics()
    counts.active = 2
    nothing = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"))
    assert counts_json(counts) == {"calls": 0, "errors": 0, "active": 2, **nothing}


@pytest.mark.parametrize(
    ("duration_us", "p50_ms"), [(30, 0.05), (1_500, 1.414), (45_000_000, 31_620.0), (10**9, 100_000.0)]
)
def test_percentiles_have_no_more_digits_than_an_estimate(duration_us: int, p50_ms: float) -> None:
    counts = ToolMetrics()
    counts.record(duration_us, ok=False)
    written = counts_json(counts)
    assert (written["calls"], written["errors"], written["p50_ms"]) == (1, 1, p50_ms)
