"""What a hub does between two looks at it: rates, durations, running calls, workers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from grpc_tool_bridge.cli.durations import Durations
from grpc_tool_bridge.client.admin import CallStatus
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.errors import UnimplementedError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricValue, WorkerInfo

_NONE = Durations({}, 0.0)
# Calls and workers that are read; a screen shows fewer.
MAX_CALLS = 1_000


@dataclass(frozen=True)
class Look:
    """A hub at one moment.

    Attributes:
        at: The event loop's time.
        moment: The time by the clock.
        metrics: The metrics of the hub and its tools, by name.
        calls: The calls that wait or run, the oldest first.
        workers: The connected workers.
        missing: Names of hubs that did not answer.
    """

    at: float
    moment: datetime
    metrics: Mapping[str, MetricValue]
    calls: Sequence[CallStatus]
    workers: Sequence[WorkerInfo]
    missing: Sequence[str] = ()

    def number(self, name: str) -> float:
        """Returns a metric that is a number; 0 if the hub does not have it."""
        value = self.metrics.get(name)
        kind = None if value is None else value.WhichOneof("value")
        return getattr(value, kind) if kind in ("integer_value", "double_value") else 0


@dataclass(frozen=True)
class ToolActivity:
    """What happened to the calls of a tool.

    Attributes:
        name: The tool's.
        rate: Calls that ended, per second.
        error_rate: Those of them that failed, per second.
        active: Calls that wait or run.
        calls, errors: All calls that have ended since the hub started, and those of them that failed.
        durations: Of the calls that ended between the two looks.
    """

    name: str
    rate: float
    error_rate: float
    active: int
    calls: int
    errors: int
    durations: Durations


@dataclass(frozen=True)
class Activity:
    """What a hub did between two looks.

    Attributes:
        seconds: The time between them.
        now: The later one.
        tools: Those that have been called, the busiest first.
        all_tools: All of them together.
    """

    seconds: float
    now: Look
    tools: Sequence[ToolActivity]
    all_tools: ToolActivity


async def look(bridge: ToolBridge) -> Look:
    """Looks at a hub; one without the admin service has no list of calls and workers."""
    metrics = await bridge.client.get_metrics("hub.*", "tool.*")
    calls: list[CallStatus] = []
    workers: list[WorkerInfo] = []
    missing: set[str] = set()
    try:
        async for call in bridge.admin.calls(on_missing=missing.add):
            calls.append(call)
            if len(calls) == MAX_CALLS:
                break
        async for worker in bridge.admin.workers(on_missing=missing.add):
            workers.append(worker)
            if len(workers) == MAX_CALLS:
                break
    except UnimplementedError:
        pass
    return Look(asyncio.get_running_loop().time(), datetime.now(UTC), metrics, calls, workers, sorted(missing))


def compare(before: Look, now: Look) -> Activity:
    """Returns what happened between two looks."""
    seconds = max(now.at - before.at, 1e-9)
    names = (name.removeprefix("tool.") for name in now.metrics if name.startswith("tool."))
    tools = [_tool(name.removesuffix(".calls"), before, now, seconds) for name in names if name.endswith(".calls")]
    called = [tool for tool in tools if tool.calls or tool.active]
    called.sort(key=lambda tool: (-tool.rate, -tool.active, -tool.calls, tool.name))
    return Activity(seconds, now, called, _together(called))


def _tool(name: str, before: Look, now: Look, seconds: float) -> ToolActivity:
    calls, errors = (now.number(f"tool.{name}.{what}") for what in ("calls", "errors"))
    old_calls, old_errors = (before.number(f"tool.{name}.{what}") for what in ("calls", "errors"))
    if calls < old_calls:
        # The hub has restarted.
        old_calls = old_errors = 0
    return ToolActivity(
        name,
        (calls - old_calls) / seconds,
        max(errors - old_errors, 0) / seconds,
        int(now.number(f"tool.{name}.active")),
        int(calls),
        int(errors),
        _durations(now, name).since(_durations(before, name)),
    )


def _durations(seen: Look, name: str) -> Durations:
    value = seen.metrics.get(f"tool.{name}.duration_ms")
    return _NONE if value is None or not value.HasField("histogram") else Durations.read(value.histogram)


def _together(tools: Sequence[ToolActivity]) -> ToolActivity:
    durations = _NONE
    for tool in tools:
        durations = durations.plus(tool.durations)
    return ToolActivity(
        "all",
        sum(tool.rate for tool in tools),
        sum(tool.error_rate for tool in tools),
        sum(tool.active for tool in tools),
        sum(tool.calls for tool in tools),
        sum(tool.errors for tool in tools),
        durations,
    )
