"""How metrics are written for people and for programs."""

import pytest

from grpc_tool_bridge.cli import logs, metrics_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricValue


def histogram(**counts: int) -> MetricValue:
    value = MetricValue()
    value.histogram.sum = 12.0
    value.histogram.SetInParent()
    for bound, count in counts.items():
        value.histogram.buckets.add(upper_bound=float(bound.removeprefix("to")), count=count)
    return value


@pytest.mark.parametrize(
    ("value", "text", "fact"),
    [
        (MetricValue(integer_value=1_234_567), "1,234,567", 1_234_567),
        (MetricValue(double_value=0.123456789), "0.123457", 0.123456789),
        (MetricValue(string_value="x"), "x", "x"),
        (MetricValue(), "", None),
    ],
)
def test_numbers_and_texts(value: MetricValue, text: str, fact: object) -> None:
    assert (metrics_text.text(value), metrics_text.facts(value)) == (text, fact)


def test_durations() -> None:
    assert metrics_text.text(histogram(to1=0)) == "no calls"
    assert metrics_text.text(histogram(to1=1)) == "1 call, mean 12 ms, p50 0.5 ms, p99 0.99 ms"
    assert metrics_text.text(histogram(to1=0, to2=2)).startswith("2 calls, mean 6 ms, p50 1.41 ms")
    facts = metrics_text.facts(histogram(to1=1, to2=2))
    assert (facts["count"], facts["sum_ms"], facts["buckets"]) == (3, 12.0, [[1.0, 1], [2.0, 2]])


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.1234, "0.123 ms"), (1500.0, "1.5 s"), (999.0, "999 ms")])
def test_milliseconds(value: float | None, text: str) -> None:
    assert metrics_text.milliseconds(value) == text


def test_levels_are_ordered_and_an_unknown_one_is_always_shown() -> None:
    order = [logs.severity(level) for level in ("debug", "INFO", "warning", "error", "critical", "notice")]
    assert order == sorted(order)
    assert len(set(order)) == 6
