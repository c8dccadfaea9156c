"""What ``top`` shows of a hub's activity: a screen for people, plain values for programs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from grpc_tool_bridge.cli.activity import Activity, ToolActivity
from grpc_tool_bridge.cli.admin_text import OfHub, call_facts, progress_text, with_hub, worker_facts
from grpc_tool_bridge.cli.consoles import rich_table
from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.metrics_text import milliseconds
from grpc_tool_bridge.client.admin import CallStatus

# Lines of the screen that are no rows of a table: the head, titles, heads of tables and empty lines.
_FRAME_LINES = 16
# Rows of each table where the height is not limited.
_ROWS = 20

_TOOL_COLUMNS = ("tool", "calls/s", "failed/s", "p50", "p99", "active", "calls", "failed")
_CALL_COLUMNS = ("call", "tool", "session", "worker", "state", "seconds", "progress")
_WORKER_COLUMNS = ("worker", "state", "calls", "capacity", "tools", "peer")


def waiting(address: str) -> Text:
    """Returns what is shown before the first look."""
    return Text(f"Looking at the hub at {one_line(address)} … (q quits)", style="dim")


def screen(seen: Activity, address: str, *, rows: int | None = None) -> RenderableType:
    """Lays out the screen.

    Args:
        seen: The activity.
        address: The hub's address.
        rows: Lines that there are; None: no limit.
    """
    each = _ROWS if rows is None else max(1, (rows - _FRAME_LINES) // 3)
    now = seen.now
    parts: list[RenderableType] = [_head(seen, address), Text()]
    tools = [seen.all_tools, *seen.tools] if seen.tools else []
    parts += _part("Tools", _TOOL_COLUMNS, [_tool_row(tool) for tool in tools], each, "No tool has been called")
    calls = [_call_row(seen, call) for call in now.calls]
    parts += _part("Running calls", *_of_hubs(_CALL_COLUMNS, calls, now.calls), each, "No calls wait or run")
    workers = [
        [worker.worker_id, worker.state, worker.active_calls, worker.capacity, worker.tool_count, worker.peer]
        for worker in now.workers
    ]
    parts += _part("Workers", *_of_hubs(_WORKER_COLUMNS, workers, now.workers), each, "No workers are connected")
    if now.missing:
        parts.append(Text(f"Hubs that did not answer: {one_line(', '.join(now.missing))}", style="yellow"))
    return Group(*parts)


def _of_hubs(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], entries: Sequence[OfHub]
) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """Adds the hub of each entry to its row, where the hub that is looked at has others beside it."""
    if not any(entry.hub for entry in entries):
        return columns, rows
    return with_hub(columns, "hub"), [with_hub(row, entry.hub) for row, entry in zip(rows, entries, strict=True)]


def _part(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], most: int, none: str
) -> list[RenderableType]:
    heading = Text(title, style="bold")
    if len(rows) > most:
        heading.append(f" ({most} of {len(rows):,})", style="not bold dim")
    return [heading, rich_table(columns, rows[:most]) if rows else Text(none, style="dim"), Text()]


def _head(seen: Activity, address: str) -> Text:
    now = seen.now
    uptime = timedelta(seconds=int(now.number("hub.uptime_seconds")))
    head = Text(f"Hub {one_line(address)}", style="bold")
    head.append(f", up {uptime}, {_count(now.number('hub.sessions'), 'session')}", style="not bold")
    head.append(f", {_count(now.number('hub.workers'), 'worker')}", style="not bold")
    head.append(f", {_count(now.number('hub.active_calls'), 'active call')}", style="not bold")
    used, limit = now.number("hub.memory_bytes"), now.number("hub.memory_limit_bytes")
    if limit:
        head.append(f", memory {used / limit:.0%} of its limit", style="not bold")
    return head


def _count(number: float, what: str) -> str:
    return f"{number:,.0f} {what}{'' if number == 1 else 's'}"


def _tool_row(tool: ToolActivity) -> list[Any]:
    percentiles = [milliseconds(tool.durations.percentile_ms(part)) for part in (0.5, 0.99)]
    failed: Any = Text(f"{tool.error_rate:,.1f}", style="red") if tool.error_rate else f"{tool.error_rate:,.1f}"
    return [tool.name, f"{tool.rate:,.1f}", failed, *percentiles, tool.active, tool.calls, tool.errors]


def _call_row(seen: Activity, call: CallStatus) -> list[Any]:
    seconds = max((seen.now.moment - call.started_at).total_seconds(), 0.0)
    where = [call.call_id, call.tool_id, call.session_id, call.worker_id, call.state]
    return [*where, round(seconds, 1), progress_text(call.progress)]


def facts(seen: Activity) -> dict[str, Any]:
    """Describes the activity for programs; times are in seconds, durations in milliseconds."""
    now = seen.now
    return {
        "seconds": seen.seconds,
        "uptime_seconds": now.number("hub.uptime_seconds"),
        "sessions": int(now.number("hub.sessions")),
        "active_calls": int(now.number("hub.active_calls")),
        "all": _tool_facts(seen.all_tools),
        "tools": {tool.name: _tool_facts(tool) for tool in seen.tools},
        "calls": [call_facts(call, with_arguments=False) for call in now.calls],
        "workers": [worker_facts(worker) for worker in now.workers],
        "missing_hubs": list(now.missing),
    }


def _tool_facts(tool: ToolActivity) -> dict[str, Any]:
    return {
        "calls_per_second": tool.rate,
        "errors_per_second": tool.error_rate,
        "p50_ms": tool.durations.percentile_ms(0.5),
        "p99_ms": tool.durations.percentile_ms(0.99),
        "active": tool.active,
        "calls": tool.calls,
        "errors": tool.errors,
    }
