"""``logs``: the log lines of the hub and of its tools, as they come."""

import sys
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.admin import OneSessionOption
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import CountOption, HubOptions, JsonOption
from grpc_tool_bridge.cli.parameters import Option

if TYPE_CHECKING:
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord

# From the least to the most severe.
LEVELS = ("debug", "info", "warning", "error", "critical")


async def logs(
    hub: HubOptions,
    *,
    session: OneSessionOption = None,
    level: Annotated[
        str,
        Option(
            "--level",
            metavar="LEVEL",
            help=f"Only lines of this level and above: {', '.join(LEVELS)}.",
            choices=LEVELS,
        ),
    ] = LEVELS[0],
    follow: Annotated[
        bool, Option("-f, --follow", help="Print lines as they come. So it does without: a hub keeps no log lines.")
    ] = False,
    count: CountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the log lines of the hub and of its tools as they come, or those of a session's calls until it ends."""
    del follow
    from contextlib import aclosing

    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin
    from grpc_tool_bridge.cli.streams import write

    least = LEVELS.index(level)
    kinds = ["log", "session"] if session else ["log"]
    async with open_admin(hub, session) as admin, aclosing(admin.watch(session or None, kinds)) as events:
        async for event in events:
            if event.kind == "session":
                if event.operation == "ended":
                    write(f"session {session} has ended\n", sys.stderr)
                    return
                continue
            line: LogRecord = event.subject  # type: ignore[assignment]  # the only other kind that was asked for
            if severity(line.level) < least:
                continue
            admin_text.print_line(line, event, as_json=as_json)
            count = count and count - 1
            if count == 0:
                return


def check(*, level: str, **_: object) -> None:
    """Checks the level; raises ArgumentError."""
    if level not in LEVELS:
        raise ArgumentError(f"--level {level} is not a level; the levels are {', '.join(LEVELS)}")


def severity(level: str) -> int:
    """Returns the place of a level among ``LEVELS``; one that nobody knows is shown whatever was asked for."""
    name = level.lower()
    return LEVELS.index(name) if name in LEVELS else len(LEVELS)
