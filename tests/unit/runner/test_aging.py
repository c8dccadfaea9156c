"""When a process is old enough to be replaced."""

import os

import pytest

from grpc_tool_bridge.runner import aging
from grpc_tool_bridge.runner.aging import Age, AgeLimits
from support.clock import Clock


def test_without_limits_it_never_is() -> None:
    limits = AgeLimits(jitter=0.5)
    age = Age(limits, os.getpid())
    age.calls = 1_000_000
    assert not limits
    assert age.reached() == ""


@pytest.mark.parametrize(("draw", "most"), [(0.0, 100), (1.0, 80)])
def test_calls_are_fewer_by_a_random_part(draw: float, most: int) -> None:
    age = Age(AgeLimits(max_calls=100, jitter=0.2), os.getpid(), lambda: draw)
    age.calls = most - 1
    assert age.reached() == ""
    age.calls = most
    assert age.reached() == f"{most} calls"


def test_at_least_one_call_is_run() -> None:
    age = Age(AgeLimits(max_calls=1, jitter=1.0), os.getpid(), lambda: 1.0)
    assert age.reached() == ""
    age.calls = 1
    assert age.reached() == "1 calls"


def test_time_is_counted_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, aging)
    age = Age(AgeLimits(max_seconds=100, jitter=0.1), os.getpid(), lambda: 0.5)
    clock.now += 94.9
    assert age.reached() == ""
    clock.now += 0.2
    assert age.reached() == "95 s"


def test_memory_is_what_it_holds_now() -> None:
    small, large = Age(AgeLimits(max_bytes=1), os.getpid()), Age(AgeLimits(max_bytes=2**50), os.getpid())
    # Otherwise a limit that is too low would replace one process by another without end.
    assert small.reached() == ""
    small.calls = large.calls = 1
    assert small.reached().endswith("bytes of memory")
    assert large.reached() == ""
