"""Durations in buckets of constant relative width."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.load.histogram import Histogram

SECONDS = st.floats(min_value=0, max_value=60_000)


def exact(durations: list[float], percent: float) -> float:
    """The percentile of sorted durations: so many of them, rounded up, are not longer."""
    rank = max(1, -int(-len(durations) * percent // 100))
    return sorted(durations)[rank - 1]


def test_without_durations_everything_is_0() -> None:
    empty = Histogram()
    assert (empty.count, empty.mean, empty.least, empty.most, empty.percentile(99)) == (0, 0, 0, 0, 0)
    assert list(empty.buckets()) == []


@given(st.lists(SECONDS, min_size=1), st.sampled_from([0, 1, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_at_most_a_bucket_above_the_exact_one_and_never_beyond_the_longest(
    durations: list[float], percent: float
) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.record(seconds)
    wanted = exact(durations, percent)
    # Half a microsecond may be rounded away.
    assert wanted - 1e-6 <= histogram.percentile(percent) <= min(max(durations), wanted * 1.008 + 1e-6)


@given(st.lists(SECONDS, min_size=1))
def test_count_mean_and_extremes_are_exact(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.record(seconds)
    assert (histogram.count, histogram.least, histogram.most) == (len(durations), min(durations), max(durations))
    assert histogram.mean == pytest.approx(sum(durations) / len(durations))
    assert sum(count for _, count in histogram.buckets()) == len(durations)


def test_durations_that_no_bucket_was_made_for_are_counted_in_the_last_or_the_first() -> None:
    histogram = Histogram()
    for seconds in (1e9, -1.0):
        histogram.record(seconds)
    assert [count for _, count in histogram.buckets()] == [1, 1]
    assert (histogram.least, histogram.most) == (0, 1e9)


def test_many_durations_take_few_buckets() -> None:
    histogram, chance = Histogram(), random.Random(1)
    for _ in range(100_000):
        histogram.record(chance.lognormvariate(-6, 3))
    assert len(list(histogram.buckets())) < 4_000
