"""Counts and histograms."""

import pytest

from grpc_tool_bridge.core import metrics as module
from grpc_tool_bridge.core.metrics import BOUNDS_MS, Metrics, ToolMetrics
from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricHistogram


def histogram_of(counts: ToolMetrics) -> MetricHistogram:
    message = MetricHistogram()
    counts.write_histogram(message)
    return message


def test_a_call_is_counted_with_its_outcome_and_duration() -> None:
    counts = ToolMetrics()
    counts.record(1_500, ok=True)
    counts.record(500, ok=False)
    assert (counts.calls, counts.errors, counts.total_us) == (2, 1, 2_000)


@pytest.mark.parametrize(
    ("duration_us", "bound_ms"), [(0, 0.1), (100, 0.1), (101, 0.2), (1_000, 1), (100_000_000, 100_000)]
)
def test_a_duration_is_counted_in_the_first_bucket_that_holds_it(duration_us: int, bound_ms: float) -> None:
    counts = ToolMetrics()
    counts.record(duration_us, ok=True)
    filled = [bucket.upper_bound for bucket in histogram_of(counts).buckets if bucket.count]
    assert filled == [bound_ms]


def test_a_duration_above_all_bounds_is_in_the_open_bucket() -> None:
    counts = ToolMetrics()
    counts.record(100_000_001, ok=True)
    histogram = histogram_of(counts)
    assert len(histogram.buckets) == len(BOUNDS_MS) + 1
    assert (histogram.buckets[-1].upper_bound, histogram.buckets[-1].count) == (float("inf"), 1)
    assert (histogram.count, histogram.sum) == (1, 100_000.001)


async def test_a_snapshot_has_the_hubs_values_by_type_and_the_tools() -> None:
    metrics = Metrics()
    counts = metrics.of_tool("add")
    counts.record(10, ok=False)
    counts.active = 3
    found = (await metrics.snapshot({"hub.a": 1, "hub.b": 0.5, "hub.c": "x"})).metrics
    assert found["hub.a"].integer_value == 1
    assert found["hub.b"].double_value == 0.5
    assert found["hub.c"].string_value == "x"
    numbers = {name: found[f"tool.add.{name}"].integer_value for name in ("calls", "errors", "active")}
    assert numbers == {"calls": 1, "errors": 1, "active": 3}
    assert found["tool.add.duration_ms"].histogram.count == 1


async def test_a_snapshot_has_the_names_that_are_asked_for() -> None:
    metrics = Metrics()
    metrics.of_tool("add")
    metrics.of_tool("sub")
    assert set((await metrics.snapshot({"hub.a": 1, "hub.b": 2}, ["hub.a", "tool.add.*"])).metrics) == {
        "hub.a",
        "tool.add.calls",
        "tool.add.errors",
        "tool.add.active",
        "tool.add.duration_ms",
    }
    assert not (await metrics.snapshot({"hub.a": 1}, ["nothing"])).metrics


def test_past_the_bound_further_names_share_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 2)
    metrics = Metrics()
    first = metrics.of_tool("a")
    metrics.of_tool("b")
    assert metrics.of_tool("c") is metrics.of_tool("d")
    assert metrics.of_tool("a") is first


def test_buckets_are_added_up_in_seconds() -> None:
    counts = ToolMetrics()
    for duration_us in (50, 150, 150, 200_000_000):
        counts.record(duration_us, ok=True)
    buckets = counts.cumulative_buckets()
    assert buckets[:3] == [(0.0001, 1), (0.0002, 3), (0.0005, 3)]
    assert buckets[-2:] == [(100.0, 3), (float("inf"), 4)]


async def test_the_tools_that_were_used_first_are_told_apart_and_all_others_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 3)
    metrics = Metrics()
    for number, name in enumerate("abcdef", start=1):
        counts = metrics.of_tool(name)
        counts.active += 1
        for _ in range(number):
            counts.record(1_000, ok=name != "c")
    told, others = await metrics.by_tool(2)
    assert {name: counts.calls for name, counts in told.items()} == {"a": 1, "b": 2}
    assert (others.calls, others.errors, others.active, others.total_us) == (18, 3, 4, 18_000)
    assert others.cumulative_buckets()[-1] == (float("inf"), 18)


async def test_what_was_copied_stays_as_it_was() -> None:
    metrics = Metrics()
    metrics.of_tool("a").record(1_000, ok=True)
    told, _ = await metrics.by_tool(10)
    metrics.of_tool("a").record(1_000, ok=False)
    assert (told["a"].calls, told["a"].errors, told["a"].cumulative_buckets()[-1][1]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("durations_us", "part", "expected"),
    [
        ([], 0.5, None),
        # From 1 to 2 ms, halfway on a logarithmic scale.
        ([1_500, 1_600], 0.5, 2**0.5),
        ([1_500, 1_600], 1.0, 2.0),
        ([1_500] * 4, 0.25, 2**0.25),
        # The first bucket begins at 0, and is linear.
        ([50] * 4, 0.5, 0.05),
        ([50] * 4, 0.0, 0.0),
        # An empty bucket in between is left out.
        ([1_500, 90_000], 0.5, 2.0),
        ([1_500, 90_000], 0.51, 50 * 2**0.02),
        ([1_500] * 99 + [90_000], 0.99, 2.0),
        ([10**9], 0.5, 100_000),
        ([1_500, 10**9], 0.99, 100_000),
    ],
    ids=str,
)
def test_a_percentile_is_estimated_within_the_bucket_that_has_it(
    durations_us: list[int], part: float, expected: float | None
) -> None:
    counts = ToolMetrics()
    for duration_us in durations_us:
        counts.record(duration_us, ok=True)
    assert counts.percentiles_ms(part) == [None if expected is None else pytest.approx(expected)]


def test_percentiles_rise_and_are_within_a_bucket_of_the_exact_ones() -> None:
    counts = ToolMetrics()
    durations = [int(10 ** (2 + number / 200)) for number in range(1_000)]
    for duration_us in durations:
        counts.record(duration_us, ok=True)
    parts = [0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]
    estimates = [estimate or 0 for estimate in counts.percentiles_ms(*parts)]
    assert estimates == [counts.percentiles_ms(part)[0] for part in parts]
    assert estimates == sorted(estimates)
    for part, estimate in zip(parts, estimates, strict=True):
        exact = durations[int(part * len(durations)) - 1] / 1_000
        assert exact / 2.5 < estimate < exact * 2.5


def test_the_counts_are_those_that_go_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 1)
    metrics = Metrics()
    first, second, third = (metrics.of_tool(name) for name in ("a", "b", "c"))
    assert second is third
    assert metrics.counts() == [("a", first), (module.OTHER_TOOLS, second)]
