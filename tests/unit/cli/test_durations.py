"""How long calls took, from the buckets of a hub."""

import math

import pytest

from grpc_tool_bridge.cli.durations import Durations
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricHistogram


def read(metrics: ToolMetrics) -> Durations:
    message = MetricHistogram()
    metrics.write_histogram(message)
    return Durations.read(message)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_percentiles_are_those_of_the_hub(part: float) -> None:
    metrics = ToolMetrics()
    for number in range(1, 200):
        metrics.record(number * number * 17, ok=True)
    durations = read(metrics)
    (expected,) = metrics.percentiles_ms(part)
    assert expected is not None
    assert durations.percentile_ms(part) == pytest.approx(expected)
    assert durations.count == 199
    assert durations.mean_ms == pytest.approx(metrics.total_us / 1_000 / 199)


def test_without_calls_there_are_none() -> None:
    durations = read(ToolMetrics())
    assert (durations.count, durations.mean_ms, durations.percentile_ms(0.5)) == (0, None, None)
    assert Durations({}, 0).percentile_ms(0.5) is None


def test_what_took_longer_than_the_last_bound_counts_as_that() -> None:
    assert Durations({1.0: 0, math.inf: 3}, 900.0).percentile_ms(0.5) == 1.0


def test_the_calls_since_are_told_apart_unless_the_hub_has_begun_anew() -> None:
    before, now = Durations({1.0: 2, 2.0: 1}, 5.0), Durations({1.0: 2, 2.0: 4}, 11.0)
    assert now.since(before) == Durations({1.0: 0, 2.0: 3}, 6.0)
    assert now.since(None) == now
    assert before.since(now) == before
    assert before.plus(Durations({4.0: 1}, 3.0)) == Durations({1.0: 2, 2.0: 1, 4.0: 1}, 8.0)
