"""What ``hubs`` prints: a row for each hub, JSON for programs."""

from collections.abc import Collection, Sequence
from datetime import UTC
from typing import Any

from rich.text import Text

from grpc_tool_bridge.cli.consoles import console, rich_table
from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HubInfo

_COUNTS = ("sessions", "workers", "tools", "calls")
COLUMNS = ("hub", "state", "address", "http", "link", *_COUNTS, "room", "started", "version")
_STYLES = {"serving": "green", "not serving": "yellow", "cut off": "bold red", "gone": "dim"}


def show(hubs: Sequence[HubInfo], missing: Collection[str]) -> None:
    """Prints a table of hubs, and beneath it why some do not serve or have no link.

    Args:
        hubs: The hubs.
        missing: Names of those that did not answer.
    """
    out = console()
    out.print(rich_table(COLUMNS, [row(hub, answered=hub.name not in missing) for hub in hubs]))
    for hub in hubs:
        for what, why in ((hub.state, hub.reason), (f"link {hub.link}", hub.link_error)):
            if why:
                out.print(one_line(f"{hub.name}: {what}: {why}"), soft_wrap=True)


def row(hub: HubInfo, *, answered: bool) -> list[Any]:
    """Makes the row of a hub; one that did not answer, or has gone, has no counts."""
    name = Text(hub.name, style="bold" if hub.is_self else "")
    if hub.is_self:
        name.append(" (asked)", style="not bold dim")
    state = Text(
        hub.state if answered or hub.state == "gone" else f"{hub.state}, silent", style=_STYLES.get(hub.state, "")
    )
    has_counts = answered and hub.HasField("time")
    counts = [hub.sessions, hub.workers, hub.tools, hub.active_calls] if has_counts else [""] * len(_COUNTS)
    started = f"{hub.started_at.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M:%S}" if hub.HasField("started_at") else ""
    return [name, state, hub.address, hub.http_url, hub.link, *counts, hub.room, started, hub.version]


def facts(hub: HubInfo, *, answered: bool) -> dict[str, Any]:
    """Describes a hub for programs."""
    return {
        "name": hub.name,
        "incarnation": hub.incarnation,
        "is_self": hub.is_self,
        "state": hub.state,
        "reason": hub.reason,
        "answered": answered,
        "address": hub.address,
        "http_url": hub.http_url,
        "version": hub.version,
        "started_at": hub.started_at.ToJsonString() if hub.HasField("started_at") else None,
        "sessions": hub.sessions,
        "workers": hub.workers,
        "tools": hub.tools,
        "active_calls": hub.active_calls,
        "room": hub.room,
        "link": hub.link,
        "link_error": hub.link_error,
        "time": hub.time.ToJsonString() if hub.HasField("time") else None,
        "clock_ahead": hub.clock_ahead_us / 1e6,
    }
