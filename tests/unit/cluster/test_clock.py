"""The clock of leases."""

import time

import pytest

from grpc_tool_bridge.cluster import clock


def test_it_goes_forward() -> None:
    times = [clock.now() for _ in range(100)]
    assert times == sorted(times)


def test_it_counts_the_time_in_which_the_machine_sleeps_where_there_is_such_a_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = clock.now()
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert before <= time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(clock, "_CLOCK", None)
    assert time.monotonic() <= clock.now()
