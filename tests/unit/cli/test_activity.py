"""What happened between two looks at a hub."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from rich.console import Console

from grpc_tool_bridge import CallStatus
from grpc_tool_bridge.cli import activity_text
from grpc_tool_bridge.cli.activity import Look, compare
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def look(at: float, *, calls: tuple[CallStatus, ...] = (), **tools: Any) -> Look:
    metrics = {
        "hub.sessions": pb.MetricValue(integer_value=1),
        "hub.uptime_seconds": pb.MetricValue(double_value=3661.5),
    }
    for name, (ended, errors, active) in tools.items():
        for what, number in (("calls", ended), ("errors", errors), ("active", active)):
            metrics[f"tool.{name}.{what}"] = pb.MetricValue(integer_value=number)
        durations = metrics.setdefault(f"tool.{name}.duration_ms", pb.MetricValue()).histogram
        durations.buckets.add(upper_bound=10.0, count=ended)
    return Look(at, TIME + timedelta(seconds=at), metrics, calls, [pb.WorkerInfo(worker_id="w\x1b", capacity=3)])


def call(**fields: Any) -> CallStatus:
    given: dict[str, Any] = {"call_id": "7", "session_id": "s", "tool_id": "add", "request_id": "", "parent_id": ""}
    given |= {"worker_id": "w", "state": "running", "started_at": TIME, "time_left": 1.0, "progress": None}
    return CallStatus(**{**given, "args": (), "kwargs": {}, "duration": None, "error": None, **fields})


def shown(rows: int | None = None, **tools: Any) -> str:
    out = StringIO()
    console = Console(file=out, width=200, highlight=False, markup=False, emoji=False)
    seen = compare(look(0.0, **tools), look(2.0, calls=(call(),) * 30, **tools))
    console.print(activity_text.screen(seen, "127.0.0.1:1", rows=rows))
    return out.getvalue()


def test_rates_are_of_the_time_between_and_the_busiest_tool_comes_first() -> None:
    before = look(0.0, add=(10, 1, 0), slow=(5, 0, 1), idle=(0, 0, 0))
    seen = compare(before, look(2.0, add=(14, 2, 0), slow=(25, 0, 2), idle=(0, 0, 0), new=(2, 2, 0)))
    assert [tool.name for tool in seen.tools] == ["slow", "add", "new"]
    slow, add, new = seen.tools
    assert (slow.rate, slow.error_rate, slow.active, slow.calls, slow.durations.count) == (10.0, 0.0, 2, 25, 20)
    assert (add.rate, add.error_rate, add.durations.count) == (2.0, 0.5, 4)
    assert (new.rate, new.error_rate) == (1.0, 1.0)
    assert (seen.all_tools.rate, seen.all_tools.errors, seen.all_tools.durations.count) == (13.0, 4, 26)


def test_a_hub_that_has_restarted_counts_from_0() -> None:
    (add,) = compare(look(0.0, add=(100, 3, 0)), look(1.0, add=(2, 0, 0))).tools
    assert (add.rate, add.error_rate, add.durations.count) == (2.0, 0.0, 2)


def test_a_tool_whose_name_has_dots_is_one() -> None:
    dotted: dict[str, Any] = {"a.calls.b": (1, 0, 0)}
    (tool,) = compare(look(0.0), look(1.0, **dotted)).tools
    assert (tool.name, tool.calls) == ("a.calls.b", 1)


def test_the_screen_fits_into_the_terminal() -> None:
    many: dict[str, Any] = {f"tool{number}": (number, 0, 0) for number in range(100)}
    for rows in (10, 24, 50):
        text = shown(rows, **many)
        assert len(text.splitlines()) <= max(rows, 19)
        assert "of 100)" in text
    assert "Running calls (20 of 30)" in shown(None, **many)
    assert "w\\x1b" in shown()
    assert "up 1:01:01" in shown()
    assert "No tool has been called" in shown()


def test_programs_get_plain_values() -> None:
    facts = activity_text.facts(compare(look(0.0), look(1.0, calls=(call(),), add=(2, 1, 0))))
    assert facts["tools"]["add"]["calls_per_second"] == 2.0
    assert facts["all"]["errors"] == 1
    assert facts["calls"][0]["call_id"] == "7"
    assert facts["workers"][0]["capacity"] == 3
